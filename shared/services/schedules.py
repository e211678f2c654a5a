"""Schedules: one Cloud Scheduler job each, which calls the refresh function; an occurrence starts one run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from shared import audit
from shared.errors import BIConnectorsError, InvalidRequestError
from shared.models import ExportRequest, Schedule, ScheduleAction, SchedulePage, ScheduleRequest, new_id
from shared.ports import CronJob, Document, Query, Stores, Transaction
from shared.services.connectors import Connectors
from shared.services.exports import Exports
from shared.services.records import (
    Idempotency,
    Page,
    earlier_result,
    from_record,
    keep_result,
    list_page,
    require,
    to_record,
)
from shared.services.refreshes import Refreshes

OCCURRENCE_LIFETIME = timedelta(days=30)


class Schedules:
    """The use cases around `schedules/{id}` and what Cloud Scheduler calls."""

    def __init__(
        self, stores: Stores, connectors: Connectors, exports: Exports, refreshes: Refreshes, refresh_url: str
    ) -> None:
        self._stores = stores
        self._connectors = connectors
        self._exports = exports
        self._refreshes = refreshes
        self._refresh_url = refresh_url

    def create(self, request: ScheduleRequest, caller: str, idempotency: Idempotency | None = None) -> Document:
        """Store a schedule and make its Cloud Scheduler job. Returns the document.

        Raises:
            InvalidRequestError: the expression, the zone or the action's fields are not right.
            NotFoundError: no such connector.
            UnsupportedError: the kind has nothing to refresh.
        """
        now = self._stores.clock.now()
        next_run = next_fire(request.cron_expression, request.timezone, now)
        self._check_action(request)
        schedule = Schedule(
            id=new_id(now),
            connector_name=request.connector_name,
            cron_expression=request.cron_expression,
            timezone=request.timezone,
            action=request.action,
            enabled=request.enabled,
            created_at=now,
            updated_at=now,
            created_by=caller,
            export=msgspec.to_builtins(request.export) if request.export else None,
            next_run=next_run if request.enabled else None,
        )

        def work(tx: Transaction) -> str:
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            tx.create(f"schedules/{schedule.id}", to_record(schedule))
            audit.record(tx, now, "schedule.create", f"schedules/{schedule.id}", after=to_record(schedule))
            keep_result(tx, idempotency, schedule.id, now)
            return schedule.id

        stored = self._stores.documents.transact(work)
        try:
            self._stores.cron_jobs.put(self._cron_job(from_record(Schedule, self.get(stored).data)))
        except InvalidRequestError:
            self._stores.documents.delete(f"schedules/{stored}")
            raise
        return self.get(stored)

    def get(self, schedule_id: str) -> Document:
        return require(self._stores.documents, f"schedules/{schedule_id}", f"schedule {schedule_id!r}")

    def list_schedules(self, connector_name: str | None, page: Page) -> SchedulePage:
        where = (("connector_name", "==", connector_name),) if connector_name else ()
        found, token = list_page(self._stores.documents, Query("schedules", where), page)
        now = self._stores.clock.now()
        return SchedulePage(schedules=[shown(item, now) for item in found], next_page_token=token)

    def delete(self, schedule_id: str) -> None:
        """Delete the Cloud Scheduler job, then the schedule: a crash between the two leaves one that can be deleted again."""
        before, now = self.get(schedule_id), self._stores.clock.now()
        self._stores.cron_jobs.delete(schedule_id)

        def work(tx: Transaction) -> None:
            tx.delete(f"schedules/{schedule_id}")
            audit.record(tx, now, "schedule.delete", f"schedules/{schedule_id}", before=before.data)

        self._stores.documents.transact(work)

    def delete_of(self, connector_name: str) -> None:
        """Delete every schedule of one connector."""
        for item in self._stores.documents.query(Query("schedules", (("connector_name", "==", connector_name),))):
            self.delete(item.data["id"])

    def fire(self, schedule_id: str, planned: datetime) -> str | None:
        """Start what the schedule does, once for each planned time. For Cloud Scheduler only.

        Returns the id of the run or job, None if this occurrence ran already, the schedule is gone or not enabled.
        """
        document = self._stores.documents.get(f"schedules/{schedule_id}")
        if document is None or not document.data["enabled"]:
            return None
        schedule = from_record(Schedule, document.data)
        occurrence = hashlib.sha256(f"{schedule_id} {planned.astimezone(UTC).isoformat()}".encode()).hexdigest()
        path = f"occurrences/{occurrence}"
        now = self._stores.clock.now()
        if self._stores.documents.get(path) is not None:
            return None
        record: dict[str, Any] = {"schema": 1, "schedule_id": schedule_id, "planned_at": planned, "fired_at": now}
        try:
            record["run_id"] = self._act(schedule, occurrence)
        except BIConnectorsError as error:
            if error.retryable:
                raise
            record |= {"run_id": None, "error": {"code": error.code, "message": error.message}}

        def work(tx: Transaction) -> None:
            tx.set(path, {**record, "expire_at": now + OCCURRENCE_LIFETIME})
            tx.update(f"schedules/{schedule_id}", {"last_run_at": now, "last_run_id": record["run_id"]})

        self._stores.documents.transact(work)
        run_id: str | None = record["run_id"]
        return run_id

    def _act(self, schedule: Schedule, occurrence: str) -> str:
        """Start the run of an occurrence; its id derives from the occurrence, so a second delivery finds the first."""
        caller = f"schedule:{schedule.id}"
        if schedule.action is ScheduleAction.REFRESH:
            run_id = f"s-{occurrence[:40]}"
            document = self._refreshes.start(
                schedule.connector_name, {}, caller, trigger="schedule", schedule_id=schedule.id, run_id=run_id
            )
        else:
            request = msgspec.convert(schedule.export, ExportRequest)
            key = Idempotency(occurrence, "schedule", caller, schedule.export or {})
            document = self._exports.start(request, caller, key)
        found: str = document.data["id"]
        return found

    def _check_action(self, request: ScheduleRequest) -> None:
        connector = self._connectors.get(request.connector_name)
        if request.action is ScheduleAction.REFRESH:
            self._connectors.require_refresh(connector)
            if request.export is not None:
                raise InvalidRequestError("export belongs to the action export_and_refresh", field="export")
        elif request.export is None:
            raise InvalidRequestError("export_and_refresh needs export: the body of an export request", field="export")
        elif request.export.connector_name != request.connector_name:
            raise InvalidRequestError(
                "export.connector_name differs from connector_name; a schedule works on one connector", field="export"
            )

    def _cron_job(self, schedule: Schedule) -> CronJob:
        return CronJob(
            id=schedule.id,
            cron=schedule.cron_expression,
            time_zone=schedule.timezone,
            url=f"{self._refresh_url}/internal/schedules/{schedule.id}:fire",
            audience=self._refresh_url,
            body={"schedule_id": schedule.id},
            paused=not schedule.enabled,
            description=f"{schedule.action.value} {schedule.connector_name}",
        )


def next_fire(expression: str, timezone: str, now: datetime) -> datetime:
    """Return the next time after `now`, in UTC, that a five-field cron expression means in a zone.

    Raises:
        InvalidRequestError: not five fields, an impossible value, a date that never comes, or no such zone.
    """
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise InvalidRequestError(
            f"there is no time zone {timezone!r}; expected an IANA name such as Europe/Berlin", field="timezone"
        ) from exc
    if len(expression.split()) != 5:
        raise InvalidRequestError(
            f"cron_expression is {expression!r}; expected five fields, e.g. 0 6 * * 1", field="cron_expression"
        )
    try:
        return next(CronSim(expression, now.astimezone(zone))).astimezone(UTC)
    except (CronSimError, StopIteration) as exc:
        raise InvalidRequestError(
            f"cron_expression {expression!r} is not valid or never comes true; expected five fields, e.g. 0 6 * * 1",
            field="cron_expression",
        ) from exc


def shown(document: Document, now: datetime) -> Schedule:
    """Return a schedule as people see it, its next run computed now."""
    data: Mapping[str, Any] = document.data
    next_run = next_fire(data["cron_expression"], data["timezone"], now) if data["enabled"] else None
    return from_record(Schedule, {**data, "next_run": next_run})
