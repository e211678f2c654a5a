"""Cloud Tasks: what really reaches the worker, when, and what follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2
from google.protobuf import duration_pb2

from tests.conformance.emulators.dispatch_support import Received, TasksUnderTest, eventually
from tests.conformance.emulators.test_identity import fetching


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TasksUnderTest]:
    cloud = TasksUnderTest(tmp_path)
    yield cloud
    cloud.close()


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


def retrying(cloud: TasksUnderTest, **retry: object) -> str:
    return cloud.queue(retry_config=retry)


def test_a_task_arrives_with_its_method_headers_and_body(cloud: TasksUnderTest) -> None:
    request = {
        "http_method": "PUT",
        "url": f"{cloud.worker.url}/jobs/1:run?attempt=a%20b",
        "headers": {
            "Content-Type": "application/json",
            "X-Trace": "t",
            "User-Agent": "mine",
            "X-CloudTasks-TaskName": "no",
        },
        "body": b'{"n": 1}',
    }
    task = cloud.task(cloud.queue(), "t1", http_request=request)
    [received] = cloud.worker.wait_for(1)
    assert (received.method, received.path, received.body) == ("PUT", "/jobs/1:run?attempt=a%20b", b'{"n": 1}')
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-trace"] == "t"
    assert received.headers["user-agent"] == "Google-Cloud-Tasks"
    assert received.headers["x-cloudtasks-queuename"] == "q1"
    assert received.headers["x-cloudtasks-taskname"] == "t1"
    assert received.headers["x-cloudtasks-taskretrycount"] == "0"
    assert received.headers["x-cloudtasks-taskexecutioncount"] == "0"
    assert float(received.headers["x-cloudtasks-tasketa"]) == pytest.approx(task.schedule_time.timestamp(), abs=1e-3)
    assert "x-cloudtasks-taskpreviousresponse" not in received.headers
    assert "authorization" not in received.headers


def test_any_2xx_is_done_and_the_task_is_gone(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 204
    queue = cloud.queue()
    cloud.task(queue)
    cloud.worker.wait_for(1)
    eventually(lambda: not list(cloud.client.list_tasks(parent=queue)))
    cloud.clock.advance(7200)
    assert cloud.worker.quiet_count() == 1


def test_the_oidc_token_names_the_account_and_the_url(cloud: TasksUnderTest) -> None:
    from google.oauth2 import id_token

    email = "bi-tasks@local-project.iam.gserviceaccount.com"
    request = {"oidc_token": {"service_account_email": email}, "headers": {"Authorization": "Basic mine"}}
    cloud.clock.advance(86400)  # tokens are dated with the real time, or no function could check them
    cloud.task(cloud.queue(), http_request=request)
    [received] = cloud.worker.wait_for(1)
    kind, token = received.headers["authorization"].split()
    assert kind == "Bearer"
    claims = id_token.verify_oauth2_token(token, fetching(cloud.signer), audience=f"{cloud.worker.url}/work")
    assert claims["email"] == email


def test_the_oidc_audience_can_be_chosen(cloud: TasksUnderTest) -> None:
    from google.oauth2 import id_token

    token = {"service_account_email": "a@p1.iam.gserviceaccount.com", "audience": "https://worker.example"}
    cloud.task(cloud.queue(), http_request={"oidc_token": token})
    bearer = cloud.worker.wait_for(1)[0].headers["authorization"].removeprefix("Bearer ")
    assert id_token.verify_token(bearer, fetching(cloud.signer))["aud"] == "https://worker.example"


def test_a_scheduled_task_waits_for_its_time(cloud: TasksUnderTest) -> None:
    at = cloud.clock.now() + timedelta(hours=1)
    cloud.task(cloud.queue(), schedule_time=at)
    cloud.clock.advance(3590)
    assert cloud.worker.quiet_count() == 0
    cloud.clock.advance(11)
    [received] = cloud.worker.wait_for(1)
    assert float(received.headers["x-cloudtasks-tasketa"]) == pytest.approx(at.timestamp(), abs=1e-3)


def test_backoff_doubles_then_grows_linearly_then_stays(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    queue = retrying(cloud, min_backoff=seconds(10), max_backoff=seconds(300), max_doublings=3)
    name = cloud.task(queue, "t1").name
    gaps = []
    for attempt in range(1, 9):
        cloud.worker.wait_for(attempt)
        task = cloud.settled(name, attempt)
        gaps.append(round((task.schedule_time - task.last_attempt.response_time).total_seconds(), 3))
        cloud.clock.advance(gaps[-1] - 4)
        assert len(cloud.worker.received) == attempt, "retried too early"
        if attempt in (1, 7):
            assert cloud.worker.quiet_count() == attempt
        cloud.clock.advance(4.01)
    assert gaps == [10, 20, 40, 80, 160, 240, 300, 300]


def test_a_failed_attempt_is_recorded_and_counted(cloud: TasksUnderTest) -> None:
    answers = iter([503, 404, 400])
    cloud.worker.respond = lambda request: next(answers)
    name = cloud.task(retrying(cloud, min_backoff=seconds(10), max_backoff=seconds(10)), "t1").name
    first = cloud.settled(name, 1)
    assert (first.dispatch_count, first.response_count) == (1, 1)
    assert first.last_attempt.response_status.code == 14
    assert first.last_attempt.response_status.message == "UNAVAILABLE(14): HTTP status code 503"
    assert first.first_attempt.dispatch_time == first.last_attempt.dispatch_time
    cloud.clock.advance(11)
    cloud.settled(name, 2)
    cloud.clock.advance(11)
    third = cloud.worker.wait_for(3)[2]
    assert third.headers["x-cloudtasks-taskretrycount"] == "2"
    assert third.headers["x-cloudtasks-taskexecutioncount"] == "1"  # a 5xx is no execution
    assert third.headers["x-cloudtasks-taskpreviousresponse"] == "404"
    assert cloud.settled(name, 3).last_attempt.response_status.code == 3


def test_a_task_is_dropped_after_max_attempts(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    queue = retrying(cloud, max_attempts=3, min_backoff=seconds(1), max_backoff=seconds(1))
    name = cloud.task(queue, "t1").name
    for attempt in (1, 2):
        cloud.settled(name, attempt)
        cloud.clock.advance(1.1)
    cloud.worker.wait_for(3)
    eventually(lambda: cloud.service.pending() == [])
    cloud.clock.advance(100)
    assert cloud.worker.quiet_count() == 3
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, "t1")


def test_with_both_limits_attempts_go_on_until_both_are_reached(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    retry = {
        "max_attempts": 2,
        "max_retry_duration": seconds(100),
        "min_backoff": seconds(40),
        "max_backoff": seconds(40),
    }
    name = cloud.task(retrying(cloud, **retry), "t1").name
    for attempt in (1, 2, 3):
        cloud.settled(name, attempt)
        cloud.clock.advance(40.1)
    cloud.worker.wait_for(4)  # at 0, 40, 80 and 120 s: the last one is beyond both limits
    eventually(lambda: cloud.service.pending() == [])


def test_unlimited_attempts_end_with_the_retry_duration(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    retry = {
        "max_attempts": -1,
        "max_retry_duration": seconds(15),
        "min_backoff": seconds(10),
        "max_backoff": seconds(10),
    }
    name = cloud.task(retrying(cloud, **retry), "t1").name
    for attempt in (1, 2):
        cloud.settled(name, attempt)
        cloud.clock.advance(10.1)
    cloud.worker.wait_for(3)
    eventually(lambda: cloud.service.pending() == [])


def test_a_tasks_own_retry_config_goes_before_the_queues(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    cloud.task(cloud.queue(), retry_config={"max_attempts": 1})
    cloud.worker.wait_for(1)
    eventually(lambda: cloud.service.pending() == [])


def test_a_redirect_is_a_failure_and_is_not_followed(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: (302, {"Location": f"{cloud.worker.url}/elsewhere"})
    name = cloud.task(retrying(cloud, min_backoff=seconds(60), max_backoff=seconds(60)), "t1").name
    assert cloud.settled(name, 1).response_count == 1
    assert [request.path for request in cloud.worker.received] == ["/work"]


def test_a_worker_that_is_down_is_tried_again(cloud: TasksUnderTest) -> None:
    queue = retrying(cloud, min_backoff=seconds(5), max_backoff=seconds(5))
    cloud.worker.close()
    name = cloud.task(queue, "t1").name
    task = cloud.settled(name, 1)
    assert (task.dispatch_count, task.response_count) == (1, 0)
    assert task.last_attempt.response_status.code == 14


@pytest.mark.parametrize("url", ["http://example.com/x", "https://10.0.0.1/x", "http://127.0.0.1.example.com/x"])
def test_nothing_is_sent_beyond_loopback(cloud: TasksUnderTest, url: str) -> None:
    name = cloud.task(cloud.queue(retry_config={"min_backoff": seconds(60)}), "t1", http_request={"url": url}).name
    task = cloud.settled(name, 1)
    assert task.last_attempt.response_status.code == 7
    assert "not loopback" in task.last_attempt.response_status.message


def test_an_attempt_beyond_its_deadline_is_cut_and_retried(cloud: TasksUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 200 if release.wait(5) else 500
    queue = retrying(cloud, min_backoff=seconds(10), max_backoff=seconds(10))
    name = cloud.task(queue, "t1", dispatch_deadline=seconds(60)).name
    cloud.worker.wait_for(1)
    cloud.clock.advance(55)
    assert cloud.worker.quiet_count() == 1
    assert cloud.client.get_task(name=name).last_attempt.response_status.code == 0
    cloud.clock.advance(5.1)
    task = cloud.settled(name, 1)
    assert task.last_attempt.response_status.code == 4
    release.set()
    cloud.clock.advance(10.1)
    cloud.worker.wait_for(2)
    eventually(lambda: cloud.service.pending() == [])


def test_a_paused_queue_takes_tasks_and_sends_them_when_resumed(cloud: TasksUnderTest) -> None:
    queue = cloud.queue()
    assert cloud.client.pause_queue(name=queue).state == tasks_v2.Queue.State.PAUSED
    cloud.task(queue)
    assert cloud.worker.quiet_count() == 0
    assert cloud.client.resume_queue(name=queue).state == tasks_v2.Queue.State.RUNNING
    cloud.worker.wait_for(1)


def test_run_task_sends_at_once_on_a_paused_queue_and_before_its_time(cloud: TasksUnderTest) -> None:
    queue = cloud.queue()
    cloud.client.pause_queue(name=queue)
    name = cloud.task(queue, "t1", schedule_time=cloud.clock.now() + timedelta(days=1)).name
    assert cloud.client.run_task(name=name).name == name
    cloud.worker.wait_for(1)
    eventually(lambda: cloud.service.pending() == [])
    with pytest.raises(exceptions.NotFound):
        cloud.client.run_task(name=name)


def test_the_rate_limit_holds_on_the_clock(cloud: TasksUnderTest) -> None:
    queue = cloud.queue(rate_limits={"max_dispatches_per_second": 0.01})  # a burst of 1, then one in 100 s
    for _ in range(4):
        cloud.task(queue)
    cloud.worker.wait_for(1)
    assert cloud.worker.quiet_count() == 1
    cloud.clock.advance(94)
    assert cloud.worker.quiet_count() == 1
    cloud.clock.advance(6)
    cloud.worker.wait_for(2)
    cloud.clock.advance(1000)  # an idle bucket holds no more than the burst
    cloud.worker.wait_for(3)
    assert cloud.worker.quiet_count() == 3


def test_the_rate_limit_holds_in_real_time(cloud: TasksUnderTest) -> None:
    queue = cloud.queue(rate_limits={"max_dispatches_per_second": 20})
    cloud.client.pause_queue(name=queue)
    for _ in range(30):
        cloud.task(queue)
    started = time.monotonic()
    cloud.client.resume_queue(name=queue)
    cloud.worker.wait_for(30)
    assert time.monotonic() - started >= 0.4  # a burst of 20, then 10 more at 20/s


def test_no_more_than_the_concurrent_dispatches_are_under_way(cloud: TasksUnderTest) -> None:
    release, lock, now_running, most = threading.Event(), threading.Lock(), [0], [0]

    def respond(request: Received) -> int:
        with lock:
            now_running[0] += 1
            most[0] = max(most[0], now_running[0])
        release.wait(5)
        with lock:
            now_running[0] -= 1
        return 200

    cloud.worker.respond = respond
    queue = cloud.queue(rate_limits={"max_concurrent_dispatches": 3})
    for _ in range(8):
        cloud.task(queue)
    cloud.worker.wait_for(3)
    assert cloud.worker.quiet_count() == 3
    release.set()
    cloud.worker.wait_for(8)
    eventually(lambda: cloud.service.pending() == [])
    assert most[0] == 3


def test_a_task_deleted_while_it_runs_is_not_retried(cloud: TasksUnderTest) -> None:
    release = threading.Event()
    cloud.worker.respond = lambda request: 500 + release.wait(5)
    name = cloud.task(retrying(cloud, min_backoff=seconds(1), max_backoff=seconds(1)), "t1").name
    cloud.worker.wait_for(1)
    cloud.client.delete_task(name=name)
    release.set()
    cloud.clock.advance(5)
    assert cloud.worker.quiet_count() == 1


def test_a_task_older_than_31_days_is_dropped(cloud: TasksUnderTest) -> None:
    cloud.worker.respond = lambda request: 500
    name = cloud.task(retrying(cloud, max_attempts=-1), "t1", schedule_time=cloud.clock.now() + timedelta(days=29)).name
    cloud.clock.advance(timedelta(days=29, minutes=1).total_seconds())
    cloud.settled(name, 1)
    cloud.clock.advance(timedelta(days=2).total_seconds())
    eventually(lambda: cloud.service.pending() == [])


def test_copies_deliver_each_attempt_several_times(cloud: TasksUnderTest) -> None:
    cloud.service.delivery.copies = 3
    cloud.task(cloud.queue(), "t1")
    names = [request.headers["x-cloudtasks-taskname"] for request in cloud.worker.wait_for(3)]
    assert names == ["t1", "t1", "t1"]
    eventually(lambda: cloud.service.pending() == [])
    assert cloud.worker.quiet_count() == 3


def test_more_copies_than_sender_threads_all_arrive(cloud: TasksUnderTest) -> None:
    cloud.service.delivery.copies = 20
    cloud.worker.respond = lambda request: 200 + 0 * int(time.sleep(0.01) or 0)
    queue = cloud.queue()
    for _ in range(10):
        cloud.task(queue)
    assert len(cloud.worker.wait_for(200)) == 200
    eventually(lambda: cloud.service.pending() == [])


def test_hold_keeps_deliveries_back_until_released(cloud: TasksUnderTest) -> None:
    cloud.service.delivery.hold = True
    cloud.task(cloud.queue())
    assert cloud.worker.quiet_count() == 0
    cloud.service.delivery.hold = False
    cloud.service.poke()
    cloud.worker.wait_for(1)


def test_a_task_is_dispatched_soon_after_it_is_created(cloud: TasksUnderTest) -> None:
    queue = cloud.queue()
    cloud.task(queue)
    cloud.worker.wait_for(1)
    started = datetime.now(UTC)
    cloud.task(queue)
    cloud.worker.wait_for(2)
    assert (datetime.now(UTC) - started).total_seconds() < 0.5
