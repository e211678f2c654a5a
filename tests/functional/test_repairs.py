"""What becomes of a target without atomic replace when its repair fails too."""

from __future__ import annotations

import pytest

from shared.errors import TargetError, VendorUnavailableError
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


def test_nothing_is_repaired_where_the_connector_leads_by_now(broken: World) -> None:
    failed = start(broken, connector_name="ymca_powerbi", rows=OTHERS)
    broken.work()
    path = "/api/bi-connectors/ymca_powerbi"
    tag = broken.call("register", "GET", path).headers["ETag"]
    elsewhere = {"workspace_id": "0e3cbb8f-5ee7-4b1c-a2a5-8b9dd5a4d8a5", "dataset_id": None}
    assert broken.call("register", "PATCH", path, elsewhere, If_Match=tag).status == 200
    for _ in range(3):
        pass_minutes(broken, 40)
    assert chain(broken, failed) == ["failed", "failed"]
    last = job(broken, str(job(broken, failed)["repair_job_id"]))
    assert last["repair_error"]["code"] == "connector_changed"  # type: ignore[index]


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


def append(world: World, number: int) -> str:
    job_id = start(world, connector_name="ymca_powerbi", mode="append", rows=[{"id": number, "name": f"N{number}"}])
    world.work()
    assert job(world, job_id)["status"] == "success"
    return job_id


@pytest.fixture
def grown(registered: World) -> World:
    """A table of Power BI that was replaced and then appended to twice: rows 1, 2, 3, 10, 11."""
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    append(registered, 10)
    append(registered, 11)
    return registered


def fail_half_way(world: World) -> str:
    world.vendor.errors = [("write", TargetError("refused in the middle"))]
    failed = start(world, connector_name="ymca_powerbi", rows=OTHERS, max_shrink=1.0)
    world.work()
    assert job(world, failed)["status"] == "failed"
    return failed


def ids(world: World) -> list[int]:
    return [row["id"] for row in world.vendor.live["people"]]


def test_a_repair_brings_the_last_replace_and_the_appends_since_back_in_one(grown: World) -> None:
    grown.vendor.live["people"] = []  # what a replace that failed half-way leaves
    failed = fail_half_way(grown)
    assert chain(grown, failed) == ["failed", "success"]
    assert ids(grown) == [1, 2, 3, 10, 11]
    repair = job(grown, str(job(grown, failed)["repair_job_id"]))
    assert (repair["mode"], repair["record_count"], repair["error"]) == ("replace", 5, None)


def test_a_repaired_table_that_grew_again_is_repaired_again_and_republished_whole(grown: World) -> None:
    first = fail_half_way(grown)
    append(grown, 12)
    second = fail_half_way(grown)
    assert chain(grown, second) == ["failed", "success"]
    assert ids(grown) == [1, 2, 3, 10, 11, 12]
    repair = str(job(grown, first)["repair_job_id"])
    assert grown.call("export", "POST", f"/api/bi-connectors/export-jobs/{repair}:republish").status == 202
    grown.work()
    assert ids(grown) == [1, 2, 3, 10, 11]


def test_a_late_delete_behind_an_append_is_found_and_all_rows_are_brought_back(grown: World) -> None:
    last = append(grown, 12)
    grown.vendor.live["people"] = []
    pass_minutes(grown, 2)
    assert chain(grown, last) == ["success", "success"]
    assert ids(grown) == [1, 2, 3, 10, 11, 12]


def test_an_append_that_is_as_it_was_is_not_repaired(grown: World) -> None:
    last = append(grown, 12)
    pass_minutes(grown, 2)
    assert chain(grown, last) == ["success"]
    assert ids(grown) == [1, 2, 3, 10, 11, 12]


def test_rows_of_appends_are_kept_as_long_as_a_repair_would_need_them(grown: World) -> None:
    pass_minutes(grown, 8 * 24 * 60)
    failed = fail_half_way(grown)
    assert chain(grown, failed) == ["failed", "success"]
    assert ids(grown) == [1, 2, 3, 10, 11]


def test_a_repair_of_more_appends_than_are_remembered_is_said_to_be_impossible(grown: World) -> None:
    for number in range(12, 30):
        append(grown, number)
    assert chain(grown, fail_half_way(grown)) == ["failed", "success"]  # twenty appends
    for number in range(30, 51):
        append(grown, number)
    failed = fail_half_way(grown)
    told = job(grown, failed)["repair_error"]
    assert isinstance(told, dict)
    assert (told["code"], chain(grown, failed)) == ("repair_impossible", ["failed"])
    assert "too many appends since the last replace" in told["message"]


def test_a_repair_whose_rows_were_erased_is_said_to_be_impossible(registered: World) -> None:
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    erased = append(registered, 10)
    append(registered, 11)
    assert registered.call("export", "DELETE", f"/api/bi-connectors/export-jobs/{erased}").status == 204
    failed = fail_half_way(registered)
    told = job(registered, failed)["repair_error"]
    assert isinstance(told, dict)
    assert (told["code"], chain(registered, failed)) == ("not_found", ["failed"])
    assert erased in told["message"]


def test_a_table_that_was_only_appended_to_has_no_repair_and_says_so(registered: World) -> None:
    registered.vendor.is_staged = False
    append(registered, 10)
    told = job(registered, fail_half_way(registered))["repair_error"]
    assert isinstance(told, dict)
    assert told["code"] == "repair_impossible"


def test_a_repair_that_is_refused_before_it_touches_the_table_is_repeated(grown: World) -> None:
    grown.vendor.errors = [("write", TargetError("in the middle")), ("preflight", TargetError("a right is missing"))]
    failed = start(grown, connector_name="ymca_powerbi", rows=OTHERS, max_shrink=1.0)
    grown.work()
    assert chain(grown, failed) == ["failed", "failed"]
    pass_minutes(grown, 6)
    assert chain(grown, failed) == ["failed", "failed", "success"]
    assert ids(grown) == [1, 2, 3, 10, 11]


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_every_begin_of_a_job_asks_for_what_the_first_one_did(registered: World, mode: str) -> None:
    registered.vendor.is_staged = False
    registered.vendor.errors = [("begin", VendorUnavailableError("no answer")) for _ in range(2)]
    start(registered, connector_name="ymca_powerbi", mode=mode)
    registered.work()
    assert registered.vendor.intents == [{"asked": 1}] * 3
