"""Sends due tasks over HTTP within the limits of their queue, and decides what follows an attempt.

Throttling after 429 and 503 and the slow start of a new queue are not imitated: the vendor documents that it slows
down, not by how much (HttpRequest, "System throttling").
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from google.cloud.tasks_v2 import types

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_tasks import rules
from infra.local.emulators.cloud_tasks.store import Store, StoredTask
from infra.local.emulators.dispatch import (
    Delivery,
    Loop,
    Outcome,
    Outgoing,
    Sender,
    backoff_s,
    earliest,
    from_us,
    to_us,
)
from infra.local.emulators.identity import TokenSigner

log = logging.getLogger(__name__)


@dataclass
class Bucket:
    """A queue's token bucket: refilled continuously with `rate` tokens a second up to `burst`, one per dispatch."""

    tokens: float
    refilled: datetime

    def refill(self, now: datetime, rate: float, burst: int) -> None:
        """Add the tokens of the time since the last call; a first call finds the bucket full."""
        self.tokens = min(float(burst), self.tokens + (now - self.refilled).total_seconds() * rate)
        self.refilled = now

    def next_token(self, rate: float) -> datetime:
        """When there will be a whole token (a microsecond late rather than early)."""
        return self.refilled + timedelta(seconds=max(0.0, 1 - self.tokens) / rate, microseconds=1)


class TaskDispatcher:
    """The worker side of Cloud Tasks: one loop thread, and the sender's threads."""

    def __init__(self, store: Store, lock: threading.RLock, clock: Clock, signer: TokenSigner) -> None:
        self.delivery = Delivery()
        self.sender = Sender(clock)
        self._store = store
        self._lock = lock
        self._clock = clock
        self._signer = signer
        self._buckets: dict[str, Bucket] = {}
        self._under_way: Counter[str] = Counter()
        self._outbox: list[tuple[Outgoing, Callable[[Outcome], None]]] = []
        self._loop = Loop(clock, self._step, "cloud-tasks")
        self.sender.landed = self._loop.poke

    def poke(self) -> None:
        """Look for due tasks now."""
        self._loop.poke()

    def close(self) -> None:
        """Stop sending; unfinished tasks stay stored and are due again at the next start."""
        self._loop.close()
        self.sender.close()

    def forget(self, queue: str) -> None:
        """A deleted queue's bucket goes with it."""
        self._buckets.pop(queue, None)

    def _step(self, now: datetime) -> datetime | None:
        self.sender.expire(now)
        self._outbox.clear()  # left over only by a step that failed, whose changes were rolled back
        wake = None
        if not self.delivery.hold:
            with self._lock, self._store.transaction():
                for task in self._store.forced(self._room()):
                    self._dispatch(task, now)
                for queue in self._store.waiting_queues():
                    if queue.state == types.Queue.State.RUNNING:
                        wake = earliest(wake, self._drain(queue, now))
            self._post()
        return earliest(wake, self.sender.next_deadline())

    def _room(self) -> int:
        return self.sender.room() - len(self._outbox)

    def _post(self) -> None:
        """Send what the step chose, now that the attempts are committed: a kill cannot lose their count."""
        for outgoing, done in self._outbox:
            self.sender.send(outgoing, self.delivery.copies, done)
        self._outbox.clear()

    def _drain(self, queue: Any, now: datetime) -> datetime | None:
        """Dispatch what the queue's limits allow now; answer when to look at it again (an ended attempt pokes)."""
        rates = queue.rate_limits
        bucket = self._buckets.setdefault(queue.name, Bucket(float(rates.max_burst_size), now))
        bucket.refill(now, rates.max_dispatches_per_second, rates.max_burst_size)
        free = rates.max_concurrent_dispatches - self._under_way[queue.name]
        room = max(0, min(int(bucket.tokens), free, self._room()))
        for task in self._store.due(queue.name, to_us(now), room):
            bucket.tokens -= 1
            self._dispatch(task, now)
        next_us = self._store.next_due_us(queue.name)
        if next_us is None:
            return None
        if next_us > to_us(now):
            return from_us(next_us)
        return bucket.next_token(rates.max_dispatches_per_second) if bucket.tokens < 1 else None

    def _dispatch(self, task: StoredTask, now: datetime) -> None:
        message = task.message
        message.dispatch_count += 1
        message.last_attempt.Clear()
        message.last_attempt.schedule_time.CopyFrom(message.schedule_time)
        message.last_attempt.dispatch_time.FromDatetime(now)
        if message.dispatch_count == 1:
            message.first_attempt.dispatch_time.FromDatetime(now)
        task.in_flight += 1
        task.forced = False
        self._store.save(task)
        self._under_way[task.queue] += 1
        self._outbox.append((self._outgoing(task, now), partial(self._finished, task.id, task.queue)))

    def _outgoing(self, task: StoredTask, now: datetime) -> Outgoing:
        request = task.message.http_request
        headers = rules.sent_headers(request)
        if request.HasField("oidc_token"):
            token = request.oidc_token
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            signed = self._signer.id_token(
                token.audience or request.url, token.service_account_email, datetime.now(UTC)
            )
            headers["Authorization"] = f"Bearer {signed}"
        headers |= {
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": task.queue.rpartition("/")[2],
            "X-CloudTasks-TaskName": task.message.name.rpartition("/")[2],
            "X-CloudTasks-TaskRetryCount": str(task.message.dispatch_count - 1),
            "X-CloudTasks-TaskExecutionCount": str(task.executions),
            "X-CloudTasks-TaskETA": f"{task.message.schedule_time.ToMicroseconds() / 1e6:.6f}",
        }
        if task.previous_status is not None:
            headers["X-CloudTasks-TaskPreviousResponse"] = str(task.previous_status)
        method = types.HttpMethod(request.http_method).name
        deadline = now + task.message.dispatch_deadline.ToTimedelta()
        return Outgoing(task.message.name, method, request.url, headers, request.body, deadline)

    def _finished(self, task_id: int, queue: str, outcome: Outcome) -> None:
        with self._lock, self._store.transaction():
            self._under_way[queue] -= 1
            task = self._store.task_by_id(task_id)
            if task is not None:  # else deleted or purged while it was being sent
                self._settle(task, outcome, self._clock.now())
        self._loop.poke()

    def _settle(self, task: StoredTask, outcome: Outcome, now: datetime) -> None:
        """Store how an attempt ended: delete the task, or set the time of its next attempt."""
        message = task.message
        task.in_flight -= 1
        if outcome.http_status is not None:
            message.response_count += 1
            task.previous_status = outcome.http_status
            task.executions += outcome.http_status < 500
        message.last_attempt.response_time.FromDatetime(now)
        message.last_attempt.response_status.code = outcome.code
        message.last_attempt.response_status.message = outcome.message
        if outcome.is_success or self._is_given_up(task, now):
            self._store.remove(message.name, to_us(now + rules.NAME_KEPT))
            return
        retry = self._retry_config(task)
        wait_s = backoff_s(
            message.dispatch_count - 1,
            retry.min_backoff.ToTimedelta().total_seconds(),
            retry.max_backoff.ToTimedelta().total_seconds(),
            retry.max_doublings,
        )
        message.schedule_time.FromDatetime(now + timedelta(seconds=wait_s))
        self._store.save(task)

    def _is_given_up(self, task: StoredTask, now: datetime) -> bool:
        message = task.message
        first = message.first_attempt.dispatch_time.ToDatetime(UTC)
        is_too_old = now >= message.create_time.ToDatetime(UTC) + rules.RETENTION
        if is_too_old or rules.is_exhausted(self._retry_config(task), message.dispatch_count, first, now):
            log.warning("%s is deleted after %d attempts", message.name, message.dispatch_count)
            return True
        return False

    def _retry_config(self, task: StoredTask) -> Any:
        if task.message.HasField("retry_config"):
            return task.message.retry_config
        queue = self._store.queue(task.queue)
        assert queue is not None  # a queue is deleted with its tasks
        return queue.retry_config
