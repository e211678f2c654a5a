"""Finds and mends what Firestore and Cloud Scheduler say differently about schedules. Foreign jobs are never touched.

A job without a schedule is ours, and deleted, only if it calls this deployment for the schedule of its name: a name alone proves nothing.

The jobs are listed before the documents: a job's document is written before the job, so a job without one is an orphan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from shared import audit
from shared.errors import BIConnectorsError, InvalidRequestError, NotFoundError
from shared.models import Reconciliation, ScheduleDrift
from shared.ports import CronJob, Query, Stores, Transaction
from shared.redaction import redact
from shared.services.schedule_changes import put_back, unmake
from shared.services.schedules import Schedules
from shared.telemetry import log_event


class Reconciler:
    """One comparison in both directions. Everything it does may be done twice, by several at once."""

    def __init__(self, stores: Stores, schedules: Schedules) -> None:
        self._stores = stores
        self._schedules = schedules

    def reconcile(self, *, dry_run: bool) -> Reconciliation:
        """Return the differences, mended unless `dry_run`.

        Raises:
            VendorUnavailableError: Cloud Scheduler does not answer.
        """
        jobs = {job.id: job for job in self._stores.cron_jobs.list()}
        documents = self._stores.documents.query(Query("schedules"))
        drifts = [drift for item in documents if (drift := self._compare(item.data, jobs.get(item.data["id"])))]
        known = {item.data["id"] for item in documents}
        drifts += [
            ScheduleDrift(
                schedule_id=job_id, action="delete_job", reason="Cloud Scheduler has a job whose schedule is gone"
            )
            for job_id, job in sorted(jobs.items())
            if job_id not in known and self._schedules.made(job)
        ]
        if not dry_run:
            drifts = [self._mend(drift) for drift in drifts]
        if drifts:
            log_event("schedules_drifted", severity="WARNING", dry_run=dry_run, drifts=len(drifts))
        return Reconciliation(dry_run=dry_run, drifts=drifts)

    def _compare(self, schedule: Mapping[str, Any], job: CronJob | None) -> ScheduleDrift | None:
        schedule_id = schedule["id"]
        if schedule["deleting"]:
            reason = "the schedule was being deleted and is still there"
            return ScheduleDrift(schedule_id=schedule_id, action="finish_delete", reason=reason)
        try:
            wanted = self._schedules.cron_job(schedule)
        except InvalidRequestError as error:  # a zone that this release of the time zone data does not have any more
            return ScheduleDrift(
                schedule_id=schedule_id, action="put", reason="the schedule cannot be read", error=error.message
            )
        if job is None:
            return ScheduleDrift(
                schedule_id=schedule_id, action="put", reason="Cloud Scheduler has no job of this schedule"
            )
        if job != wanted:
            reason = f"the job differs in {', '.join(_differing(job, wanted))}"
            return ScheduleDrift(schedule_id=schedule_id, action="put", reason=reason)
        if schedule["told"] != schedule["revision"]:
            return ScheduleDrift(
                schedule_id=schedule_id, action="put", reason="the job is right, the schedule does not know it"
            )
        return None

    def _mend(self, drift: ScheduleDrift) -> ScheduleDrift:
        """Do what a difference asks for, by what the document says now, and audit it: the change is at Cloud Scheduler."""
        schedule_id = drift.schedule_id
        try:
            if drift.action == "finish_delete":
                self._schedules.finish_delete(schedule_id)
            elif drift.action == "delete_job":
                if self._stores.documents.get(f"schedules/{schedule_id}") is None:
                    self._stores.cron_jobs.delete(schedule_id)
            else:
                self._put(schedule_id)
        except NotFoundError:
            return drift  # deleted meanwhile
        except BIConnectorsError as error:
            return msgspec.structs.replace(drift, error=error.message)
        except Exception as error:  # noqa: BLE001 - one schedule's trouble must not keep the others silent
            reason = redact(f"{type(error).__name__}: {error}")
            log_event("schedule_not_mended", severity="ERROR", schedule_id=schedule_id, reason=reason)
            return msgspec.structs.replace(drift, error=f"this is a fault of ours, report it: {reason}")
        asked = {"action": drift.action, "reason": drift.reason}
        now = self._stores.clock.now()
        self._stores.documents.transact(
            lambda tx: audit.record(tx, now, "schedule.reconcile", f"schedules/{schedule_id}", after=asked)
        )
        return drift

    def _put(self, schedule_id: str) -> None:
        schedule = self._schedules.get(schedule_id).data
        try:
            self._schedules.put(schedule_id)
        except InvalidRequestError as error:
            if not self._settle(schedule_id, schedule["revision"], error):
                raise
            self._schedules.put(schedule_id)

    def _settle(self, schedule_id: str, revision: int, error: BIConnectorsError) -> bool:
        """Do what a request would have done whose process died while Cloud Scheduler refused it. Returns whether to tell it again."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> bool | None:
            found = tx.get(f"schedules/{schedule_id}")
            if found is None or found.data["revision"] != revision:
                return False
            if untold := found.data.get("untold"):
                put_back(tx, found, untold, now)
                return True
            if found.data["told"] == 0:
                unmake(tx, found, now)
                return False
            return None

        settled = self._stores.documents.transact(work)
        if settled is None:
            self._schedules.note_told(schedule_id, revision, error)
        return bool(settled)


def _differing(job: CronJob, wanted: CronJob) -> list[str]:
    """Return in what a listed job differs."""
    return [one.name for one in fields(job) if getattr(job, one.name) != getattr(wanted, one.name)]
