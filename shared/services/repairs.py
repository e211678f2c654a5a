"""Targets without atomic replace: what is done about one that a failed or late request left incomplete.

A replace that failed after it touched the table is repaired at once by publishing what was last good: the rows of the last
replace and of the appends since, in one replace. A repair that fails is repeated later, `MOST_REPAIRS` times at most; one that
cannot be made is said on the job that needs it (`repair_error`). A job that succeeded is looked at again a lease later, because
the vendor may still apply an old request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared import connectors as kinds
from shared.errors import ConflictError, NotFoundError
from shared.models import JobStatus, Mode
from shared.pipeline.lease import first_in_line
from shared.ports import Stores
from shared.services.job_operations import JobOperations, Repair
from shared.services.records import Idempotency
from shared.telemetry import log_event

REPAIR = "repair"
"""Who asks for such a job."""
MOST_REPAIRS = (
    6  # our choice: at once, then 5, 10, 20, 40 and 80 minutes after the one before; then a person has to look
)
FIRST_PAUSE = timedelta(minutes=5)


class Outcome(Protocol):
    """Whether a job goes on in another task, and when (None: at once)."""

    @property
    def goes_on(self) -> bool: ...

    @property
    def at(self) -> datetime | None: ...


class Engine(Protocol):
    """What drives one job for one time box; `shared.pipeline.delivery.ExportEngine`."""

    def run(self, job_id: str) -> Outcome: ...

    def differences_now(self, job: Mapping[str, Any]) -> list[str]: ...


class Repairs:
    """See to jobs that ended on a target without atomic replace. Everything may be called twice."""

    def __init__(self, stores: Stores, operations: JobOperations, engine: Callable[[], Engine]) -> None:
        self._stores = stores
        self._operations = operations
        self._engine = engine

    def see_to(self, job: Mapping[str, Any]) -> None:
        """Decide what is to be done about a job that ended: nothing, look again, repair, or repair later.

        A worker that was overtaken asks, too, while the other still works on the job: then nothing is to be done.
        """
        if not JobStatus(job["status"]).is_final:
            return
        atomic = kinds.capabilities(job["connector_type"]).atomic_replace
        if atomic or job["mode"] != Mode.REPLACE.value or not _leaves_a_part(job):
            return
        tries = job.get("repair", 0)
        if job["status"] == JobStatus.SUCCESS.value:
            return  # `recheck_at` was stored with the success
        if tries == 0:
            self._repair(job)
        elif "repair_at" not in job:
            is_over = tries >= MOST_REPAIRS
            self._note(job, repair_at=None if is_over else job["completed_at"] + FIRST_PAUSE * 2 ** (tries - 1))
            if is_over:
                log_event("repairs_given_up", severity="ERROR", job_id=job["id"], reason=job.get("error_message"))

    def repair_again(self, job: Mapping[str, Any]) -> bool:
        """Start the next repair after one that failed, unless a later job has succeeded since. Returns whether."""
        is_needed = self._target(job).get("last_accepted", 0) < job["accepted"]
        started = is_needed and self._repair(job)
        self._note(job, repair_at=None)
        return started

    def recheck(self, job: Mapping[str, Any]) -> bool:
        """Ask whether the target still holds what a job without atomicity delivered; repair it if not. Returns whether.

        While another job is on the target the question waits: that one may end without having touched it.

        Raises:
            VendorUnavailableError: the vendor cannot be asked now; the next sweep asks again.
        """
        is_last = self._target(job).get("last_job_id") == job["id"]
        if is_last and first_in_line(self._stores.documents, job["target_key"]) is not None:
            self._note(job, recheck_at=self._stores.clock.now() + FIRST_PAUSE)
            return False
        started = bool(is_last and self._engine().differences_now(job)) and self._repair(job)
        self._note(job, recheck_at=None)
        return started

    def need_rows_of(self, job: Mapping[str, Any]) -> bool:
        """Whether these frozen rows are what the job's target would be repaired from."""
        if kinds.capabilities(job["connector_type"]).atomic_replace:
            return False
        return job["id"] in _made_of(self._target(job))

    def _repair(self, job: Mapping[str, Any]) -> bool:
        """Publish what the target last held in good order again because of `job`; once, however often this is called."""
        target = self._target(job)
        found = _made_of(target)
        if not found:
            return False
        good, *more = found
        key = Idempotency(job["id"], "repair", REPAIR, {})
        asked = Repair(job.get("repair", 0) + 1, target["last_job_id"], tuple(more))
        try:
            repair = self._operations.again(good, REPAIR, key, after=frozenset({JobStatus.SUCCESS}), repair=asked)
        except (ConflictError, NotFoundError) as error:
            log_event("repair_impossible", severity="ERROR", job_id=job["id"], reason=error.message)
            told = {"code": error.code, "message": error.message, "retryable": False, "details": {}}
            self._note(job, repair_error=told)
            return False
        self._note(job, repair_job_id=repair)
        log_event("repair_started", severity="WARNING", job_id=job["id"], repair_job_id=repair, rows_of=[good, *more])
        return True

    def _target(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._stores.documents.get(f"targets/{job['target_key']}")
        return found.data if found else {}

    def _note(self, job: Mapping[str, Any], **fields: Any) -> None:
        self._stores.documents.update(f"export_jobs/{job['id']}", fields)


def _leaves_a_part(job: Mapping[str, Any]) -> bool:
    """Whether a replace that failed leaves the table incomplete: it touched it, or it was to repair it and is still wanted."""
    is_wanted = job.get("repair") and (job.get("error") or {}).get("code") != "superseded"
    return bool(job.get("touched") or is_wanted)


def _made_of(target: Mapping[str, Any]) -> list[str]:
    """Return the jobs whose rows the target holds (`pipeline.rebuilding.made_of`); release 0.1.0 kept the last job alone."""
    last = target.get("last_job_id")
    return list(target.get("made_of") or ([last] if last else []))
