"""COVERAGE.md says what the code has, and nothing else."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from infra.local import sandboxes
from infra.local.emulators import admin as emulator_admin
from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler.api import CloudSchedulerApi
from infra.local.emulators.cloud_tasks.api import CloudTasksApi
from infra.local.emulators.firestore.service import Firestore
from infra.local.emulators.secret_manager import SecretManager
from infra.local.sandboxes._base import _ROUTES, Sandbox
from infra.local.sandboxes.faults import KINDS
from infra.local.sandboxes.google_sheets.batch_update import HANDLERS
from tests.conformance.contracts.known import BEGIN, END, as_table

PAGE = (Path(sandboxes.__file__).parents[1] / "COVERAGE.md").read_text(encoding="utf-8")
SANDBOXES = {kind.name: kind for kind in sandboxes.sandbox_classes()}
EMULATORS = {
    "### Firestore": Firestore,
    "### Secret Manager": SecretManager,
    "### Cloud Tasks": CloudTasksApi,
    "### Cloud Scheduler": CloudSchedulerApi,
}


def _section(start: str) -> str:
    """The text from a heading to the next one."""
    found = re.search(rf"^{re.escape(start)}.*?(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"COVERAGE.md has no section {start!r}"
    return found[0]


def _of(sandbox: type[Sandbox]) -> str:
    heading = re.search(rf"^### .*\(`{sandbox.name}`: .*$", PAGE, re.MULTILINE)
    assert heading, f"COVERAGE.md has no section of {sandbox.name}"
    return _section(heading[0])


def _routes(sandbox: type[Sandbox]) -> set[tuple[str, str]]:
    marks = (getattr(member, _ROUTES, ()) for _, member in inspect.getmembers(sandbox))
    return {(method, pattern) for mark in marks for method, pattern in mark}


@pytest.mark.parametrize("name", sorted(SANDBOXES))
def test_the_routes_of_a_sandbox_are_all_there_and_no_other(name: str) -> None:
    block = _of(SANDBOXES[name]).split("```")[1].strip()
    listed: set[tuple[str, str]] = set()
    for line in block.splitlines():
        methods, _, pattern = line.rpartition(" ")
        listed |= {(method.strip(), pattern) for method in methods.split(",")}
    assert listed == _routes(SANDBOXES[name])


@pytest.mark.parametrize("name", sorted(SANDBOXES))
def test_the_hosts_and_knobs_of_a_sandbox_are_all_there_and_no_other(name: str) -> None:
    section, kind = _of(SANDBOXES[name]), SANDBOXES[name]
    assert ", ".join(kind.hosts) in section.splitlines()[0]
    line = next(line for line in section.splitlines() if line.startswith("Knobs: "))
    shown = dict(re.findall(r"`(\w+)` \(`?(.*?)`?\)(?= ·|\.$)", line))
    expected = {knob: "empty" if value == "" else str(value) for knob, value in kind.default_settings.items()}
    assert shown == expected


@pytest.mark.parametrize("heading", sorted(EMULATORS))
def test_the_methods_of_an_emulator_are_all_there_and_no_other(heading: str) -> None:
    line = next(line for line in _section(heading).splitlines() if line.startswith("| methods |"))
    implemented = {name for name, _ in inspect.getmembers(EMULATORS[heading], inspect.isfunction) if name[0].isupper()}
    assert set(re.findall(r"`(\w+)`", line)) == implemented


def test_the_requests_of_batch_update_are_all_there_and_no_other() -> None:
    line = next(line for line in _of(SANDBOXES["google_sheets"]).splitlines() if "replies one to one: " in line)
    assert re.findall(r"`(\w+)`", line.partition("replies one to one: ")[2]) == list(HANDLERS)


def test_the_admin_routes_of_the_emulators_and_the_faults_are_there(tmp_path: Path) -> None:
    clock = Clock()
    routes = emulator_admin.Admin(clock, emulator_admin.Offset(clock, tmp_path / "offset"), None, None).routes
    listed = re.findall(r"`(GET|POST) (/\w+)`", _section("### Emulator admin"))
    assert set(listed) == set(routes)
    faults = next(line for line in PAGE.splitlines() if line.startswith("Faults: "))
    rest = PAGE[PAGE.index(faults) : PAGE.index("### Microsoft")]
    assert [kind for kind in KINDS if f"`{kind}` (" not in rest] == []


def test_the_closed_list_is_the_code_s() -> None:
    shown: Any = PAGE[PAGE.index(BEGIN) : PAGE.index(END) + len(END)]
    assert shown == as_table(), "print it anew: python -m tests.conformance.contracts.known"


def test_the_page_stays_readable() -> None:
    assert len(PAGE.splitlines()) <= 350
