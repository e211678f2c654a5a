"""What a function's source reaches: modules of this project, and the distributions that it imports."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = ("functions", "shared")
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions that the pins are resolved for."""

_LAZY_REFERENCE = re.compile(r"^((?:shared|functions)(?:\.\w+)+)(?::\w+)?$")
"""Modules are also named in texts, to be imported on first use: `shared.connectors.looker.connector:LookerConnector`."""


@dataclass(frozen=True)
class Reach:
    """Modules of this project by dotted name, and names imported from elsewhere as they stand in the source."""

    modules: frozenset[str]
    foreign: frozenset[str]


def reach(root: Path, entry: str) -> Reach:
    """Follow every import (lazy ones too, type-checking ones not) from the module `entry` below `root`."""
    seen: set[str] = set()
    foreign: set[str] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        path = _file_of(root, module)
        if module in seen or path is None:
            continue
        seen.add(module)
        waiting.extend(_parents(module))
        for name in _imported_names(path, module):
            if name.split(".")[0] in OURS:
                waiting.extend([name, name.rpartition(".")[0]])
            else:
                foreign.add(name)
    return Reach(frozenset(seen), frozenset(foreign))


def module_owners() -> dict[str, str]:
    """Every importable module of the installed distributions by dotted name, to the canonical name of its owner."""
    owners: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or ():
            if file.suffix in {".py", ".so", ".pyd"} and ".." not in file.parts:
                parts = [*file.parts[:-1], file.name.split(".")[0]]
                owners[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = name
    return owners


def owners_of(names: Iterable[str], owners: dict[str, str]) -> set[str]:
    """The distributions behind imported names: each name's longest prefix that is a module counts."""
    found: set[str] = set()
    for name in names:
        parts = name.split(".")
        prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        owner = next((owners[prefix] for prefix in prefixes if prefix in owners), None)
        if owner is not None:
            found.add(owner)
    return found


def closure(names: Iterable[str], extras: dict[str, set[str]]) -> set[str]:
    """Those distributions and all that they require on Linux with any supported Python; `extras` by canonical name."""
    found: set[str] = set()
    waiting = [(name, "") for name in names]
    done: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        found.add(name)
        waiting.extend((name, wanted) for wanted in extras.get(name, ()))
        for requirement in _requirements(name):
            if _applies(requirement, extra):
                required = canonicalize_name(requirement.name)
                waiting.extend((required, wanted) for wanted in ("", *requirement.extras))
    return found


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    except importlib.metadata.PackageNotFoundError:  # needed for another version of Python only
        return []


def _applies(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    if marker is None:
        return extra == ""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": extra}
    present = {key: str(value) for key, value in default_environment().items()}
    return any(
        marker.evaluate({**present, **linux, "python_version": python, "python_full_version": f"{python}.0"})
        for python in _PYTHONS
    )


def _file_of(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _imported_names(path: Path, module: str) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _run_time_nodes(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and (match := _LAZY_REFERENCE.match(str(node.value))):
            yield match.group(1)


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: Iterable[ast.AST] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _run_time_nodes(child)
