"""The world of the parts `schedules` and `reconcile`: the real services on fakes, and a vendor whose refreshes take time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.config import read_settings
from shared.connectors._base import RefreshStatus, Runtime, VendorRefresh
from shared.errors import ConflictError, InvalidRequestError
from shared.models import ScheduleRequest
from shared.ports import Clock, CronJob, CronJobs, Stores
from shared.services.connectors import Connectors
from tests.campaigns.points import Points, pointed
from tests.campaigns.rig import SETTINGS
from tests.fakes.stores import InMemoryStores

NAME = "model"
BODY = {
    "connector_type": "power_bi",
    "tenant_id": "t",
    "client_id": "c",
    "workspace_id": "w",
    "refresh_dataset_id": "d",
    "capacity": "premium",
    "client_secret": "a secret of the model",
}


@dataclass
class SlowVendor:
    """Refreshes that take `minutes` each; one at a time unless `is_strict` is false, then it only counts what it would refuse."""

    clock: Clock
    minutes: Callable[[], float] = lambda: 1.0
    starts: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    refused: int = 0

    def running_at(self, moment: datetime) -> list[str]:
        return [run for run, start, end in self.starts if start <= moment < end and run not in self.cancelled]

    def start_refresh(self, run_id: str, options: Mapping[str, Any]) -> VendorRefresh:
        now = self.clock.now()
        if self.running_at(now):
            self.refused += 1
            raise ConflictError("another refresh is executing", code="refresh_running")
        self.starts.append((run_id, now, now + timedelta(minutes=self.minutes())))
        return self.poll_refresh(run_id)

    def find_refresh(self, run_id: str, options: Mapping[str, Any], since: datetime) -> VendorRefresh | None:
        return self.poll_refresh(run_id) if any(run == run_id for run, _, _ in self.starts) else None

    def poll_refresh(self, vendor_id: str) -> VendorRefresh:
        if vendor_id in self.cancelled:
            return VendorRefresh(vendor_id, RefreshStatus.CANCELLED, "Cancelled")
        is_running = vendor_id in self.running_at(self.clock.now())
        status = RefreshStatus.RUNNING if is_running else RefreshStatus.SUCCEEDED
        return VendorRefresh(vendor_id, status, "Unknown" if is_running else "Completed")

    def cancel_refresh(self, vendor_id: str) -> None:
        if vendor_id in self.running_at(self.clock.now()):
            self.cancelled.add(vendor_id)


REFUSED = "20 * * * *"
"""An expression that Cloud Scheduler refuses here."""


class PointedCronJobs:
    """`CronJobs` with a point before and after every call to Cloud Scheduler; putting a job is two of them, as in the adapter."""

    def __init__(self, inner: CronJobs, points: Points) -> None:
        self._inner = inner
        self._points = points

    def put(self, job: CronJob) -> None:
        self._points.reach("cron_jobs.put:before")
        if job.cron == REFUSED:
            raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")
        present = {one.id: one.paused for one in self._inner.list()}
        self._inner.put(
            replace(job, paused=present.get(job.id, False))
        )  # created or changed, not paused or resumed yet
        self._points.reach("cron_jobs.put:half")
        self._inner.put(job)
        self._points.reach("cron_jobs.put:after")

    def delete(self, job_id: str) -> None:
        self._points.reach("cron_jobs.delete:before")
        self._inner.delete(job_id)
        self._points.reach("cron_jobs.delete:after")

    def list(self) -> list[CronJob]:
        self._points.reach("cron_jobs.list:before")
        return self._inner.list()


class World:
    """The services over fakes. `alter` wraps the stores once more: that is how a guard is taken away."""

    def __init__(self, points: Points, alter: Callable[[Stores], Stores] = lambda stores: stores) -> None:
        self.fakes = InMemoryStores()
        self.clock = self.fakes.clock
        self.vendor = SlowVendor(self.clock)
        self._points, self._alter = points, alter
        self.services = self.process()
        config = msgspec.convert(BODY, kinds.DECLARATIONS["power_bi"].Config)
        self.services.connectors.register(NAME, config, None)

    def point(self, points: Points) -> None:
        """Take other points for the processes to come."""
        self._points = points

    def process(self) -> Services:
        """Return what a new instance of the functions would hold: nothing of the old one's memory."""
        stores = pointed(self._alter(self.fakes.stores()), self._points)
        stores = replace(stores, cron_jobs=PointedCronJobs(stores.cron_jobs, self._points))
        services = Services(read_settings(SETTINGS), stores)
        vendor = self.vendor
        services.__dict__["connectors"] = Connectors(
            stores, "bi", Runtime(stores.clock), load=lambda config, secrets, runtime: vendor
        )
        return services

    def go_to(self, moment: datetime) -> None:
        if moment > self.clock.now():
            self.clock.sleep((moment - self.clock.now()).total_seconds())

    def next_task(self) -> datetime | None:
        """When the earliest task is due."""
        pending = self.fakes.tasks.pending
        return min((task.at or self.clock.now() for task in pending), default=None)

    def run_due_tasks(self, services: Services) -> None:
        """Run the tasks that are due, as Cloud Tasks would."""
        now, tasks = self.clock.now(), self.fakes.tasks
        due = [task for task in tasks.pending if task.at is None or task.at <= now]
        tasks.pending = [task for task in tasks.pending if task not in due]
        for task in due:
            services.refreshes.following.look(task.url.rpartition("/")[2].removesuffix(":look"), task.body["polls"])


def request(**more: Any) -> ScheduleRequest:
    return msgspec.convert({"connector_name": NAME, **more}, ScheduleRequest)
