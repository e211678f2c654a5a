"""`make smoke`: boot each packaged function alone, as Google Cloud would, and look at what it is made of.

For each `build/<function>.zip`, unpacked into an empty folder: nothing is in it but what the function reaches, nor in its
`requirements.txt`; every module can be imported with those packages and no others, and `shared` comes from the package; it
starts under the functions-framework CLI with a clean environment in another folder, and answers `GET /health` with 200.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name

from infra.imports import all_imports, closure, module_owners, owners_of
from infra.package import ALWAYS, ASSETS, BUILD, FUNCTIONS, ROOT, extras, reach_of

BOOT_TIMEOUT_S = 30.0
_AT_THE_TOP = {"main.py", "requirements.txt", "functions", "shared"}
_SETTINGS = {
    "GOOGLE_CLOUD_PROJECT": "smoke",
    "LOCATION": "us-central1",
    "TABLES_BUCKET": "smoke-tables",
    "FROZEN_BUCKET": "smoke-frozen",
    "EXPORTS_BUCKET": "smoke-exports",
    "TASKS_SERVICE_ACCOUNT": "bi-tasks@smoke.iam.gserviceaccount.com",
    "SCHEDULER_SERVICE_ACCOUNT": "bi-scheduler@smoke.iam.gserviceaccount.com",
    **{f"{name}_URL": f"https://{name.lower()}.example" for name in ("REGISTER", "EXPORT", "EXPORT_WORKER", "REFRESH")},
}
_IMPORT_ALL = """
import importlib, json, sys
folder, modules, refused = json.load(sys.stdin)
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in refused:
            raise ModuleNotFoundError(f"{name} belongs to {refused[name]}, which requirements.txt does not list", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, folder)
for module in modules:
    importlib.import_module(module)
ours = {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("shared", "functions", "infra", "tests")}
json.dump(ours, sys.stdout)
"""


class SmokeError(Exception):
    """A packaged function is not as it should be."""


def main() -> int:
    """Check all packages; 1 if one fails."""
    failed = False
    for name in FUNCTIONS:
        started = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix=f"smoke-{name}-") as folder:
                modules, cold_s = check(name, Path(folder))
        except (SmokeError, FileNotFoundError) as exc:
            sys.stderr.write(f"{name}: {exc}\n")
            failed = True
        else:
            seconds = time.monotonic() - started
            sys.stdout.write(f"{name}: {modules} modules importable, /health 200 in {cold_s:.1f} s ({seconds:.1f} s)\n")
    return 1 if failed else 0


def check(name: str, folder: Path) -> tuple[int, float]:
    """Unpack into `folder/package` and check. Returns the number of modules reached and the seconds to the first answer.

    Raises:
        SmokeError: Says what is wrong.
        FileNotFoundError: `make package` has not been run.
    """
    package, elsewhere = folder / "package", folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    with zipfile.ZipFile(BUILD / f"{name}.zip") as archive:
        archive.extractall(package)
    _check_content(name, package)
    _check_pins(name, package)
    modules = _check_imports(name, package, elsewhere)
    return modules, _boot(name, package, elsewhere)


def _check_content(name: str, package: Path) -> None:
    top = {path.name for path in package.iterdir()}
    if top != _AT_THE_TOP:
        raise SmokeError(f"expected {sorted(_AT_THE_TOP)} at the top of the package, found {sorted(top)}")
    expected = {path.relative_to(ROOT) for path in reach_of(name).modules.values()}
    found = {path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix not in ASSETS}
    if odd := sorted(map(str, (found ^ expected) - {Path("main.py"), Path("requirements.txt")})):
        raise SmokeError(f"not what {name} reaches, or missing: {', '.join(odd)}")
    if "--hash=sha256:" not in (package / "requirements.txt").read_text(encoding="utf-8"):
        raise SmokeError("requirements.txt has no hashes")


def _check_pins(name: str, package: Path) -> None:
    """Every pin is imported by this package's own files, or needed by one that is."""
    files = list(package.rglob("*.py"))
    imported = owners_of({name for file in files for name in all_imports(file)}, module_owners())
    unfounded = _pins(package) - closure({*imported, *ALWAYS}, extras())
    if unfounded:
        raise SmokeError(f"{name} imports none of {', '.join(sorted(unfounded))}, and requirements.txt lists them")


def _pins(package: Path) -> set[str]:
    text = (package / "requirements.txt").read_text(encoding="utf-8")
    return {canonicalize_name(pin) for pin in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==", text, re.MULTILINE)}


def _check_imports(name: str, package: Path, elsewhere: Path) -> int:
    modules = ["main", *sorted(reach_of(name).modules)]
    listed = _pins(package)
    refused = {module: owner for module, owner in module_owners().items() if owner not in listed}
    result = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORT_ALL],
        input=json.dumps([str(package), modules, refused]),
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=_clean_environment(elsewhere),
        check=False,
    )
    if result.returncode:
        raise SmokeError(f"not all of it can be imported with its own requirements:\n{result.stderr[-2000:]}")
    outside = {name: file for name, file in json.loads(result.stdout).items() if not _is_below(file, package)}
    if outside:
        raise SmokeError(f"imported from outside the package: {outside}")
    return len(modules)


def _boot(name: str, package: Path, elsewhere: Path) -> float:
    port = _free_port()
    log = elsewhere / "log"
    command = [
        sys.executable,
        "-I",
        "-m",
        "functions_framework",
        "--target",
        name,
        "--source",
        str(package / "main.py"),
    ]
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=elsewhere,
            env=_clean_environment(elsewhere) | _SETTINGS | {"THREADS": "8"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for_health(process, port, log)
        return time.monotonic() - started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while True:
        said = ""
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as exc:
            raise SmokeError(f"/health answered {exc.code}: {exc.read(500)!r}\n{_tail(log)}") from exc
        except OSError as exc:
            said = str(exc)
        if process.poll() is not None:
            raise SmokeError(f"ended with exit code {process.returncode} before it answered /health\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise SmokeError(f"/health did not answer within {BOOT_TIMEOUT_S:.0f} s ({said})\n{_tail(log)}")
        time.sleep(0.05)


def _clean_environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}


def _is_below(file: str | None, folder: Path) -> bool:
    return file is not None and Path(file).resolve().is_relative_to(folder.resolve())


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
