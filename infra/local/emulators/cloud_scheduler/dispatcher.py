"""Fires jobs at their planned times, retries failed executions, and never runs two executions of a job at once.

If the clock jumps over several planned times (a process that was down, an advanced clock, a long execution), the job
fires once, for the first of them, and then at the next planned time after now.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

from google.cloud.scheduler_v1 import types

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler import rules
from infra.local.emulators.cloud_scheduler.store import Store, StoredJob
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


class JobDispatcher:
    """The worker side of Cloud Scheduler: one loop thread, and the sender's threads."""

    def __init__(self, store: Store, lock: threading.RLock, clock: Clock, signer: TokenSigner) -> None:
        self.delivery = Delivery()
        self.sender = Sender(clock)
        self._store = store
        self._lock = lock
        self._clock = clock
        self._signer = signer
        self._recover(clock.now())
        self._loop = Loop(clock, self._step, "cloud-scheduler")
        self.sender.landed = self._loop.poke

    def poke(self) -> None:
        """Look at all jobs now."""
        self._loop.poke()

    def close(self) -> None:
        """Stop sending; what was under way is sent again at the next start."""
        self._loop.close()
        self.sender.close()

    def _recover(self, now: datetime) -> None:
        """After a restart: skip what was missed, but repeat what was under way (delivery is at least once)."""
        for job in self._store.all_jobs():
            if job.running:
                job.running, job.retry_us = 0, to_us(now)
            elif job.retry_us is not None and job.retry_us <= to_us(now):
                job.retry_us = None
            if job.next_us <= to_us(now):
                job.next_us = to_us(rules.next_slot(job.message.schedule, job.message.time_zone, now))
            self._store.save(job)

    def _step(self, now: datetime) -> datetime | None:
        self.sender.expire(now)
        wake = None
        if not self.delivery.hold:
            with self._lock:
                for job in self._store.all_jobs():
                    self._start(job, now)
                    wake = earliest(wake, self._next_look(job))
        return earliest(wake, self.sender.next_deadline())

    def _next_look(self, job: StoredJob) -> datetime | None:
        """When the job is to be looked at again; None while it runs or is paused (its end, or a call, pokes)."""
        if job.running or job.message.state != types.Job.State.ENABLED:
            return None
        return from_us(min(job.next_us, job.retry_us if job.retry_us is not None else job.next_us))

    def _start(self, job: StoredJob, now: datetime) -> None:
        """Send an attempt of the job if one is wanted now."""
        now_us = to_us(now)
        is_enabled = job.message.state == types.Job.State.ENABLED
        if job.forced:
            job.forced = False
            if job.running:
                self._send(job, job.next_us, now, is_extra=True)
            else:
                self._begin(job, job.next_us, now)
        elif job.running or not is_enabled:
            return
        elif job.next_us <= now_us:
            planned_us = job.next_us
            job.next_us = to_us(rules.next_slot(job.message.schedule, job.message.time_zone, now))
            self._begin(job, planned_us, now)
        elif job.retry_us is not None and job.retry_us <= now_us:
            self._send(job, job.slot_us, now, is_extra=False)

    def _begin(self, job: StoredJob, slot_us: int, now: datetime) -> None:
        job.slot_us, job.attempts, job.first_us = slot_us, 0, to_us(now)
        self._send(job, slot_us, now, is_extra=False)

    def _send(self, job: StoredJob, slot_us: int, now: datetime, *, is_extra: bool) -> None:
        if not is_extra:
            job.attempts += 1
            job.retry_us = None
        job.running += 1
        job.message.last_attempt_time.FromDatetime(now)
        self._store.save(job)
        done = partial(self._finished, job.id, is_extra)
        self.sender.send(self._outgoing(job, slot_us, now), self.delivery.copies, done)

    def _outgoing(self, job: StoredJob, slot_us: int, now: datetime) -> Outgoing:
        target = job.message.http_target
        headers = rules.sent_headers(target)
        if target.HasField("oidc_token"):
            token = target.oidc_token
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            audience = token.audience or target.uri
            signed = self._signer.id_token(audience, token.service_account_email, datetime.now(UTC))
            headers["Authorization"] = f"Bearer {signed}"
        headers |= {
            "User-Agent": rules.USER_AGENT,
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": job.message.name.rpartition("/")[2],
            "X-CloudScheduler-ScheduleTime": from_us(slot_us).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        method = types.HttpMethod(target.http_method).name
        deadline = now + job.message.attempt_deadline.ToTimedelta()
        return Outgoing(job.message.name, method, target.uri, headers, target.body, deadline)

    def _finished(self, job_id: int, is_extra: bool, outcome: Outcome) -> None:  # noqa: FBT001  bound by partial
        with self._lock:
            job = self._store.job_by_id(job_id)
            if job is not None:  # else deleted while it ran
                job.running -= 1
                job.message.status.Clear()
                job.message.status.SetInParent()
                job.message.status.code = outcome.code
                job.message.status.message = outcome.message
                if not (outcome.is_success or is_extra):
                    job.retry_us = self._retry_at(job, self._clock.now())
                self._store.save(job)
        self._loop.poke()

    def _retry_at(self, job: StoredJob, now: datetime) -> int | None:
        """When the failed execution is tried again; None if its retries are used up or the next planned time is first."""
        retry = job.message.retry_config
        retries = job.attempts - 1
        if job.message.state != types.Job.State.ENABLED or not rules.may_retry(
            retry, retries, from_us(job.first_us), now
        ):
            return None
        wait_s = backoff_s(
            retries,
            retry.min_backoff_duration.ToTimedelta().total_seconds(),
            retry.max_backoff_duration.ToTimedelta().total_seconds(),
            retry.max_doublings,
        )
        at_us = to_us(now + timedelta(seconds=wait_s))
        return at_us if at_us < job.next_us else None
