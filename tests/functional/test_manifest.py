"""The manifest of a job: one line for each chunk, made once."""

from __future__ import annotations

from typing import Any

import pytest

from shared.pipeline.lease import Lease
from tests.functional.conftest import World
from tests.functional.test_exports import job, start


def lines(world: World, job_id: str) -> list[dict[str, Any]]:
    documents = world.fakes.documents._documents
    return [documents[path][0] for path in sorted(documents) if path.startswith(f"export_jobs/{job_id}/chunks/")]


def test_a_line_has_rows_bytes_and_a_checksum_of_the_source_whatever_the_target(registered: World) -> None:
    one, other = start(registered), start(registered, connector_name="ymca_powerbi", table_name="elsewhere")
    registered.work()
    first, second = lines(registered, one)
    assert [(line["index"], line["first_row"], line["rows"]) for line in (first, second)] == [(0, 0, 2), (1, 2, 1)]
    assert first["bytes"] > 0
    assert len(first["checksum"]) == 64
    assert first["checksum"] != second["checksum"]
    same = [(line["bytes"], line["checksum"]) for line in lines(registered, other)]
    assert same == [(line["bytes"], line["checksum"]) for line in (first, second)]


def commit_twice(monkeypatch: pytest.MonkeyPatch, then: dict[str, Any]) -> None:
    """Let the first checkpoint be committed twice, at first with some fields of its line changed."""
    original, done = Lease.save, []

    def save(lease: Lease, fields: Any, **more: Any) -> None:
        if not more.get("create") or done:
            return original(lease, fields, **more)
        done.append(1)
        create = {path: {**line, **then} for path, line in more["create"].items()}
        original(lease, fields, create=create)
        return original(lease, fields, **more)

    monkeypatch.setattr(Lease, "save", save)


def test_a_checkpoint_whose_answer_was_lost_counts_once(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_twice(monkeypatch, {"sent_bytes": 7})
    job_id = start(registered)
    registered.work()
    done = job(registered, job_id)
    assert (done["status"], done["record_count"]) == ("success", 3)
    assert done["progress"]["rows_done"] == 3  # type: ignore[index]
    assert [line["sent_bytes"] for line in lines(registered, job_id)] == [7, 100]


def test_a_line_that_says_otherwise_is_never_overwritten(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_twice(monkeypatch, {"checksum": "f" * 32})
    job_id = start(registered)
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "chunk_changed")  # type: ignore[index]
    assert lines(registered, job_id)[0]["checksum"] == "f" * 32
    assert registered.vendor.live == {}
