"""A slice of `make campaign PART=guards` for `make test`: the table still fits the code and the tests, and some guards taken out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns.guards.guard import Guard
from tests.campaigns.guards.run import ROOT, copy_of_the_code, outcome_of, without
from tests.campaigns.guards.table import GUARDS

CHEAP = ("YAML has no aliases", "every address is public", "redaction knows a secret in Base64")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_guard_stands_where_the_table_says(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text()
    assert guard.mutated(text) != text
    compile(guard.mutated(text), guard.file, "exec")


def test_every_named_test_exists_and_every_guard_has_a_name_of_its_own() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
    tests = sorted({guard.test for guard in GUARDS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *tests]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with copy_of_the_code() as folder:
        yield folder


@pytest.mark.parametrize("name", CHEAP)
def test_a_guard_that_is_taken_out_is_missed(place: Path, name: str) -> None:
    (guard,) = (guard for guard in GUARDS if guard.name == name)
    assert outcome_of(place, [guard.test]).failed == 0
    found = without(place, guard)
    assert found.is_noticed, found.trouble
    assert (place / guard.file).read_text() == (ROOT / guard.file).read_text()


def test_code_that_does_not_run_and_a_test_that_still_passes_are_not_taken_for_noticed(place: Path) -> None:
    test = "tests/unit/test_redaction.py::test_short_values_and_other_text_stay"
    file = "shared/redaction.py"
    broken = Guard(
        "broken", file, "return TOKEN.sub(MASK, _known.redact(text))", "return nothing_of_that_name(text)", test
    )
    unseen = Guard("unseen", file, "for skip in range(3):", "for skip in range(1):", test)
    assert not without(place, broken).is_noticed
    found = without(place, unseen)
    assert (found.is_noticed, found.trouble) == (False, "passed all the same")
