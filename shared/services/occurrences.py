"""Occurrences: a planned time of a schedule starts one run, whatever Cloud Scheduler delivers twice, late, never or out of order.

What is due is decided by the schedule's document and our clock, not by the call: `handled_until` on the schedule moves over
each planned time in the transaction that starts its run (or records why not). A call of Cloud Scheduler only says that it is
time to look; so does the system job of every minute, which finds what no call came for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared.errors import BIConnectorsError, ConflictError, InternalError, NotFoundError
from shared.models import ExportRequest, Missed, Occurrence, OccurrencePage, Overlap, ScheduleAction, new_id
from shared.ports import Query, Stores, Transaction
from shared.services.cron import Cron
from shared.services.exports import Exports
from shared.services.occurrence_attempt import (
    ENDED,
    EXPORT,
    MANUAL,
    Attempt,
    ChangedError,
    Verdict,
    outcome,
    standing,
)
from shared.services.occurrence_plan import occurrence_id, plan
from shared.services.records import Idempotency, Page, from_record, list_page, require
from shared.services.refreshes import Refreshes
from shared.services.start_trouble import Announce, note, tell
from shared.telemetry import log_event

SKEW = timedelta(seconds=5)  # our choice: how far our clock may be behind Cloud Scheduler's
OVERDUE = timedelta(minutes=2)  # our choice: after this nobody waits for Cloud Scheduler's call any more


class Occurrences:
    """The use cases around `occurrences/{id}`."""

    def __init__(self, stores: Stores, exports: Exports, refreshes: Refreshes, announce: Announce) -> None:
        self._stores = stores
        self._exports = exports
        self._refreshes = refreshes
        self._announce = announce

    def fire(self, schedule_id: str, planned: datetime | None) -> list[Occurrence]:
        """See to all that is due of a schedule. For Cloud Scheduler only; `planned` is what its header says.

        A header further ahead than clocks differ is of a run that somebody forced in Cloud Scheduler's console, and so is one that
        has seconds, which no planned time has: it starts a run of its own and leaves the coming occurrence alone.

        Raises:
            VendorUnavailableError: something that will pass; the call is to be repeated.
        """
        document = self._stores.documents.get(f"schedules/{schedule_id}")
        if document is None or document.data.get("deleting"):
            return []
        now = self._stores.clock.now()
        if planned is not None and (planned.second or planned.microsecond):
            return self._force(schedule_id, f"forced {planned.isoformat()}", planned, planned)
        if planned is not None and planned > now + SKEW:
            return self._force(schedule_id, f"forced {planned.isoformat()} {new_id(now)}", now, planned)
        return self._start_waiting(document.data) + self._run_due(document.data, max(now, planned or now))

    def _force(self, schedule_id: str, key: str, at: datetime, carried: datetime) -> list[Occurrence]:
        """Start a run that was forced; `carried` is what the call's header says."""
        attempt = self._attempt(schedule_id, key, at, "forced", f"schedule:{schedule_id}")
        attempt.forced_for = carried
        return self._settle(attempt)

    def run_now(self, schedule_id: str, caller: str, idempotency: Idempotency | None) -> Occurrence:
        """Start a run by hand; the schedule's overlap policy holds. A repeated key returns the first occurrence.

        Raises:
            BIConnectorsError: whatever keeps its action from starting.
        """
        require(self._stores.documents, f"schedules/{schedule_id}", f"schedule {schedule_id!r}")
        now = self._stores.clock.now()
        key = idempotency.path if idempotency else new_id(now)
        attempt = self._attempt(schedule_id, f"manual {key}", now, MANUAL, caller)
        settled = self._settle(attempt)
        found = settled[0] if settled else None
        if found is None:
            document = self._stores.documents.get(attempt.path)
            if document is None:
                raise NotFoundError(f"schedule {schedule_id!r} was deleted meanwhile")
            found = from_record(Occurrence, document.data)
        return found

    def list_of(self, schedule_id: str, page: Page) -> OccurrencePage:
        require(self._stores.documents, f"schedules/{schedule_id}", f"schedule {schedule_id!r}")
        where = (("schedule_id", "==", schedule_id),)
        query = Query("occurrences", where, order_by="planned_at", descending=True)
        found, token = list_page(self._stores.documents, query, page)
        occurrences = [from_record(Occurrence, item.data) for item in found]
        return OccurrencePage(occurrences=occurrences, next_page_token=token)

    def tend_all(self) -> int:
        """Tend every schedule, each by itself: one that cannot be seen to now does not keep the others. Returns how many failed."""
        failed = 0
        for item in self._stores.documents.query(Query("schedules", (("deleting", "==", False),))):
            try:
                self.tend(item.data)
            except Exception as error:  # noqa: BLE001 - one schedule's trouble must not keep the minute from the others
                failed += 1
                severity = "WARNING" if isinstance(error, BIConnectorsError) else "ERROR"
                log_event("schedule_postponed", severity=severity, schedule_id=item.data["id"], reason=str(error))
        return failed

    def tend(self, schedule: Mapping[str, Any]) -> None:
        """Record a run that ended, start what waited for it, and what Cloud Scheduler did not call for. Repeatable.

        Raises:
            VendorUnavailableError: something that will pass; the next minute tries again.
        """
        self._close(schedule["id"])
        document = self._stores.documents.get(f"schedules/{schedule['id']}")
        if document is None or document.data.get("deleting"):
            return
        try:
            self._start_waiting(document.data)
            self._run_due(document.data, self._stores.clock.now() - OVERDUE)
        finally:
            if document.data.get("start_trouble"):  # after one more try
                self._tell_trouble(document.path)

    def _tell_trouble(self, path: str) -> None:
        def work(tx: Transaction) -> None:
            found = tx.get(path)
            if found is None or found.data["deleting"]:
                return
            changes = tell(tx, self._announce, found.data, self._stores.clock.now())
            if changes:
                tx.update(path, changes)

        self._stores.documents.transact(work)

    def run_due(self, schedule: Mapping[str, Any]) -> None:
        """See to what is due of a schedule that is about to change; what cannot start now is left to the caller."""
        try:
            self._run_due(schedule, self._stores.clock.now())
        except BIConnectorsError as error:
            log_event("due_not_started", severity="WARNING", schedule_id=schedule["id"], reason=error.message)

    def _run_due(self, schedule: Mapping[str, Any], until: datetime) -> list[Occurrence]:
        if not schedule["enabled"]:
            return []
        now = self._stores.clock.now()
        cron = Cron(schedule["cron_expression"], schedule["timezone"])
        missed, after = Missed(schedule["missed"]), schedule["handled_until"]
        steps = plan(cron, missed, after, until, now)
        if any(step.is_made_up for step in steps):
            steps = plan(cron, missed, after, until, now, self._on_record(schedule["id"], after))
        found: list[Occurrence] = []
        one_waits = False
        for step in steps:
            if step.is_made_up and one_waits:
                continue
            attempt = self._attempt(schedule["id"], step.slot, step.slot, "schedule", f"schedule:{schedule['id']}")
            attempt.left_out, attempt.count = step.reason, step.count
            attempt.is_made_up, attempt.is_ahead = step.is_made_up, one_waits
            found += self._settle(attempt)
            one_waits = one_waits or attempt.verdict is Verdict.WAIT
        return found

    def _on_record(self, schedule_id: str, after: datetime) -> set[datetime]:
        """Return the planned times that were seen to before their turn, because missed ones wait for theirs."""
        where = (("schedule_id", "==", schedule_id), ("planned_at", ">", after))
        query = Query("occurrences", where, order_by="planned_at", descending=True)
        return {
            one.data["planned_at"] for one in self._stores.documents.query(query) if one.data["trigger"] == "schedule"
        }

    def _start_waiting(self, schedule: Mapping[str, Any]) -> list[Occurrence]:
        """Start the occurrence that waits, if what it waits for has ended; ask to cancel that, if it is to be and nobody heard."""
        queued = schedule.get("queued")
        document = self._stores.documents.get(f"occurrences/{queued}") if queued else None
        if document is None:
            return []
        waits = document.data
        attempt = Attempt(
            self._announce,
            schedule["id"],
            waits["id"],
            waits["planned_at"],
            waits["trigger"],
            waits.get("requested_by") or f"schedule:{schedule['id']}",
            self._stores.clock.now(),
            waited=True,
        )
        settled, seen = self._settle(attempt), attempt.schedule
        still_waits = not settled and seen.get("queued") == queued
        if still_waits and seen["overlap"] == Overlap.CANCEL_RUNNING.value and not waits.get("cancel_heard"):
            self._cancel(attempt, seen["active"])
        return settled

    def _settle(self, attempt: Attempt) -> list[Occurrence]:
        """Take an occurrence to what becomes of it; nothing if that was done before."""
        while True:
            attempt.now = self._stores.clock.now()
            verdict = attempt.verdict = self._stores.documents.transact(attempt.settle)
            if verdict in (Verdict.HANDLED, Verdict.WAIT):
                return []
            if verdict is Verdict.START:
                try:
                    self._start(attempt)
                except ChangedError:
                    continue
            if verdict is Verdict.QUEUE and attempt.schedule["overlap"] == Overlap.CANCEL_RUNNING.value:
                self._cancel(attempt, attempt.schedule["active"])
            document = self._stores.documents.get(attempt.path)
            return [from_record(Occurrence, document.data)] if document else []

    def _start(self, attempt: Attempt) -> None:
        schedule = attempt.schedule
        name, options = schedule["connector_name"], schedule["options"]
        try:
            if schedule["action"] == ScheduleAction.REFRESH.value:
                self._refreshes.start(
                    name, options, attempt.caller, attempt, trigger=attempt.trigger, schedule_id=attempt.schedule_id
                )
            else:
                request = msgspec.convert(schedule["export"], ExportRequest)
                self._exports.start(request, attempt.caller, attempt)
        except ChangedError:
            raise
        except Exception as error:
            cause = error
            if not isinstance(cause, BIConnectorsError) or cause.retryable or isinstance(cause, InternalError):
                self._note_trouble(attempt, cause)
                raise
            self._stores.documents.transact(lambda tx: attempt.fail(tx, cause))
            log_event("occurrence_failed", severity="ERROR", schedule_id=attempt.schedule_id, code=cause.code)

    def _note_trouble(self, attempt: Attempt, error: Exception) -> None:
        """Keep it for people, but not where somebody who pressed the button gets it as the answer."""
        if attempt.trigger == MANUAL and not attempt.waited:
            return
        path, slot, now = f"schedules/{attempt.schedule_id}", attempt.planned_at, self._stores.clock.now()
        self._stores.documents.transact(lambda tx: note(tx, path, slot, error, now))

    def _cancel(self, attempt: Attempt, active: Mapping[str, Any]) -> None:
        """Ask to cancel the run that is in the way; one that cannot be cancelled is waited for."""
        is_heard = True
        try:
            cancel_run(self._stores, self._exports, self._refreshes, active)
            reason = f"waits for {active['kind']} {active['id']}, which is being cancelled"
        except BIConnectorsError as error:
            is_heard = not (error.retryable or goes_on(self._stores, active, error))
            ever = "cannot be cancelled" if is_heard else "cannot be cancelled yet"
            reason = f"waits for {active['kind']} {active['id']}, which {ever}: {error.message}"
        try:
            self._stores.documents.update(attempt.path, {"reason": reason, "cancel_heard": is_heard})
        except NotFoundError:
            pass  # deleted with its schedule meanwhile

    def _close(self, schedule_id: str) -> None:
        """Record how the active run ended, on its occurrence and as the schedule's health."""

        def work(tx: Transaction) -> None:
            document = tx.get(f"schedules/{schedule_id}")
            found = standing(tx.get, document.data) if document else None
            if document is None or found is None:
                return
            changes = found.write(tx, self._announce, self._stores.clock.now())
            if changes:
                tx.update(document.path, changes)

        self._stores.documents.transact(work)

    def _attempt(
        self, schedule_id: str, key: str | datetime, planned_at: datetime, trigger: str, caller: str
    ) -> Attempt:
        now = self._stores.clock.now()
        return Attempt(self._announce, schedule_id, occurrence_id(schedule_id, key), planned_at, trigger, caller, now)


def cancel_run(stores: Stores, exports: Exports, refreshes: Refreshes, active: Mapping[str, Any]) -> None:
    """Ask to cancel a run: an export, or the refresh after it.

    Raises:
        ConflictError, UnsupportedError: it is too late, or the vendor cannot.
    """
    run_id = active["id"]
    if active["kind"] == EXPORT:
        try:
            exports.operations.cancel(run_id)
            return
        except ConflictError:
            job = stores.documents.get(f"export_jobs/{run_id}")
            if job is None or not job.data.get("refresh_run_id"):
                raise
            run_id = job.data["refresh_run_id"]
    refreshes.cancel(run_id)


def goes_on(stores: Stores, active: Mapping[str, Any], error: BIConnectorsError) -> bool:
    """Whether a refusal to cancel is not the last word: an export whose rows go out, or are out, may have its refresh still to come."""
    if error.code == "job_publishing":
        return True
    return error.code == "job_ended" and outcome(stores.documents.get, active)[0] not in ENDED
