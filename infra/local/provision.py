"""What Terraform makes in the cloud and `make run` makes here: buckets, Cloud Tasks queues, the two system jobs of Cloud Scheduler."""

from __future__ import annotations

import grpc
from google.api_core.exceptions import AlreadyExists
from google.cloud import scheduler_v1, tasks_v2
from google.protobuf import duration_pb2

from infra.local import cloud_storage
from infra.local.ports import Ports
from infra.local.settings import BUCKETS, LOCATION, PROJECT, QUEUES, SCHEDULER_SERVICE_ACCOUNT, WORKER_INSTANCES

MAX_ATTEMPTS = 100
"""Finite, as in the cloud: a task that never succeeds ends, and the job says so."""


def provision(ports: Ports) -> None:
    """Create what does not exist yet; what exists stays as it is (a queue keeps its tasks)."""
    cloud_storage.make_buckets(ports, BUCKETS.values())
    with grpc.insecure_channel(ports.address("cloud_tasks")) as channel:
        client = tasks_v2.CloudTasksClient(
            transport=tasks_v2.CloudTasksClient.get_transport_class("grpc")(channel=channel)
        )
        for queue_id in QUEUES.values():
            _make_queue(client, queue_id)
    with grpc.insecure_channel(ports.address("cloud_scheduler")) as channel:
        transport = scheduler_v1.CloudSchedulerClient.get_transport_class("grpc")(channel=channel)
        scheduler = scheduler_v1.CloudSchedulerClient(transport=transport)
        _make_system_job(scheduler, "sweep", "*/5 * * * *", ports.url("export_worker"))
        _make_system_job(scheduler, "freshness", "* * * * *", ports.url("refresh"))


def _make_queue(client: tasks_v2.CloudTasksClient, queue_id: str) -> None:
    parent = f"projects/{PROJECT}/locations/{LOCATION}"
    queue = tasks_v2.Queue(
        name=f"{parent}/queues/{queue_id}",
        rate_limits=tasks_v2.RateLimits(max_dispatches_per_second=50, max_concurrent_dispatches=WORKER_INSTANCES),
        retry_config=tasks_v2.RetryConfig(
            max_attempts=MAX_ATTEMPTS,
            min_backoff=duration_pb2.Duration(seconds=1),
            max_backoff=duration_pb2.Duration(seconds=60),
            max_doublings=6,
        ),
    )
    try:
        client.create_queue(parent=parent, queue=queue)
    except AlreadyExists:
        return


def _make_system_job(client: scheduler_v1.CloudSchedulerClient, name: str, schedule: str, function_url: str) -> None:
    """A job beside those of the schedules, which the reconciler does not see: POST `/internal/<name>` to a function."""
    parent = f"projects/{PROJECT}/locations/{LOCATION}"
    job = scheduler_v1.Job(
        name=f"{parent}/jobs/bi-system-{name}",
        schedule=schedule,
        time_zone="UTC",
        http_target=scheduler_v1.HttpTarget(
            uri=f"{function_url}/internal/{name}",
            http_method=scheduler_v1.HttpMethod.POST,
            headers={"Content-Type": "application/json"},
            body=b"{}",
            oidc_token=scheduler_v1.OidcToken(service_account_email=SCHEDULER_SERVICE_ACCOUNT, audience=function_url),
        ),
    )
    try:
        client.create_job(parent=parent, job=job)
    except AlreadyExists:
        return
