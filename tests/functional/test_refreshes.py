"""Refresh runs and schedules, over HTTP on fakes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import ConflictError, CredentialError, VendorUnavailableError
from shared.ports import Document
from tests.functional.conftest import World

API = "/api/bi-connectors"
DONE = VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")
RUNNING = VendorRefresh("v", RefreshStatus.RUNNING, "Unknown")


def test_refresh_is_followed_to_the_vendors_end(registered: World) -> None:
    ended = datetime(2026, 1, 5, 12, 9, tzinfo=UTC)
    registered.vendor.refreshes = [
        RUNNING,
        RUNNING,
        VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed", None, ended),
    ]
    answer = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh")
    assert (answer.status, answer.body["status"], answer.body["trigger"]) == (202, "pending", "manual")
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{answer.body['id']}").body
    assert (run["status"], run["vendor_status"], run["polls"], run["ended_at"]) == (
        "success",
        "Completed",
        4,
        "2026-01-05T12:09:00Z",
    )
    assert registered.vendor.calls == ["start_refresh", "poll_refresh", "poll_refresh", "poll_refresh"]


def test_a_refresh_that_fails_carries_the_vendors_reason(registered: World) -> None:
    reason = "ModelRefreshFailed_CredentialsNotSpecified"
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason=reason)]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error_message"], run["error"]["code"]) == ("failed", reason, "refresh_failed")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (None, "the refresh was cancelled at the vendor"),
        ("the capacity was paused", "the refresh was cancelled at the vendor: the capacity was paused"),
    ],
)
def test_a_refresh_cancelled_at_the_vendor_carries_the_vendors_reason(
    registered: World, reason: str | None, message: str
) -> None:
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.CANCELLED, "Cancelled", reason=reason)]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"], run["error_message"]) == ("cancelled", "refresh_cancelled", message)


def test_a_refresh_that_the_vendor_times_out_is_coded_so_with_the_vendors_reason(registered: World) -> None:
    seen = VendorRefresh("v", RefreshStatus.FAILED, "TimedOut", reason="over its two hours", is_timeout=True)
    registered.vendor.refreshes = [seen]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "refresh_timeout")
    assert (run["error_message"], run["error"]["retryable"]) == ("over its two hours", True)


@pytest.mark.parametrize(("timeout", "said"), [("10m", "0:10:00"), ("1h", "1:00:00"), ("2h", "1:00:00")])
def test_a_refresh_that_never_shows_is_said_so_however_short_its_limit_is(
    registered: World, timeout: str, said: str
) -> None:
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.RUNNING, "NotInHistory", is_seen=False)] * 200
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": timeout}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "refresh_not_seen")
    assert f"has not shown it in its history for {said}; nobody knows how it went" in run["error_message"]
    assert "NotInHistory" not in run["error_message"]


def test_a_refresh_that_waited_to_be_started_has_its_whole_time_to_show(registered: World) -> None:
    wait = VendorUnavailableError("the quota is used up", code="quota_wait", retry_after_s=4_000.0)
    registered.vendor.errors = [("start_refresh", wait)]
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.RUNNING, "NotInHistory", is_seen=False)] * 3
    registered.vendor.refreshes += [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error_message"]) == ("success", None)


def test_a_refresh_that_somebody_cancelled_in_time_did_not_time_out_though_nobody_could_look(registered: World) -> None:
    away = VendorUnavailableError("503", retry_after_s=7_200.0)
    cancelled = datetime(2026, 1, 5, 12, 9, tzinfo=UTC)
    registered.vendor.errors = [("poll_refresh", away)]
    registered.vendor.refreshes = [
        VendorRefresh("v", RefreshStatus.CANCELLED, "Cancelled", ended_at=cancelled, reason="by ann@example.org")
    ]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": "1h"}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("cancelled", "refresh_cancelled")
    assert run["error_message"] == "the refresh was cancelled at the vendor: by ann@example.org"


def test_a_refresh_past_its_limit_that_was_never_shown_is_not_said_to_have_been(registered: World) -> None:
    wait = VendorUnavailableError("the quota is used up", code="quota_wait", retry_after_s=4_000.0)
    registered.vendor.errors = [("start_refresh", wait)]
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.RUNNING, "NotInHistory", is_seen=False)] * 9
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": "1h"}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert run["error"]["code"] == "refresh_timeout"
    assert run["error_message"].startswith("the vendor has not shown the refresh in its history after 1:00:00; ")


def test_a_refresh_that_was_shown_and_is_not_any_more_at_its_limit_quotes_no_word_of_ours(registered: World) -> None:
    registered.vendor.refreshes = [RUNNING, RUNNING]
    registered.vendor.refreshes += [VendorRefresh("v", RefreshStatus.RUNNING, "NotInHistory", is_seen=False)] * 200
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": "10m"}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert run["error"]["code"] == "refresh_timeout"
    assert run["error_message"].startswith("the vendor does not show the refresh any more after 0:10:00; ")


def test_a_refresh_already_running_at_the_vendor_is_said_so(registered: World) -> None:
    registered.vendor.errors = [("start_refresh", ConflictError("another refresh is running", code="refresh_running"))]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    assert registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body["error"]["code"] == "refresh_running"


def test_a_vendor_out_of_reach_is_asked_again(registered: World) -> None:
    registered.vendor.errors = [("poll_refresh", VendorUnavailableError("503"))] * 3
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    assert registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body["status"] == "success"


def test_refreshing_a_sheet_is_422_that_names_export_and_refresh(registered: World) -> None:
    answer = registered.call("refresh", "POST", f"{API}/ymca_sheets/refresh")
    assert (answer.status, answer.body["code"]) == (422, "refresh_unsupported")
    assert "export_and_refresh" in answer.body["detail"]


def test_unknown_refresh_options_are_refused(registered: World) -> None:
    answer = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"options": {"speed": "fast"}})
    assert answer.status == 400


def test_a_refresh_that_runs_is_asked_until_its_limit_however_long_the_vendor_is_out_of_reach(
    registered: World,
) -> None:
    registered.vendor.errors = [("poll_refresh", VendorUnavailableError("503"))] * 20
    registered.vendor.errors += [("poll_refresh", VendorUnavailableError("429", retry_after_s=1_800.0))]
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    started = registered.fakes.clock.now()
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], registered.vendor.calls.count("poll_refresh")) == ("success", 22)
    assert (registered.fakes.clock.now() - started).total_seconds() > 1_800


def test_a_vendor_out_of_reach_past_the_limit_ends_the_run(registered: World) -> None:
    registered.vendor.errors = [("poll_refresh", VendorUnavailableError("503", retry_after_s=3_600.0))] * 40
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "vendor_unavailable")
    assert run["error_message"].endswith("cannot be followed any more, so nobody knows how it goes on: 503")
    assert registered.vendor.calls.count("poll_refresh") == 27


def test_a_refresh_that_runs_and_may_not_be_asked_about_any_more_is_not_said_to_have_failed_at_the_vendor(
    registered: World,
) -> None:
    registered.vendor.errors = [("poll_refresh", CredentialError("403: the app was removed from the workspace"))]
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "credential_refused")
    said = "the refresh was started and cannot be followed any more, so nobody knows how it goes on: 403: the app was removed"
    assert run["error_message"].startswith(said)


def test_a_start_that_waited_for_quota_does_not_start_what_was_cancelled_meanwhile(registered: World) -> None:
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    refused = VendorUnavailableError("the quota is used up", code="quota_wait", retry_after_s=30.0)
    registered.vendor.errors = [("start_refresh", refused)]
    registered.vendor.during["start_refresh"] = lambda: registered.call(
        "refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel"
    )
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("cancelled", "refresh_cancelled")
    assert registered.vendor.calls == ["start_refresh"]


def test_a_cancel_that_the_vendor_put_off_is_sent_again(registered: World) -> None:
    """Cancelled while the vendor was called to start it, so that the next look is to stop it."""
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    registered.vendor.during["start_refresh"] = lambda: registered.call(
        "refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel"
    )
    registered.vendor.errors = [("cancel_refresh", VendorUnavailableError("429", retry_after_s=5.0))]
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.CANCELLED, "Cancelled")]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("cancelled", "refresh_cancelled")
    assert registered.vendor.calls == ["start_refresh", "cancel_refresh", "cancel_refresh", "poll_refresh"]


def test_a_refresh_stopped_at_its_limit_carries_the_vendors_reason(registered: World) -> None:
    killed = VendorRefresh("v", RefreshStatus.CANCELLED, "killed", reason="stopped by bi-connectors")
    registered.vendor.during["cancel_refresh"] = lambda: registered.vendor.refreshes.insert(0, killed)
    registered.vendor.refreshes = [RUNNING] * 200
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": "10m"}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "refresh_timeout")
    message = "it had not ended after 0:10:00 and was cancelled at the vendor: stopped by bi-connectors"
    assert run["error_message"] == message


def test_a_refresh_past_its_limit_that_nobody_can_stop_is_said_to_have_timed_out(registered: World) -> None:
    registered.vendor.errors = [("cancel_refresh", VendorUnavailableError("429"))] * 30
    registered.vendor.refreshes = [RUNNING] * 200
    run_id = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": "1h"}).body["id"]
    registered.work()
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["error"]["code"]) == ("failed", "refresh_timeout")
    assert "it could not be asked to stop: 429" in run["error_message"]
    assert registered.vendor.calls.count("cancel_refresh") == 9


def test_starting_a_refresh_says_how_many_the_vendor_takes_a_day(registered: World) -> None:
    """Power BI takes 8 a day on shared capacity, and as many as its capacity bears on premium; the latter has no number."""
    path = "/api/bi-connectors/ymca_powerbi"
    answer = registered.call("refresh", "POST", f"{path}/refresh")
    assert answer.headers["RateLimit-Policy"] == '"refreshes";q=8;w=86400'
    etag = registered.call("register", "GET", path).headers["ETag"]
    assert registered.call("register", "PATCH", path, {"capacity": "premium"}, If_Match=etag).status == 200
    assert "RateLimit-Policy" not in registered.call("refresh", "POST", f"{path}/refresh").headers


def test_starting_a_refresh_reads_its_connector_once(registered: World) -> None:
    documents, read = registered.fakes.documents, list[str]()
    get = documents.get

    def noted(path: str) -> Document | None:
        read.append(path)
        return get(path)

    documents.__dict__["get"] = noted
    registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh")
    assert read.count("connectors/ymca_powerbi") == 1


def test_a_fault_of_ours_at_every_look_ends_the_run_at_its_limit_with_its_reason(registered: World) -> None:
    """Else it would run for ever, and its schedule with the overlap policy skip would be silent without a word."""
    registered.vendor.errors = [("poll_refresh", KeyError("requestId"))] * 30
    run = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body
    registered.work_through(25, pause_s=3600)
    assert registered.call("refresh", "GET", f"{API}/refresh-runs/{run['id']}").body["status"] == "running"
    registered.work_through(5, pause_s=3600)
    ended = registered.call("refresh", "GET", f"{API}/refresh-runs/{run['id']}").body
    assert (ended["status"], ended["error"]["code"]) == ("failed", "internal")
    assert ended["error_message"] == (
        "the refresh was started and cannot be followed any more, so nobody knows how it goes on: a fault of ours at each look "
        "(KeyError); look for its log lines by this run's id"
    )


def test_a_fault_of_ours_at_every_start_gives_the_run_up(registered: World) -> None:
    registered.vendor.errors = [("start_refresh", KeyError("requestId"))] * 30
    run = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body
    registered.work_through(12, pause_s=3600)
    ended = registered.call("refresh", "GET", f"{API}/refresh-runs/{run['id']}").body
    assert (ended["status"], ended["error"]["code"]) == ("failed", "internal")
    assert registered.vendor.calls.count("start_refresh") <= 9


def test_a_fault_of_ours_that_passes_leaves_no_trace(registered: World) -> None:
    registered.vendor.errors = [("poll_refresh", KeyError("requestId"))] * 12
    registered.vendor.refreshes = [DONE]
    run = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body
    registered.work_through(14, pause_s=3600)
    assert registered.call("refresh", "GET", f"{API}/refresh-runs/{run['id']}").body["status"] == "success"
