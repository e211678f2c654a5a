"""The methods of google.cloud.tasks.v2.CloudTasks; requests and replies are raw protobuf messages.

Methods that are not here answer UNIMPLEMENTED (IAM, CMEK, the batch methods).
"""

from __future__ import annotations

import secrets
from typing import Any

from google.cloud.tasks_v2 import types
from google.protobuf import empty_pb2

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_tasks import rules
from infra.local.emulators.cloud_tasks.dispatcher import TaskDispatcher
from infra.local.emulators.cloud_tasks.store import QUEUE, Store, StoredTask
from infra.local.emulators.dispatch import to_us
from infra.local.emulators.grpc_server import RpcError
from infra.local.emulators.protobuf import merge, page_of, token_after

MAX_QUEUES_A_PAGE = 9800
MAX_TASKS_A_PAGE = 1000
_RUNNING, _PAUSED = types.Queue.State.RUNNING, types.Queue.State.PAUSED
_OUTPUT_ONLY = ("state", "purge_time")
_NO_QUEUE = "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize."
_NO_TASK = "Requested entity was not found."
_TASK_GONE = (
    "The task no longer exists, though a task with this name existed recently. "
    "The task either successfully completed or was deleted."
)
_NAME_KEPT = "The task cannot be created because a task with this name existed too recently."
_NAME_TAKEN = "Requested entity already exists"


class CloudTasksApi:
    """RPC methods; the caller holds the service's lock around each."""

    def __init__(self, store: Store, dispatcher: TaskDispatcher, clock: Clock) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock

    def CreateQueue(self, request: Any) -> Any:
        rules.check_location(request.parent)
        queue = request.queue
        if not rules.check_queue_name(queue.name).startswith(f"{request.parent}/queues/"):
            raise RpcError("INVALID_ARGUMENT", f"Queue.name {queue.name!r} must be in the parent {request.parent!r}")
        if self._store.queue(queue.name) is not None:
            raise RpcError("ALREADY_EXISTS", "Queue already exists")
        return self._new_queue(queue)

    def UpdateQueue(self, request: Any) -> Any:
        """Change a queue, or create it if it does not exist (as the vendor does)."""
        stored = self._store.queue(rules.check_queue_name(request.queue.name))
        if stored is None:
            return self._new_queue(request.queue)
        paths = [path for path in request.update_mask.paths if path.split(".")[0] not in ("name", *_OUTPUT_ONLY)]
        if request.update_mask.paths:
            merge(paths, request.queue, stored)
        else:
            kept = {name: getattr(stored, name) for name in _OUTPUT_ONLY if name == "state" or stored.HasField(name)}
            stored = QUEUE(name=request.queue.name, **kept)
            merge(("rate_limits", "retry_config", "stackdriver_logging_config"), request.queue, stored)
            _copy_unimitated(request.queue, stored)
            rules.fill_queue(stored)
        rules.check_queue(stored)
        return self._put(stored)

    def GetQueue(self, request: Any) -> Any:
        return self._queue(request.name)

    def ListQueues(self, request: Any) -> Any:
        rules.check_location(request.parent)
        if request.filter:
            raise RpcError("UNIMPLEMENTED", "ListQueues.filter is not imitated by the local Cloud Tasks emulator")
        size, after = page_of(request, MAX_QUEUES_A_PAGE)
        found = self._store.queues(request.parent, after, size + 1)
        return types.ListQueuesResponse.pb()(
            queues=found[:size], next_page_token=token_after(found[size - 1].name) if len(found) > size else ""
        )

    def DeleteQueue(self, request: Any) -> Any:
        self._queue(request.name)
        with self._store.transaction():
            self._store.delete_queue(request.name)
        self._dispatcher.forget(request.name)
        return empty_pb2.Empty()

    def PurgeQueue(self, request: Any) -> Any:
        queue, now = self._queue(request.name), self._clock.now()
        queue.purge_time.FromDatetime(now)
        with self._store.transaction():
            self._store.purge(request.name, to_us(now + rules.NAME_KEPT))
            return self._put(queue)

    def PauseQueue(self, request: Any) -> Any:
        queue = self._queue(request.name)
        queue.state = _PAUSED
        return self._put(queue)

    def ResumeQueue(self, request: Any) -> Any:
        queue = self._queue(request.name)
        queue.state = _RUNNING
        return self._put(queue)

    def CreateTask(self, request: Any) -> Any:
        self._queue(request.parent)
        task, now = request.task, self._clock.now()
        rules.check_new_task(task, request.parent, now)
        with self._store.transaction():
            if not task.name:
                task.name = f"{request.parent}/tasks/{secrets.randbits(63)}"
            elif self._store.task(task.name) is not None:
                raise RpcError("ALREADY_EXISTS", _NAME_TAKEN)
            elif self._store.is_name_kept(task.name, to_us(now)):
                raise RpcError("ALREADY_EXISTS", _NAME_KEPT)
            self._store.add(task, request.parent)
        self._dispatcher.poke()
        return view(task, request.response_view)

    def GetTask(self, request: Any) -> Any:
        return view(self._task(request.name).message, request.response_view)

    def ListTasks(self, request: Any) -> Any:
        self._queue(request.parent)
        size, after = page_of(request, MAX_TASKS_A_PAGE)
        found = [task.message for task in self._store.tasks(request.parent, after, size + 1)]
        token = token_after(found[size - 1].name) if len(found) > size else ""
        tasks = [view(task, request.response_view) for task in found[:size]]
        return types.ListTasksResponse.pb()(tasks=tasks, next_page_token=token)

    def DeleteTask(self, request: Any) -> Any:
        self._task(request.name)
        with self._store.transaction():
            self._store.remove(request.name, to_us(self._clock.now() + rules.NAME_KEPT))
        return empty_pb2.Empty()

    def RunTask(self, request: Any) -> Any:
        """Have a task sent at once, whatever its schedule time, its queue's limits or an attempt under way."""
        task = self._task(request.name)
        task.forced = True
        self._store.save(task)
        self._dispatcher.poke()
        return view(task.message, request.response_view)

    def _new_queue(self, queue: Any) -> Any:
        queue.ClearField("purge_time")
        queue.state = _RUNNING
        rules.fill_queue(queue)
        rules.check_queue(queue)
        return self._put(queue)

    def _put(self, queue: Any) -> Any:
        self._store.put_queue(queue)
        self._dispatcher.poke()
        return queue

    def _queue(self, name: str) -> Any:
        queue = self._store.queue(rules.check_queue_name(name))
        if queue is None:
            raise RpcError("NOT_FOUND", _NO_QUEUE)
        return queue

    def _task(self, name: str) -> StoredTask:
        self._queue(rules.check_task_name(name).rpartition("/tasks/")[0])
        task = self._store.task(name)
        if task is None:
            is_gone = self._store.is_name_kept(name, to_us(self._clock.now()))
            raise RpcError("NOT_FOUND", _TASK_GONE if is_gone else _NO_TASK)
        return task


def view(task: Any, wanted: int) -> Any:
    """A copy of the task as BASIC (without the body, also the default) or FULL."""
    shown = type(task)()
    shown.CopyFrom(task)
    shown.view = types.Task.View.FULL if wanted == types.Task.View.FULL else types.Task.View.BASIC
    if shown.view == types.Task.View.BASIC:
        shown.http_request.ClearField("body")
    return shown


def _copy_unimitated(source: Any, target: Any) -> None:
    """Keep what `check_queue` will refuse by name, so that nothing is dropped in silence."""
    for name in ("app_engine_routing_override", "http_target"):
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))
