"""Schedules: the document is the truth, the Cloud Scheduler job its alarm clock.

Every change is written to the document first and told to Cloud Scheduler after; `told` on the document is the revision that
Cloud Scheduler has. A crash in between leaves a difference that the reconciler finds and mends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from shared import audit
from shared.errors import (
    BIConnectorsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    VendorUnavailableError,
)
from shared.models import (
    ExportRequest,
    PlannedRun,
    PlannedRuns,
    Schedule,
    ScheduleAction,
    SchedulePage,
    ScheduleRequest,
    new_id,
)
from shared.pipeline.preparing.checks import check_rules, check_types
from shared.ports import CronJob, Document, Query, Stores, Transaction
from shared.services.connector_bodies import require_lines
from shared.services.connectors import Connectors
from shared.services.cron import Cron
from shared.services.freshness import end_watch
from shared.services.occurrence_attempt import leave_out
from shared.services.records import (
    Idempotency,
    Page,
    earlier_result,
    from_record,
    keep_result,
    list_page,
    require,
    to_builtins,
    to_record,
)
from shared.services.refresh_quota import room_for_schedule
from shared.services.schedule_changes import asked_by, is_timing, put_back, unmake
from shared.services.start_trouble import OVER
from shared.telemetry import log_event

MOST_NEXT = 100
LIVE = ("deleting", "==", False)


class Schedules:
    """The use cases around `schedules/{id}`."""

    def __init__(
        self, stores: Stores, connectors: Connectors, refresh_url: str, run_due: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """`run_due` sees to what is due of a schedule (its record) by the rules it has still, as far as that can start now."""
        self._run_due = run_due
        self._stores = stores
        self._connectors = connectors
        self._refresh_url = refresh_url

    def create(self, request: ScheduleRequest, caller: str, idempotency: Idempotency | None = None) -> Document:
        """Store a schedule, then make its Cloud Scheduler job. Returns the document; the earlier one for a repeated key.

        Raises:
            InvalidRequestError: the expression, the zone or the action's fields are not right.
            NotFoundError: no such connector.
            UnsupportedError: the connector has nothing to refresh.
        """
        now = self._stores.clock.now()
        made = self._stores.documents.transact(lambda tx: earlier_result(tx, idempotency, now)) if idempotency else None
        fields = self._checked(request, made)  # one that was made before is not its own rival for the vendor's quota
        schedule = Schedule(
            **fields,
            id=new_id(now),
            created_at=now,
            updated_at=now,
            created_by=caller,
            health="unknown",
            sync="pending",
        )
        state = {"handled_until": now, "revision": 1, "told": 0, "active": None, "queued": None, "deleting": False}
        state["made_under"] = idempotency.path if idempotency else None

        def work(tx: Transaction) -> str:
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            record = to_record(schedule, **state)
            tx.create(f"schedules/{schedule.id}", record)
            audit.record(tx, now, "schedule.create", f"schedules/{schedule.id}", after=record)
            keep_result(tx, idempotency, schedule.id, now)
            return schedule.id

        stored = self._stores.documents.transact(work)
        try:
            self.tell(stored)
        except InvalidRequestError:
            self._stores.documents.transact(lambda tx: self._unmake(tx, stored))
            raise
        return self.get(stored)

    def _unmake(self, tx: Transaction, schedule_id: str) -> None:
        """Take back a schedule that Cloud Scheduler refused, unless it ran before the request was repeated."""
        found = tx.get(f"schedules/{schedule_id}")
        if found is not None and found.data["told"] == 0:
            unmake(tx, found, self._stores.clock.now())

    def get(self, schedule_id: str) -> Document:
        found = require(self._stores.documents, f"schedules/{schedule_id}", f"schedule {schedule_id!r}")
        if found.data["deleting"]:
            raise NotFoundError(f"schedule {schedule_id!r} is being deleted")
        return found

    def list_schedules(self, connector_name: str | None, page: Page) -> SchedulePage:
        where = (LIVE, ("connector_name", "==", connector_name)) if connector_name else (LIVE,)
        found, token = list_page(self._stores.documents, Query("schedules", where), page)
        now = self._stores.clock.now()
        return SchedulePage(schedules=[shown(item, now) for item in found], next_page_token=token)

    def change(self, schedule_id: str, changes: Mapping[str, Any], revision: str) -> Document:
        """Change a schedule by a JSON merge patch of its request; `revision` is the one that the caller read.

        Raises:
            PreconditionFailedError: it was changed since.
            InvalidRequestError: the outcome would not be a schedule, or would belong to another connector.
        """
        present = self.get(schedule_id)
        request = asked_by(present.data, changes)
        if request.connector_name != present.data["connector_name"]:
            raise InvalidRequestError("a schedule stays with its connector; make another one", field="connector_name")
        return self._store(schedule_id, self._checked(request, schedule_id), revision)

    def checked(self, request: ScheduleRequest, schedule_id: str | None = None) -> ScheduleRequest:
        """Return a request as it would be stored, for a new schedule or this one. Raises as `create` does."""
        return asked_by(self._checked(request, schedule_id), {})

    def replace(self, schedule_id: str, request: ScheduleRequest) -> Document:
        """Make a schedule what the request says, whatever it was. Raises as `change` does."""
        if request.connector_name != self.get(schedule_id).data["connector_name"]:
            raise InvalidRequestError("a schedule stays with its connector; make another one", field="connector_name")
        return self._store(schedule_id, self._checked(request, schedule_id), None)

    def set_enabled(self, schedule_id: str, *, enabled: bool) -> Document:
        """Pause or resume; what comes due while it is paused is not made up for. No effect if it is so already."""
        present = self.get(schedule_id)
        if present.data["enabled"] == enabled:
            return present
        if enabled:  # what was true when it was paused may not be so any more
            self._checked(asked_by(present.data, {"enabled": True}), schedule_id)
        return self._store(schedule_id, {"enabled": enabled}, None)

    def next_runs(self, schedule_id: str, count: int) -> PlannedRuns:
        """Return the next `count` runs, with what the clocks do on those days."""
        schedule = self.get(schedule_id).data
        cron = Cron(schedule["cron_expression"], schedule["timezone"])
        found = islice(cron.after(self._stores.clock.now()), min(count, MOST_NEXT) if schedule["enabled"] else 0)
        runs = [
            PlannedRun(at=at, local=at.astimezone(cron.zone).isoformat(timespec="minutes"), note=cron.note(at))
            for at in found
        ]
        return PlannedRuns(timezone=schedule["timezone"], runs=runs)

    def delete(self, schedule_id: str) -> None:
        """Mark the schedule, delete its Cloud Scheduler job, delete the schedule: nothing runs from the first step on.

        The mark is the deletion that people see and the audit tells of; what Cloud Scheduler does not answer is left to the reconciler.
        """
        before, now = self.get(schedule_id), self._stores.clock.now()

        def work(tx: Transaction) -> None:
            found = tx.get(before.path)
            if found is None or found.data["deleting"]:
                return
            ended = end_watch(tx, found.data, {**found.data, "deleting": True}, now)
            tx.update(before.path, {"deleting": True, **ended})
            audit.record(tx, now, "schedule.delete", before.path, before=before.data)

        self._stores.documents.transact(work)
        try:
            self.finish_delete(schedule_id)
        except VendorUnavailableError as error:
            log_event("schedule_not_told", severity="WARNING", schedule_id=schedule_id, reason=error.message)

    def finish_delete(self, schedule_id: str) -> None:
        """Go on with a deletion. Repeatable. Raises `VendorUnavailableError` if Cloud Scheduler does not answer: nothing is done then."""
        self._stores.cron_jobs.delete(schedule_id)
        self._stores.documents.delete(f"schedules/{schedule_id}")

    def delete_of(self, connector_name: str) -> None:
        """Delete every schedule of one connector."""
        where = (LIVE, ("connector_name", "==", connector_name))
        for item in self._stores.documents.query(Query("schedules", where)):
            self.delete(item.data["id"])

    def tell(self, schedule_id: str) -> None:
        """Tell Cloud Scheduler what the document says now. If it does not answer, the document says `pending`.

        Raises:
            InvalidRequestError: Cloud Scheduler refuses the expression or the zone.
        """
        try:
            self.put(schedule_id)
        except VendorUnavailableError as error:
            log_event("schedule_not_told", severity="WARNING", schedule_id=schedule_id, reason=error.message)

    def put(self, schedule_id: str) -> None:
        """Tell Cloud Scheduler what the document says now. Raises as `tell` does, and if it does not answer."""
        schedule = self.get(schedule_id).data
        self._stores.cron_jobs.put(self.cron_job(schedule))
        self.note_told(schedule_id, schedule["revision"], None)

    def note_told(self, schedule_id: str, revision: int, error: BIConnectorsError | None) -> None:
        """Record that Cloud Scheduler took, or refused, a revision; not if there is a newer one."""

        def work(tx: Transaction) -> None:
            found = tx.get(f"schedules/{schedule_id}")
            if found is not None and found.data["revision"] == revision:
                sync = (
                    {"sync": "refused", "sync_error": error.message}
                    if error
                    else {"sync": "done", "sync_error": None, "untold": None}
                )
                tx.update(found.path, {**sync, "told": revision})

        self._stores.documents.transact(work)

    def cron_job(self, schedule: Mapping[str, Any]) -> CronJob:
        """Return the Cloud Scheduler job that a schedule is to have."""
        cron = Cron(schedule["cron_expression"], schedule["timezone"])
        what = f"{schedule['action']} {schedule['connector_name']}"
        return CronJob(
            id=schedule["id"],
            cron=cron.expression,
            time_zone=schedule["timezone"],
            url=self._fire_url(schedule["id"]),
            audience=self._refresh_url,
            body={"schedule_id": schedule["id"]},
            paused=not schedule["enabled"],
            description=f"{what}: {cron.words()}"[:500],
        )

    def made(self, job: CronJob) -> bool:
        """Whether this deployment made a job: it calls our own route for the schedule that it is named after, and says so."""
        return job.url == self._fire_url(job.id) and job.body == {"schedule_id": job.id}

    def _fire_url(self, schedule_id: str) -> str:
        return f"{self._refresh_url}/internal/schedules/{schedule_id}:fire"

    def _store(self, schedule_id: str, fields: Mapping[str, Any], revision: str | None) -> Document:
        """Write a change and tell Cloud Scheduler; if that refuses it, the change is taken back.

        What came due before a change of the times runs before it, or is recorded with it: no planned time goes without a word.
        """
        present = self.get(schedule_id).data
        is_paused = fields.get("enabled") is False
        if present["enabled"] and not is_paused and is_timing(fields, present):
            self._run_due(present)
        now = self._stores.clock.now()

        def work(tx: Transaction) -> dict[str, Any]:
            found = tx.get(f"schedules/{schedule_id}")
            if found is None or found.data["deleting"]:
                raise NotFoundError(f"schedule {schedule_id!r} was deleted meanwhile")
            if revision is not None and revision != str(found.data["revision"]):
                raise PreconditionFailedError(f"schedule {schedule_id!r} was changed since it was read; read it again")
            untold = {name: found.data[name] for name in fields} | (found.data.get("untold") or {})
            changes = {**fields, "revision": found.data["revision"] + 1, "updated_at": now, "sync": "pending"}
            changes["untold"] = (
                untold  # what Cloud Scheduler knows, until it knows the change: a refusal may find nobody here
            )
            if is_timing(fields, found.data):
                if found.data["enabled"]:
                    done = "paused" if is_paused else "changed"
                    leave_out(tx, found.data, f"had not started when the schedule was {done}", now)
                changes |= {"handled_until": max(found.data["handled_until"], now), **OVER}
            changes |= end_watch(tx, found.data, {**found.data, **changes}, now)
            tx.update(found.path, changes)
            after = {**found.data, **changes}
            audit.record(tx, now, "schedule.change", found.path, before=found.data, after=after)
            return found.data

        before = self._stores.documents.transact(work)
        try:
            self.tell(schedule_id)
        except InvalidRequestError:
            self._take_back(schedule_id, fields, before)
            raise
        return self.get(schedule_id)

    def _take_back(self, schedule_id: str, fields: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Undo a change that Cloud Scheduler refused, but nothing that somebody else has changed since; the reconciler tells it."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> None:
            found = tx.get(f"schedules/{schedule_id}")
            if found is None:
                return
            is_last = found.data["revision"] == before["revision"] + 1
            kept = {name: before[name] for name in fields if is_last or found.data[name] == fields[name]}
            put_back(tx, found, kept, now)

        self._stores.documents.transact(work)

    def _checked(self, request: ScheduleRequest, own_id: str | None) -> dict[str, Any]:
        """Return the fields of a valid request as they are stored."""
        require_lines({"cron_expression": request.cron_expression})
        cron = Cron(request.cron_expression, request.timezone)
        connector = self._connectors.get(request.connector_name)
        export = request.export
        if request.action is ScheduleAction.REFRESH:
            self._connectors.require_refresh(connector)
            self._connectors.check_options(connector, request.options)
            if export is not None:
                raise InvalidRequestError("export belongs to the action export_and_refresh", field="export")
        else:
            export = self._checked_export(request, connector)
        if request.enabled and (request.action is ScheduleAction.REFRESH or (export and export.refresh_after)):
            now = self._stores.clock.now()
            room_for_schedule(self._stores.documents, connector.data["config"], cron, own_id, now)
        fields: dict[str, Any] = to_builtins(msgspec.structs.replace(request, export=export))
        return {**fields, "description": cron.words()}

    def _checked_export(self, request: ScheduleRequest, connector: Document) -> ExportRequest:
        export = request.export
        if export is None:
            raise InvalidRequestError("export_and_refresh needs export: the body of an export request", field="export")
        if export.connector_name != request.connector_name:
            raise InvalidRequestError(
                "export.connector_name differs from connector_name; a schedule works on one connector", field="export"
            )
        if export.rows is not None:
            raise InvalidRequestError(
                "a schedule exports a table or a file; rows would be the same every time", field="export"
            )
        if request.options:
            raise InvalidRequestError("options belong to the action refresh", field="options")
        check_rules(export.mapping, export.contract)
        check_types(export.columns, "export.columns")
        if export.source is not None:
            check_types(export.source.columns, "export.source.columns")
        return msgspec.structs.replace(export, refresh_after=self._connectors.can_refresh(connector))


def shown(document: Document, now: datetime) -> Schedule:
    """Return a schedule as people see it, its next run computed now."""
    data: Mapping[str, Any] = document.data
    coming = Cron(data["cron_expression"], data["timezone"]).after(now) if data["enabled"] else iter(())
    return from_record(Schedule, {**data, "next_run": next(coming, None)})
