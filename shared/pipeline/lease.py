"""One worker at a time on one job, and one job at a time on one target: a lease with a fencing token, and turns.

Both live in documents: `export_jobs/{id}` holds the lease and the job's number in its target's line, `targets/{key}` the last
number. Every write of a worker goes through `Lease.save`, which checks the fencing token in the transaction of the write.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared import audit
from shared.errors import NotFoundError
from shared.models import SCHEMA, JobStatus, Phase
from shared.pipeline import transitions
from shared.ports import Clock, Document, Documents, Query, Transaction

LEASE = timedelta(seconds=90)
"""Our choice: a crash costs at most this before another may go on; steps that take longer are bridged by `renew`."""
RENEWED_AFTER = LEASE / 3
"""Our choice: two renewals may fail before the lease is lost."""
TURN = timedelta(seconds=30)
"""Our choice: how often the next in line looks whether it is its turn, if nobody woke it (the one before it does)."""
MOST_TURNS = 10
"""Our choice: who stands further back looks as much more seldom, up to the five minutes after which the sweep looks anyway."""


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
    """A held job. `job` is its document as of the last `save`; every `save` checks the fencing token and renews the lease.

    `save` belongs to the worker's own thread, `renew` may come from another.
    """

    def __init__(self, documents: Documents, clock: Clock, path: str, job: Mapping[str, Any]) -> None:
        self._documents = documents
        self._clock = clock
        self._fence = job["fence"]
        self._lock = threading.Lock()
        self._renewed_at = clock.now()
        self._is_over = False
        self._target: Mapping[str, Any] | None = None
        self.path = path
        self.job: dict[str, Any] = dict(job)

    def save(
        self,
        fields: Mapping[str, Any],
        *,
        create: Mapping[str, Mapping[str, Any]] | None = None,
        target: Mapping[str, Any] | None = None,
        remember: Mapping[str, Any] | None = None,
        confirm: Callable[[Document | None, Mapping[str, Any]], None] | None = None,
        release: bool = False,
    ) -> None:
        """Update the job's fields in one transaction; with them create documents, and update the target's fields.

        `remember` is what the connector wants to know when the next job comes to the target, through whatever connector: written
        here and nowhere else, because a worker that was overtaken must not write it. `confirm` is shown the connector as this
        transaction reads it, and the job, and raises if nothing is to be written.

        Raises:
            LostLeaseError: another worker took over; nothing was written.
            ConflictError: a document of `create` exists; nothing was written.
            CancelRequestedError: the job is to be cancelled and these fields do not end it; nothing was written.
        """
        now = self._clock.now()
        changes = {**fields, "updated_at": now, "lease_until": now if release else now + LEASE}
        of_target = {**(target or {}), **({"remembered": dict(remember)} if remember else {})}

        def work(tx: Transaction) -> None:
            found = self._own(tx)
            status = JobStatus(fields.get("status", found.data["status"]))
            if found.data.get("cancel_requested") and not found.data.get("publishing") and not status.is_final:
                raise CancelRequestedError(self.path)
            if "status" in fields:
                transitions.check(JobStatus(found.data["status"]), status)
            if confirm:
                confirm(tx.get(f"connectors/{found.data['connector_name']}"), found.data)
            tx.update(self.path, changes)
            if "status" in fields:
                asked_by = found.data["requested_by"]
                audit.record(tx, now, "job.end", self.path, after=fields, outcome=fields["status"], actor=asked_by)
            for path, data in (create or {}).items():
                tx.create(path, data)
            if of_target:
                tx.update(f"targets/{found.data['target_key']}", of_target)

        with self._lock:
            self._documents.transact(work)
            self._renewed_at, self._is_over = now, release
        self.job.update(changes)

    def renew(self) -> None:
        """Extend the lease if nothing did for a third of it; no effect once it is given back.

        Raises:
            LostLeaseError: another worker took over.
        """
        with self._lock:
            now = self._clock.now()
            if self._is_over or now < self._renewed_at + RENEWED_AFTER:
                return

            def work(tx: Transaction) -> None:
                self._own(tx)
                tx.update(self.path, {"lease_until": now + LEASE})

            self._documents.transact(work)
            self._renewed_at = now

    @property
    def target(self) -> Mapping[str, Any]:
        """What is known of the job's target, read once: nobody else publishes to it while this job has the turn."""
        if self._target is None:  # no cached_property: before Python 3.12 all leases of a process would share its lock
            self._target = self.read(f"targets/{self.job['target_key']}")
        return self._target

    def read(self, path: str) -> Mapping[str, Any]:
        """Return a document beside the job, empty if it is not there."""
        found = self._documents.get(path)
        return found.data if found else {}

    def _own(self, tx: Transaction) -> Document:
        """Return the job as it is stored. Raises `LostLeaseError` if another worker took it over since, or it is gone."""
        found = tx.get(self.path)
        if found is None or found.data["fence"] != self._fence:
            raise LostLeaseError(self.path)
        return found


def target_key(place: str) -> str:
    """Return the id of a physical target (`shared.connectors.place_of`); jobs with the same id take turns."""
    return hashlib.sha256(place.encode()).hexdigest()[:40]


def join_line(tx: Transaction, key: str) -> int:
    """Return the next number in a target's line, taken in the transaction that stores the job under it.

    A smaller number is always stored before a larger one is given out, which no clock could promise.
    """
    line = line_of(key)
    found = tx.get(line)
    number = (found.data["line"] if found else 0) + 1
    if found:
        tx.update(line, {"line": number})
    else:
        tx.create(line, {"schema": SCHEMA, "line": number})
    return number


def line_of(key: str) -> str:
    """Return the path of the document that numbers a target's line."""
    return f"targets/{key}"


def claim(documents: Documents, clock: Clock, path: str) -> Lease | Busy | Over:
    """Take the job if nobody holds it and it is first in its target's line. Each claim raises the fencing token.

    Raises:
        NotFoundError: there is no such job.
    """
    now = clock.now()
    seen = documents.get(path)
    if seen is not None and (before := _before(documents, seen.data)) is not None:
        _say_waiting(documents, path, f"for its turn: job {before['id']} is before it on this target")
        return Busy(now + TURN * min(seen.data["turn"] - before["turn"], MOST_TURNS))

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
        changes = {
            "fence": job["fence"] + 1,
            "lease_until": now + LEASE,
            "idle_claims": job["idle_claims"] + 1,
            "status": JobStatus.RUNNING.value,
            "started_at": job.get("started_at") or now,
            "updated_at": now,
            "waiting": None,
        }
        if job["phase"] == Phase.QUEUED.value:
            changes["phase"] = Phase.FREEZE.value
        tx.update(path, changes)
        return Lease(documents, clock, path, {**job, **changes})

    return documents.transact(work)


def first_in_line(documents: Documents, key: str) -> Mapping[str, Any] | None:
    """Return the job whose turn it is on a target, None if none waits or runs."""
    where = (("target_key", "==", key), ("status", "in", [JobStatus.PENDING.value, JobStatus.RUNNING.value]))
    found = documents.query(Query("export_jobs", where, order_by="turn", limit=1))
    return found[0].data if found else None


def _before(documents: Documents, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the job whose turn it is while that is not this one's, None if this one may begin."""
    first = first_in_line(documents, job["target_key"])
    return first if first is not None and first["turn"] < job["turn"] else None


def _say_waiting(documents: Documents, path: str, reason: str) -> None:
    """Show on a job that nobody works on why it waits; one write for each new reason."""

    def work(tx: Transaction) -> None:
        found = tx.get(path)
        if found and found.data["status"] == JobStatus.PENDING.value and found.data.get("waiting") != reason:
            tx.update(path, {"waiting": reason})

    documents.transact(work)
