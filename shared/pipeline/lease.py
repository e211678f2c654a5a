"""One worker at a time on one job, and one job at a time on one target: a lease with a fencing token, and turns.

Both live in documents: `export_jobs/{id}` holds the lease, `targets/{key}` says whose turn it is. Every write of a worker
goes through `Lease.save`, which checks the fencing token in the transaction of the write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.errors import NotFoundError
from shared.models import SCHEMA, JobStatus
from shared.pipeline import transitions
from shared.ports import Clock, Documents, Query, Transaction

LEASE = timedelta(seconds=90)
"""Our choice: longer than any step between two checkpoints usually takes; a crash costs at most this before another may go on."""
TURN = timedelta(seconds=30)
"""Our choice: how often a job that waits for its turn looks, if nobody woke it (the one before it does)."""


class LostLeaseError(Exception):
    """Another worker took the job over; this one stops and writes nothing more."""


class CancelRequestedError(Exception):
    """Somebody asked to cancel the job, and it has not published: it ends here."""


@dataclass(frozen=True)
class Busy:
    """Another worker holds the job, or another job the target, until `until`."""

    until: datetime


@dataclass(frozen=True)
class Over:
    """The job has ended, or is held for somebody's decision."""

    status: JobStatus


class Lease:
    """A held job. `job` is its document as of the last `save`; every `save` checks the fencing token and renews the lease."""

    def __init__(self, documents: Documents, clock: Clock, path: str, job: Mapping[str, Any]) -> None:
        self._documents = documents
        self._clock = clock
        self._fence = job["fence"]
        self.path = path
        self.job: dict[str, Any] = dict(job)

    def save(
        self,
        fields: Mapping[str, Any],
        *,
        also: Mapping[str, Mapping[str, Any]] | None = None,
        release: bool = False,
    ) -> None:
        """Update the job's fields in one transaction, and set the documents of `also` (path to data) with them.

        Raises:
            LostLeaseError: another worker took over; nothing was written.
            CancelRequestedError: the job is to be cancelled and these fields do not end it; nothing was written.
        """
        now = self._clock.now()
        changes = {**fields, "updated_at": now, "lease_until": now if release else now + LEASE}

        def work(tx: Transaction) -> None:
            found = tx.get(self.path)
            if found is None or found.data["fence"] != self._fence:
                raise LostLeaseError(self.path)
            if "status" in fields:
                transitions.check(JobStatus(found.data["status"]), JobStatus(fields["status"]))
            elif found.data.get("cancel_requested") and not found.data.get("publishing"):
                raise CancelRequestedError(self.path)
            tx.update(self.path, changes)
            for path, data in (also or {}).items():
                tx.set(path, data)

        self._documents.transact(work)
        self.job.update(changes)


def target_key(connector_name: str, table_name: str, options: Mapping[str, Any]) -> str:
    """Return the id of the target that a job writes to; jobs with the same id take turns."""
    text = json.dumps([connector_name, table_name, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def claim(documents: Documents, clock: Clock, path: str) -> Lease | Busy | Over:
    """Take the job if nobody holds it and it is its turn. Each claim raises the fencing token.

    Raises:
        NotFoundError: there is no such job.
    """
    now = clock.now()
    seen = documents.get(path)
    if seen is not None and _older_waits(documents, seen.data):
        return Busy(now + TURN)

    def work(tx: Transaction) -> Lease | Busy | Over:
        found = tx.get(path)
        if found is None:
            raise NotFoundError(f"{path} does not exist")
        job = found.data
        status = JobStatus(job["status"])
        if status.is_final or status is JobStatus.HELD:
            return Over(status)
        if job["lease_until"] > now:
            return Busy(job["lease_until"])
        turn_path = f"targets/{job['target_key']}"
        turn = tx.get(turn_path)
        if turn is not None and (until := _taken_until(tx, turn.data, job["id"], now)):
            return Busy(until)
        changes = {
            "fence": job["fence"] + 1,
            "lease_until": now + LEASE,
            "idle_claims": job["idle_claims"] + 1,
            "status": JobStatus.RUNNING.value,
            "started_at": job.get("started_at") or now,
            "updated_at": now,
            "waiting": None,
        }
        tx.update(path, changes)
        tx.set(turn_path, {**(turn.data if turn else {"schema": SCHEMA}), "holder": job["id"]})
        return Lease(documents, clock, path, {**job, **changes})

    return documents.transact(work)


def _older_waits(documents: Documents, job: Mapping[str, Any]) -> bool:
    """Whether a job accepted earlier on the same target is not finished."""
    where = (("target_key", "==", job["target_key"]), ("status", "in", ["pending", "running"]))
    oldest = documents.query(Query("export_jobs", where, order_by="created_at", limit=1))
    return bool(oldest) and oldest[0].data["created_at"] < job["created_at"]


def _taken_until(tx: Transaction, turn: Mapping[str, Any], job_id: str, now: datetime) -> datetime | None:
    """Return until when another unfinished job has the turn, None if it is free."""
    holder = turn.get("holder")
    if holder in (None, job_id):
        return None
    other = tx.get(f"export_jobs/{holder}")
    if other is None or JobStatus(other.data["status"]) not in (JobStatus.PENDING, JobStatus.RUNNING):
        return None
    until: datetime = max(other.data["lease_until"], now + TURN)
    return until
