"""What the sweep does about something due that it cannot see to: later, with longer and longer pauses, or never, and says why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared.errors import BIConnectorsError, InternalError
from shared.ports import Document, Documents, Transaction
from shared.redaction import redact
from shared.telemetry import log_event

LONGEST = timedelta(hours=6)  # our choice: every sweep at first, then four times a day
GIVEN_UP_AFTER = timedelta(days=7)  # our choice: as long as frozen rows are kept
SAID = {
    "recheck_at": ("repair_error", "recheck_given_up", "the table could not be read once more"),
    "repair_at": ("repair_error", "repairs_given_up", "the repair could not be started"),
    "refresh_due_at": ("refresh_error", "refresh_not_started", "the refresh could not be started"),
}
"""Field of a job that says when something is due: the field that says why it was given up, the log line that does, and the words."""


def since(due: str) -> str:
    """Return the field that holds when the trouble with something due began."""
    return f"{due}_trouble_since"


def postpone(documents: Documents, now: datetime, job: Document, due: str, error: Exception) -> None:
    """Push the due time back by as long as the trouble lasts already, or give up; nothing if the job says otherwise by now.

    The first time it is due again at the next sweep, behind all that are due by now.
    """
    began = job.data.get(since(due)) or now
    passes = not isinstance(error, BIConnectorsError) or error.retryable or isinstance(error, InternalError)
    is_over = not passes or now - began >= GIVEN_UP_AFTER
    field, event, what = SAID[due]
    fields: dict[str, Any]
    if is_over:
        fields = {due: None, since(due): None, field: _told(what, error)}
    else:
        fields = {due: now + min(now - began, LONGEST), since(due): began}

    def work(tx: Transaction) -> bool:
        found = tx.get(job.path)
        is_same = found is not None and found.data.get(due) == job.data[due]
        if is_same:
            tx.update(job.path, fields)
        return is_same

    if documents.transact(work):
        severity, said = ("ERROR", event) if is_over else ("WARNING", "sweep_postponed")
        log_event(said, severity=severity, job_id=job.data["id"], due=due, reason=redact(str(error)))


def _told(what: str, error: Exception) -> dict[str, Any]:
    if not isinstance(error, BIConnectorsError):
        error = InternalError("a fault of ours; the log of the sweep has it")
    return {"code": error.code, "message": f"{what}: {error.message}", "retryable": False, "details": {}}
