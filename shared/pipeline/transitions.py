"""The states of an export job, in one table."""

from __future__ import annotations

from shared.errors import InternalError
from shared.models import JobStatus

PENDING, RUNNING, HELD = JobStatus.PENDING, JobStatus.RUNNING, JobStatus.HELD
SUCCESS, FAILED, CANCELLED = JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    PENDING: frozenset({RUNNING, CANCELLED}),
    RUNNING: frozenset({RUNNING, SUCCESS, FAILED, CANCELLED, HELD}),
    HELD: frozenset({PENDING, CANCELLED}),
    SUCCESS: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}


def check(old: JobStatus, new: JobStatus) -> None:
    """Raise `InternalError` unless a job may go from `old` to `new`."""
    if new not in TRANSITIONS[old]:
        raise InternalError(f"a job may not go from {old.value} to {new.value}", code="illegal_transition")
