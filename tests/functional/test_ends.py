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

    def unanswered(delivery: InMemoryDelivery) -> Any:
        on_its_way.append(delivery)
        raise VendorUnavailableError("no answer while publishing")

    def untidied(_: InMemoryDelivery) -> None:
        raise trouble

    start(registered)
    registered.work()
    monkeypatch.setattr(InMemoryDelivery, "publish", unanswered)
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
