"""Cloud Scheduler: what really reaches the target, when, and what follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud import scheduler_v1
from google.oauth2 import id_token
from google.protobuf import duration_pb2, field_mask_pb2

from tests.conformance.emulators.dispatch_support import LOCATION, SchedulerUnderTest, eventually
from tests.conformance.emulators.test_identity import fetching

J1 = f"{LOCATION}/jobs/j1"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SchedulerUnderTest]:
    cloud = SchedulerUnderTest(tmp_path)
    # Ten past midnight of tomorrow: a daily job at 06:00 is then 5 h 50 min ahead, whenever the suite runs.
    start = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=10, second=0, microsecond=0)
    cloud.clock.advance((start - datetime.now(UTC)).total_seconds())
    yield cloud
    cloud.close()


def move_to(cloud: SchedulerUnderTest, moment: datetime, past_s: float = 0.2) -> None:
    """Move the clock to a little after `moment`."""
    cloud.clock.advance((moment - cloud.clock.now()).total_seconds() + past_s)


def seconds(value: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(value))


def header_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def test_a_job_fires_at_its_time_with_the_vendors_headers(cloud: SchedulerUnderTest) -> None:
    target = {"body": b"{}", "headers": {"X-A": "1", "X-CloudScheduler-JobName": "no", "User-Agent": "mine"}}
    job = cloud.job(http_target=target)
    cloud.clock.advance(5 * 3600)
    assert cloud.worker.quiet_count() == 0
    move_to(cloud, job.schedule_time)
    [received] = cloud.worker.wait_for(1)
    assert (received.method, received.path, received.body) == ("POST", "/tick", b"{}")
    assert received.headers["user-agent"] == "Google-Cloud-Scheduler"
    assert received.headers["x-cloudscheduler"] == "true"
    assert received.headers["x-cloudscheduler-jobname"] == "j1"
    assert received.headers["x-cloudscheduler-scheduletime"] == header_time(job.schedule_time)
    assert received.headers["content-type"] == "application/octet-stream"
    assert received.headers["x-a"] == "1"


def test_a_job_fires_again_at_each_planned_time(cloud: SchedulerUnderTest) -> None:
    planned = cloud.job(schedule="0 * * * *", http_target={"http_method": "GET"}).schedule_time
    for hour in range(3):
        move_to(cloud, planned + timedelta(hours=hour))
        cloud.worker.wait_for(hour + 1)
        cloud.idle()
    times = [request.headers["x-cloudscheduler-scheduletime"] for request in cloud.worker.received]
    assert times == [header_time(planned + timedelta(hours=hour)) for hour in range(3)]
    assert {request.method for request in cloud.worker.received} == {"GET"}
    assert "content-type" not in cloud.worker.received[0].headers


def test_a_success_is_recorded(cloud: SchedulerUnderTest) -> None:
    job = cloud.job()
    assert not job.last_attempt_time
    move_to(cloud, job.schedule_time)
    cloud.worker.wait_for(1)
    cloud.idle()
    after = cloud.client.get_job(name=J1)
    assert after.status.code == 0
    assert timedelta(0) <= after.last_attempt_time - job.schedule_time <= timedelta(seconds=2)
    assert after.schedule_time == job.schedule_time + timedelta(days=1)


@pytest.mark.parametrize(("status", "code"), [(404, 5), (401, 16), (429, 8), (500, 13), (302, 2)])
def test_a_failure_is_recorded_and_not_retried_by_default(cloud: SchedulerUnderTest, status: int, code: int) -> None:
    cloud.worker.respond = lambda request: (status, {"Location": f"{cloud.worker.url}/elsewhere"})
    job = cloud.job()
    move_to(cloud, job.schedule_time)
    cloud.worker.wait_for(1)
    cloud.idle()
    after = cloud.client.get_job(name=J1)
    assert after.status.code == code
    assert after.schedule_time == job.schedule_time + timedelta(days=1)
    cloud.clock.advance(3600)
    assert cloud.worker.quiet_count() == 1


def test_retries_follow_the_backoff_and_keep_the_planned_time(cloud: SchedulerUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    retry = {
        "retry_count": 5,
        "min_backoff_duration": seconds(10),
        "max_backoff_duration": seconds(100),
        "max_doublings": 2,
    }
    planned = cloud.job(retry_config=retry).schedule_time
    move_to(cloud, planned)
    for attempt, wait_s in enumerate([10, 20, 40, 80, 100], start=1):
        cloud.worker.wait_for(attempt)
        cloud.idle()
        left_s = (cloud.client.get_job(name=J1).schedule_time - cloud.clock.now()).total_seconds()
        assert left_s == pytest.approx(wait_s, abs=2)
        cloud.clock.advance(left_s - 4)
        assert len(cloud.worker.received) == attempt, "retried too early"
        if attempt == 1:
            assert cloud.worker.quiet_count() == 1
        cloud.clock.advance(4.01)
    cloud.worker.wait_for(6)
    cloud.idle()
    assert cloud.client.get_job(name=J1).schedule_time == planned + timedelta(days=1)
    cloud.clock.advance(3600)
    assert cloud.worker.quiet_count() == 6
    times = {request.headers["x-cloudscheduler-scheduletime"] for request in cloud.worker.received}
    assert times == {header_time(planned)}


def test_a_retry_that_succeeds_ends_the_execution(cloud: SchedulerUnderTest) -> None:
    answers = iter([500, 200])
    cloud.worker.respond = lambda request: next(answers)
    planned = cloud.job(retry_config={"retry_count": 3}).schedule_time
    move_to(cloud, planned)
    cloud.worker.wait_for(1)
    cloud.idle()
    cloud.clock.advance(5.1)
    cloud.worker.wait_for(2)
    cloud.idle()
    assert cloud.client.get_job(name=J1).status.code == 0
    assert cloud.client.get_job(name=J1).schedule_time == planned + timedelta(days=1)


def test_the_next_planned_time_ends_the_retries_of_the_last(cloud: SchedulerUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    retry = {"retry_count": 5, "min_backoff_duration": seconds(40), "max_backoff_duration": seconds(40)}
    planned = cloud.job(schedule="* * * * *", retry_config=retry).schedule_time
    move_to(cloud, planned)
    cloud.worker.wait_for(1)
    cloud.idle()
    move_to(cloud, planned + timedelta(seconds=41))
    cloud.worker.wait_for(2)
    cloud.idle()
    assert cloud.client.get_job(name=J1).schedule_time == planned + timedelta(minutes=1)
    move_to(cloud, planned + timedelta(minutes=1))
    third = cloud.worker.wait_for(3)[2]
    assert third.headers["x-cloudscheduler-scheduletime"] == header_time(planned + timedelta(minutes=1))


def test_the_retry_duration_prolongs_the_retries_until_both_limits_are_reached(cloud: SchedulerUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    wait = {"min_backoff_duration": seconds(60), "max_backoff_duration": seconds(60)}
    planned = cloud.job(retry_config={"retry_count": 1, "max_retry_duration": seconds(150), **wait}).schedule_time
    move_to(cloud, planned)
    for attempt in (1, 2, 3):
        cloud.worker.wait_for(attempt)
        cloud.idle()
        cloud.clock.advance(60.5)
    cloud.worker.wait_for(4)
    cloud.idle()
    cloud.clock.advance(600)
    assert cloud.worker.quiet_count() == 4


def test_an_attempt_beyond_its_deadline_is_cut(cloud: SchedulerUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 200 + 0 * release.wait(5)
    job = cloud.job(attempt_deadline=seconds(60))
    move_to(cloud, job.schedule_time)
    cloud.worker.wait_for(1)
    cloud.clock.advance(55)
    assert cloud.worker.quiet_count() == 1
    assert cloud.service.jobs()[0]["running"] == 1
    cloud.clock.advance(5.1)
    cloud.idle()
    assert cloud.client.get_job(name=J1).status.code == 4
    release.set()


def test_two_executions_of_a_job_never_overlap(cloud: SchedulerUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 200 + 0 * release.wait(5)
    planned = cloud.job(schedule="* * * * *", attempt_deadline=seconds(1800)).schedule_time
    move_to(cloud, planned)
    cloud.worker.wait_for(1)
    move_to(cloud, planned + timedelta(minutes=5))
    cloud.service.poke()
    assert cloud.worker.quiet_count() == 1
    release.set()
    second = cloud.worker.wait_for(2)[1]  # the delayed one starts when the first has ended
    assert second.headers["x-cloudscheduler-scheduletime"] == header_time(planned + timedelta(minutes=1))
    cloud.idle()
    assert cloud.worker.quiet_count() == 2


def test_a_forced_run_carries_the_next_planned_time_which_still_fires(cloud: SchedulerUnderTest) -> None:
    planned = cloud.job().schedule_time
    cloud.client.run_job(name=J1)
    [forced] = cloud.worker.wait_for(1)
    assert forced.headers["x-cloudscheduler-scheduletime"] == header_time(planned)
    cloud.idle()
    assert cloud.client.get_job(name=J1).schedule_time == planned
    move_to(cloud, planned)
    assert cloud.worker.wait_for(2)[1].headers["x-cloudscheduler-scheduletime"] == header_time(planned)


def test_a_forced_run_goes_out_while_another_runs_and_while_paused(cloud: SchedulerUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 200 + 0 * release.wait(5)
    cloud.job()
    cloud.client.run_job(name=J1)
    cloud.worker.wait_for(1)
    cloud.client.run_job(name=J1)
    cloud.worker.wait_for(2)
    release.set()
    cloud.idle()
    cloud.client.pause_job(name=J1)
    cloud.client.run_job(name=J1)
    cloud.worker.wait_for(3)
    cloud.idle()
    assert cloud.client.get_job(name=J1).state == scheduler_v1.Job.State.PAUSED


def test_a_paused_job_does_not_fire_and_makes_nothing_up_when_resumed(cloud: SchedulerUnderTest) -> None:
    planned = cloud.job(schedule="0 * * * *").schedule_time
    cloud.client.pause_job(name=J1)
    move_to(cloud, planned + timedelta(hours=2))
    cloud.service.poke()
    assert cloud.worker.quiet_count() == 0
    assert cloud.client.resume_job(name=J1).schedule_time == planned + timedelta(hours=3)
    assert cloud.worker.quiet_count() == 0
    move_to(cloud, planned + timedelta(hours=3))
    cloud.worker.wait_for(1)


def test_a_changed_schedule_is_followed_and_the_old_one_is_not(cloud: SchedulerUnderTest) -> None:
    planned = cloud.job().schedule_time
    changes = {"name": J1, "schedule": "0 7 * * *"}
    cloud.client.update_job(job=changes, update_mask=field_mask_pb2.FieldMask(paths=["schedule"]))
    move_to(cloud, planned)
    assert cloud.worker.quiet_count() == 0
    move_to(cloud, planned + timedelta(hours=1))
    cloud.worker.wait_for(1)


def test_the_oidc_token_names_the_account_and_the_uri(cloud: SchedulerUnderTest) -> None:
    email = "bi-scheduler@local-project.iam.gserviceaccount.com"
    cloud.job(http_target={"oidc_token": {"service_account_email": email}})
    cloud.client.run_job(name=J1)
    token = cloud.worker.wait_for(1)[0].headers["authorization"].removeprefix("Bearer ")
    claims = id_token.verify_oauth2_token(token, fetching(cloud.signer), audience=f"{cloud.worker.url}/tick")
    assert claims["email"] == email


def test_nothing_is_sent_beyond_loopback(cloud: SchedulerUnderTest) -> None:
    cloud.job(http_target={"uri": "https://example.com/"})
    cloud.client.run_job(name=J1)
    eventually(lambda: len(cloud.service.attempts) == 1)
    cloud.idle()
    status = cloud.client.get_job(name=J1).status
    assert status.code == 7
    assert "not loopback" in status.message


def test_what_was_missed_while_down_is_skipped_and_the_next_one_fires(cloud: SchedulerUnderTest) -> None:
    planned = cloud.job(schedule="0 * * * *").schedule_time
    cloud.stop()
    move_to(cloud, planned + timedelta(hours=2, minutes=30))
    cloud.start()
    assert cloud.worker.quiet_count() == 0
    assert cloud.client.get_job(name=J1).schedule_time == planned + timedelta(hours=3)
    move_to(cloud, planned + timedelta(hours=3))
    [received] = cloud.worker.wait_for(1)
    assert received.headers["x-cloudscheduler-scheduletime"] == header_time(planned + timedelta(hours=3))


def test_an_attempt_that_a_restart_interrupted_is_sent_again(cloud: SchedulerUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 200 + 0 * release.wait(5)
    planned = cloud.job().schedule_time
    move_to(cloud, planned)
    cloud.worker.wait_for(1)
    cloud.stop()
    release.set()
    cloud.start()
    again = cloud.worker.wait_for(2)[1]
    assert again.headers["x-cloudscheduler-scheduletime"] == header_time(planned)
    cloud.idle()
    assert cloud.worker.quiet_count() == 2


def test_copies_and_hold_change_the_delivery(cloud: SchedulerUnderTest) -> None:
    cloud.service.delivery.copies, cloud.service.delivery.hold = 2, True
    planned = cloud.job(schedule="0 * * * *").schedule_time
    move_to(cloud, planned + timedelta(hours=2))
    assert cloud.worker.quiet_count() == 0
    cloud.service.delivery.hold = False
    cloud.service.poke()
    cloud.worker.wait_for(2)
    cloud.idle()
    assert cloud.worker.quiet_count() == 2
