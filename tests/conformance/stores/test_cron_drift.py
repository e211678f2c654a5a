"""The reconciler over the wire: whatever somebody changes on a schedule's job in Google's console is reported and mended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from google.cloud import scheduler_v1
from google.protobuf import duration_pb2, field_mask_pb2

from infra.local.ports import Ports
from shared import connectors as kinds
from shared.bootstrap import Services
from shared.config import read_settings
from shared.models import ScheduleRequest
from shared.stores._channel import local_client
from shared.stores.cloud_scheduler import CloudScheduler
from tests.campaigns.rig import SETTINGS
from tests.campaigns.ticking import BODY, NAME
from tests.fakes.stores import InMemoryStores

OTHER = "somebody@test.iam"


@dataclass
class Wired:
    """Services on fakes, but for the emulator of Cloud Scheduler, with one schedule; `client` is somebody at the console."""

    services: Services
    client: Any
    parent: str

    @property
    def job(self) -> Any:
        (found,) = self.client.list_jobs(parent=self.parent)
        return found

    def drifts(self, *, dry_run: bool = False) -> list[tuple[str, str | None]]:
        found = self.services.reconciler.reconcile(dry_run=dry_run).drifts
        return [(drift.reason, drift.error) for drift in found]


@pytest.fixture
def wired(emulators: Ports) -> Wired:
    project, address = f"test-{uuid.uuid4().hex[:12]}", emulators.address("cloud_scheduler")
    cron_jobs = CloudScheduler(project, "us-central1", "bi", "scheduler@test.iam", address)
    services = Services(read_settings(SETTINGS), replace(InMemoryStores().stores(), cron_jobs=cron_jobs))
    services.connectors.register(NAME, msgspec.convert(BODY, kinds.DECLARATIONS["power_bi"].Config), None)
    services.schedules.create(ScheduleRequest(connector_name=NAME, cron_expression="0 6 * * *"), "a person")
    client = local_client(scheduler_v1.CloudSchedulerClient, address)
    return Wired(services, client, f"projects/{project}/locations/us-central1")


def seconds(count: int) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=count)


def told(job: Any) -> Any:
    """Return what of a job a person can set, and its state."""
    found = type(job)(job)
    found.user_update_time = found.schedule_time = found.last_attempt_time = None
    return found


CHANGES: list[tuple[str, Any, str]] = [
    ("schedule", "* * * * *", "cron"),
    ("time_zone", "Asia/Tokyo", "time_zone"),
    ("description", "mine", "description"),
    ("attempt_deadline", seconds(30), "deadline_s"),
    ("retry_config.retry_count", 0, "retries"),
    ("retry_config.min_backoff_duration", seconds(7), "backoff_s"),
    ("retry_config.max_backoff_duration", seconds(61), "backoff_s"),
    ("retry_config.max_retry_duration", seconds(3_600), "retry_for_s"),
    ("retry_config.max_doublings", 1, "doublings"),
    ("http_target.uri", "http://127.0.0.1:9/elsewhere", "url"),
    ("http_target.http_method", "PUT", "method"),
    ("http_target.headers", {"Content-Type": "text/plain"}, "headers"),
    ("http_target.headers", {"content-type": "application/json", "X-Mine": "1"}, "headers"),
    ("http_target.body", b"[]", "body"),
    ("http_target.oidc_token.audience", "http://elsewhere", "audience"),
    ("http_target.oidc_token.service_account_email", OTHER, "caller"),
    ("http_target", {"uri": "http://refresh/x", "http_method": "GET"}, "url, audience, body, caller, method, headers"),
]


@pytest.mark.parametrize(("path", "value", "differs"), CHANGES)
def test_what_somebody_changes_of_a_job_is_reported_and_mended(
    wired: Wired, path: str, value: Any, differs: str
) -> None:
    before = wired.job
    assert wired.drifts(dry_run=True) == []
    changed: dict[str, Any] = {"name": before.name}
    part = changed
    *outer, last = path.split(".")
    for name in outer:
        part = part.setdefault(name, {})
    part[last] = value
    wired.client.update_job(job=changed, update_mask=field_mask_pb2.FieldMask(paths=[path]))
    reason = (f"the job differs in {differs}", None)
    assert wired.drifts(dry_run=True) == [reason]
    assert wired.drifts() == [reason]
    assert told(wired.job) == told(before)
    assert wired.drifts() == []


@pytest.mark.parametrize(
    "headers", [{"content-type": "application/json"}, {"Content-Type": "application/json", "User-Agent": "mine"}]
)
def test_what_the_vendor_makes_of_the_headers_is_no_difference(wired: Wired, headers: dict[str, str]) -> None:
    job = {"name": wired.job.name, "http_target": {"headers": headers}}
    wired.client.update_job(job=job, update_mask=field_mask_pb2.FieldMask(paths=["http_target.headers"]))
    assert wired.job.http_target.headers["User-Agent"] == "Google-Cloud-Scheduler"
    assert wired.drifts() == []


def test_a_job_that_somebody_paused_is_resumed(wired: Wired) -> None:
    wired.client.pause_job(name=wired.job.name)
    assert wired.drifts() == [("the job differs in paused", None)]
    assert wired.job.state == scheduler_v1.Job.State.ENABLED
