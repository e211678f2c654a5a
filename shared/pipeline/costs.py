"""What a job costs and how fast it can be: one model for the receipt on each job and for the tables of infra/COST.md.

Prices are Google's list prices in US dollars for a Tier 1 region, without free quotas: cloud.google.com/run/pricing for the
functions; the others as the price pages of Firestore, Cloud Tasks, Cloud Scheduler, Cloud Storage and Secret Manager had them when
this was written, not looked up again since. What `WORKERS` says of Looker was measured (50,000 rows of 20 columns, sandbox,
0.43 CPU seconds); of Power BI and Google Sheets it is an estimate that nobody has measured yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VCPU_SECOND = 0.000024
GIB_SECOND = 0.0000025
REQUEST = 0.40 / 1e6
TASK = 0.40 / 1e6
DOCUMENT_READ = 0.03 / 1e5
DOCUMENT_WRITE = 0.09 / 1e5
STORAGE_GIB_MONTH = 0.02
STORAGE_WRITE = 0.005 / 1e3
SECRET_READ = 0.03 / 1e4
WORKER_GIB = 1.0
RETENTION_MONTHS = 7 / 30
LATENCY_S = 0.15  # our choice: what one call to a vendor is taken to last; see `vendor_latency` on the dashboard
COLD_START_S = 2.0  # our choice, above what `make smoke` shows for the first answer on a busy machine

ACCEPT_WRITES, JOB_WRITES, CHUNK_WRITES = 3, 7, 2
"""Documents written: as README says, held by tests."""
ACCEPT_READS, JOB_READS, TASK_READS, CHUNK_READS = 5, 11, 10, 1
"""Documents read, quotas and breakers left out: of Power BI, the others read three less; held by tests."""


@dataclass(frozen=True)
class Worker:
    """What one kind takes, with 20 columns of all types.

    Attributes:
        cpu_s_per_million: CPU seconds of the worker for a million rows, verification and publishing included.
        calls_per_million: calls to the vendor for a million rows.
        calls_per_job: calls that do not grow with the rows.
    """

    cpu_s_per_million: float
    calls_per_million: float
    calls_per_job: float


WORKERS = {
    "looker": Worker(cpu_s_per_million=8.6, calls_per_million=0.0, calls_per_job=2.0),
    "power_bi": Worker(cpu_s_per_million=30.0, calls_per_million=110.0, calls_per_job=14.0),
    "google_sheets": Worker(cpu_s_per_million=60.0, calls_per_million=300.0, calls_per_job=14.0),
}
DEAREST = max(WORKERS.values(), key=lambda worker: worker.cpu_s_per_million)
"""Stands for a kind that nobody has measured yet."""


@dataclass(frozen=True)
class Receipt:
    """What one job used and cost. Storage is for the days for which frozen rows are kept."""

    worker_s: float
    tasks: int
    documents_written: int
    documents_read: int
    stored_bytes: int
    usd: float

    def record(self) -> dict[str, Any]:
        """The member `cost` of a job."""
        return {
            "usd": round(self.usd, 6),
            "worker_s": round(self.worker_s, 1),
            "tasks": self.tasks,
            "documents_written": self.documents_written,
            "documents_read": self.documents_read,
            "stored_bytes": self.stored_bytes,
        }


def receipt(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job that ends is estimated to have cost, from how far it came; its member `cost`."""
    progress, frozen = job.get("progress") or {}, job.get("frozen") or {}
    stored_bytes = int(frozen.get("parts_bytes") or frozen.get("size_bytes") or 0)
    done, tasks = int(progress.get("rows_done") or 0), int(job.get("seq") or 0) + 1
    chunks = int(progress.get("chunks_done") or 0)
    return of_work(job["connector_type"], done, chunks=chunks, tasks=tasks, stored_bytes=stored_bytes).record()


def of_work(kind: str, rows: int, *, chunks: int, tasks: int, stored_bytes: int) -> Receipt:
    """Return the cost of so much work on one kind of target."""
    work = WORKERS.get(kind, DEAREST)
    millions = rows / 1e6
    calls = work.calls_per_job + work.calls_per_million * millions
    worker_s = tasks * COLD_START_S + work.cpu_s_per_million * millions + calls * LATENCY_S
    written = ACCEPT_WRITES + JOB_WRITES + CHUNK_WRITES * chunks
    read = ACCEPT_READS + JOB_READS + TASK_READS * tasks + CHUNK_READS * chunks
    usd = (
        worker_s * (VCPU_SECOND + GIB_SECOND * WORKER_GIB)
        + (1 + tasks) * (REQUEST + TASK)
        + written * DOCUMENT_WRITE
        + read * DOCUMENT_READ
        + tasks * SECRET_READ
        + STORAGE_WRITE * 2
        + stored_bytes / 2**30 * STORAGE_GIB_MONTH * RETENTION_MONTHS
    )
    return Receipt(worker_s, tasks, written, read, stored_bytes, usd)
