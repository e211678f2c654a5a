"""Tasks on Cloud Tasks. API: cloud.google.com/tasks/docs/reference/rpc"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from google.api_core import exceptions as google
from google.cloud import tasks_v2
from google.protobuf import duration_pb2, timestamp_pb2

from shared.ports import Task
from shared.stores._channel import local_client
from shared.telemetry import span, traceparent


class CloudTasks:
    """`Tasks` of one project and location, each with an OIDC token of `service_account` for its function's URL."""

    def __init__(self, project: str, location: str, service_account: str, emulator: str | None) -> None:
        self._parent = f"projects/{project}/locations/{location}"
        self._service_account = service_account
        self._emulator = emulator

    @cached_property
    def _client(self) -> Any:
        if self._emulator:
            return local_client(tasks_v2.CloudTasksClient, self._emulator)
        return tasks_v2.CloudTasksClient()

    def enqueue(self, task: Task) -> bool:
        queue = f"{self._parent}/queues/{task.queue}"
        with span("enqueue", "producer", queue=task.queue):
            return self._create(queue, task)

    def _create(self, queue: str, task: Task) -> bool:
        hop = traceparent()
        message = tasks_v2.Task(
            name=f"{queue}/tasks/{task.name}",
            dispatch_deadline=duration_pb2.Duration(seconds=int(task.deadline_s)),
            http_request=tasks_v2.HttpRequest(
                http_method=tasks_v2.HttpMethod.POST,
                url=task.url,
                headers={"Content-Type": "application/json", **({"traceparent": hop} if hop else {})},
                body=json.dumps(dict(task.body)).encode(),
                oidc_token=tasks_v2.OidcToken(service_account_email=self._service_account, audience=_origin(task.url)),
            ),
        )
        if task.at is not None:
            at = timestamp_pb2.Timestamp()
            at.FromDatetime(task.at)
            message.schedule_time = at
        try:
            self._client.create_task(request={"parent": queue, "task": message})
        except google.AlreadyExists:
            return False
        return True


def _origin(url: str) -> str:
    """Return the audience of a function: its URL up to the path."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0]}"
