"""`make package`: stage each function as Google Cloud wants it, and zip it so that the same source gives the same bytes.

build/<function>/      main.py (made here), functions/<function>/, shared/, requirements.txt (hashed, its own subset)
build/<function>.zip   names sorted, times fixed, mode 0644
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.imports import closure, module_owners, owners_of, reach

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
FUNCTIONS = ("register", "export", "refresh")
_ALWAYS = ("functions-framework", "tzdata")
"""Not imported by our code: what serves it, and the time zones that `zoneinfo` reads."""

_NOT_DEPLOYED = ("client",)
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
    return 0


def stage(name: str) -> Path:
    """Make `build/<name>/` afresh and return it."""
    target = BUILD / name
    shutil.rmtree(target, ignore_errors=True)
    (target / "functions").mkdir(parents=True)
    shutil.copy(ROOT / "functions" / "__init__.py", target / "functions" / "__init__.py")
    shutil.copytree(ROOT / "functions" / name, target / "functions" / name, ignore=_only_source)
    shutil.copytree(ROOT / "shared", target / "shared", ignore=_only_source)
    for folder in _NOT_DEPLOYED:
        shutil.rmtree(target / "shared" / folder, ignore_errors=True)
    (target / "main.py").write_text(_MAIN.format(name=name), encoding="utf-8")
    (target / "requirements.txt").write_text(requirements_of(target), encoding="utf-8")
    return target


def requirements_of(staged: Path) -> str:
    """The part of `requirements.txt`, hashes included, that the staged `main.py` can reach.

    Raises:
        LookupError: It reaches a distribution that is not pinned there.
    """
    wanted = closure({*owners_of(reach(staged, "main").foreign, module_owners()), *_ALWAYS}, _extras())
    pinned = _pinned(ROOT / "requirements.txt")
    if missing := sorted(_installed_only(wanted - pinned.keys())):
        raise LookupError(f"{staged.name} imports {', '.join(missing)}, which requirements.txt does not pin")
    header = f"# Made by `make package` from requirements.txt: what {staged.name} imports, and what that needs.\n"
    return header + "".join(pinned[name] for name in sorted(wanted & pinned.keys()))


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


def _only_source(folder: str, names: list[str]) -> list[str]:
    """Of each folder, what is not deployed: caches, editors' files and anything hidden."""
    return [
        name
        for name in names
        if name == "__pycache__" or name.startswith(".") or (Path(folder, name).is_file() and not _is_deployed(name))
    ]


def _is_deployed(name: str) -> bool:
    return Path(name).suffix in {".py", ".html", ".css", ".js", ".svg", ".ico", ".woff2"}


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


def _extras() -> dict[str, set[str]]:
    """Extras that our direct requirements ask for, as `psycopg[binary]` does."""
    lines = (ROOT / "infra" / "requirements" / "runtime.in").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return {canonicalize_name(requirement.name): set(requirement.extras) for requirement in wanted}


def _installed_only(names: set[str]) -> set[str]:
    """Without those that this machine does not have either: they are for other platforms."""
    return names & set(module_owners().values())


if __name__ == "__main__":
    sys.exit(main())
