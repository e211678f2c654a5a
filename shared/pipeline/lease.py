"""One worker at a time on one job: a lease in the job's document, with a fencing token that every write is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.errors import NotFoundError
from shared.models import JobStatus
from shared.ports import Clock, Documents, Transaction

LEASE = timedelta(seconds=90)
"""Our choice: longer than any step between two checkpoints usually takes; a crash costs at most this before another may go on."""


class LostLeaseError(Exception):
    """Another worker took the job over; this one stops and writes nothing more."""


@dataclass(frozen=True)
class Busy:
    """Another worker holds the job until `until`."""

    until: datetime


@dataclass(frozen=True)
class Over:
    """The job has ended already."""

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
        self, fields: Mapping[str, Any], *, also: Mapping[str, Mapping[str, Any]] | None = None, release: bool = False
    ) -> None:
        """Update the job's fields in one transaction, and set the documents of `also` (path to data) with them.

        Raises:
            LostLeaseError: another worker took over; nothing was written.
        """
        now = self._clock.now()
        changes = {**fields, "updated_at": now, "lease_until": now if release else now + LEASE}

        def work(tx: Transaction) -> None:
            found = tx.get(self.path)
            if found is None or found.data["fence"] != self._fence:
                raise LostLeaseError(self.path)
            tx.update(self.path, changes)
            for path, data in (also or {}).items():
                tx.set(path, data)

        self._documents.transact(work)
        self.job.update(changes)


def claim(documents: Documents, clock: Clock, path: str) -> Lease | Busy | Over:
    """Take the job if nobody holds it. Each claim raises the fencing token and counts as an attempt without progress.

    Raises:
        NotFoundError: there is no such job.
    """
    now = clock.now()

    def work(tx: Transaction) -> Lease | Busy | Over:
        found = tx.get(path)
        if found is None:
            raise NotFoundError(f"{path} does not exist")
        job = found.data
        status = JobStatus(job["status"])
        if status.is_final:
            return Over(status)
        if job["lease_until"] > now:
            return Busy(job["lease_until"])
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
        return Lease(documents, clock, path, {**job, **changes})

    return documents.transact(work)
