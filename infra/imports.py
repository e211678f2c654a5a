"""What a function's source reaches: modules of this project, and the distributions that it imports.

Imports inside a function body count only if something reached names that function; so a lazy import in `open_delivery` burdens
no package whose function never opens a delivery. Names, not objects, are compared: it errs towards too much, never too little,
but for names that are put together at run time. `make run` runs the very folders that come of it.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = ("functions", "shared")
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions that the pins are resolved for."""

_LAZY_REFERENCE = re.compile(r"^((?:shared|functions)(?:\.\w+)+)(?::(\w+))?$")
"""Modules are also named in texts, to be imported on first use: `shared.connectors.looker.connector:LookerConnector`."""

_ROUTE_TABLE = "shared.api.routes"
_ENTRY = "<entry>"


@dataclass(frozen=True)
class Reach:
    """Files of this project's modules by dotted name, and names imported from elsewhere as they stand in the source."""

    modules: Mapping[str, Path]
    foreign: frozenset[str]


@dataclass
class _Part:
    """A stretch of code that runs together: a module's top, or one function's body with what is nested in it."""

    name: str | None = None
    is_method: bool = False
    imports: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)


def reach(root: Path, *entries: str, without: frozenset[str] = frozenset()) -> Reach:
    """Follow every import (lazy ones too, type-checking ones not) from `entries` below `root`.

    An entry is a module, or `module:function`. Modules `without` are left out. Texts in the route table are not followed: which
    handlers a function has is for the caller to say.
    """
    search = _Search(root, without)
    for entry in entries:
        search.follow(_ENTRY, entry)
    search.finish()
    return Reach(search.modules, frozenset(search.foreign))


class _Search:
    """Grows what is reached until nothing new is.

    A method runs if anything reached uses its name; a function of a module only if a module does that is the same or imports it.
    """

    def __init__(self, root: Path, without: frozenset[str]) -> None:
        self._root = root
        self._without = without
        self._methods: dict[str, list[tuple[str, _Part]]] = {}
        self._functions: dict[str, dict[str, list[_Part]]] = {}
        self._uses: dict[str, set[str]] = {}
        self._sees: dict[str, set[str]] = {}
        self._used: set[str] = set()
        self._waiting: list[str] = []
        self.modules: dict[str, Path] = {}
        self.foreign: set[str] = set()

    def follow(self, user: str, reference: str) -> None:
        """`user` imports `reference`: `a.b`, `a.b:name`, or `a.b.name`."""
        target, _, member = reference.partition(":")
        parent, _, last = target.rpartition(".")
        self._use(user, {member or last})
        for module in (target, parent):
            self._waiting.append(module)
            self._sees.setdefault(user, {user}).add(module)
            self._wake_functions(user, module)

    def finish(self) -> None:
        while self._waiting:
            module = self._waiting.pop()
            path = _file_of(self._root, module)
            if module in self.modules or module in self._without or path is None:
                continue
            self.modules[module] = path
            self._sees.setdefault(module, {module}).add(module)
            self._waiting.extend(_parents(module))
            for part in _parts(path, module, texts=module != _ROUTE_TABLE):
                self._add(module, part)

    def _add(self, module: str, part: _Part) -> None:
        name = part.name
        if name is None or name.startswith("__"):
            self._run(module, part)
        elif part.is_method:
            if name in self._used:
                self._run(module, part)
            else:
                self._methods.setdefault(name, []).append((module, part))
        else:
            self._functions.setdefault(module, {}).setdefault(name, []).append(part)
            for user in [user for user, seen in self._sees.items() if module in seen]:
                self._wake_functions(user, module)

    def _run(self, module: str, part: _Part) -> None:
        for name in part.imports:
            if name.split(".")[0] in OURS:
                self.follow(module, name)
            else:
                self.foreign.add(name)
        self._use(module, part.names)

    def _use(self, module: str, names: set[str]) -> None:
        self._uses.setdefault(module, set()).update(names)
        for seen in list(self._sees.get(module, {module})):
            self._wake_functions(module, seen)
        for name in names - self._used:
            self._used.add(name)
            for owner, part in self._methods.pop(name, ()):
                self._run(owner, part)

    def _wake_functions(self, user: str, module: str) -> None:
        sleeping = self._functions.get(module, {})
        for name in self._uses.get(user, set()) & sleeping.keys():
            for part in sleeping.pop(name, ()):
                self._run(module, part)


def _parts(path: Path, module: str, *, texts: bool) -> Iterator[_Part]:
    """Yield a module's parts; methods that a foreign base class may call have no name, for they run unasked."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)} | {"Protocol"}
    top = _Part()

    def split(body: Iterable[ast.stmt], *, in_class: bool, always: bool) -> Iterator[_Part]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                part = _Part(name=None if always else node.name, is_method=in_class)
                for inner in node.body:
                    _collect(inner, package, part, texts=texts)
                part.names -= _bound_in(node) - part.attributes
                outside: list[ast.AST] = [
                    *node.decorator_list,
                    *node.args.defaults,
                    *filter(None, node.args.kw_defaults),
                ]
                for outer in outside:
                    _collect(outer, package, top, texts=texts)
                yield part
            elif isinstance(node, ast.ClassDef):
                for outer in (*node.bases, *node.keywords, *node.decorator_list):
                    _collect(outer, package, top, texts=texts)
                foreign = any(ast.unparse(base).split("[")[0].split(".")[-1] not in ours for base in node.bases)
                yield from split(node.body, in_class=True, always=foreign)
            else:
                _collect(node, package, top, texts=texts)

    yield from split(tree.body, in_class=False, always=False)
    yield top


def _collect(node: ast.AST, package: str, part: _Part, *, texts: bool) -> None:
    """Add to `part` what a piece of code imports and the names that it uses."""
    for inner in _run_time_nodes(node):
        if isinstance(inner, ast.Import):
            part.imports.extend(alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - inner.level + 1] if inner.level else []
            base = ".".join([*parent, *([inner.module] if inner.module else [])])
            part.imports.extend(f"{base}.{alias.name}" for alias in inner.names)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Load):
            part.names.add(inner.attr)
            part.attributes.add(inner.attr)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            part.names.add(inner.id)
        elif isinstance(inner, ast.Call) and ast.unparse(inner.func) in ("getattr", "methodcaller"):
            part.names |= {
                arg.value for arg in inner.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
        elif texts and isinstance(inner, ast.Constant) and _LAZY_REFERENCE.match(str(inner.value)):
            part.imports.append(str(inner.value))


def all_imports(path: Path) -> set[str]:
    """Everything that a file imports, wherever in it."""
    found = _Part()
    _collect(ast.parse(path.read_text(encoding="utf-8"), str(path)), "", found, texts=False)
    return set(found.imports)


def _bound_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names that a function binds: its parameters and variables."""
    stored = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}


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


def file_of(root: Path, module: str) -> Path:
    """The file of a module that `reach` found."""
    found = _file_of(root, module)
    if found is None:
        raise LookupError(f"{module} has no file below {root}")
    return found


def _file_of(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without what only a type checker reads."""
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: Iterable[ast.AST | None] = node.orelse
    elif isinstance(node, ast.AnnAssign):
        children = [node.value]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        children = [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *node.body]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        if child is not None:
            yield from _run_time_nodes(child)
