"""A backup holds what is stored whatever its keys are, and replaces no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.data.__main__ import main
from shared.data.backup import PAGE, checked, every, lines
from shared.data.restore import How, restore
from shared.errors import ConflictError, InvalidRequestError
from shared.ports import Query
from tests.fakes.stores import InMemoryDocuments, InMemoryObjects
from tests.functional.conftest import World
from tests.functional.test_exports import EXPORT

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
    restore(documents, [json.dumps(["tables/one", old]).encode()], How(unclosed=True))
    found = documents.get("tables/one")
    assert found is not None
    assert found.data == {"at": AT, "columns": {"$time": {"type": "date"}}}


@pytest.mark.parametrize(
    "line",
    [b"null", b"7", b'["tables/one", {"at": {"$time": "date"}}]', b'["tables/one"]', b'{"$end": {"documents": 0}}'],
)
def test_a_line_that_is_none_is_refused_by_its_number(line: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="line 1 is not one of a backup"):
        restore(InMemoryDocuments(), [line])


def test_a_backup_is_of_the_moment_when_it_began() -> None:
    documents, other = InMemoryDocuments(), InMemoryDocuments()
    for number in range(PAGE + 2):
        documents.create(f"connectors/{number:04}", {"n": 1})
    documents.create("schedules/one", {"n": 1})
    written = lines(documents)
    first = next(written)
    documents.update("connectors/0301", {"n": 2})
    documents.delete("connectors/0299")
    documents.delete("schedules/one")
    documents.create("schedules/two", {"n": 2})
    restore(other, [first, *written])
    found = {document.path: document.data for name in ("connectors", "schedules") for document in every(other, name)}
    assert found == {**{f"connectors/{number:04}": {"n": 1} for number in range(PAGE + 2)}, "schedules/one": {"n": 1}}


def stored(world: World) -> list[bytes]:
    """The lines of all documents but the audit entries of restores."""
    return [line for line in lines(world.fakes.documents) if b'"action": "database.' not in line][:-1]


def test_nothing_is_taken_or_done_between_the_first_line_of_a_restore_and_its_last(registered: World) -> None:
    saved = list(lines(registered.fakes.documents))
    registered.fakes.documents._documents.clear()
    asked = []

    def watched() -> Iterator[bytes]:
        for line in saved:
            answer = registered.call("register", "POST", "/api/bi-connectors/register", {})
            asked.append((answer.status, answer.body["code"], answer.headers["Retry-After"]))
            answer = registered.call("export", "POST", "/api/bi-connectors/export", EXPORT)  # of a connector to come
            asked.append((answer.status, answer.body["code"], answer.headers["Retry-After"]))
            assert registered.call("register", "GET", "/api/bi-connectors").status == 200
            with pytest.raises(AssertionError, match="restoring"):
                registered.sweep()
            with pytest.raises(AssertionError, match="restoring"):
                registered.minute()
            assert registered.fire("01ke70ehg0txapbgjgxdvk3037", "2026-01-05T12:00:00Z").status == 503
            yield line

    assert restore(registered.fakes.documents, watched()) == len(saved) - 1
    assert set(asked) == {(503, "restoring", "61")}
    registered.sweep()
    assert stored(registered) == saved[:-1]


def test_a_restore_that_failed_leaves_the_functions_refusing_until_it_is_done_again_or_given_up(
    registered: World, tmp_path: Path
) -> None:
    place = tmp_path / "backup.jsonl"
    place.write_bytes(b'["connectors/ymca_sheets", {"another": "one"}]\n')
    assert main(["restore", "--unclosed", str(place)], registered.services) == 1
    with pytest.raises(AssertionError, match="restoring"):
        registered.sweep()
    assert main(["resume"], registered.services) == 0
    registered.sweep()


def test_a_restore_that_replaces_leaves_what_the_backup_holds_and_nothing_else(
    registered: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, documents = str(tmp_path / "backup.jsonl"), registered.fakes.documents
    documents.create("export_jobs/one/chunks/0", {"rows": 1})
    documents.create("export_jobs/one", {"status": "running"})
    assert main(["backup", place], registered.services) == 0
    saved = list(lines(documents))
    documents.update("connectors/ymca_sheets", {"name": "changed"})
    documents.delete("export_jobs/one")
    documents.update("export_jobs/one/chunks/0", {"rows": 2})  # stays where its job is gone
    for number in range(PAGE + 2):
        documents.create(f"export_jobs/late-{number}", {"status": "running"})
        documents.create(f"export_jobs/late-{number}/chunks/0", {"rows": 3})
    assert main(["restore", place], registered.services) == 1
    assert "restore into an empty database, or with --replace" in capsys.readouterr().err
    assert main(["restore", place, "--replace"], registered.services) == 0
    assert stored(registered) == saved[:-1]
    assert documents.query(Query("export_jobs/late-0/chunks")) == []
    registered.sweep()


@pytest.mark.parametrize("flags", [[], ["--replace"]])
@pytest.mark.parametrize("unclosed", [[], ["--unclosed"]])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'["connectors/one", {}]\nnull\n',
        b'{"id": 1, "name": "x"}\n',
        b'"ab"\n',
        b"[1, 2]\n",
        b'["connectors/one", 5]\n',
        b'["connectors", {}]\n',
        b'["connectors/", {}]\n',
        b'["connectors/one/chunks/0", {}]\n',
        b'["nothing/x", {"a": 1}]\n',
        b'["connectors/one", {}]\n{"$end": {"documents": 1}}\n',
    ],
)
def test_a_file_that_is_no_backup_changes_nothing(
    registered: World, tmp_path: Path, content: bytes, unclosed: list[str], flags: list[str]
) -> None:
    refused(registered, tmp_path, content, *unclosed, *flags)


@pytest.mark.parametrize("flags", [[], ["--replace"]])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole[:-1], "no closing line"),
        (lambda whole: whole[:3], "no closing line"),
        (lambda whole: [*whole[:2], *whole[3:]], "lines were lost or changed"),
        (lambda whole: [*whole[:2], whole[2].replace(b"ymca", b"ymcb"), *whole[3:]], "lines were lost or changed"),
        (lambda whole: [whole[1], whole[0], *whole[2:]], "lines were lost or changed"),
        (lambda whole: [*whole, whole[0]], "comes after the closing line"),
        (lambda whole: [*whole[:-1], whole[-1][:40]], "is not one of a backup"),
        (
            lambda whole: [*whole[:-1], whole[-1].replace(b'"documents": ', b'"documents": 1')],
            "lines were lost or changed",
        ),
    ],
)
def test_a_backup_that_is_not_whole_changes_nothing(
    registered: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str, flags: list[str]
) -> None:
    whole = list(lines(registered.fakes.documents))
    assert len(whole) > 4
    refused(registered, tmp_path, b"".join(change(whole)), *flags)
    assert said in capsys.readouterr().err


def refused(world: World, folder: Path, content: bytes, *flags: str) -> None:
    place = folder / "backup.jsonl"
    place.write_bytes(content)
    before = list(lines(world.fakes.documents))
    assert main(["restore", str(place), *flags], world.services) == 1
    assert list(lines(world.fakes.documents)) == before
    world.sweep()


def test_a_backup_without_its_end_is_taken_as_far_as_it_goes_by_who_says_so(registered: World, tmp_path: Path) -> None:
    place = tmp_path / "backup.jsonl"
    whole = list(lines(registered.fakes.documents))
    place.write_bytes(b"".join(whole[:2]))
    assert main(["restore", "--replace", "--unclosed", str(place)], registered.services) == 0
    assert stored(registered) == whole[:2]


def test_a_closing_line_that_says_something_else_counts_whatever_is_said(registered: World, tmp_path: Path) -> None:
    whole = list(lines(registered.fakes.documents))
    refused(registered, tmp_path, b"".join(whole[1:]), "--unclosed")


def test_a_backup_that_changes_after_it_was_checked_leaves_the_functions_refusing(registered: World) -> None:
    saved = list(lines(registered.fakes.documents))
    assert checked(saved).documents == len(saved) - 1
    with pytest.raises(InvalidRequestError, match="no closing line"):
        restore(registered.fakes.documents, saved[:-1])
    with pytest.raises(AssertionError, match="restoring"):
        registered.sweep()


def test_what_is_no_file_and_may_be_read_but_once_changes_nothing(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(lines(registered.fakes.documents))
    # not a pipe: without the check the test would wait for ever
    assert main(["restore", "--replace", os.devnull], registered.services) == 1
    assert "is no file" in capsys.readouterr().err
    assert list(lines(registered.fakes.documents)) == before


@pytest.mark.parametrize("flags", [[], ["--replace"]])
def test_a_backup_that_is_not_there_changes_nothing(
    registered: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    before = list(lines(registered.fakes.documents))
    for place in ("gs://state/none.jsonl", str(tmp_path / "none.jsonl")):
        assert main(["restore", *flags, place], registered.services) == 1
        assert f"{place} does not exist" in capsys.readouterr().err
    assert list(lines(registered.fakes.documents)) == before
    registered.sweep()


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
