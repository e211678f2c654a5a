"""What one box of work on a job came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

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
