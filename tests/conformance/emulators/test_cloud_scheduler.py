"""Cloud Scheduler: jobs as the real client sees them, and when a cron expression fires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import scheduler_v1
from google.protobuf import duration_pb2, field_mask_pb2

from infra.local.emulators.cloud_scheduler.rules import next_slot
from infra.local.emulators.grpc_server import RpcError
from tests.conformance.emulators.dispatch_support import LOCATION, SchedulerUnderTest

J1 = f"{LOCATION}/jobs/j1"
AGENT = {"User-Agent": "Google-Cloud-Scheduler"}
"""What the real service shows among a job's headers, whatever was sent."""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SchedulerUnderTest]:
    cloud = SchedulerUnderTest(tmp_path)
    yield cloud
    cloud.close()


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=list(paths))


def test_a_new_job_has_the_vendors_defaults(cloud: SchedulerUnderTest) -> None:
    job = cloud.job(http_target={"body": b"x"})
    assert job.name == J1
    assert job.state == scheduler_v1.Job.State.ENABLED
    assert job.time_zone == "UTC"
    assert job.attempt_deadline == timedelta(minutes=3)
    assert job.http_target.http_method == scheduler_v1.HttpMethod.POST
    assert job.http_target.body == b"x"
    assert dict(job.http_target.headers) == {**AGENT, "Content-Type": "application/octet-stream"}
    assert job.retry_config.retry_count == 0
    assert job.retry_config.min_backoff_duration == timedelta(seconds=5)
    assert job.retry_config.max_backoff_duration == timedelta(hours=1)
    assert job.retry_config.max_doublings == 5
    assert (job.schedule_time.hour, job.schedule_time.minute) == (6, 0)
    assert timedelta(0) < job.schedule_time - cloud.clock.now() <= timedelta(days=1)
    assert cloud.client.get_job(name=J1) == job


def test_a_name_is_made_if_none_is_given(cloud: SchedulerUnderTest) -> None:
    target = {"uri": "http://127.0.0.1:1/"}
    job = cloud.client.create_job(parent=LOCATION, job={"schedule": "* * * * *", "http_target": target})
    assert job.name.startswith(f"{LOCATION}/jobs/")


def test_a_name_conflict_is_already_exists(cloud: SchedulerUnderTest) -> None:
    cloud.job()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.job()
    assert len(list(cloud.client.list_jobs(parent=LOCATION))) == 1


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * * *",
        "0 0 6 * * *",
        "61 * * * *",
        "* 24 * * *",
        "0 0 31 2 *",
        "0 0 L * *",
        "0 0 * * 1#2",
        "@daily",
        "5-1 * * * *",
        "*/0 * * * *",
    ],
)
def test_a_bad_schedule_is_an_invalid_argument(cloud: SchedulerUnderTest, schedule: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="schedule"):
        cloud.job(schedule=schedule)


def test_the_english_like_form_is_refused_as_not_imitated(cloud: SchedulerUnderTest) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="not imitated"):
        cloud.job(schedule="every 5 minutes")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "EST5EDT4", "posix/Europe/Paris"])
def test_an_unknown_zone_is_an_invalid_argument(cloud: SchedulerUnderTest, zone: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="time_zone"):
        cloud.job(time_zone=zone)


@pytest.mark.parametrize(
    "fields",
    [
        {"http_target": {"uri": "ftp://127.0.0.1/"}},
        {"http_target": {"http_method": "GET", "body": b"x"}},
        {"http_target": {"headers": {"X-Large": "x" * 81920}}},
        {"http_target": {"uri": "http://127.0.0.1/" + "x" * 2083}},
        {"http_target": {"oidc_token": {"service_account_email": "nobody"}}},
        {"http_target": {"body": b"x" * 1024 * 1024}},
        {"description": "x" * 501},
        {"attempt_deadline": duration_pb2.Duration(seconds=14)},
        {"attempt_deadline": duration_pb2.Duration(seconds=1801)},
        {"retry_config": {"retry_count": 6}},
        {"retry_config": {"retry_count": -1}},
        {"retry_config": {"min_backoff_duration": duration_pb2.Duration(seconds=3601)}},
        {"name": f"{LOCATION}/jobs/a b"},
        {"name": "projects/p2/locations/us-central1/jobs/j1"},
    ],
)
def test_a_job_outside_the_limits_is_an_invalid_argument(cloud: SchedulerUnderTest, fields: dict[str, object]) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        cloud.job(**fields)


def test_other_targets_are_refused_by_name(cloud: SchedulerUnderTest) -> None:
    for target in ({"pubsub_target": {"topic_name": "projects/p1/topics/t"}}, {"app_engine_http_target": {}}):
        with pytest.raises(exceptions.MethodNotImplemented, match=next(iter(target))):
            cloud.client.create_job(parent=LOCATION, job={"schedule": "* * * * *", **target})
    with pytest.raises(exceptions.InvalidArgument, match="target"):
        cloud.client.create_job(parent=LOCATION, job={"schedule": "* * * * *"})


def test_update_with_a_mask_changes_only_the_named_fields(cloud: SchedulerUnderTest) -> None:
    cloud.job(description="before", http_target={"headers": {"X-A": "1"}})
    changes = {"name": J1, "schedule": "30 7 * * *", "time_zone": "Asia/Tokyo", "description": "not in the mask"}
    job = cloud.client.update_job(job=changes, update_mask=mask("schedule", "time_zone"))
    assert (job.schedule_time.hour, job.schedule_time.minute) == (22, 30)
    assert (job.description, dict(job.http_target.headers)) == ("before", {**AGENT, "X-A": "1"})
    uri = f"{cloud.worker.url}/other"
    job = cloud.client.update_job(job={"name": J1, "http_target": {"uri": uri}}, update_mask=mask("http_target.uri"))
    assert (job.http_target.uri, dict(job.http_target.headers)) == (uri, {**AGENT, "X-A": "1"})
    assert job.schedule == "30 7 * * *"


def test_update_without_a_mask_replaces_all_but_the_output_only_fields(cloud: SchedulerUnderTest) -> None:
    cloud.job(description="before")
    cloud.client.pause_job(name=J1)
    target = {"uri": "http://127.0.0.1:1/"}
    job = cloud.client.update_job(job={"name": J1, "schedule": "0 7 * * *", "http_target": target, "state": "ENABLED"})
    assert (job.description, job.schedule, job.state) == ("", "0 7 * * *", scheduler_v1.Job.State.PAUSED)


def test_a_refused_update_changes_nothing(cloud: SchedulerUnderTest) -> None:
    before = cloud.job()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.update_job(job={"name": J1, "schedule": "bad"}, update_mask=mask("schedule"))
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.update_job(job={"name": J1}, update_mask=mask("cron"))
    assert cloud.client.get_job(name=J1) == before


def test_jobs_are_listed_in_pages_of_their_location(cloud: SchedulerUnderTest) -> None:
    for job_id in ("c", "a", "b"):
        cloud.job(job_id)
    pages = list(cloud.client.list_jobs(request={"parent": LOCATION, "page_size": 2}).pages)
    assert [[job.name[-1] for job in page.jobs] for page in pages] == [["a", "b"], ["c"]]
    assert list(cloud.client.list_jobs(parent="projects/p1/locations/europe-west1")) == []


@pytest.mark.parametrize("method", ["get_job", "delete_job", "pause_job", "resume_job", "run_job"])
def test_a_missing_job_is_not_found(cloud: SchedulerUnderTest, method: str) -> None:
    with pytest.raises(exceptions.NotFound):
        getattr(cloud.client, method)(name=J1)
    with pytest.raises(exceptions.NotFound):
        cloud.client.update_job(job={"name": J1})


def test_a_deleted_job_is_gone_and_its_name_free(cloud: SchedulerUnderTest) -> None:
    cloud.job()
    cloud.client.delete_job(name=J1)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_job(name=J1)
    assert cloud.job().name == J1


def test_only_an_enabled_job_is_paused_and_only_a_paused_one_resumed(cloud: SchedulerUnderTest) -> None:
    cloud.job()
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.client.resume_job(name=J1)
    assert cloud.client.pause_job(name=J1).state == scheduler_v1.Job.State.PAUSED
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.client.pause_job(name=J1)
    assert cloud.client.resume_job(name=J1).state == scheduler_v1.Job.State.ENABLED


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("0 6 * * *", "utc", "2026-11-22T05:59:59", "2026-11-22T06:00:00"),
        ("0 6 * * *", "UTC", "2026-11-22T06:00:00", "2026-11-23T06:00:00"),
        ("0 6 * * 1", "Europe/Paris", "2026-11-22T12:00:00", "2026-11-23T05:00:00"),
        ("*/15 9-17 * * mon-fri", "Asia/Kolkata", "2026-11-22T12:00:00", "2026-11-23T03:30:00"),
        ("0 0 1 jan,jul *", "America/New_York", "2026-02-01T00:00:00", "2026-07-01T04:00:00"),
        ("0 0 13 * 5", "utc", "2026-11-22T00:00:00", "2026-11-27T00:00:00"),  # day of month OR day of week
        ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00", "2026-03-08T07:00:00"),  # 02:30 does not exist
        ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00", "2026-11-02T06:30:00"),  # 01:30 came already
    ],
)
def test_the_next_planned_time(schedule: str, zone: str, after: str, expected: str) -> None:
    planned = next_slot(schedule, zone, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert planned == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert planned.tzinfo is UTC


def test_a_schedule_that_never_fires_is_refused() -> None:
    with pytest.raises(RpcError, match="never fires"):
        next_slot("0 0 30 2 *", "utc", datetime(2026, 1, 1, tzinfo=UTC))
