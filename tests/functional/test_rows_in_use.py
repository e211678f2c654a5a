"""Frozen rows that a job which waits for its turn starts from: they stay until it has ended, or has copied them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import TargetError, VendorUnavailableError
from tests.functional.conftest import World
from tests.functional.test_exports import API, ROWS, job, start
from tests.functional.test_job_operations import do

DAY_S = 86_400.0


def take_the_turn(world: World) -> str:
    """Start a job whose vendor asks it to wait for a day; those accepted after it wait for their turn."""
    world.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=DAY_S))]
    first = start(world, rows=[{"id": 5, "name": "first"}])
    world.work_once()
    return first


def is_kept(world: World, job_id: str) -> bool:
    return bool(world.fakes.objects.list_prefix("frozen", f"jobs/{job_id}/", 1))


def waiting_retry(world: World, *, is_frozen: bool) -> tuple[str, str]:
    """Return a job that did not succeed, before or after it froze its rows, and a retry of it that nobody has worked on."""
    world.vendor.errors = [("publish", TargetError("no"))] if is_frozen else []
    origin = start(world)
    if is_frozen:
        world.work()
    else:
        do(world, origin, "cancel")
    return origin, do(world, origin, "retry").body["id"]


def erase(world: World, job_id: str) -> Any:
    return world.call("export", "DELETE", f"{API}/export-jobs/{job_id}")


@pytest.mark.parametrize("copies", [1, 2])
def test_rows_that_a_waiting_job_starts_from_outlive_their_time(registered: World, copies: int) -> None:
    origin = start(registered)
    registered.work()
    registered.fakes.clock.sleep(6.9 * DAY_S)
    take_the_turn(registered)
    again = do(registered, origin, "republish").body["id"]
    for _ in range(copies - 1):  # a copy of a copy that froze nothing starts from the first one's rows
        do(registered, again, "cancel")
        again = do(registered, again, "retry").body["id"]
    registered.fakes.clock.sleep(0.5 * DAY_S)
    registered.sweep()
    assert is_kept(registered, origin)
    assert do(registered, origin, "republish").status == 202
    registered.work()
    assert (job(registered, again)["status"], job(registered, again)["error_message"]) == ("success", None)
    assert registered.vendor.live["people"] == ROWS
    registered.sweep()
    assert not is_kept(registered, origin)


def test_rows_that_a_waiting_replay_starts_from_outlive_their_time(registered: World) -> None:
    contract = {"on_breach": "discard_row", "columns": {"id": {"maximum": 1}}}
    origin = start(registered, contract=contract, max_rejects=9)
    registered.work()
    registered.fakes.clock.sleep(6.9 * DAY_S)
    take_the_turn(registered)
    answer = registered.call(
        "export", "POST", f"{API}/export-jobs/{origin}:replayRejects?force=true", {"contract": {}, "mapping": {}}
    )
    assert answer.status == 202
    registered.fakes.clock.sleep(0.5 * DAY_S)
    registered.sweep()
    registered.work()
    assert (job(registered, answer.body["id"])["status"], is_kept(registered, origin)) == ("success", True)
    registered.sweep()
    assert not is_kept(registered, origin)


def test_a_job_that_starts_while_rows_are_being_forgotten_keeps_them(registered: World) -> None:
    origin = start(registered)
    registered.work()
    registered.fakes.clock.sleep(8 * DAY_S)
    take_the_turn(registered)
    operations, started = registered.services.exports.operations, []
    asked = operations.rows_needed

    def start_one_behind() -> dict[str, str]:
        found = asked()
        if not started:
            started.append(do(registered, origin, "republish").body["id"])
        return found

    operations.rows_needed = start_one_behind  # type: ignore[method-assign]
    registered.sweep()
    assert do(registered, origin, "republish").body["code"] == "rows_erased"
    registered.work()
    assert job(registered, started[0])["status"] == "success"
    registered.sweep()
    assert not is_kept(registered, origin)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_job_whose_rows_another_starts_from_is_not_erased(registered: World, is_frozen: bool) -> None:
    origin, again = waiting_retry(registered, is_frozen=is_frozen)
    refused = erase(registered, origin)
    assert refused.status == 409
    assert (refused.body["code"], refused.body["job_id"]) == ("rows_in_use", again)
    registered.work()
    assert job(registered, again)["status"] == "success"
    assert erase(registered, origin).status == 204


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_job_whose_rows_are_gone_says_so(registered: World, is_frozen: bool) -> None:
    origin, again = waiting_retry(registered, is_frozen=is_frozen)
    registered.services.exports.operations.forget_rows({"id": origin})
    registered.work()
    ended = job(registered, again)
    message = "the rows that this job was to start from are not kept any more; export again"
    assert (ended["status"], ended["error_message"]) == ("failed", message)
    assert ended["error"]["code"] == "rows_erased"  # type: ignore[index]
