"""Takes each guard out of a copy of the code and runs the test that must fail: by what it asserts, not because the code is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.campaigns.guards.guard import Guard
from tests.campaigns.guards.table import GUARDS
from tests.campaigns.report import Report

ROOT = Path(__file__).resolve().parents[3]
COPIED = ("functions", "shared", "infra", "tests", "pyproject.toml", "README.md", "Makefile", "requirements.txt")
BROKEN = (
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
    "IndentationError",
    "NameError",
    "AttributeError",
    "TypeError",
)
"""What a test that fails for one of these has not noticed: the code without the guard would not run at all."""
TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """What running a test came to: how many failed by what they assert, how many could not be run, the first trouble in words."""

    passed: int
    failed: int
    broken: int
    trouble: str

    @property
    def is_noticed(self) -> bool:
        return self.failed > 0


def run(report: Report, *, every: int) -> None:
    """Prove every guard of the table, or each `every`th of it."""
    guards = GUARDS[::every]
    report.say(f"\nguards: {len(guards)} taken out, one at a time")
    with copy_of_the_code() as place:
        whole = outcome_of(place, sorted({guard.test for guard in guards}))
        report.say(f"  with all of them: {whole.passed} tests pass, {whole.failed + whole.broken} fail")
        report.count("guards", whole.passed, failures=whole.failed + whole.broken)
        if whole.failed or whole.broken:
            report.failed("make campaign PART=guards", [whole.trouble], [])
            return
        for guard in guards:
            found = without(place, guard)
            report.tooth(f"{guard.name} ({guard.file})", found.trouble, is_noticed=found.is_noticed)


def without(place: Path, guard: Guard) -> Outcome:
    """Return what the guard's test says in the copy without the guard; the copy is whole again afterwards."""
    path = place / guard.file
    text, at = path.read_text(encoding="utf-8"), path.stat()
    path.write_text(guard.mutated(text), encoding="utf-8")
    os.utime(path, (at.st_atime, at.st_mtime + 10))  # else compiled code of the same size and second would be used
    try:
        return outcome_of(place, [guard.test])
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, (at.st_atime, at.st_mtime))


def outcome_of(place: Path, tests: Iterable[str]) -> Outcome:
    """Run tests in the copy, in a process of their own; of one test, its parameters up to the first that fails."""
    tests = list(tests)
    told = place / "told.xml"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={told}", *tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and they take three quarters of the time
    if len(tests) == 1:
        command.append("--exitfirst")
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(0, 0, 1, f"not done within {TIMEOUT_S:.0f} s")
    if not told.exists():
        return Outcome(0, 0, 1, (done.stdout + done.stderr)[-2000:])
    return _outcome(told)


def _outcome(told: Path) -> Outcome:
    failed, broken, passed, troubles = 0, 0, 0, []
    for case in ET.parse(told).iter("testcase"):
        errors, failures = case.findall("error"), case.findall("failure")
        said = [str(item.get("message")).splitlines()[0][:200] for item in (*errors, *failures)]
        if errors or any(line.startswith(BROKEN) for line in said):
            broken += 1
        elif failures:
            failed += 1
        elif not case.findall("skipped"):
            passed += 1
        troubles += [f"{case.get('name')}: {line}" for line in said]
    if not (passed or failed or broken):
        return Outcome(0, 0, 1, "no test ran")
    return Outcome(passed, failed, broken, troubles[0] if troubles else "passed all the same")


@contextmanager
def copy_of_the_code() -> Iterator[Path]:
    """Yield a copy that tests can run in; the packages are those of this process."""
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        place = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", ".terraform*"))
            else:
                shutil.copy2(source, place / name)
        yield place
