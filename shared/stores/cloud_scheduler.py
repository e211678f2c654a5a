"""Cron jobs on Cloud Scheduler. API: cloud.google.com/scheduler/docs/reference/rpc"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from google.api_core import exceptions as google
from google.cloud import scheduler_v1
from google.protobuf import duration_pb2

from shared.errors import InvalidRequestError, VendorUnavailableError
from shared.ports import CronJob
from shared.stores._channel import local_client

CALL: dict[str, Any] = {"timeout": 10.0, "retry": None}
"""Our choice: the client's own 600 seconds would hold a person's request; what fails is told again by the sweep."""
OUR_ID = re.compile(r"[0-9a-z]{26}")
"""What `new_id` makes. A job of another name is somebody else's, even with our prefix."""
OF_THE_VENDOR = re.compile(r"host|content-length|user-agent|x-(google-|appengine-|cloudscheduler).*")
"""Headers, in lower case, that Cloud Scheduler sets or replaces, and some of them shows: see `HttpTarget.headers` of its reference."""


class CloudScheduler:
    """`CronJobs` of one project and location. Only jobs named `<prefix>-schedule-<id>` are ours; others are never touched."""

    def __init__(self, project: str, location: str, prefix: str, service_account: str, emulator: str | None) -> None:
        self._parent = f"projects/{project}/locations/{location}"
        self._prefix = f"{self._parent}/jobs/{prefix}-schedule-"
        self._service_account = service_account
        self._emulator = emulator

    @cached_property
    def _client(self) -> Any:
        if self._emulator:
            return local_client(scheduler_v1.CloudSchedulerClient, self._emulator)
        return scheduler_v1.CloudSchedulerClient()

    def put(self, job: CronJob) -> None:
        name = self._prefix + job.id
        message = self._message(name, job)
        with _translated():
            try:
                stored = self._client.create_job(request={"parent": self._parent, "job": message}, **CALL)
            except google.AlreadyExists:
                stored = self._client.update_job(request={"job": message}, **CALL)
            if job.paused == (stored.state == scheduler_v1.Job.State.ENABLED):
                change = self._client.pause_job if job.paused else self._client.resume_job
                change(request={"name": name}, **CALL)

    def delete(self, job_id: str) -> None:
        with _translated():
            try:
                self._client.delete_job(request={"name": self._prefix + job_id}, **CALL)
            except google.NotFound:
                pass  # gone already, which is what was asked

    def list(self) -> list[CronJob]:
        with _translated():
            jobs = list(self._client.list_jobs(request={"parent": self._parent}, **CALL))
        return [self._cron_job(job) for job in jobs if self._is_ours(job.name)]

    def _is_ours(self, name: str) -> bool:
        return name.startswith(self._prefix) and OUR_ID.fullmatch(name.removeprefix(self._prefix)) is not None

    def _message(self, name: str, job: CronJob) -> Any:
        least, most = job.backoff_s
        return scheduler_v1.Job(
            name=name,
            description=job.description,
            schedule=job.cron,
            time_zone=job.time_zone,
            attempt_deadline=duration_pb2.Duration(seconds=job.deadline_s),
            retry_config=scheduler_v1.RetryConfig(
                retry_count=job.retries,
                max_retry_duration=duration_pb2.Duration(seconds=int(job.retry_for_s)),
                max_doublings=job.doublings,
                min_backoff_duration=duration_pb2.Duration(seconds=least),
                max_backoff_duration=duration_pb2.Duration(seconds=most),
            ),
            http_target=scheduler_v1.HttpTarget(
                uri=job.url,
                http_method=job.method,
                headers=dict(job.headers),
                body=json.dumps(dict(job.body)).encode(),
                oidc_token=scheduler_v1.OidcToken(service_account_email=self._service_account, audience=job.audience),
            ),
        )

    def _cron_job(self, job: Any) -> CronJob:
        target, retry = job.http_target, job.retry_config
        caller = target.oidc_token.service_account_email
        return CronJob(
            id=job.name.removeprefix(self._prefix),
            cron=job.schedule,
            time_zone=job.time_zone,
            url=target.uri,
            audience=target.oidc_token.audience,
            body=_object(target.body),
            paused=job.state != scheduler_v1.Job.State.ENABLED,
            description=job.description,
            deadline_s=int(job.attempt_deadline.total_seconds()),
            retries=retry.retry_count,
            backoff_s=(
                int(retry.min_backoff_duration.total_seconds()),
                int(retry.max_backoff_duration.total_seconds()),
            ),
            caller=None if caller == self._service_account else caller,
            method=getattr(target.http_method, "name", str(target.http_method)),
            headers=_headers(target.headers),
            retry_for_s=retry.max_retry_duration.total_seconds(),
            doublings=retry.max_doublings,
        )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn Google's errors into ours."""
    try:
        yield
    except google.InvalidArgument as exc:
        raise InvalidRequestError(
            f"Cloud Scheduler refused the schedule: {exc.message}", field="cron_expression"
        ) from exc
    except (google.Forbidden, google.Unauthorized) as exc:
        raise VendorUnavailableError(
            f"Cloud Scheduler does not let this service work ({exc.message}); give its service account the "
            "roles cronKeeper and callerUser of infra/terraform again (cloudscheduler.jobs.*, iam.serviceAccounts.actAs); "
            "the sweep does after that what was asked",
            code="scheduler_unavailable",
        ) from exc
    except (google.ServerError, google.TooManyRequests, google.RetryError) as exc:
        raise VendorUnavailableError(
            f"Cloud Scheduler gave no answer ({type(exc).__name__}); this may pass with time",
            code="scheduler_unavailable",
        ) from exc
    except google.GoogleAPICallError as exc:  # among them that a job is gone, or was changed meanwhile
        raise VendorUnavailableError(
            f"Cloud Scheduler did not do what was asked ({type(exc).__name__}); the sweep tries again",
            code="scheduler_unavailable",
        ) from exc


def _object(body: bytes) -> dict[str, Any]:
    """Return a job's body; empty where somebody put another one in, which then shows as a difference."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a job that are ours, or somebody's who added them; names are the same in any case."""
    return {name.title(): value for name, value in headers.items() if not OF_THE_VENDOR.fullmatch(name.lower())}
