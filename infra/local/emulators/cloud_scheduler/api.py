"""The methods of google.cloud.scheduler.v1.CloudScheduler; requests and replies are raw protobuf messages."""

from __future__ import annotations

import secrets
from typing import Any

from google.cloud.scheduler_v1 import types
from google.protobuf import empty_pb2

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler import rules
from infra.local.emulators.cloud_scheduler.dispatcher import JobDispatcher
from infra.local.emulators.cloud_scheduler.store import JOB, Store, StoredJob
from infra.local.emulators.dispatch import to_us
from infra.local.emulators.grpc_server import RpcError
from infra.local.emulators.protobuf import merge, page_of, token_after

MAX_JOBS_A_PAGE = 500
_ENABLED, _PAUSED = types.Job.State.ENABLED, types.Job.State.PAUSED
_OUTPUT_ONLY = ("name", "user_update_time", "state", "status", "schedule_time", "last_attempt_time")


class CloudSchedulerApi:
    """RPC methods; the caller holds the service's lock around each."""

    def __init__(self, store: Store, dispatcher: JobDispatcher, clock: Clock) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock

    def CreateJob(self, request: Any) -> Any:
        rules.check_location(request.parent)
        job, now = request.job, self._clock.now()
        job.name = job.name or f"{request.parent}/jobs/{secrets.token_hex(16)}"
        if not rules.check_job_name(job.name).startswith(f"{request.parent}/jobs/"):
            raise RpcError("INVALID_ARGUMENT", f"Job.name {job.name!r} must be in the parent {request.parent!r}")
        for name in _OUTPUT_ONLY[1:]:
            job.ClearField(name)
        rules.check_job(job)
        next_us = to_us(rules.next_slot(job.schedule, job.time_zone, now))
        if self._store.job(job.name) is not None:
            raise RpcError("ALREADY_EXISTS", f"Job [{job.name}] already exists.")
        job.state = _ENABLED
        job.user_update_time.FromDatetime(now.replace(microsecond=0))
        self._store.add(job, next_us)
        return self._answer(job.name)

    def UpdateJob(self, request: Any) -> Any:
        """Change the masked fields, or all that a user may set if there is no mask; ends retries of the last run."""
        job, now = self._job(request.job.name), self._clock.now()
        changed = JOB()
        changed.CopyFrom(job.message)
        if request.update_mask.paths:
            paths = [path for path in request.update_mask.paths if path.split(".")[0] not in _OUTPUT_ONLY]
            merge(paths, request.job, changed)
        else:
            changed.CopyFrom(request.job)
            merge(_OUTPUT_ONLY, job.message, changed)
        rules.check_job(changed)
        changed.user_update_time.FromDatetime(now.replace(microsecond=0))
        job.next_us = to_us(rules.next_slot(changed.schedule, changed.time_zone, now))
        job.message, job.retry_us = changed, None
        return self._save(job)

    def GetJob(self, request: Any) -> Any:
        return shown(self._job(request.name))

    def ListJobs(self, request: Any) -> Any:
        rules.check_location(request.parent)
        size, after = page_of(request, MAX_JOBS_A_PAGE)
        found = self._store.jobs(request.parent, after, size + 1)
        token = token_after(found[size - 1].message.name) if len(found) > size else ""
        return types.ListJobsResponse.pb()(jobs=[shown(job) for job in found[:size]], next_page_token=token)

    def DeleteJob(self, request: Any) -> Any:
        self._job(request.name)
        self._store.delete(request.name)
        return empty_pb2.Empty()

    def PauseJob(self, request: Any) -> Any:
        job = self._job(request.name)
        if job.message.state != _ENABLED:
            raise RpcError("FAILED_PRECONDITION", "The job must be in ENABLED state to be paused.")
        job.message.state, job.retry_us = _PAUSED, None
        return self._save(job)

    def ResumeJob(self, request: Any) -> Any:
        """Enable a paused job; planned times that it missed are not made up for."""
        job = self._job(request.name)
        if job.message.state != _PAUSED:
            raise RpcError("FAILED_PRECONDITION", "The job must be in PAUSED state to be resumed.")
        job.message.state = _ENABLED
        job.next_us = to_us(rules.next_slot(job.message.schedule, job.message.time_zone, self._clock.now()))
        return self._save(job)

    def RunJob(self, request: Any) -> Any:
        """Have the job sent at once, paused or running though it may be; its planned times stay as they are."""
        job = self._job(request.name)
        job.forced = True
        return self._save(job)

    def _save(self, job: StoredJob) -> Any:
        self._store.save(job)
        self._dispatcher.poke()
        return shown(job)

    def _answer(self, name: str) -> Any:
        self._dispatcher.poke()
        return shown(self._job(name))

    def _job(self, name: str) -> StoredJob:
        job = self._store.job(rules.check_job_name(name))
        if job is None:
            raise RpcError("NOT_FOUND", f"Job not found: {name}")
        return job


def shown(job: StoredJob) -> Any:
    """The job as the API shows it: `schedule_time` is the next retry or planned time."""
    message = JOB()
    message.CopyFrom(job.message)
    at_us = job.retry_us if job.retry_us is not None else job.next_us
    message.schedule_time.FromMicroseconds(at_us)
    return message
