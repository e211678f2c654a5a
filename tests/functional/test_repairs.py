"""What becomes of a target without atomic replace when its repair fails too."""

from __future__ import annotations

import pytest

from shared.errors import TargetError
from tests.functional.conftest import World
from tests.functional.test_exports import ROWS, job, start

OTHERS = [{"id": 7, "name": "G"}, {"id": 8, "name": "H"}]


@pytest.fixture
def broken(registered: World) -> World:
    """A table of Power BI whose replace fails after it was touched, and three times more."""
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.vendor.errors = [("begin", TargetError("refused after the delete")) for _ in range(4)]
    return registered


def chain(world: World, job_id: str) -> list[str]:
    """States of a job and of the repairs that followed it."""
    found, next_id = [], job_id
    while next_id:
        record = job(world, next_id)
        found.append(str(record["status"]))
        next_id = str(record["repair_job_id"] or "")
    return found


def pass_minutes(world: World, minutes: float) -> None:
    world.fakes.clock.sleep(60 * minutes)
    world.sweep()
    world.work()


def test_a_repair_that_fails_is_repeated_later_and_later(broken: World) -> None:
    failed = start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    assert chain(broken, failed) == ["failed", "failed"]
    pass_minutes(broken, 4)
    assert chain(broken, failed) == ["failed", "failed"]
    pass_minutes(broken, 2)
    assert chain(broken, failed) == ["failed"] * 3
    pass_minutes(broken, 9)
    assert chain(broken, failed) == ["failed"] * 3
    pass_minutes(broken, 2)
    pass_minutes(broken, 21)
    assert chain(broken, failed) == ["failed"] * 4 + ["success"]
    assert broken.vendor.live == {"people": ROWS}


def test_repairs_end_after_the_sixth(broken: World) -> None:
    broken.vendor.errors = [("begin", TargetError("refused after the delete")) for _ in range(50)]
    failed = start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    for _ in range(20):
        pass_minutes(broken, 100)
    assert chain(broken, failed) == ["failed"] * 7


def test_a_repair_is_not_repeated_once_a_later_job_succeeded(broken: World) -> None:
    failed = start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    broken.vendor.errors.clear()
    start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    pass_minutes(broken, 10)
    assert chain(broken, failed) == ["failed", "failed"]
    assert broken.vendor.live == {"people": OTHERS}


def test_the_last_good_rows_outlive_the_others_until_newer_ones_are_there(registered: World) -> None:
    registered.vendor.is_staged = False
    good = start(registered, connector_name="ymca_powerbi")
    registered.work()
    pass_minutes(registered, 2)
    pass_minutes(registered, 8 * 24 * 60)
    pass_minutes(registered, 24 * 60)
    registered.vendor.errors = [("write", TargetError("refused in the middle"))]
    failed = start(registered, connector_name="ymca_powerbi", rows=OTHERS)
    registered.work()
    assert chain(registered, failed) == ["failed", "success"]
    assert registered.vendor.live == {"people": ROWS}
    pass_minutes(registered, 5)
    assert registered.fakes.documents.get(f"export_jobs/{good}").data["frozen_erased"] is True  # type: ignore[union-attr]


def test_the_second_look_waits_for_a_job_that_then_fails_untouched(registered: World) -> None:
    registered.vendor.is_staged = False
    good = start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.fakes.clock.sleep(95)
    waiting = start(registered, connector_name="ymca_powerbi", rows=OTHERS)
    registered.vendor.errors = [("preflight", TargetError("a type that Power BI cannot hold"))]
    registered.vendor.corrupt = True  # a late DELETE has taken rows
    registered.sweep()
    registered.work()
    assert (job(registered, good)["repair_job_id"], job(registered, waiting)["status"]) == (None, "failed")
    registered.fakes.clock.sleep(301)
    registered.sweep()
    assert job(registered, good)["repair_job_id"]


def test_a_worker_that_dies_behind_its_success_is_looked_at_again(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    registered.vendor.is_staged = False
    monkeypatch.setattr("shared.services.repairs.Repairs.see_to", dies)
    good = start(registered, connector_name="ymca_powerbi")
    with pytest.raises(AssertionError):
        registered.work()
    monkeypatch.undo()
    registered.fakes.tasks.pending.clear()
    registered.vendor.corrupt = True
    pass_minutes(registered, 2)
    assert job(registered, good)["repair_job_id"]


NEWER = [{"id": 9, "name": "I"}]


def test_a_repair_takes_nothing_back_that_a_job_before_it_in_line_published(registered: World) -> None:
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.vendor.errors = [("write", TargetError("refused in the middle"))]
    failed = start(registered, connector_name="ymca_powerbi", rows=OTHERS)
    newer = start(registered, connector_name="ymca_powerbi", rows=NEWER, max_shrink=1.0)
    for _ in range(3):
        pass_minutes(registered, 1)
    assert (chain(registered, failed), job(registered, newer)["status"]) == (["failed", "failed"], "success")
    assert registered.vendor.live == {"people": NEWER}


def test_nor_does_a_repair_that_is_repeated_later(broken: World) -> None:
    failed = start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    broken.vendor.errors.clear()
    broken.fakes.clock.sleep(330)
    start(broken, connector_name="ymca_powerbi", rows=NEWER, max_shrink=1.0)
    broken.sweep()
    broken.work()
    assert chain(broken, failed) == ["failed"] * 3
    assert broken.vendor.live == {"people": NEWER}
