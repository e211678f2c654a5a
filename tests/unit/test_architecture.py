"""Holds the direction of imports, and what may be imported when. Also run by `make check` as a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Who may import whom, by the longest prefix that fits. A module may always import from its own prefix.
LEAVES = {
    "shared.audit",
    "shared.config",
    "shared.errors",
    "shared.models",
    "shared.ports",
    "shared.redaction",
    "shared.telemetry",
    "shared.type_rules",
}
ALLOWED: dict[str, set[str]] = {
    "functions": {"shared.api", "shared.bootstrap", "shared.config"},
    "shared.bootstrap": {
        "shared.spans",
        "shared.services",
        "shared.pipeline",
        "shared.connectors",
        "shared.stores",
        *LEAVES,
    },
    "shared.api": {"shared.services", "shared.connectors", "shared.bootstrap", *LEAVES},
    "shared.services": {
        "shared.connectors",
        "shared.pipeline.sources",
        "shared.pipeline.lease",
        "shared.pipeline.preparing.checks",
        *LEAVES,
    },
    "shared.pipeline": {"shared.connectors._base", "shared.connectors._fingerprint", *LEAVES},
    "shared.connectors": LEAVES - {"shared.config"},
    "shared.stores": LEAVES - {"shared.config"},
    "shared.audit": {"shared.models", "shared.ports", "shared.redaction"},
    "shared.client": set(),
    "shared.data": {"shared.bootstrap", "shared.pipeline", "shared.services", *LEAVES},
    "shared.errors": {"shared.redaction"},
    "shared.models": set(),
    "shared.type_rules": set(),
    "shared.redaction": set(),
    "shared.spans": {"shared.telemetry"},
    "shared.telemetry": {"shared.redaction"},
    "shared.ports": set(),
    "shared.config": {"shared.errors"},
    "infra": {"infra"},
}
TOP_LEVEL = {
    "functions",
    "shared",
    "tests",
    "infra",
    "requirements.txt",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "LICENSE",
}
HEAVY = [
    "pyarrow",
    "pandas",
    "polars",
    "duckdb",
    "msal",
    "gspread",
    "looker_sdk",
    "psycopg",
    "openpyxl",
    "requests",
    "grpc",
    "google.cloud.firestore",
    "google.cloud.storage",
    "google.cloud.secretmanager",
    "google.cloud.tasks",
    "google.cloud.scheduler",
]


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield (module, line, whether only for type checking) of each import of a file; `from a import b` as `a.b` where that exists."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if _exists(whole) else node.module, node.lineno, id(node) in typing_only


def wrong_imports() -> list[str]:
    """Return `file:line: what` for every import against the direction."""
    problems = []
    for path in sorted([*ROOT.glob("functions/**/*.py"), *ROOT.glob("shared/**/*.py"), *ROOT.glob("infra/**/*.py")]):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        prefix = max((p for p in ALLOWED if _within(module, p)), key=len, default=None)
        if prefix is None:
            continue
        for imported, line, typing_only in imports_of(path):
            if imported.split(".")[0] not in ("functions", "shared", "infra", "tests"):
                continue
            if typing_only and prefix == "shared.api" and imported.startswith("shared.bootstrap"):
                continue
            allowed = ALLOWED[prefix] - ({"shared.bootstrap"} if prefix == "shared.api" else set())
            if not any(_within(imported, target) for target in {prefix, *allowed}):
                problems.append(f"{path.relative_to(ROOT)}:{line}: {prefix} may not import {imported}")
    return problems


def environment_readers() -> list[str]:
    """Return the files of `shared` and `functions` that read the environment, beside `shared/config.py`."""
    found = []
    for path in sorted([*ROOT.glob("functions/**/*.py"), *ROOT.glob("shared/**/*.py")]):
        if path != ROOT / "shared" / "config.py" and (
            "os.environ" in path.read_text() or "os.getenv" in path.read_text()
        ):
            found.append(str(path.relative_to(ROOT)))
    return found


def unexpected_top_level() -> list[str]:
    """Return tracked names at the top that the layout does not have."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    return sorted(name for name in names if name not in TOP_LEVEL and not name.startswith("."))


def _within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names of all modules that it loaded."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def heavy(loaded: set[str]) -> list[str]:
    """Return the heavy modules among the loaded ones."""
    return sorted(name for name in HEAVY if name in loaded)


def test_imports_go_one_way() -> None:
    assert wrong_imports() == []


def test_only_config_reads_the_environment() -> None:
    assert environment_readers() == []


def test_the_top_level_holds_what_the_layout_names() -> None:
    assert unexpected_top_level() == []


REQUEST = """
import os, flask
from werkzeug.test import create_environ
os.environ.update(ENVIRONMENT="local", GOOGLE_CLOUD_PROJECT="p", LOCATION="l", REGISTER_URL="http://r", EXPORT_URL="http://e",
    EXPORT_WORKER_URL="http://w", REFRESH_URL="http://f", TASKS_SERVICE_ACCOUNT="t", SCHEDULER_SERVICE_ACCOUNT="s",
    TABLES_BUCKET="a", FROZEN_BUCKET="b", EXPORTS_BUCKET="c", FIRESTORE_EMULATOR_HOST="127.0.0.1:1")
from functions.{name}.main import {name} as function
reply = function(flask.Request(create_environ("/health")))
assert reply.status_code == 200, reply.get_data()
"""


def test_health_of_every_function_imports_nothing_heavy() -> None:
    for name in ("register", "export", "refresh"):
        assert heavy(modules_after(REQUEST.format(name=name))) == []


def test_listing_connectors_imports_no_vendor_and_no_data_library() -> None:
    listing = """
from tests.fakes.stores import InMemoryStores
from shared.services.connectors import Connectors
from shared.services.records import Page
from shared.connectors._base import Runtime
stores = InMemoryStores().stores()
assert Connectors(stores, "bi", Runtime(stores.clock)).list(Page()).connectors == []
import shared.stores.firestore
"""
    loaded = heavy(modules_after(REQUEST.format(name="register") + listing))
    assert set(loaded) <= {"grpc", "requests", "google.cloud.firestore"}  # what Firestore's own client brings


def main() -> int:
    """Print every violation; return 1 if there is one."""
    problems = [*wrong_imports(), *(f"{name} reads the environment" for name in environment_readers())]
    problems += [f"{name} is not part of the layout's top level" for name in unexpected_top_level()]
    for problem in problems:
        sys.stdout.write(problem + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
