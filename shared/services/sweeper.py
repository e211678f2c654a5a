"""Finds what nobody drives: jobs and refresh runs whose task was lost or gave up, and frozen rows past their time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.models import JobStatus, RunStatus
from shared.ports import Document, Query, Stores
from shared.redaction import redact
from shared.services import postponing
from shared.services.exports import Exports
from shared.services.reconciler import Reconciler
from shared.services.refreshes import Refreshes
from shared.telemetry import log_event

GRACE = timedelta(seconds=60)  # our choice: longer than Cloud Tasks takes to deliver what is due
RETENTION = timedelta(
    days=7
)  # our choice: how long frozen rows can be retried and republished; the bucket's rule is longer
FOR_REPAIR = "for repair"
"""`rows_kept` of a job whose rows outlive `RETENTION`; the frozen bucket's own rule (`rows_retention_days`) still ends them."""
MOST = 200  # our choice: what one sweep looks at; the next one is five minutes later


class Sweeper:
    """One sweep: Cloud Scheduler calls it every five minutes. Everything it does may be done twice."""

    def __init__(self, stores: Stores, exports: Exports, refreshes: Refreshes, reconciler: Reconciler) -> None:
        self._stores = stores
        self._exports = exports
        self._refreshes = refreshes
        self._reconciler = reconciler

    def sweep(self) -> dict[str, int]:
        """Wake what is stuck, forget what is too old; return how many of each."""
        now = self._stores.clock.now()
        done = {"jobs_woken": 0, "runs_woken": 0}
        overdue = now - GRACE
        unfinished = ("status", "in", [JobStatus.PENDING.value, JobStatus.RUNNING.value])
        where = (unfinished, ("next_task_at", "<", overdue))
        for item in self._stores.documents.query(Query("export_jobs", where, order_by="next_task_at", limit=MOST)):
            if item.data["lease_until"] < overdue:
                self._exports.wake(item.data["id"])
                done["jobs_woken"] += 1
        unfinished = ("status", "in", [RunStatus.PENDING.value, RunStatus.RUNNING.value])
        where = (unfinished, ("next_look_at", "<", overdue))
        for item in self._stores.documents.query(Query("refresh_runs", where, order_by="next_look_at", limit=MOST)):
            self._refreshes.following.wake(item.data)
            done["runs_woken"] += 1
        done["schedules_mended"] = self._reconcile()
        done["targets_repaired"] = self._see_to(now, "recheck_at", self._exports.repairs.recheck)
        done["targets_repaired"] += self._see_to(now, "repair_at", self._exports.repairs.repair_again)
        done["refreshes_started"] = self._see_to(now, "refresh_due_at", self._exports.refresh_after)
        done["rows_forgotten"] = self._forget(now)
        log_event("sweep", severity="WARNING" if done["jobs_woken"] or done["runs_woken"] else "INFO", **done)
        return done

    def _see_to(self, now: datetime, due: str, see_to: Callable[[Mapping[str, Any]], bool]) -> int:
        """See to jobs that ended and have something due: a look at their target, its repair, the refresh after them."""
        started = 0
        for item in self._stores.documents.query(Query("export_jobs", ((due, "<", now),), order_by=due, limit=MOST)):
            try:
                started += self._see_to_one(now, item, due, see_to)
            except Exception as error:  # noqa: BLE001 - one job's trouble must not keep the sweep from the others
                reason = redact(str(error))
                log_event("sweep_postponed", severity="WARNING", job_id=item.data["id"], due=due, reason=reason)
        return started

    def _see_to_one(self, now: datetime, job: Document, due: str, see_to: Callable[[Mapping[str, Any]], bool]) -> bool:
        try:
            started = see_to(job.data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be due for ever before the others
            postponing.postpone(self._stores.documents, now, job, due, error)
            return False
        if job.data.get(postponing.since(due)):
            self._stores.documents.update(job.path, {postponing.since(due): None})
        return started

    def _reconcile(self) -> int:
        try:
            return len(self._reconciler.reconcile(dry_run=False).drifts)
        except Exception as error:  # noqa: BLE001 - trouble with schedules must not keep the sweep from the rest
            log_event("reconcile_postponed", severity="WARNING", reason=redact(str(error)))
            return 0

    def _forget(self, now: datetime) -> int:
        """Forget frozen rows that are too old, but not those which an unfinished job starts from, nor those which a target without
        atomic replace would be repaired from."""
        operations, documents = self._exports.operations, self._stores.documents
        old = [item for kept in (True, FOR_REPAIR) for item in self._too_old(now, kept=kept)]
        needed = operations.rows_needed() if old else {}
        going = []
        for item in old:
            if item.data["id"] in needed:
                continue
            if not self._exports.repairs.need_rows_of(item.data):
                documents.update(item.path, {"frozen_erased": True})  # from here on nothing starts from them
                going.append(item)
            elif item.data["rows_kept"] is True:
                documents.update(item.path, {"rows_kept": FOR_REPAIR})
        started = operations.rows_needed() if going else {}  # before the mark
        gone = [item for item in going if item.data["id"] not in started]
        for item in gone:
            operations.forget_rows(item.data)
            documents.update(item.path, {"rows_kept": False})
        return len(gone)

    def _too_old(self, now: datetime, *, kept: bool | str) -> list[Document]:
        where = (("rows_kept", "==", kept), ("completed_at", "<", now - RETENTION))
        return self._stores.documents.query(Query("export_jobs", where, order_by="completed_at", limit=MOST))
