"""Schedules and their occurrences, over HTTP on fakes. The clock stands at 12:00 UTC, Monday 5 January 2026."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import NotFoundError, UnsupportedError, VendorUnavailableError
from shared.ports import CronJob
from tests.functional.conftest import POWER_BI, Answer, World

API = "/api/bi-connectors"
DONE = VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")
RUNNING = VendorRefresh("v", RefreshStatus.RUNNING, "Unknown")
FAILED = VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="ModelRefreshFailed")
SCHEDULE = {"connector_name": "ymca_powerbi", "cron_expression": "0 */6 * * *", "timezone": "Europe/Berlin"}
HOURLY = {
    "connector_name": "ymca_sheets",
    "cron_expression": "@hourly",
    "action": "export_and_refresh",
    "export": {"connector_name": "ymca_sheets", "table_name": "people"},
}


@pytest.fixture
def schedules(registered: World) -> World:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    return registered


def create(world: World, body: dict[str, Any] = SCHEDULE, **more: Any) -> str:
    answer = world.call("refresh", "POST", f"{API}/schedules", {**body, **more})
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


def get(world: World, schedule_id: str) -> Answer:
    return world.call("refresh", "GET", f"{API}/schedules/{schedule_id}")


def occurrences(world: World, schedule_id: str) -> list[tuple[str, str, str | None]]:
    found = world.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences").body["occurrences"]
    return [(one["planned_at"], one["status"], one["reason"]) for one in reversed(found)]


def statuses(world: World, schedule_id: str) -> list[tuple[str, str]]:
    return [(at[11:16], status) for at, status, _ in occurrences(world, schedule_id)]


def jobs(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.call("export", "GET", f"{API}/export-jobs").body["jobs"]
    return found


def test_a_schedule_makes_one_cloud_scheduler_job_in_its_zone(schedules: World) -> None:
    answer = schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE)
    assert answer.status == 201
    assert answer.body["next_run"] == "2026-01-05T17:00:00Z"  # 18:00 in Berlin
    assert answer.body["description"] == "At minute 0 past every sixth hour, Europe/Berlin time"
    assert answer.body["sync"] == "done"
    job = schedules.fakes.cron_jobs.jobs[answer.body["id"]]
    assert (job.cron, job.time_zone, job.audience) == ("0 */6 * * *", "Europe/Berlin", "http://refresh")
    assert job.url == f"http://refresh/internal/schedules/{answer.body['id']}:fire"
    assert (job.deadline_s, job.retries, job.backoff_s) == (180, 3, (5, 60))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron_expression": "0 6 * *"}, "cron_expression"),
        ({"cron_expression": "0 0 6 * * 1"}, "cron_expression"),
        ({"cron_expression": "0 0 31 2 *"}, "cron_expression"),
        ({"cron_expression": "61 * * * *"}, "cron_expression"),
        ({"cron_expression": "0 0 L * *"}, "cron_expression"),
        ({"cron_expression": "@reboot"}, "cron_expression"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"action": "export_and_refresh"}, "export"),
        ({"options": {"speed": 1}}, "options"),
        ({**HOURLY, "export": {**HOURLY["export"], "rows": [{"id": 1}]}}, "export"),
        ({**HOURLY, "options": {"type": "Full"}}, "options"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(schedules: World, change: dict[str, Any], field: str) -> None:
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, **change})
    assert (answer.status, answer.body["field"]) == (400, field)
    assert schedules.fakes.cron_jobs.jobs == {}


def test_more_refreshes_than_the_vendor_allows_are_refused_with_the_reason(schedules: World) -> None:
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, "cron_expression": "@hourly"})
    assert (answer.status, answer.body["code"], answer.body["field"]) == (400, "refresh_quota", "cron_expression")
    assert "more than 8 refreshes in 24 hours; the vendor allows 8" in answer.body["detail"]
    create(schedules, cron_expression="0 */3 * * *")
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, "cron_expression": "@daily"})
    assert "1 refreshes in 24 hours beside 8 of the connector's other schedules" in answer.body["detail"]


def test_a_premium_workspace_may_be_refreshed_more_often(schedules: World) -> None:
    body = {**POWER_BI, "name": "premium", "capacity": "premium"}
    assert schedules.call("register", "POST", f"{API}/register", body).status == 201
    create(schedules, connector_name="premium", cron_expression="@hourly")


def test_next_runs_mark_the_days_on_which_clocks_change(schedules: World) -> None:
    schedules.go_to("2026-03-28T12:00:00+00:00")
    schedule_id = create(schedules, cron_expression="30 2 * * *")
    answer = schedules.call("refresh", "GET", f"{API}/schedules/{schedule_id}/next?count=2")
    assert answer.body["runs"] == [
        {
            "at": "2026-03-29T01:00:00Z",
            "local": "2026-03-29T03:00+02:00",
            "note": "clocks go forward by 60 minutes on this day; the time asked for is skipped, so it runs when the clocks have "
            "moved",
        },
        {"at": "2026-03-30T00:30:00Z", "local": "2026-03-30T02:30+02:00", "note": None},
    ]


def test_a_tick_starts_one_run_however_often_it_is_delivered(schedules: World) -> None:
    schedules.vendor.refreshes = [DONE, DONE]
    schedule_id = create(schedules)
    schedules.go_to("2026-01-05T17:00:00+00:00")
    assert [len(schedules.fire(schedule_id, "2026-01-05T17:00:00Z").body["occurrences"]) for _ in range(3)] == [1, 0, 0]
    schedules.work()
    schedules.go_to("2026-01-05T23:00:01+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T23:00:00Z").status == 200
    schedules.work()
    runs = schedules.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]
    assert [(run["trigger"], run["status"], run["schedule_id"]) for run in runs] == [
        ("schedule", "success", schedule_id)
    ] * 2
    assert statuses(schedules, schedule_id) == [("17:00", "started"), ("23:00", "started")]


def test_a_tick_a_little_before_our_clock_is_that_occurrence(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T12:59:57+00:00")
    assert len(schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]) == 1
    schedules.go_to("2026-01-05T13:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"] == []


def test_a_forced_run_leaves_the_next_occurrence_alone(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T12:20:00+00:00")
    forced = schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]
    assert [(one["trigger"], one["planned_at"]) for one in forced] == [("forced", "2026-01-05T12:20:00Z")]
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"] == []  # came twice
    schedules.work()
    schedules.go_to("2026-01-05T13:00:00+00:00")
    assert len(schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]) == 1
    assert len(jobs(schedules)) == 2


def test_what_cloud_scheduler_never_delivers_is_caught_up_within_minutes(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T13:01:00+00:00")
    schedules.minute()
    assert occurrences(schedules, schedule_id) == []
    schedules.go_to("2026-01-05T13:02:00+00:00")
    schedules.minute()
    schedules.minute()
    assert statuses(schedules, schedule_id) == [("13:00", "started")]
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"] == []


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("skip", [("13:00", "skipped"), ("14:00", "skipped"), ("15:00", "skipped")]),
        ("run_once", [("13:00", "skipped"), ("14:00", "skipped"), ("15:00", "started")]),
        ("run_all", [("13:00", "started"), ("14:00", "queued"), ("15:00", "skipped")]),
    ],
)
def test_missed_occurrences_follow_the_policy(schedules: World, missed: str, expected: list[tuple[str, str]]) -> None:
    schedule_id = create(schedules, HOURLY, missed=missed, overlap="queue_one")
    schedules.go_to("2026-01-05T15:30:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T15:00:00Z")
    assert statuses(schedules, schedule_id) == expected


def test_one_run_that_is_on_time_stands_for_those_that_were_missed(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T15:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T15:00:00Z")
    assert statuses(schedules, schedule_id) == [("13:00", "skipped"), ("14:00", "skipped"), ("15:00", "started")]


def test_no_more_than_24_are_made_up_for_and_the_rest_is_told_together(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY, missed="run_all")
    schedules.go_to("2026-01-07T14:30:00+00:00")  # 50 hours
    schedules.fire(schedule_id, "2026-01-07T14:00:00Z")
    found = schedules.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences?page_size=100").body[
        "occurrences"
    ]
    assert [(one["status"], one["count"]) for one in found[-26:]] == [
        *[("started", 1)],
        *[("skipped", 1)] * 24,
        *[("skipped", 2)],
    ]
    assert len(found) == 24 + 25


def test_an_occurrence_is_left_out_while_the_run_before_goes_on(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T13:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    schedules.go_to("2026-01-05T14:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T14:00:00Z")
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "skipped")]
    assert occurrences(schedules, schedule_id)[1][2] == f"export {jobs(schedules)[0]['id']} has not ended"


def test_one_occurrence_waits_for_the_run_before_it(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY, overlap="queue_one")
    for hour in (13, 14, 15):
        schedules.go_to(f"2026-01-05T{hour}:00:00+00:00")
        schedules.fire(schedule_id, f"2026-01-05T{hour}:00:00Z")
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "queued"), ("15:00", "skipped")]
    schedules.work()
    schedules.minute()
    schedules.minute()
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "started"), ("15:00", "skipped")]
    schedules.work()
    assert [job["status"] for job in jobs(schedules)] == ["success", "success"]


def test_the_running_one_is_cancelled_for_the_newest(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY, overlap="cancel_running")
    for hour in (13, 14, 15):
        schedules.go_to(f"2026-01-05T{hour}:00:00+00:00")
        schedules.fire(schedule_id, f"2026-01-05T{hour}:00:00Z")
    # nobody worked on the job of 13:00, so cancelling ended it at once and 15:00 finds it so
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "started"), ("15:00", "queued")]
    schedules.minute()
    schedules.work()
    schedules.minute()
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "started"), ("15:00", "started")]
    assert sorted(job["status"] for job in jobs(schedules)) == ["cancelled", "cancelled", "success"]


def test_a_run_that_cannot_be_cancelled_is_waited_for(schedules: World) -> None:
    schedule_id = create(schedules, overlap="cancel_running")
    schedules.vendor.refreshes = [DONE, DONE]
    schedules.vendor.errors = [("cancel_refresh", UnsupportedError("Power BI cannot cancel a standard refresh"))]
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    schedules.work_once()
    schedules.go_to("2026-01-05T23:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T23:00:00Z")
    assert "which cannot be cancelled: Power BI cannot cancel a standard refresh" in str(
        occurrences(schedules, schedule_id)[1][2]
    )
    schedules.work()
    schedules.minute()
    schedules.work()
    assert statuses(schedules, schedule_id) == [("17:00", "started"), ("23:00", "started")]


def test_a_failure_that_stays_is_recorded_and_answered_200(schedules: World) -> None:
    schedule_id = create(schedules, {**HOURLY, "export": {**HOURLY["export"], "table_name": "nowhere"}})
    schedules.go_to("2026-01-05T13:00:00+00:00")
    answer = schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    assert (answer.status, answer.body["occurrences"][0]["error"]["code"]) == (200, "table_not_found")
    assert get(schedules, schedule_id).body["health"] == "failing"
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"] == []


def test_a_failure_that_passes_is_503_and_its_repeat_starts_the_run(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T13:00:00+00:00")
    stat = schedules.fakes.objects.stat

    def down(bucket: str, name: str) -> None:
        raise VendorUnavailableError("the bucket gave no answer")

    monkeypatch.setattr(schedules.fakes.objects, "stat", down)
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").status == 503
    monkeypatch.setattr(schedules.fakes.objects, "stat", stat)
    assert [one["status"] for one in schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]] == [
        "started"
    ]


def test_health_follows_how_the_runs_end(schedules: World) -> None:
    schedule_id = create(schedules)
    schedules.vendor.refreshes = [FAILED, DONE]
    health = []
    for at in ("2026-01-05T17:00:00", "2026-01-05T23:00:00"):
        schedules.go_to(f"{at}+00:00")
        schedules.fire(schedule_id, f"{at}Z")
        schedules.work()
        schedules.minute()
        health.append(get(schedules, schedule_id).body["health"])
    assert health == ["failing", "ok"]
    found = schedules.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences").body["occurrences"]
    assert [one["run_status"] for one in found] == ["success", "failed"]


def test_a_paused_schedule_runs_nothing_and_makes_nothing_up(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    paused = schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:pause")
    assert (paused.status, paused.body["enabled"], paused.body["next_run"]) == (200, False, None)
    assert schedules.fakes.cron_jobs.jobs[schedule_id].paused
    schedules.go_to("2026-01-05T15:30:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T15:00:00Z").body["occurrences"] == []
    resumed = schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:resume")
    assert (resumed.body["next_run"], schedules.fakes.cron_jobs.jobs[schedule_id].paused) == (
        "2026-01-05T16:00:00Z",
        False,
    )
    schedules.minute()
    assert occurrences(schedules, schedule_id) == []


def test_run_now_starts_a_run_once_a_key_even_while_paused(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:pause")
    path = f"{API}/schedules/{schedule_id}:runNow"
    answers = [schedules.call("refresh", "POST", path, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert [(answer.status, answer.body["trigger"]) for answer in answers] == [(202, "manual")] * 2
    assert answers[0].body["run_id"] == answers[1].body["run_id"] == jobs(schedules)[0]["id"]
    assert schedules.call("refresh", "POST", path).body["status"] == "skipped"


def test_a_change_needs_the_revision_that_was_read(schedules: World) -> None:
    schedule_id = create(schedules)
    read = get(schedules, schedule_id)
    path, change = f"{API}/schedules/{schedule_id}", {"cron_expression": "0 7 * * 1", "max_age": "26h"}
    assert schedules.call("refresh", "PATCH", path, change).status == 428
    changed = schedules.call("refresh", "PATCH", path, change, **{"If-Match": read.headers["ETag"]})
    assert (changed.status, changed.body["next_run"], changed.body["max_age"]) == (200, "2026-01-12T06:00:00Z", "26h")
    assert schedules.fakes.cron_jobs.jobs[schedule_id].cron == "0 7 * * 1"
    assert schedules.call("refresh", "PATCH", path, change, **{"If-Match": read.headers["ETag"]}).status == 412
    moved = schedules.call("refresh", "PATCH", path, {"connector_name": "x"}, **{"If-Match": changed.headers["ETag"]})
    assert (moved.status, moved.body["field"]) == (400, "connector_name")


def test_a_run_does_not_change_the_etag(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    read = get(schedules, schedule_id).headers["ETag"]
    schedules.go_to("2026-01-05T13:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    assert get(schedules, schedule_id).headers["ETag"] == read


def test_a_tick_of_an_old_expression_starts_nothing(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    etag = get(schedules, schedule_id).headers["ETag"]
    path = f"{API}/schedules/{schedule_id}"
    schedules.call("refresh", "PATCH", path, {"cron_expression": "30 18 * * *"}, **{"If-Match": etag})
    schedules.go_to("2026-01-05T13:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    assert occurrences(schedules, schedule_id) == []


def test_deleting_a_schedule_deletes_its_cloud_scheduler_job(schedules: World) -> None:
    schedule_id = create(schedules)
    assert schedules.call("refresh", "DELETE", f"{API}/schedules/{schedule_id}").status == 204
    assert schedules.fakes.cron_jobs.jobs == {}
    assert schedules.fire(schedule_id, "2026-01-05T17:00:00Z").status == 200
    assert schedules.call("refresh", "GET", f"{API}/schedules").body["schedules"] == []
    assert get(schedules, schedule_id).status == 404


def test_a_connector_with_a_schedule_is_deleted_with_it_only_by_force(schedules: World) -> None:
    create(schedules)
    assert schedules.call("register", "DELETE", f"{API}/ymca_powerbi").status == 409
    assert schedules.call("register", "DELETE", f"{API}/ymca_powerbi?force=true").status == 204
    assert schedules.fakes.cron_jobs.jobs == {}


def test_export_and_refresh_exports_and_then_refreshes(schedules: World) -> None:
    schedules.vendor.refreshes = [DONE]
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    schedule_id = create(schedules, action="export_and_refresh", export=export)
    schedules.go_to("2026-01-05T17:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T17:00:00Z").status == 200
    schedules.work()
    assert [(job["status"], job["requested_by"]) for job in jobs(schedules)] == [("success", f"schedule:{schedule_id}")]
    assert len(schedules.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]) == 1


class Down:
    """Cloud Scheduler that does not answer."""

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            raise VendorUnavailableError("Cloud Scheduler gave no answer", code="scheduler_unavailable")

        return call


def test_a_schedule_is_kept_while_cloud_scheduler_does_not_answer_and_told_later(schedules: World) -> None:
    stores = schedules.services.stores
    schedules.services.schedules._stores = replace(stores, cron_jobs=Down())  # type: ignore[arg-type]  # stands in for CronJobs
    schedule_id = create(schedules, HOURLY)
    assert get(schedules, schedule_id).body["sync"] == "pending"
    schedules.services.schedules._stores = stores
    dry = schedules.call("refresh", "POST", f"{API}/schedules:reconcile?dry_run=true").body
    assert [(drift["schedule_id"], drift["action"]) for drift in dry["drifts"]] == [(schedule_id, "put")]
    assert schedules.fakes.cron_jobs.jobs == {}
    schedules.sweep()
    assert get(schedules, schedule_id).body["sync"] == "done"
    assert list(schedules.fakes.cron_jobs.jobs) == [schedule_id]
    assert schedules.call("refresh", "POST", f"{API}/schedules:reconcile").body == {"dry_run": False, "drifts": []}


def test_the_reconciler_mends_what_people_did_in_the_console(schedules: World) -> None:
    changed, removed = create(schedules, HOURLY), create(schedules, HOURLY)
    cron_jobs = schedules.fakes.cron_jobs
    right = cron_jobs.jobs[changed]
    cron_jobs.jobs[changed] = replace(right, cron="* * * * *", paused=True)
    del cron_jobs.jobs[removed]
    orphan = CronJob("0" * 26, "* * * * *", "UTC", "http://refresh/x", "http://refresh", {})
    cron_jobs.put(orphan)
    found = schedules.call("refresh", "POST", f"{API}/schedules:reconcile").body["drifts"]
    assert {(drift["schedule_id"], drift["action"], drift["reason"]) for drift in found} == {
        (changed, "put", "the job differs in cron, paused"),
        (removed, "put", "Cloud Scheduler has no job of this schedule"),
        (orphan.id, "delete_job", "Cloud Scheduler has a job whose schedule is gone"),
    }
    assert cron_jobs.jobs[changed] == right
    assert set(cron_jobs.jobs) == {changed, removed}


def test_a_deletion_that_was_cut_off_is_finished(schedules: World) -> None:
    schedule_id = create(schedules)
    schedules.fakes.documents.update(f"schedules/{schedule_id}", {"deleting": True})
    assert get(schedules, schedule_id).status == 404
    schedules.go_to("2026-01-05T17:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T17:00:00Z").body["occurrences"] == []
    schedules.sweep()
    assert schedules.fakes.cron_jobs.jobs == {}
    with pytest.raises(NotFoundError):
        schedules.services.schedules.get(schedule_id)
