"""Schedules and their Cloud Scheduler jobs, over HTTP on fakes. The clock stands at 12:00 UTC, Monday 5 January 2026."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.errors import InvalidRequestError, NotFoundError, VendorUnavailableError
from shared.ports import CronJob
from tests.functional.conftest import POWER_BI, World
from tests.functional.scheduling import API, HOURLY, SCHEDULE, create, get


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


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"columns": {"id": "integer"}}, "export.columns.id"),
        ({"source": {"uri": "gs://in/a.csv", "columns": {"id": "integer"}}}, "export.source.columns.id"),
        ({"mapping": {"columns": [{"name": "id", "type": "integer"}]}}, "mapping.columns.id"),
        ({"contract": {"columns": {"id": {"type": "integer"}}}}, "contract.columns.id"),
    ],
)
def test_a_schedule_whose_every_export_would_be_refused_is_refused(
    schedules: World, more: dict[str, Any], field: str
) -> None:
    asked = {**SCHEDULE, **HOURLY, "export": {**HOURLY["export"], **more}}
    answer = schedules.call("refresh", "POST", f"{API}/schedules", asked)
    assert (answer.status, answer.body["field"], answer.body["column"]) == (422, field, "id")
    assert schedules.fakes.cron_jobs.jobs == {}


def test_more_refreshes_than_the_vendor_allows_are_refused_with_the_reason(schedules: World) -> None:
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, "cron_expression": "@hourly"})
    assert (answer.status, answer.body["code"], answer.body["field"]) == (400, "refresh_quota", "cron_expression")
    assert "more than 8 refreshes in 24 hours; the vendor allows 8" in answer.body["detail"]
    create(schedules, cron_expression="0 */3 * * *")
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, "cron_expression": "@daily"})
    assert "1 refreshes in 24 hours beside 8 of other schedules that refresh the same" in answer.body["detail"]


@pytest.mark.parametrize("expression", ["* * 29 2 *", "0 */2 29 FEB *"])
def test_more_refreshes_than_the_vendor_allows_are_refused_though_their_day_is_years_away(
    schedules: World, expression: str
) -> None:
    """It is January 2026: the next 29 February comes in 2028."""
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, "cron_expression": expression})
    assert (answer.status, answer.body.get("code")) == (400, "refresh_quota")
    create(schedules, cron_expression="0 */3 29 2 *")


def test_the_refreshes_of_every_connector_to_one_dataset_count_together(schedules: World) -> None:
    second = {**POWER_BI, "name": "second", "refresh_dataset_id": str(POWER_BI["refresh_dataset_id"]).upper()}
    other = {**POWER_BI, "name": "other", "refresh_dataset_id": "0e3cbb8f-5ee7-4b1c-a2a5-8b9dd5a4d8a5"}
    for body in (second, other):
        assert schedules.call("register", "POST", f"{API}/register", body).status == 201
    create(schedules, cron_expression="0 */3 * * *")
    daily = {**SCHEDULE, "cron_expression": "@daily"}
    refused = schedules.call("refresh", "POST", f"{API}/schedules", {**daily, "connector_name": "second"})
    assert (refused.status, refused.body["code"]) == (400, "refresh_quota")
    assert "1 refreshes in 24 hours beside 8 of other schedules that refresh the same" in refused.body["detail"]
    create(schedules, daily, connector_name="other", cron_expression="0 */3 * * *")


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
    orphan_id = "0" * 26
    orphan = replace(
        right, id=orphan_id, url=f"http://refresh/internal/schedules/{orphan_id}:fire", body={"schedule_id": orphan_id}
    )
    cron_jobs.put(orphan)
    found = schedules.call("refresh", "POST", f"{API}/schedules:reconcile").body["drifts"]
    assert {(drift["schedule_id"], drift["action"], drift["reason"]) for drift in found} == {
        (changed, "put", "the job differs in cron, paused"),
        (removed, "put", "Cloud Scheduler has no job of this schedule"),
        (orphan.id, "delete_job", "Cloud Scheduler has a job whose schedule is gone"),
    }
    assert cron_jobs.jobs[changed] == right
    assert set(cron_jobs.jobs) == {changed, removed}


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("https://billing.example.org/close", {}),
        ("https://billing.example.org/close", {"schedule_id": "b" * 26}),
        ("https://other.example.org/internal/schedules/bbbbbbbbbbbbbbbbbbbbbbbbbb:fire", {"schedule_id": "b" * 26}),
        ("http://refresh/internal/schedules/aaaaaaaaaaaaaaaaaaaaaaaaaa:fire", {"schedule_id": "b" * 26}),
        ("http://refresh/internal/schedules/bbbbbbbbbbbbbbbbbbbbbbbbbb:fire", {"purpose": "a test"}),
    ],
)
def test_a_job_that_only_looks_like_ours_by_its_name_is_left_alone(
    schedules: World, url: str, body: dict[str, str]
) -> None:
    foreign = CronJob("b" * 26, "* * * * *", "UTC", url, "http://refresh", body)
    schedules.fakes.cron_jobs.put(foreign)
    assert schedules.call("refresh", "POST", f"{API}/schedules:reconcile").body == {"dry_run": False, "drifts": []}
    schedules.sweep()
    assert schedules.fakes.cron_jobs.jobs == {foreign.id: foreign}


def test_a_change_that_is_taken_back_takes_no_other_change_with_it(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    etag, path = get(schedules, schedule_id).headers["ETag"], f"{API}/schedules/{schedule_id}"
    cron_jobs = schedules.fakes.cron_jobs
    right = cron_jobs.jobs[schedule_id]

    def refuse(job: CronJob) -> None:
        del cron_jobs.__dict__["put"]
        assert schedules.call("refresh", "POST", f"{path}:pause").status == 200  # meanwhile, by somebody else
        raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")

    cron_jobs.__dict__["put"] = refuse
    answer = schedules.call("refresh", "PATCH", path, {"cron_expression": "0 7 * * 1"}, **{"If-Match": etag})
    assert (answer.status, answer.body["field"]) == (400, "cron_expression")
    found = get(schedules, schedule_id).body
    assert (found["enabled"], found["cron_expression"]) == (False, "@hourly")
    schedules.sweep()
    assert cron_jobs.jobs[schedule_id] == replace(right, paused=True)
    assert get(schedules, schedule_id).body["sync"] == "done"


def audited(world: World, schedule_id: str) -> list[tuple[str, str]]:
    """Return what the audit tells of a schedule, oldest first."""
    found = world.call("register", "GET", f"{API}/audit").body["entries"]
    mine = [one for one in found if one["resource"] == f"schedules/{schedule_id}"]
    return [(one["action"], one["outcome"]) for one in sorted(mine, key=lambda one: str(one["at"]))]


def test_a_deletion_is_audited_as_finished_only_when_the_job_is_gone(schedules: World) -> None:
    """What was asked is told at once; that it was finished later, by the sweep that did it and by no sweep before."""
    schedule_id = create(schedules)
    stores = schedules.services.stores
    down = replace(stores, cron_jobs=Down())  # type: ignore[arg-type]  # stands in for CronJobs
    schedules.go_to("2026-01-05T12:01:00+00:00")
    schedules.services.schedules._stores = down
    assert schedules.call("refresh", "DELETE", f"{API}/schedules/{schedule_id}").status == 204
    (drift,) = schedules.call("refresh", "POST", f"{API}/schedules:reconcile").body["drifts"]
    assert (drift["action"], drift["error"]) == ("finish_delete", "Cloud Scheduler gave no answer")
    accepted = [("schedule.create", "done"), ("schedule.delete", "done")]
    assert audited(schedules, schedule_id) == accepted
    assert list(schedules.fakes.cron_jobs.jobs) == [schedule_id]
    schedules.services.schedules._stores = stores
    schedules.go_to("2026-01-05T12:02:00+00:00")
    schedules.sweep()
    assert audited(schedules, schedule_id) == [*accepted, ("schedule.reconcile", "done")]
    assert schedules.fakes.cron_jobs.jobs == {}


def test_a_schedule_that_cloud_scheduler_refuses_is_refused_again_for_the_same_key(schedules: World) -> None:
    def refuse(job: CronJob) -> None:
        raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")

    schedules.fakes.cron_jobs.__dict__["put"] = refuse
    for _ in range(2):
        answer = schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE, Idempotency_Key="one")
        assert (answer.status, answer.body["field"]) == (400, "cron_expression")
    found = schedules.call("register", "GET", f"{API}/audit").body["entries"]
    mine = sorted((one["action"], one["outcome"]) for one in found if one["resource"].startswith("schedules/"))
    assert mine == [("schedule.create", "done")] * 2 + [("schedule.delete", "taken_back")] * 2


def test_a_refused_schedule_whose_request_died_is_refused_again_for_the_same_key(schedules: World) -> None:
    def die(job: CronJob) -> None:
        raise KeyboardInterrupt

    def refuse(job: CronJob) -> None:
        raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")

    schedules.fakes.cron_jobs.__dict__["put"] = die
    with pytest.raises(KeyboardInterrupt):
        schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE, Idempotency_Key="one")
    schedules.fakes.cron_jobs.__dict__["put"] = refuse
    schedules.sweep()  # takes the schedule back
    answer = schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE, Idempotency_Key="one")
    assert (answer.status, answer.body.get("field")) == (400, "cron_expression")


def test_a_refusal_of_a_repeated_request_takes_no_schedule_back_that_runs(schedules: World) -> None:
    def refuse(job: CronJob) -> None:
        raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")

    made = schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE, Idempotency_Key="one")
    schedules.fakes.cron_jobs.__dict__["put"] = refuse
    assert schedules.call("refresh", "POST", f"{API}/schedules", SCHEDULE, Idempotency_Key="one").status == 400
    assert get(schedules, made.body["id"]).status == 200


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
