"""`make package`: stage each function as Google Cloud wants it, and zip it so that the same source gives the same bytes.

build/<function>/      main.py (made here), functions/<function>/, of shared/ what it imports, requirements.txt (hashed, its own subset)
build/<function>.zip   names sorted, times fixed, mode 0644
build/routes.json      the route table, for Terraform
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.imports import Reach, closure, module_owners, owners_of, reach

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
FUNCTIONS = ("register", "export", "refresh")
_ALSO_SERVES = {"export": ("export_worker",)}
"""Deployed a second time under this name in the route table."""

ASSETS = frozenset({".html", ".css", ".js", ".svg", ".ico", ".woff2"})
ALWAYS = ("functions-framework", "tzdata")
"""Not imported by our code: what serves it, and the time zones that `zoneinfo` reads."""

_ENGINE = frozenset({"shared.pipeline.delivery"})
"""Runs jobs, and so reads, encodes and delivers rows. Only the export function has routes that need it; the composition root
names it for all. `make run` runs these packages, so a function that needed it all the same would fail in the e2e tests."""

_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_MODE_0644 = 0o100644 << 16
_MAIN = '''"""Made by `make package`: Google Cloud Functions looks for `main.py` at the root of the source."""

from functions.{name}.main import {name}

__all__ = ["{name}"]
'''


def main() -> int:
    """Stage and zip all functions; print each zip's size and digest."""
    for name in FUNCTIONS:
        staged = stage(name)
        archive = make_zip(staged)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        pins = sum(1 for line in (staged / "requirements.txt").read_text().splitlines() if re.match(r"[a-z]", line))
        size = archive.stat().st_size / 1024
        sys.stdout.write(f"{archive.relative_to(ROOT)}  {size:.0f} KiB  {pins} pins  sha256 {digest}\n")
    (BUILD / "routes.json").write_text(json.dumps(deployed_routes(), indent=1) + "\n", encoding="utf-8")
    return 0


def stage(name: str) -> Path:
    """Make `build/<name>/` afresh and return it."""
    target = BUILD / name
    shutil.rmtree(target, ignore_errors=True)
    stage_source(name, target)
    (target / "requirements.txt").write_text(requirements_of(name), encoding="utf-8")
    return target


def stage_source(name: str, target: Path) -> None:
    """Put the source that a function runs into the empty or missing folder `target`: a root `main.py` and the modules it reaches."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "main.py").write_text(_MAIN.format(name=name), encoding="utf-8")
    for source in reach_of(name).modules.values():
        place = target / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        for asset in source.parent.iterdir():
            if asset.suffix in ASSETS:
                shutil.copyfile(asset, place.with_name(asset.name))


def deployed_routes() -> list[dict[str, str]]:
    """The route table as Terraform reads it: who may call which path of which function."""
    return [
        {"method": r.method, "path": r.path, "function": r.function, "permission": r.permission.value}
        for r in _routes()
    ]


def _routes() -> tuple[Any, ...]:
    table: tuple[Any, ...] = runpy.run_path(str(ROOT / "shared" / "api" / "routes.py"))["ROUTES"]
    return table


def reach_of(name: str) -> Reach:
    """What a function reaches from its entry point and from the handlers of its own routes."""
    own = {name, "*", *_ALSO_SERVES.get(name, ())}
    handlers = sorted({route.handler for route in _routes() if route.function in own})
    return reach(ROOT, f"functions.{name}.main:{name}", *handlers, without=frozenset() if name == "export" else _ENGINE)


def requirements_of(name: str) -> str:
    """The part of `requirements.txt`, hashes included, that a function reaches.

    Raises:
        LookupError: It reaches a distribution that is not pinned there.
    """
    wanted = closure({*owners_of(reach_of(name).foreign, module_owners()), *ALWAYS}, extras())
    pinned = _pinned(ROOT / "requirements.txt")
    if missing := sorted(_installed_only(wanted - pinned.keys())):
        raise LookupError(f"{name} imports {', '.join(missing)}, which requirements.txt does not pin")
    header = f"# Made by `make package` from requirements.txt: what {name} imports, and what that needs.\n"
    return header + "".join(pinned[pin] for pin in sorted(wanted & pinned.keys()))


def make_zip(staged: Path) -> Path:
    """Zip a staged folder next to it, reproducibly."""
    archive = staged.with_suffix(".zip")
    archive.unlink(missing_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(staged).as_posix(), _FIXED_TIME)
            entry.external_attr = _MODE_0644
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, path.read_bytes())
    return archive


def _pinned(path: Path) -> dict[str, str]:
    """Each pin with its hashes, comments dropped, by canonical name."""
    pins: dict[str, str] = {}
    name = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==", line):
            name = canonicalize_name(match.group(1))
            pins[name] = ""
        if name is not None and line.strip() and not line.lstrip().startswith("#"):
            pins[name] += line + "\n"
    return {name: text.rstrip("\\\n ") + "\n" for name, text in pins.items()}


def extras() -> dict[str, set[str]]:
    """Extras that our direct requirements ask for, as `psycopg[binary]` does."""
    lines = (ROOT / "infra" / "requirements" / "runtime.in").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return {canonicalize_name(requirement.name): set(requirement.extras) for requirement in wanted}


def _installed_only(names: set[str]) -> set[str]:
    """Without those that this machine does not have either: they are for other platforms."""
    return names & set(module_owners().values())


if __name__ == "__main__":
    sys.exit(main())
