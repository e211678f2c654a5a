"""A backup holds what is stored whatever its keys are, and replaces no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.data.__main__ import main
from shared.data.backup import lines, restore
from shared.errors import ConflictError, InvalidRequestError
from tests.fakes.stores import InMemoryDocuments, InMemoryObjects
from tests.functional.conftest import World

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "data",
    [
        {"columns": {"$time": {"type": "date"}}},
        {"columns": {"$time": "date", "$$time": "date"}, "at": [{"$time": AT}]},
        {"$$$time": AT, "time": AT, "$other": {"$$time": None}},
    ],
)
def test_keys_that_look_like_our_marks_come_back(data: dict[str, object]) -> None:
    documents, other = InMemoryDocuments(), InMemoryDocuments()
    documents.create("tables/one", data)
    restore(other, lines(documents))
    found = other.get("tables/one")
    assert found is not None
    assert found.data == data


def test_lines_of_an_earlier_release_are_read() -> None:
    documents = InMemoryDocuments()
    old = {"at": {"$time": AT.isoformat()}, "columns": {"$time": {"type": "date"}}}
    restore(documents, [json.dumps(["tables/one", old]).encode()])
    found = documents.get("tables/one")
    assert found is not None
    assert found.data == {"at": AT, "columns": {"$time": {"type": "date"}}}


@pytest.mark.parametrize("line", [b"null", b"7", b'["tables/one", {"at": {"$time": "date"}}]', b'["tables/one"]'])
def test_a_line_that_is_none_is_refused_by_its_number(line: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="line 1 is not one of a backup"):
        restore(InMemoryDocuments(), [line])


def test_a_second_backup_never_replaces_the_first(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("gs://state/backup.jsonl", str(tmp_path / "backup.jsonl")):
        assert main(["backup", place], world.services) == 0
        assert main(["backup", place], world.services) == 1
        assert f"{place} exists already" in capsys.readouterr().err


def test_nor_one_that_came_while_it_was_written() -> None:
    objects = InMemoryObjects()
    backup = objects.writer("state", "backup.jsonl", content_type="text/plain", new=True)
    with pytest.raises(ConflictError), backup:
        objects.put("state", "backup.jsonl", b"first")
