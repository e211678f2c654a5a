"""What one box of work on a job came to, and how long the job then rests."""

from __future__ import annotations

import random
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.errors import BIConnectorsError, InternalError
from shared.models import JobStatus
from shared.telemetry import log_event


@dataclass(frozen=True)
class Finished:
    """Nothing more to do for this task."""

    goes_on = False
    at = None


@dataclass(frozen=True)
class Continue:
    """Enqueue another task for the job, at `at` (None: at once)."""

    at: datetime | None = None
    goes_on = True


Outcome = Finished | Continue
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0


def backoff_s(job: Mapping[str, Any], waits: int) -> float:
    """Full jitter, drawn from the job's place in line: jobs that met one trouble come back apart, a repeat at the same time."""
    most = min(FIRST_WAIT_S * 2.0 ** min(waits - 1, 10), LONGEST_WAIT_S)  # a job may wait for weeks: no power overflows
    return random.Random(f"{job['target_key']} {job['turn']} {waits}").uniform(0.0, most)  # noqa: S311 - no secret


class Lineage(Protocol):
    """Who tells what a job read and wrote; `shared.services.lineage`."""

    def started(self, job: Mapping[str, Any]) -> None: ...

    def ended(self, job: Mapping[str, Any]) -> None: ...


def finished(job: Mapping[str, Any], lineage: Lineage) -> Finished:
    """Write the one event that the metrics, alerts and objectives of jobs count, and the job's last one of lineage."""
    log_event(
        "job_finished",
        severity="INFO" if job["status"] == JobStatus.SUCCESS.value else "WARNING",
        job_id=job["id"],
        connector=job["connector_name"],
        table=job["table_name"],
        status=job["status"],
        rows=job.get("record_count"),
        sent_bytes=job["progress"]["sent_bytes"],
        error_code=(job.get("error") or {}).get("code"),
        duration_s=round((job["completed_at"] - job["created_at"]).total_seconds(), 3),
        cost_microusd=round(job["cost"]["usd"] * 1e6),
    )
    lineage.ended(job)
    return Finished()


def told(job: Mapping[str, Any], error: Exception) -> BIConnectorsError:
    """Return the error that an end of a job met, or words for one that is a fault of ours."""
    if isinstance(error, BIConnectorsError):
        return error
    log_event("job_fault", severity="ERROR", job_id=job["id"], stack_trace=traceback.format_exc())
    return InternalError(
        f"a fault of ours while ending the job ({type(error).__name__}); look for its log lines by this job's id"
    )


def unknown_outcome(reason: str, trouble: str) -> str:
    """Return the message of a job of which nobody knows whether it published."""
    return (
        f"{reason}; its rows were sent, and for a day the target gave no answer about them ({trouble}): look at the target before you "
        "export again"
    )


def plain_details(error: BIConnectorsError) -> dict[str, Any]:
    """Return the details that a document can hold: row, column, rule and value among them."""
    return {name: value for name, value in error.details.items() if isinstance(value, str | int | float)}
