"""Every end that a refresh of Power BI can come to is reported as what it is: over the wire to the sandbox, on its clock."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from infra.local.sandboxes.power_bi import PowerBISandbox
from infra.local.sandboxes.server import SandboxServer
from tests.conformance.connectors.linked_world import API, LinkedWorld, end
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures

ENHANCED = {"type": "Full"}
BOTH = pytest.mark.parametrize("options", [{}, ENHANCED], ids=["standard", "enhanced"])


@pytest.fixture
def world(vendors: SandboxServer) -> LinkedWorld:
    """No refresh of an earlier test runs any more; one takes a minute and shows at once."""
    vendors.clock.advance(2 * 86_400)
    vendors.settings("power_bi", refresh_seconds=60, history_delay_seconds=0)
    return LinkedWorld(vendors, "power_bi")


def started(server: SandboxServer) -> int:
    """Return how many refreshes Power BI began, since the first test."""
    sandbox = server.sandbox("power_bi")
    assert isinstance(sandbox, PowerBISandbox)
    with sandbox.lock:
        return int(sandbox.db.execute("SELECT count(*) FROM refreshes").fetchone()[0])


@BOTH
def test_one_that_succeeds_has_the_vendors_times_and_one_attempt(world: LinkedWorld, options: dict[str, str]) -> None:
    run = world.ended(options)
    assert (end(run), run["vendor_status"], run["attempts"]) == (("success", None), "Completed", 1)
    assert run["started_at"] < run["ended_at"]


@BOTH
def test_one_that_fails_carries_the_vendors_reason(
    world: LinkedWorld, vendors: SandboxServer, options: dict[str, str]
) -> None:
    reason = {"errorCode": "ModelRefresh_ShortMessage_ProcessingError", "errorDescription": "column 'hours' is gone"}
    vendors.settings("power_bi", refresh_outcome="Failed", refresh_exception=json.dumps(reason))
    run = world.ended(options)
    assert (end(run), run["vendor_status"], run["attempts"]) == (("failed", "refresh_failed"), "Failed", 1)
    assert "ModelRefresh_ShortMessage_ProcessingError: column 'hours' is gone" in run["error_message"]
    assert run["error"]["retryable"] is True


def test_the_reason_and_the_number_of_attempts_are_read_from_the_attempts_too(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    """The form of Microsoft's own example: an attempt has an entry for its data and one for its queries."""
    run_id = world.start()
    world.work_once()
    told = [
        {"attemptId": 1, "type": "Data", "serviceExceptionJson": '{"errorCode":"ModelRefreshFailed_Gateway"}'},
        {"attemptId": 2, "type": "Data", "serviceExceptionJson": '{"errorCode":"ModelRefreshFailed_OutOfMemory"}'},
        {"attemptId": 2, "type": "Query"},
    ]
    vendor_id = world.run(run_id)["vendor_id"]
    entry = {"requestId": vendor_id, "refreshType": "ViaApi", "status": "Failed", "refreshAttempts": told}
    vendors.fault(
        vendor="power_bi", kind="status", status=200, path="/refreshes$", method="GET", body={"value": [entry]}, times=1
    )
    world.work()
    run = world.run(run_id)
    assert (end(run), run["attempts"]) == (("failed", "refresh_failed"), 2)
    assert run["error_message"] == "ModelRefreshFailed_Gateway; ModelRefreshFailed_OutOfMemory"


def test_one_that_we_cancel_is_cancelled_by_request(world: LinkedWorld) -> None:
    run_id = world.start(ENHANCED)
    world.work_once()
    assert world.call("refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel").status == 200
    world.work()
    run = world.run(run_id)
    assert (end(run), run["vendor_status"]) == (("cancelled", "refresh_cancelled"), "Cancelled")
    assert run["error_message"] == "cancelled by request"


def test_one_that_cannot_be_cancelled_says_why_and_goes_on(world: LinkedWorld) -> None:
    run_id = world.start()
    world.work_once()
    answer = world.call("refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel")
    assert answer.status == 422
    assert "cannot cancel a standard refresh; start it with a refresh option" in answer.body["detail"]
    world.work()
    assert end(world.run(run_id)) == ("success", None)


@BOTH
def test_one_that_somebody_cancels_at_the_vendor_is_not_ours(
    world: LinkedWorld, vendors: SandboxServer, options: dict[str, str]
) -> None:
    vendors.settings("power_bi", refresh_outcome="Cancelled")
    run = world.ended(options)
    assert end(run) == ("cancelled", "refresh_cancelled")
    assert run["error_message"] == "the refresh was cancelled at the vendor"


def test_one_over_its_time_is_cancelled_at_the_vendor_and_called_timed_out(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    vendors.settings("power_bi", refresh_seconds=7_200)
    run = world.ended(ENHANCED, "10m")
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_timeout"), "Cancelled")
    assert run["error_message"] == "it had not ended after 0:10:00 and was cancelled at the vendor"


def test_one_over_its_time_that_cannot_be_cancelled_is_timed_out_and_said_to_go_on(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    vendors.settings("power_bi", refresh_seconds=7_200)
    run = world.ended(timeout="10m")
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_timeout"), "Unknown")
    assert run["error_message"].startswith("the vendor still says Unknown after 0:10:00; it cannot be cancelled: ")


def test_one_that_the_vendor_times_out_is_said_so(world: LinkedWorld, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", refresh_seconds=7_200, refresh_exception="")
    run = world.ended({"type": "Full", "timeout": "00:05:00"})
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_timeout"), "TimedOut")
    assert run["error_message"] == "Power BI gave no reason for TimedOut"


@BOTH
def test_one_that_never_shows_in_the_history_is_said_so_after_an_hour(
    world: LinkedWorld, vendors: SandboxServer, options: dict[str, str]
) -> None:
    vendors.settings("power_bi", refresh_seconds=10, history_delay_seconds=1e9)
    run = world.ended(options)
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_not_seen"), "NotInHistory")
    assert "has not shown it in its history for 1:00:00; nobody knows how it went" in run["error_message"]


@BOTH
def test_one_while_another_runs_is_said_so_with_the_vendors_words(world: LinkedWorld, options: dict[str, str]) -> None:
    first = world.start()
    world.work_once()
    run_id = world.start(options)
    world.work_once(newest=True)
    run = world.run(run_id)
    assert end(run) == ("failed", "refresh_running")
    assert "Another refresh request is already executing" in run["error_message"]
    world.work()
    assert end(world.run(first)) == ("success", None)


def test_the_ninth_of_a_day_is_said_so_with_the_vendors_words(world: LinkedWorld, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", capacity="shared", refresh_seconds=1)
    runs = [world.ended() for _ in range(9)]
    assert [end(run)[1] for run in runs] == [None] * 8 + ["refresh_quota"]
    assert "Number of refresh requests in last 24 hours exceeded limit" in runs[8]["error_message"]


@pytest.mark.parametrize("delay_s", [0, 30, 300])
def test_one_whose_start_got_no_answer_is_found_and_not_begun_again(
    world: LinkedWorld, vendors: SandboxServer, delay_s: int
) -> None:
    """However late the history shows it."""
    vendors.settings("power_bi", refresh_seconds=600, history_delay_seconds=delay_s)
    vendors.fault(vendor="power_bi", method="POST", path="/refreshes$", kind="lost_reply", times=1)
    before = started(vendors)
    run = world.ended()
    assert (end(run), run["vendor_status"]) == (("success", None), "Completed")
    assert started(vendors) - before == 1


def test_one_whose_starter_died_after_the_call_is_found_and_not_begun_again(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    before, run_id = started(vendors), world.start()
    following = world.services.refreshes.following
    following.__dict__["_record"] = lambda *_: 1 / 0  # the process dies here
    with pytest.raises(AssertionError):
        world.work_once()
    del following.__dict__["_record"]
    world.fakes.clock.sleep(400)
    world.sweep()
    world.work()
    assert (end(world.run(run_id)), started(vendors) - before) == (("success", None), 1)


def test_one_that_was_seen_is_not_called_unseen_when_the_history_forgets_it(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    vendors.settings("power_bi", refresh_seconds=2 * 3_600)
    run_id = world.start()
    until = world.fakes.clock.now() + timedelta(minutes=70)
    while world.fakes.clock.now() < until:
        world.work_once()
    vendors.fault(
        vendor="power_bi", kind="status", status=200, path="/refreshes$", method="GET", body={"value": []}, times=1
    )
    world.work()
    assert end(world.run(run_id)) == ("success", None)
