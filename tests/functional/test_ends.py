"""How a job ends when its end is in trouble itself: faults of ours, a publish that lands late, a target that cannot be tidied up."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import TargetError, VendorUnavailableError
from shared.pipeline.outcomes import LONGEST_WAIT_S, backoff_s
from tests.fakes.connector import InMemoryDelivery
from tests.functional.conftest import World
from tests.functional.test_exports import ROWS, job, start
from tests.functional.test_job_operations import do

NEW = [{"id": 9, "name": "Zoe"}]


def unanswered(on_its_way: list[InMemoryDelivery]) -> Any:
    def publish(delivery: InMemoryDelivery) -> Any:
        on_its_way.append(delivery)
        raise VendorUnavailableError("no answer while publishing")

    return publish


def test_a_fault_of_ours_that_comes_again_while_a_job_is_ended_ends_it_with_its_reason(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: InMemoryDelivery) -> Any:
        raise KeyError("valueRanges")

    monkeypatch.setattr(InMemoryDelivery, "read_back", broken)
    monkeypatch.setattr(InMemoryDelivery, "abandon", broken)
    faulty = start(registered)
    registered.work_through(20, pause_s=10)
    ended = job(registered, faulty)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_died")  # type: ignore[index]
    assert "its staging was not removed: a fault of ours while ending the job (KeyError)" in str(ended["error_message"])
    monkeypatch.undo()
    following = start(registered)
    registered.work()
    assert job(registered, following)["status"] == "success"


@pytest.mark.parametrize(
    "trouble", [VendorUnavailableError("no answer while removing staging"), TargetError("refused"), KeyError("sheets")]
)
def test_a_publish_that_lands_after_its_job_gave_up_is_a_success(
    registered: World, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    on_its_way: list[InMemoryDelivery] = []
    publish = InMemoryDelivery.publish

    def untidied(_: InMemoryDelivery) -> None:
        raise trouble

    start(registered)
    registered.work()
    monkeypatch.setattr(InMemoryDelivery, "publish", unanswered(on_its_way))
    monkeypatch.setattr(InMemoryDelivery, "abandon", untidied)
    late = start(registered, mode="append", rows=NEW)
    registered.work_through(30, pause_s=10)
    assert job(registered, late)["status"] == "running"
    publish(on_its_way[0])
    monkeypatch.setattr(InMemoryDelivery, "publish", publish)
    registered.work_through(10, pause_s=10)
    assert job(registered, late)["status"] == "success"
    assert registered.vendor.live["people"] == ROWS + NEW


def test_an_approved_job_is_cancelled_at_once_though_another_is_before_it(registered: World) -> None:
    start(registered)
    registered.work()
    held = start(registered, rows=[])
    registered.work()
    registered.vendor.errors = [("preflight", VendorUnavailableError("wait", retry_after_s=3600.0)) for _ in range(3)]
    start(registered)
    registered.work_once()
    do(registered, held, "approve")
    registered.work_once(newest=True)
    assert str(job(registered, held)["waiting"]).startswith("for its turn")
    assert do(registered, held, "cancel").status == 200
    assert job(registered, held)["status"] == "cancelled"


def test_a_job_may_wait_for_weeks() -> None:
    assert 0.0 <= backoff_s({"target_key": "t", "turn": 1}, 5_000) <= LONGEST_WAIT_S


def test_a_publish_that_lands_while_its_staging_is_removed_is_a_success(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a failure whose retry would append the rows a second time."""
    on_its_way: list[InMemoryDelivery] = []
    publish = InMemoryDelivery.publish
    start(registered)
    registered.work()
    monkeypatch.setattr(InMemoryDelivery, "publish", unanswered(on_its_way))

    def lands() -> None:
        monkeypatch.setattr(InMemoryDelivery, "publish", publish)
        publish(on_its_way[0])

    registered.vendor.during["abandon"] = lands
    late = start(registered, mode="append", rows=NEW)
    registered.work()
    assert registered.vendor.calls.count("abandon") == 1, "it had given up"
    assert (job(registered, late)["status"], registered.vendor.live["people"]) == ("success", ROWS + NEW)
    assert do(registered, late, "retry").status == 409


@pytest.mark.parametrize(
    "trouble", [VendorUnavailableError("no connection"), TargetError("404"), KeyError("sheets")], ids=repr
)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_job_whose_target_cannot_be_asked_what_became_of_its_publish_ends_after_a_day_and_says_so(
    registered: World, monkeypatch: pytest.MonkeyPatch, mode: str, trouble: Exception
) -> None:
    def gone(_: InMemoryDelivery) -> Any:
        raise trouble

    lost = start(registered, mode=mode, rows=NEW)
    monkeypatch.setattr(InMemoryDelivery, "publish", unanswered([]))
    registered.work_once()
    for name in ("is_published", "abandon", "preflight"):
        monkeypatch.setattr(InMemoryDelivery, name, gone)
    for hours in (0, 1, 18):
        registered.fakes.clock.sleep(hours * 3600)
        registered.work_through(15, pause_s=10)
        assert job(registered, lost)["status"] == "running", "the target may be back soon"
    registered.fakes.clock.sleep(5 * 3600)
    registered.work_through(10, pause_s=10)
    ended = job(registered, lost)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "outcome_unknown")  # type: ignore[index]
    assert "look at the target before you export again" in str(ended["error_message"])
    monkeypatch.undo()
    following = start(registered)
    registered.work()
    assert job(registered, following)["status"] == "success", "the target is free"
    again = do(registered, lost, "retry")
    assert again.status == (409 if mode == "append" else 202), "appended rows could be there twice"
    assert again.body.get("code") == ("outcome_unknown" if mode == "append" else None)


@pytest.mark.parametrize("step", ["write", "read_back", "publish"])
def test_a_job_whose_frozen_files_are_gone_ends_and_leaves_no_staging(registered: World, step: str) -> None:
    start(registered)
    registered.work()
    objects = registered.fakes.objects
    for number in range(3):
        objects.put("tables", f"many/{number}.csv", f"id\n{number}\n".encode())

    def lose() -> None:
        for info in objects.list_prefix("frozen", f"jobs/{cut}/", 100):
            objects.delete(info.bucket, info.name)

    registered.vendor.errors = [(step, VendorUnavailableError("no answer"))]
    registered.vendor.during[step] = lose
    cut = start(registered, rows=None, source={"uri": "gs://tables/many/", "format": "csv"})
    registered.work()
    assert (job(registered, cut)["error"]["code"], registered.vendor.staging) == ("source_gone", {})  # type: ignore[index]
    assert registered.vendor.live["people"] == ROWS


def test_a_cancel_counts_though_the_job_is_to_be_held_next(registered: World) -> None:
    start(registered)
    registered.work()
    smaller = start(registered, rows=[])
    registered.vendor.during["preflight"] = lambda: do(registered, smaller, "cancel")
    registered.work()
    assert job(registered, smaller)["status"] == "cancelled"


def test_a_job_that_has_given_up_and_waits_is_cancelled(registered: World) -> None:
    registered.vendor.errors = [("write", VendorUnavailableError("503", retry_after_s=90.0)) for _ in range(8)]
    tired = start(registered)
    for _ in range(8):
        registered.work_once()
    assert registered.fakes.documents.get(f"export_jobs/{tired}").data["gave_up"]  # type: ignore[union-attr]
    assert do(registered, tired, "cancel").status == 200
    registered.work()
    assert job(registered, tired)["status"] == "cancelled"


def refuse(world: World, job_id: str) -> None:
    answer = do(world, job_id, "retry")
    assert (answer.status, answer.body.get("code")) == (409, "retried"), answer.body


def test_the_rows_of_a_failed_job_are_retried_once_however_often_that_is_asked_for(registered: World) -> None:
    start(registered)
    registered.work()
    registered.vendor.errors = [("write", TargetError("no")), ("write", TargetError("no"))]
    first = start(registered, mode="append", rows=NEW)
    registered.work()
    second = do(registered, first, "retry").body["id"]
    refuse(registered, first)
    registered.work()
    assert job(registered, second)["status"] == "failed"
    third = do(registered, second, "retry").body["id"]
    refuse(registered, first)
    registered.work()
    assert job(registered, third)["status"] == "success"
    refuse(registered, first)
    refuse(registered, second)
    assert registered.vendor.live["people"] == ROWS + NEW
