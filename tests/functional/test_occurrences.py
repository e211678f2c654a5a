"""What becomes of the planned times of schedules, over HTTP on fakes. The clock stands at 12:00 UTC, Monday 5 January 2026."""

from __future__ import annotations

import pytest

from shared.errors import UnsupportedError, VendorUnavailableError
from tests.functional.conftest import World
from tests.functional.scheduling import API, DONE, FAILED, HOURLY, RUNNING, create, get, jobs, occurrences, statuses


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


def test_a_forced_call_that_was_not_answered_in_time_and_comes_again_starts_nothing(schedules: World) -> None:
    """Cloud Scheduler's repeats come when the deadline (180 s) and a pause (5, 10, 20 s) have passed, under one schedule time."""
    schedule_id = create(schedules, HOURLY)
    found = []
    for at in ("12:20:00", "12:21:01", "12:23:05", "12:26:15", "12:29:35"):
        schedules.go_to(f"2026-01-05T{at}+00:00")
        found.append(len(schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]))
        schedules.work()
        schedules.minute()
    assert found == [1, 0, 0, 0, 0]
    assert len(jobs(schedules)) == 1


def test_a_run_that_is_forced_once_more_later_runs_again(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    found = []
    for at, carried in (("12:20:00", "13"), ("12:25:00", "13"), ("12:59:30", "13"), ("13:00:30", "14")):
        schedules.go_to(f"2026-01-05T{at}+00:00")
        found.append(len(schedules.fire(schedule_id, f"2026-01-05T{carried}:00:00Z").body["occurrences"]))
        schedules.work()
        schedules.minute()
    assert found == [1, 1, 1, 1]


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
        ("run_all", [("13:00", "started")]),  # the others have their turn
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
    assert [(one["status"], one["count"]) for one in found] == [
        *[("started", 1)],
        *[("skipped", 1)] * 24,
        *[("skipped", 2)],
    ]
    for _ in range(25):
        schedules.work()
        schedules.minute()
    assert [job["status"] for job in jobs(schedules)] == ["success"] * 24


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


def test_a_run_in_the_way_is_asked_again_to_stop_when_the_vendor_did_not_hear(schedules: World) -> None:
    schedule_id = create(schedules, overlap="cancel_running")
    schedules.vendor.errors = [("cancel_refresh", VendorUnavailableError("429", retry_after_s=5.0))]
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    schedules.work_once()
    schedules.go_to("2026-01-05T23:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T23:00:00Z")
    for _ in range(3):
        schedules.minute()
    assert schedules.vendor.calls.count("cancel_refresh") == 2
    assert "which is being cancelled" in str(occurrences(schedules, schedule_id)[1][2])


@pytest.mark.parametrize("when", ["while its rows go out", "before its refresh is accepted"])
def test_a_refresh_that_follows_an_export_too_late_to_cancel_is_cancelled(schedules: World, when: str) -> None:
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    schedule_id = create(schedules, action="export_and_refresh", export=export, overlap="cancel_running")
    schedules.vendor.refreshes = [RUNNING] * 9
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    schedules.go_to("2026-01-05T23:00:00+00:00")
    told: list[str | None] = []

    def tick() -> None:
        schedules.fire(schedule_id, "2026-01-05T23:00:00Z")
        told.append(occurrences(schedules, schedule_id)[1][2])

    if when == "while its rows go out":
        schedules.vendor.during["publish"] = tick
    else:
        schedules.services.exports.repairs.see_to = lambda job: tick()  # type: ignore[method-assign]
    while "start_refresh" not in schedules.vendor.calls:
        schedules.work_once()
    for _ in range(2):
        schedules.minute()
    told.append(occurrences(schedules, schedule_id)[1][2])
    assert schedules.vendor.calls.count("cancel_refresh") == 1
    assert ["which cannot be cancelled yet: the job" in str(told[0]), "is being cancelled" in str(told[1])] == [
        True
    ] * 2


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


def test_a_tick_of_an_old_expression_starts_nothing(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    etag = get(schedules, schedule_id).headers["ETag"]
    path = f"{API}/schedules/{schedule_id}"
    schedules.call("refresh", "PATCH", path, {"cron_expression": "30 18 * * *"}, **{"If-Match": etag})
    schedules.go_to("2026-01-05T13:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    assert occurrences(schedules, schedule_id) == []


def test_export_and_refresh_exports_and_then_refreshes(schedules: World) -> None:
    schedules.vendor.refreshes = [DONE]
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    schedule_id = create(schedules, action="export_and_refresh", export=export)
    schedules.go_to("2026-01-05T17:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T17:00:00Z").status == 200
    schedules.work()
    assert [(job["status"], job["requested_by"]) for job in jobs(schedules)] == [("success", f"schedule:{schedule_id}")]
    assert len(schedules.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]) == 1


def test_a_run_whose_end_nobody_recorded_before_the_next_began_is_told_of(schedules: World) -> None:
    """The next planned time and the minute's job come in any order; at every minute they come together."""
    schedules.vendor.refreshes = [FAILED, DONE]
    schedule_id = create(schedules)
    for at in ("2026-01-05T18:00:00", "2026-01-06T00:00:00"):
        schedules.go_to(f"{at}+00:00")
        assert schedules.fire(schedule_id, f"{at}Z").status == 200
        schedules.work()
    schedules.minute()
    found = schedules.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences").body["occurrences"]
    assert [one["run_status"] for one in found] == ["success", "failed"]
    notices = schedules.call("refresh", "GET", f"{API}/notices").body["notices"]
    assert [one["event"] for one in notices] == ["schedule.recovered", "schedule.failing"]


def stop_refreshing(world: World) -> None:
    """Change the connector so that it has nothing to refresh any more."""
    tag = world.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    change = {"refresh_dataset_id": None, "dataset_id": "cfafbeb1-8037-4d0c-896e-a46fb27ff229"}
    assert world.call("register", "PATCH", f"{API}/ymca_powerbi", change, If_Match=tag).status == 200


def test_an_export_whose_refresh_cannot_be_started_ends_its_occurrence_as_failed(schedules: World) -> None:
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    schedule_id = create(schedules, action="export_and_refresh", export=export)
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    meanwhile = lambda job: stop_refreshing(schedules)  # noqa: E731
    schedules.services.exports.repairs.see_to = meanwhile  # type: ignore[method-assign]
    schedules.work()
    (job,) = jobs(schedules)
    assert (job["status"], job["refresh_run_id"]) == ("success", None)
    assert job["refresh_error"]["code"] == "refresh_unsupported"
    schedules.minute()
    found = schedules.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences").body["occurrences"]
    assert [one["run_status"] for one in found] == ["failed"]
    assert get(schedules, schedule_id).body["health"] == "failing"
    schedules.go_to("2026-01-05T23:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T23:00:00Z")
    assert statuses(schedules, schedule_id) == [("17:00", "started"), ("23:00", "failed")]
