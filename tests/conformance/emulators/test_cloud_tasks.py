"""Cloud Tasks: queues and tasks as the real client sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2
from google.protobuf import duration_pb2, field_mask_pb2

from tests.conformance.emulators.dispatch_support import LOCATION, TasksUnderTest

Q1 = f"{LOCATION}/queues/q1"
FULL = tasks_v2.Task.View.FULL


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TasksUnderTest]:
    cloud = TasksUnderTest(tmp_path)
    yield cloud
    cloud.close()


@pytest.fixture
def paused(cloud: TasksUnderTest) -> str:
    queue = cloud.queue()
    cloud.client.pause_queue(name=queue)
    return queue


def test_a_new_queue_has_the_vendors_defaults(cloud: TasksUnderTest) -> None:
    queue = cloud.client.create_queue(parent=LOCATION, queue={"name": Q1})
    assert queue.state == tasks_v2.Queue.State.RUNNING
    assert queue.rate_limits.max_dispatches_per_second == 500
    assert queue.rate_limits.max_burst_size == 100
    assert queue.rate_limits.max_concurrent_dispatches == 1000
    assert queue.retry_config.max_attempts == 100
    assert queue.retry_config.min_backoff == timedelta(seconds=0.1)
    assert queue.retry_config.max_backoff == timedelta(hours=1)
    assert queue.retry_config.max_doublings == 16
    assert cloud.client.get_queue(name=Q1) == queue


def test_a_queue_that_exists_is_not_created_again(cloud: TasksUnderTest) -> None:
    cloud.queue()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.queue()


@pytest.mark.parametrize(
    "fields",
    [
        {"rate_limits": {"max_dispatches_per_second": 501}},
        {"rate_limits": {"max_dispatches_per_second": -1}},
        {"rate_limits": {"max_concurrent_dispatches": 5001}},
        {"retry_config": {"max_attempts": -2}},
        {
            "retry_config": {
                "min_backoff": duration_pb2.Duration(seconds=20),
                "max_backoff": duration_pb2.Duration(seconds=10),
            }
        },
        {"retry_config": {"max_retry_duration": duration_pb2.Duration(seconds=-1)}},
        {"name": f"{LOCATION}/queues/not_a_queue_id"},
        {"name": "projects/p2/locations/us-central1/queues/q1"},
    ],
)
def test_a_queue_outside_the_limits_is_an_invalid_argument(cloud: TasksUnderTest, fields: dict[str, object]) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.create_queue(parent=LOCATION, queue={"name": Q1, **fields})


def test_what_is_not_imitated_is_refused_by_name(cloud: TasksUnderTest) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="http_target"):
        cloud.queue(http_target={"http_method": "POST"})
    queue = cloud.queue()
    with pytest.raises(exceptions.MethodNotImplemented, match="App Engine"):
        cloud.client.create_task(parent=queue, task={"app_engine_http_request": {"relative_uri": "/x"}})
    with pytest.raises(exceptions.MethodNotImplemented, match="oauth_token"):
        cloud.task(queue, http_request={"oauth_token": {"service_account_email": "a@b.c"}})
    with pytest.raises(exceptions.MethodNotImplemented):
        cloud.client.get_iam_policy(request={"resource": queue})


def test_update_with_a_mask_changes_only_the_named_fields(cloud: TasksUnderTest) -> None:
    cloud.queue(retry_config={"max_attempts": 7}, rate_limits={"max_dispatches_per_second": 20})
    changed = cloud.client.update_queue(
        queue={"name": Q1, "rate_limits": {"max_dispatches_per_second": 3}, "retry_config": {"max_attempts": 1}},
        update_mask=field_mask_pb2.FieldMask(paths=["rate_limits.max_dispatches_per_second"]),
    )
    assert changed.rate_limits.max_dispatches_per_second == 3
    assert changed.rate_limits.max_burst_size == 3
    assert changed.retry_config.max_attempts == 7


def test_update_without_a_mask_replaces_the_settings_but_not_the_state(cloud: TasksUnderTest, paused: str) -> None:
    changed = cloud.client.update_queue(queue={"name": paused, "retry_config": {"max_attempts": 4}})
    assert changed.retry_config.max_attempts == 4
    assert changed.rate_limits.max_dispatches_per_second == 500
    assert changed.state == tasks_v2.Queue.State.PAUSED


def test_update_creates_a_missing_queue_and_refuses_an_unknown_field(cloud: TasksUnderTest) -> None:
    assert cloud.client.update_queue(queue={"name": Q1}).state == tasks_v2.Queue.State.RUNNING
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.update_queue(queue={"name": Q1}, update_mask=field_mask_pb2.FieldMask(paths=["speed"]))


def test_lists_go_page_by_page_and_only_through_their_parent(cloud: TasksUnderTest) -> None:
    for queue_id in ("c", "a", "b"):
        cloud.queue(queue_id)
    cloud.client.create_queue(
        parent="projects/p1/locations/europe-west1", queue={"name": "projects/p1/locations/europe-west1/queues/d"}
    )
    pages = list(cloud.client.list_queues(request={"parent": LOCATION, "page_size": 2}).pages)
    assert [[queue.name[-1] for queue in page.queues] for page in pages] == [["a", "b"], ["c"]]
    with pytest.raises(exceptions.InvalidArgument):
        list(cloud.client.list_queues(request={"parent": LOCATION, "page_token": "é"}))


@pytest.mark.parametrize("method", ["get_queue", "delete_queue", "pause_queue", "resume_queue", "purge_queue"])
def test_a_missing_queue_is_not_found(cloud: TasksUnderTest, method: str) -> None:
    with pytest.raises(exceptions.NotFound, match="Queue does not exist"):
        getattr(cloud.client, method)(name=Q1)


def test_tasks_of_a_missing_queue_are_not_found(cloud: TasksUnderTest) -> None:
    with pytest.raises(exceptions.NotFound):
        cloud.task(Q1)
    with pytest.raises(exceptions.NotFound):
        list(cloud.client.list_tasks(parent=Q1))


def test_a_deleted_queue_takes_its_tasks_with_it(cloud: TasksUnderTest, paused: str) -> None:
    cloud.task(paused, "t1")
    cloud.client.delete_queue(name=paused)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_queue(name=paused)
    cloud.queue()
    assert list(cloud.client.list_tasks(parent=paused)) == []
    assert cloud.worker.quiet_count() == 0


def test_basic_view_leaves_the_body_out_and_full_has_it(cloud: TasksUnderTest, paused: str) -> None:
    created = cloud.task(paused, "t1", http_request={"body": b"secret"})
    assert created.http_request.body == b""
    assert created.view == tasks_v2.Task.View.BASIC
    assert cloud.client.get_task(name=created.name).http_request.body == b""
    full = cloud.client.get_task(request={"name": created.name, "response_view": FULL})
    assert full.http_request.body == b"secret"
    assert full.view == FULL
    listed = list(cloud.client.list_tasks(request={"parent": paused, "response_view": FULL}))
    assert [task.http_request.body for task in listed] == [b"secret"]


def test_a_new_task_shows_its_defaults(cloud: TasksUnderTest, paused: str) -> None:
    before = cloud.clock.now()
    task = cloud.task(paused)
    assert task.name.startswith(f"{paused}/tasks/")
    assert task.http_request.http_method == tasks_v2.HttpMethod.POST
    assert task.dispatch_deadline == timedelta(minutes=10)
    assert before - timedelta(milliseconds=1) <= task.schedule_time <= cloud.clock.now()
    assert task.create_time.microsecond == 0
    assert (task.dispatch_count, task.response_count) == (0, 0)


def test_tasks_are_listed_in_pages(cloud: TasksUnderTest, paused: str) -> None:
    for number in range(5):
        cloud.task(paused, f"t{number}")
    pages = list(cloud.client.list_tasks(request={"parent": paused, "page_size": 2}).pages)
    assert [[task.name[-2:] for task in page.tasks] for page in pages] == [["t0", "t1"], ["t2", "t3"], ["t4"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"http_request": {"url": "ftp://127.0.0.1/x"}},
        {"http_request": {"url": "127.0.0.1/x"}},
        {"http_request": {"url": "http://[::1/x"}},
        {"http_request": {"url": "http://127.0.0.1:99999/x"}},
        {"http_request": {"url": "http://127.0.0.1/" + "x" * 2083}},
        {"http_request": {"http_method": "GET", "body": b"x"}},
        {"http_request": {"headers": {"X-Large": "x" * 81920}}},
        {"http_request": {"oidc_token": {"service_account_email": "nobody"}}},
        {"http_request": {"body": b"x" * 1024 * 1024}},
        {"dispatch_deadline": duration_pb2.Duration(seconds=14)},
        {"dispatch_deadline": duration_pb2.Duration(seconds=1801)},
        {"name": f"{LOCATION}/queues/q2/tasks/t1"},
        {"name": f"{Q1}/tasks/a b"},
        {"name": f"{Q1}/tasks/" + "x" * 501},
    ],
)
def test_a_task_outside_the_limits_is_an_invalid_argument(
    cloud: TasksUnderTest, paused: str, fields: dict[str, object]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        cloud.task(paused, **fields)


def test_a_task_of_nearly_a_megabyte_is_accepted(cloud: TasksUnderTest) -> None:
    cloud.task(cloud.queue(), http_request={"body": b"x" * 1_000_000})
    assert len(cloud.worker.wait_for(1)[0].body) == 1_000_000


def test_a_task_can_be_scheduled_thirty_days_ahead_and_not_further(cloud: TasksUnderTest, paused: str) -> None:
    cloud.task(paused, schedule_time=cloud.clock.now() + timedelta(days=29, hours=23))
    with pytest.raises(exceptions.InvalidArgument, match="30 days"):
        cloud.task(paused, schedule_time=cloud.clock.now() + timedelta(days=30, minutes=1))


def test_a_pending_name_is_taken(cloud: TasksUnderTest, paused: str) -> None:
    cloud.task(paused, "t1")
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(paused, "t1")
    assert len(list(cloud.client.list_tasks(parent=paused))) == 1


def test_the_name_of_a_task_that_ran_is_kept_for_an_hour(cloud: TasksUnderTest) -> None:
    queue = cloud.queue()
    name = cloud.task(queue, "t1").name
    cloud.worker.wait_for(1)
    while list(cloud.client.list_tasks(parent=queue)):
        time.sleep(0.01)  # the answer is on its way to the queue; the hour begins when it is there
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, "t1")
    cloud.clock.advance(59 * 60)
    with pytest.raises(exceptions.AlreadyExists, match="existed too recently"):
        cloud.task(queue, "t1")
    with pytest.raises(exceptions.NotFound, match="existed recently"):
        cloud.client.get_task(name=name)
    cloud.clock.advance(61)
    cloud.task(queue, "t1")
    assert len(cloud.worker.wait_for(2)) == 2


def test_the_name_of_a_deleted_task_is_kept_for_an_hour(cloud: TasksUnderTest, paused: str) -> None:
    name = cloud.task(paused, "t1").name
    cloud.client.delete_task(name=name)
    with pytest.raises(exceptions.NotFound):
        cloud.client.delete_task(name=name)
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(paused, "t1")
    cloud.clock.advance(3601)
    assert cloud.task(paused, "t1").name == name


def test_a_purged_queue_is_empty_and_keeps_the_names(cloud: TasksUnderTest, paused: str) -> None:
    cloud.task(paused, "t1")
    cloud.task(paused, schedule_time=cloud.clock.now() + timedelta(days=1))
    assert cloud.client.purge_queue(name=paused).purge_time <= cloud.clock.now()
    assert list(cloud.client.list_tasks(parent=paused)) == []
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(paused, "t1")
    cloud.client.resume_queue(name=paused)
    assert cloud.worker.quiet_count() == 0


def test_a_task_that_never_was_is_not_found(cloud: TasksUnderTest, paused: str) -> None:
    for method in (cloud.client.get_task, cloud.client.delete_task, cloud.client.run_task):
        with pytest.raises(exceptions.NotFound, match="Requested entity was not found"):
            method(name=f"{paused}/tasks/none")
