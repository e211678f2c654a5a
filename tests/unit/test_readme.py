"""README's tables say what the code does: routes, settings, error codes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from shared.api.problem_codes import ROWS
from shared.api.routes import ROUTES
from shared.config import GRPC_EMULATORS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CODE_ARGUMENT = {"_Problem": 1, "_problem": 1, "problem": 1, "failure": 0, "_ended": 1, "_end": 2}
"""Functions that take an error code by position."""


def section(title: str) -> str:
    """Return the text under a heading, up to the next one of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {title!r}"
    return found.group(2)


def codes_in_code() -> set[str]:
    """Return every error code that an answer can carry: `code="…"`, `default_code`, the problems of dispatcher and gateway."""
    found: set[str] = set()
    of_gateway = [ROOT / "infra" / "local" / f"{name}.py" for name in ("gateway", "forwarding", "cloud_run")]
    for path in [*ROOT.glob("shared/**/*.py"), *of_gateway]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= {k.value.value for k in node.keywords if k.arg == "code" and isinstance(k.value, ast.Constant)}  # type: ignore[misc]
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                place = CODE_ARGUMENT.get(str(name))
                if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                    found.add(str(node.args[place].value))
            is_default = isinstance(node, ast.Assign) and any(
                getattr(t, "id", None) == "default_code" for t in node.targets
            )
            if is_default and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == "default_code":
                assert isinstance(node.value, ast.Constant)
                found.add(str(node.value.value))
    return {code for code in found if isinstance(code, str)}


def settings_in_code() -> set[str]:
    """Return every environment variable that `shared/config.py` names."""
    text = (ROOT / "shared" / "config.py").read_text()
    names = set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', text))
    names |= {f"{name}_URL" for name in ("REGISTER", "EXPORT", "EXPORT_WORKER", "REFRESH")}
    return names | {f"{name}_EMULATOR_HOST" for name in ("FIRESTORE", "STORAGE", *map(str.upper, GRPC_EMULATORS))}


def test_every_route_is_listed_with_its_function_and_permission() -> None:
    listed = set(re.findall(r"^\| (\w+) (/\S+) \| (\S+) \| (\w+) \|", section("Routes"), re.MULTILINE))
    expected = {(r.method, r.path, r.function.replace("*", "every"), r.permission.value) for r in ROUTES}
    assert {(m, p, f.replace("_", "-"), v) for m, p, f, v in listed} == {
        (m, p, f.replace("_", "-"), v) for m, p, f, v in expected
    }


def test_every_setting_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})`", section("Settings")))
    assert listed == settings_in_code()


def test_the_problem_pages_say_what_the_readme_says() -> None:
    """A new code is one row, pasted into README and into shared/api/problem_codes.py."""
    rows = re.findall(r"^\| `[a-z0-9_]+` \|.*$", section("Errors"), re.MULTILINE)
    assert ROWS.strip().splitlines() == rows


def test_every_error_code_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", section("Errors"), re.MULTILINE))
    assert listed == codes_in_code()
