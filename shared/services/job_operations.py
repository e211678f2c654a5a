"""What people do to an export job that exists: cancel, approve, reject, retry, republish, erase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared import audit
from shared.errors import ConflictError, NotFoundError
from shared.models import SCHEMA, JobStatus, Mode, Phase, Progress, new_id
from shared.pipeline.lease import join_line
from shared.ports import Document, Query, Stores, Transaction
from shared.services.connectors import Connectors
from shared.services.frozen_needs import rows_needed
from shared.services.lineage import Lineage
from shared.services.records import Idempotency, earlier_result, keep_result, to_builtins

Enqueue = Callable[[str, int, datetime | None], None]

# What a new job takes over from the one it repeats; all else is its own.
KEPT = (
    "connector_name",
    "connector_type",
    "table_name",
    "mode",
    "key",
    "target",
    "export_format",
    "refresh_after",
    "max_shrink",
    "note",
    "source",
    "mapping",
    "contract",
    "max_rejects",
    "annotations",
    "before",
    "replay_of",
    "delivered",
    "rows_of",
)
# What finds a job's frozen rows again, for one that starts from them.
FROZEN = ("frozen", "frozen_format", "scan", "source_as_of")
FORGET_AT_ONCE = 1_000  # our choice: names in memory at once


@dataclass(frozen=True)
class Repair:
    """What makes a new job the repair of a target.

    Attributes:
        number: it is the n-th in a row that mends the target.
        of: the job that was the last to publish there; when another has since, the repair is refused.
        rows_of: jobs whose rows it delivers, too, behind those that it repeats: the appends since a replace.
    """

    number: int
    of: str
    rows_of: tuple[str, ...] = ()


class JobOperations:
    """Changes to `export_jobs/{id}` from outside the engine, each decided in one transaction."""

    def __init__(
        self, stores: Stores, connectors: Connectors, frozen_bucket: str, enqueue: Enqueue, lineage: Lineage
    ) -> None:
        self._stores = stores
        self._connectors = connectors
        self._frozen_bucket = frozen_bucket
        self._enqueue = enqueue
        self._lineage = lineage

    def cancel(self, job_id: str) -> None:
        """End a job that has not published. A running one stops at its next checkpoint, at most one chunk later.

        Raises:
            ConflictError: it has ended, or its publish has begun.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> int | None:
            job = _read(tx, job_id)
            status = JobStatus(job["status"])
            if status.is_final:
                raise ConflictError(
                    f"the job has ended as {status.value}; there is nothing to cancel", code="job_ended"
                )
            if job.get("publishing"):
                raise ConflictError("the job is publishing and cannot be cancelled any more", code="job_publishing")
            audit.record(tx, now, "job.cancel", _path(job_id))
            if status is not JobStatus.RUNNING:  # nobody has begun on it, or again since it was held
                tx.update(_path(job_id), _ended(now, "cancelled", "cancelled by request"))
                return None
            seq: int = job["seq"] + 1
            tx.update(_path(job_id), {"cancel_requested": True, "seq": seq, "next_task_at": now})
            return seq

        seq = self._stores.documents.transact(work)
        if seq is not None:
            self._enqueue(job_id, seq, None)
        else:
            self._lineage.ended(self._get(job_id))

    def approve(self, job_id: str, *, force: bool) -> None:
        """Let a held job go on.

        Raises:
            ConflictError: it is not held; or (code `superseded`) a job accepted later has published since, and not `force`.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> int:
            job = _read(tx, job_id)
            _require_held(job)
            target = tx.get(f"targets/{job['target_key']}")
            if target is not None and target.data.get("last_accepted", 0) > job["accepted"] and not force:
                raise ConflictError(
                    "a job that was accepted later has published to this target; approving would bring older rows back: "
                    "reject this job, or approve it with ?force=true",
                    code="superseded",
                )
            seq: int = job["seq"] + 1
            approved = {"status": JobStatus.PENDING.value, "approved": True, "forced": force, "held_reason": None}
            place = {"turn": join_line(tx, job["target_key"]), "seq": seq, "next_task_at": now, "updated_at": now}
            tx.update(_path(job_id), {**approved, **place})
            audit.record(tx, now, "job.approve", _path(job_id), after={"forced": force})
            return seq

        self._enqueue(job_id, self._stores.documents.transact(work), None)

    def reject(self, job_id: str) -> None:
        """End a held job; the target stays as it is. Raises `ConflictError` if it is not held."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> None:
            _require_held(_read(tx, job_id))
            tx.update(_path(job_id), _ended(now, "rejected", "rejected: the rows were not to be published"))
            audit.record(tx, now, "job.reject", _path(job_id))

        self._stores.documents.transact(work)
        self._lineage.ended(self._get(job_id))

    def again(
        self,
        job_id: str,
        caller: str,
        idempotency: Idempotency | None,
        *,
        after: frozenset[JobStatus],
        repair: Repair | None = None,
    ) -> str:
        """Start a new job from what this one froze (or pinned, if it froze nothing). Returns the new job's id.

        A repair has not to be approved by anybody.

        Raises:
            ConflictError: the job did not end in one of `after`, or rows were erased; or a retry of it is under way or was a success
                (code `retried`), or may have been one (`outcome_unknown`); or a repair would go to another target (`connector_changed`),
                or it is not known what the table held (`repair_impossible`).
            NotFoundError: the job or its connector is gone.
        """
        now = self._stores.clock.now()
        new = new_id(now)

        def work(tx: Transaction) -> str:
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            job = _read(tx, job_id)
            if JobStatus(job["status"]) not in after:
                able = " or ".join(sorted(status.value for status in after))
                raise ConflictError(
                    f"the job is {job['status']}; this is for jobs that ended as {able}", code="wrong_state"
                )
            is_retry = JobStatus.SUCCESS not in after
            if is_retry:
                _refuse_delivered(tx, job)
            if repair and job["mode"] != Mode.REPLACE.value:
                raise ConflictError(
                    f"what the table held before job {job_id} appended to it cannot be brought back: it is not known, or there were too "
                    "many appends since the last replace; replace the table",
                    code="repair_impossible",
                )
            behind = list(repair.rows_of if repair else job.get("rows_of") or ())
            if any(one.get("frozen_erased") for one in (job, *(_read(tx, other) for other in behind))):
                raise ConflictError(
                    "the rows that this job froze are not kept any more; export again", code="rows_erased"
                )
            key = self.target_key(tx, job)
            if repair and key != job["target_key"]:
                raise ConflictError("the connector leads to another target now", code="connector_changed")
            origin = replayed(tx, job) if is_retry else None
            number = join_line(tx, key)
            place = {"target_key": key, "accepted": number, "turn": number}
            if repair:
                place |= {"approved": True, "repair": repair.number, "retry_of": repair.of, "rows_of": behind}
            if origin:
                tx.update(origin, {"replay_job_id": new})
            if is_retry:
                tx.update(_path(job_id), {"retried_by": new})
            record = self._copy(job, new, caller, now)
            tx.create(_path(new), {**record, **place})
            audit.record(tx, now, "job.start", _path(new), after=record, actor=caller)
            keep_result(tx, idempotency, new, now)
            return new

        started = self._stores.documents.transact(work)
        self._enqueue(started, 0, None)
        return started

    def erase(self, job_id: str) -> None:
        """Delete a job that has ended: its frozen rows, its kept file, its manifest and its record. Repeatable.

        The audit entry comes first, with the mark that nothing starts from these rows any more: rows never go without either.

        Raises:
            ConflictError: it has not ended; or (code `rows_in_use`) a job that has not ended starts from its rows.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> dict[str, Any]:
            job = _read(tx, job_id)
            if not JobStatus(job["status"]).is_final:
                raise ConflictError("the job has not ended; cancel it first", code="job_running")
            tx.update(_path(job_id), {"frozen_erased": True, "updated_at": now})
            audit.record(tx, now, "job.erase", _path(job_id), outcome=job["status"])
            return job

        if job_id in (needed := self.rows_needed()):
            raise ConflictError(
                f"job {needed[job_id]} starts from these rows and has not ended; cancel it, or wait until it has",
                code="rows_in_use",
                job_id=needed[job_id],
            )
        job = self._stores.documents.transact(work)
        self.forget_rows(job)
        if job.get("export_uri"):
            bucket, _, name = job["export_uri"].removeprefix("gs://").partition("/")
            self._stores.objects.delete(bucket, name)
        for chunk in self._stores.documents.query(Query(f"{_path(job_id)}/chunks")):
            self._stores.documents.delete(chunk.path)
        self._stores.documents.delete(_path(job_id))

    def rows_needed(self) -> dict[str, str]:
        """Return the jobs whose frozen rows must stay, each with one that has not ended and starts from them."""
        return rows_needed(self._stores.documents, self._frozen_bucket)

    def forget_rows(self, job: Mapping[str, Any]) -> None:
        """Delete all that lies in the job's folder of the frozen bucket; it cannot be retried or republished afterwards."""
        while found := self._stores.objects.list_prefix(self._frozen_bucket, f"jobs/{job['id']}/", FORGET_AT_ONCE):
            for info in found:
                self._stores.objects.delete(info.bucket, info.name)

    def target_key(self, tx: Transaction, job: Mapping[str, Any]) -> str:
        """Return the id of the target that the job's connector leads to today."""
        connector = tx.get(f"connectors/{job['connector_name']}")
        if connector is None:
            raise NotFoundError(f"connector {job['connector_name']!r} was deleted; register it again")
        return self._connectors.target_key(connector, job["table_name"], job["target"])

    def _copy(self, job: Mapping[str, Any], new: str, caller: str, now: datetime) -> dict[str, Any]:
        frozen = {name: job.get(name) for name in FROZEN} if job.get("frozen") else job.get("frozen_from")
        return {**repeated(job, new, caller, now), "frozen_from": frozen, "retry_of": job["id"]}

    def _get(self, job_id: str) -> dict[str, Any]:
        found: Document | None = self._stores.documents.get(_path(job_id))
        if found is None:
            raise NotFoundError(f"export job {job_id!r} does not exist; check the id, or list the jobs")
        return found.data


def _refuse_delivered(tx: Transaction, job: Mapping[str, Any]) -> None:
    """Refuse a retry where the rows are delivered by an earlier one, or may have been appended: they would be there twice."""
    found: Mapping[str, Any] | None = job
    while found is not None:
        if found is not job and found["status"] not in (JobStatus.FAILED.value, JobStatus.CANCELLED.value):
            message = f"job {found['id']} retries this one already and is {found['status']}"
            raise ConflictError(message, code="retried", job_id=found["id"])
        refuse_appended(found)
        later = tx.get(_path(found["retried_by"])) if found.get("retried_by") else None
        found = later.data if later else None


def refuse_appended(job: Mapping[str, Any]) -> None:
    """Refuse to send the rows of a job again that may have appended them: nobody could find out."""
    if (job.get("error") or {}).get("code") == "outcome_unknown" and job["mode"] == Mode.APPEND.value:
        message = f"nobody knows whether job {job['id']} appended these rows, and another job could append them twice"
        raise ConflictError(
            f"{message}: look at the target, and export again if they are not there", code="outcome_unknown"
        )


def replayed(tx: Transaction, job: Mapping[str, Any]) -> str | None:
    """Return the path of the job whose rejects this one replays, None if it replays none.

    Raises:
        ConflictError: another job replays them now; both would deliver them twice.
    """
    if not job.get("replay_of"):
        return None
    origin = tx.get(_path(job["replay_of"]))
    if origin is None or origin.data.get("replay_job_id") != job["id"]:
        raise ConflictError("the rejects that this job was to replay are replayed by a later job", code="replayed")
    return origin.path


def repeated(job: Mapping[str, Any], new: str, caller: str, now: datetime) -> dict[str, Any]:
    """Return the record of a new job that does what another did, before anybody has worked on it."""
    return {
        **{name: job[name] for name in KEPT if name in job},
        "schema": SCHEMA,
        "id": new,
        "status": JobStatus.PENDING.value,
        "phase": Phase.QUEUED.value,
        "created_at": now,
        "updated_at": now,
        "requested_by": caller,
        "progress": to_builtins(Progress()),
        **fresh_state(now),
    }


def fresh_state(now: datetime) -> dict[str, Any]:
    """Return the engine's own fields of a job that nobody has worked on."""
    return {"fence": 0, "lease_until": now, "idle_claims": 0, "waits": 0, "seq": 0, "next_task_at": now}


def _path(job_id: str) -> str:
    return f"export_jobs/{job_id}"


def _read(tx: Transaction, job_id: str) -> dict[str, Any]:
    found = tx.get(_path(job_id))
    if found is None:
        raise NotFoundError(f"export job {job_id!r} does not exist; check the id, or list the jobs")
    return found.data


def _require_held(job: Mapping[str, Any]) -> None:
    if job["status"] != JobStatus.HELD.value:
        raise ConflictError(f"the job is {job['status']}, not held", code="wrong_state")


def _ended(now: datetime, code: str, message: str) -> dict[str, Any]:
    error = {"code": code, "message": message, "retryable": False, "details": {}}
    ended = {"status": JobStatus.CANCELLED.value, "completed_at": now, "updated_at": now}
    return {**ended, "error_message": message, "error": error}
