"""Cron jobs on Cloud Scheduler. API: cloud.google.com/scheduler/docs/reference/rpc"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from google.api_core import exceptions as google
from google.cloud import scheduler_v1
from google.protobuf import duration_pb2

from shared.errors import InvalidRequestError
from shared.ports import CronJob
from shared.stores._channel import local_client

ATTEMPT_DEADLINE_S = 180
RETRIES = 3


class CloudScheduler:
    """`CronJobs` of one project and location. Only jobs whose name starts with `prefix` are ours; others are never touched."""

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
        try:
            try:
                self._client.create_job(request={"parent": self._parent, "job": message})
            except google.AlreadyExists:
                self._client.update_job(request={"job": message})
            if job.paused:
                self._client.pause_job(request={"name": name})
        except google.InvalidArgument as exc:
            raise InvalidRequestError(
                f"Cloud Scheduler refused the schedule: {exc.message}", field="cron_expression"
            ) from exc

    def delete(self, job_id: str) -> None:
        try:
            self._client.delete_job(request={"name": self._prefix + job_id})
        except google.NotFound:
            pass  # gone already, which is what was asked

    def list(self) -> list[CronJob]:
        jobs = self._client.list_jobs(request={"parent": self._parent})
        return [self._cron_job(job) for job in jobs if job.name.startswith(self._prefix)]

    def run(self, job_id: str) -> None:
        self._client.run_job(request={"name": self._prefix + job_id})

    def _message(self, name: str, job: CronJob) -> Any:
        return scheduler_v1.Job(
            name=name,
            description=job.description,
            schedule=job.cron,
            time_zone=job.time_zone,
            attempt_deadline=duration_pb2.Duration(seconds=ATTEMPT_DEADLINE_S),
            retry_config=scheduler_v1.RetryConfig(
                retry_count=RETRIES,
                min_backoff_duration=duration_pb2.Duration(seconds=5),
                max_backoff_duration=duration_pb2.Duration(seconds=60),
            ),
            http_target=scheduler_v1.HttpTarget(
                uri=job.url,
                http_method=scheduler_v1.HttpMethod.POST,
                headers={"Content-Type": "application/json"},
                body=json.dumps(dict(job.body)).encode(),
                oidc_token=scheduler_v1.OidcToken(service_account_email=self._service_account, audience=job.audience),
            ),
        )

    def _cron_job(self, job: Any) -> CronJob:
        target = job.http_target
        return CronJob(
            id=job.name.removeprefix(self._prefix),
            cron=job.schedule,
            time_zone=job.time_zone,
            url=target.uri,
            audience=target.oidc_token.audience,
            body=json.loads(target.body or b"{}"),
            paused=job.state == scheduler_v1.Job.State.PAUSED,
            description=job.description,
        )
