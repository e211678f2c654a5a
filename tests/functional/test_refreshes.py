"""Refresh runs and schedules, over HTTP on fakes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import ConflictError, VendorUnavailableError
from tests.functional.conftest import World

API = "/api/bi-connectors"
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


SCHEDULE = {"connector_name": "ymca_powerbi", "cron_expression": "0 */6 * * *", "timezone": "Europe/Berlin"}


def fire(world: World, schedule_id: str, planned: str) -> int:
    world.claims["scheduler"] = {
        "aud": "http://refresh",
        "iss": "https://accounts.google.com",
        "email": "scheduler@fake.iam",
        "email_verified": True,
    }
    path = f"/internal/schedules/{schedule_id}:fire"
    headers = {"Authorization": "Bearer scheduler", "X-CloudScheduler-ScheduleTime": planned}
    return world.call("refresh", "POST", path, {}, **headers).status


def test_a_schedule_makes_one_cloud_scheduler_job_in_its_zone(registered: World) -> None:
    answer = registered.call("refresh", "POST", f"{API}/schedules", SCHEDULE)
    assert answer.status == 201
    assert answer.body["next_run"] == "2026-01-05T17:00:00Z"  # 18:00 in Berlin
    job = registered.fakes.cron_jobs.jobs[answer.body["id"]]
    assert (job.cron, job.time_zone, job.audience) == ("0 */6 * * *", "Europe/Berlin", "http://refresh")
    assert job.url == f"http://refresh/internal/schedules/{answer.body['id']}:fire"


def test_a_tick_starts_one_run_however_often_it_is_delivered(registered: World) -> None:
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")] * 2
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", SCHEDULE).body["id"]
    for _ in range(3):
        assert fire(registered, schedule_id, "2026-01-05T17:00:00Z") == 204
    registered.work()
    assert fire(registered, schedule_id, "2026-01-05T23:00:00Z") == 204
    registered.work()
    runs = registered.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]
    assert [(run["trigger"], run["status"], run["schedule_id"]) for run in runs] == [
        ("schedule", "success", schedule_id)
    ] * 2


def test_export_and_refresh_exports_and_then_refreshes(registered: World) -> None:
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    export = {"connector_name": "ymca_powerbi", "table_name": "people", "refresh_after": True}
    body = {**SCHEDULE, "action": "export_and_refresh", "export": export}
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", body).body["id"]
    assert fire(registered, schedule_id, "2026-01-05T17:00:00Z") == 204
    assert fire(registered, schedule_id, "2026-01-05T17:00:00Z") == 204
    registered.work()
    jobs = registered.call("export", "GET", f"{API}/export-jobs").body["jobs"]
    assert [(job["status"], job["requested_by"]) for job in jobs] == [("success", f"schedule:{schedule_id}")]
    assert len(registered.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron_expression": "0 6 * *"}, "cron_expression"),
        ({"cron_expression": "0 0 6 * * 1"}, "cron_expression"),
        ({"cron_expression": "0 0 31 2 *"}, "cron_expression"),
        ({"cron_expression": "61 * * * *"}, "cron_expression"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"action": "export_and_refresh"}, "export"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(registered: World, change: dict[str, str], field: str) -> None:
    answer = registered.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, **change})
    assert (answer.status, answer.body["field"]) == (400, field)
    assert registered.fakes.cron_jobs.jobs == {}


def test_deleting_a_schedule_deletes_its_cloud_scheduler_job(registered: World) -> None:
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", SCHEDULE).body["id"]
    assert registered.call("refresh", "DELETE", f"{API}/schedules/{schedule_id}").status == 204
    assert registered.fakes.cron_jobs.jobs == {}
    assert fire(registered, schedule_id, "2026-01-05T17:00:00Z") == 204
    assert registered.call("refresh", "GET", f"{API}/schedules").body["schedules"] == []


def test_a_connector_with_a_schedule_is_deleted_with_it_only_by_force(registered: World) -> None:
    registered.call("refresh", "POST", f"{API}/schedules", SCHEDULE)
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi").status == 409
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi?force=true").status == 204
    assert registered.fakes.cron_jobs.jobs == {}
