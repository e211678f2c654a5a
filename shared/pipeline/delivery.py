"""The export engine: takes one accepted job from its frozen source to a verified, published table, in time boxes.

Every step is recorded before the next begins, so that another worker can go on after a crash at any point. What makes a
repeated step harmless lies in the target (`shared.connectors._base.Delivery`), not here.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from shared.connectors._base import Chunk, Connector, Delivery, DeliveryPlan, Mode
from shared.connectors._fingerprint import Fingerprint
from shared.errors import (
    BIConnectorsError,
    ConflictError,
    InternalError,
    VendorUnavailableError,
)
from shared.models import JobStatus, Phase, Progress
from shared.pipeline import lease as leases
from shared.pipeline import manifest
from shared.pipeline.costs import receipt
from shared.pipeline.freezing import Freezing, FrozenSource, freeze, frozen_before, frozen_bytes, unread_before
from shared.pipeline.guards import check_rows, refuse_overtaken, shrink_reason
from shared.pipeline.heartbeat import beating
from shared.pipeline.kept_file import keep_file
from shared.pipeline.lease import Busy, CancelRequestedError, Lease, LostLeaseError, Over
from shared.pipeline.outcomes import (
    Continue,
    Finished,
    Lineage,
    Outcome,
    backoff_s,
    finished,
    plain_details,
    told,
    unknown_outcome,
)
from shared.pipeline.preparing import job as preparing
from shared.pipeline.rebuilding import joined, made_of
from shared.ports import Document, Objects, Stores
from shared.telemetry import log_event

Find = Callable[[Objects, Mapping[str, Any]], FrozenSource | None]

TIME_BOX = timedelta(minutes=8)  # our choice: under the task's 15-minute deadline, so that a box always ends by itself
MAX_IDLE_CLAIMS = 6  # our choice: a job that stops its worker six times without one checkpoint is not going to pass
MAX_WAITS = 7  # our choice: up to 5, 10, … 300 s, on average five minutes of a vendor in trouble without a Retry-After
UNKNOWN_FOR = timedelta(days=1)
"""Our choice: how long a job asks a target that gives no answer what became of a publish, before it ends without knowing."""
OWN_WAITS = frozenset({"quota_wait", "breaker_open", "source_exporting", "connector_changing"})
"""Waits that we ask for ourselves: they say nothing of the vendor's health and do not count towards `MAX_WAITS`."""


class ExportEngine:
    """Drives one export job.

    `open_connector` opens the connector that a job goes through, `remembered_target` tells what is remembered of its target;
    `confirm_target` raises unless the connector's document, as it is read in the transaction that begins to publish, still leads
    to the job's target; `lineage` is told of each job's start and end.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        frozen_bucket: str,
        exports_bucket: str,
        open_connector: Callable[[Mapping[str, Any]], Connector],
        remembered_target: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        lineage: Lineage,
        confirm_target: Callable[[Document | None, Mapping[str, Any]], None],
    ) -> None:
        self._stores = stores
        self._frozen_bucket = frozen_bucket
        self._keep_file = partial(keep_file, objects=stores.objects, bucket=exports_bucket)
        self._open_connector = open_connector
        self._remembered_target = remembered_target
        self._lineage = lineage
        self._confirm_target = confirm_target

    def run(self, job_id: str) -> Outcome:
        """Work on the job for at most one time box.

        Raises:
            NotFoundError: there is no such job.
            Exception: a fault of ours; the task is to be tried again, and the job fails after `MAX_IDLE_CLAIMS` of them.
        """
        held = leases.claim(self._stores.documents, self._stores.clock, f"export_jobs/{job_id}")
        if isinstance(held, Over):
            return Finished()
        if isinstance(held, Busy):
            return Continue(held.until)
        if held.job["fence"] == 1:
            self._lineage.started(held.job)
        with beating(held):
            return self._drive(held)

    def _drive(self, held: Lease) -> Outcome:
        try:
            return self._advance(held)
        except LostLeaseError:
            return Finished()
        except CancelRequestedError:
            return self._cancel(held)
        except VendorUnavailableError as error:
            return self._wait(held, error)
        except BIConnectorsError as error:
            return self._end_badly(held, error)
        except Exception as error:
            log_event("job_fault", severity="ERROR", job_id=held.job["id"], stack_trace=traceback.format_exc())
            self._note_fault(held, error)
            raise

    def differences_now(self, job: Mapping[str, Any]) -> list[str]:
        """Return how what the target holds differs from what a successful job delivered, in words; empty if it does not.

        For targets without an atomic replace, where a vendor may still apply an old request after the job was verified.

        Raises:
            VendorUnavailableError: the vendor cannot be asked now.
        """
        source = self._delivered(job, unread_before)
        if source is None:
            return []
        delivery = self._open_connector(job).open_delivery(self._plan(job, source))
        return Fingerprint.from_json(json.loads(job["expected"])).differences(delivery.read_back())

    def _note_fault(self, held: Lease, error: Exception) -> None:
        """Keep the fault's kind for the job's reason, if the store can be reached; the lease ends, so that the retry may go on."""
        with contextlib.suppress(Exception):
            held.save({"last_fault": type(error).__name__}, release=True)

    def _advance(self, held: Lease) -> Outcome:
        if held.job["idle_claims"] > MAX_IDLE_CLAIMS:
            raise InternalError(
                f"the worker stopped {MAX_IDLE_CLAIMS} times in phase {held.job['phase']!r} without getting further "
                f"({held.job.get('last_fault') or 'it was killed'}); look for its log lines by this job's id",
                code="worker_died",
            )
        if held.job.get("cancel_requested") and not held.job.get("publishing"):
            raise CancelRequestedError(held.path)
        if trouble := held.job.get("gave_up"):
            return self._end(held, JobStatus.FAILED, trouble["code"], trouble["message"], {"retryable": True})
        ends = self._stores.clock.now() + TIME_BOX
        refuse_overtaken(held.job, held.target)
        source = self._joined(held.job, self._prepare(held, self._freeze(held, ends)))
        delivery = self._begin(held, source)
        if delivery is None:
            return Finished()
        if held.job.get("publishing") and delivery.is_published():
            return self._publish(held, delivery)
        if not self._write(held, delivery, source, ends):
            held.save({}, release=True)
            return Continue()
        verification = manifest.verify(held, delivery)
        self._keep_file(held, source, batch_rows=held.job["chunk_rows"])
        fields = {"phase": Phase.PUBLISH.value, "publishing": True, "verification": verification, "idle_claims": 0}
        held.save({**fields, "publish_sent_at": self._stores.clock.now()}, confirm=self._confirm_target)
        return self._publish(held, delivery)

    def _freeze(self, held: Lease, ends: datetime) -> FrozenSource:
        source = frozen_before(self._stores.objects, held.job)
        if source is None:
            source = freeze(Freezing(self._stores, self._frozen_bucket, held.job, held.save, ends))
            progress = msgspec.to_builtins(Progress(rows_total=source.scan.rows))
            fields = {"phase": Phase.PREFLIGHT.value, "progress": progress, "idle_claims": 0}
            held.save({**source.to_record(), **fields, "rows_kept": True})
        return source

    def _prepare(self, held: Lease, source: FrozenSource) -> FrozenSource:
        """Return the rows that are delivered, made of the frozen ones; from here on nothing else is read of them."""
        if preparing.is_asked(held.job):
            found = preparing.prepared_before(self._stores.objects, held.job)
            if found is None:
                self._look_back(held)
                place = preparing.Place(self._stores.objects, self._stores.clock, self._frozen_bucket, held.save)
                found = preparing.prepare_job(place, held.job, source)
            return found
        if not held.job.get("begun") and not held.job.get("drift"):
            self._look_back(held)
            if drift := preparing.drift_of(held.job, source):
                held.save({"drift": drift})
        return source

    def _look_back(self, held: Lease) -> None:
        """Note what the last success on the target delivered; a job that repeats another was told by that one."""
        if held.job.get("before") is None:
            held.job["before"] = held.target.get("last_columns") or preparing.NOTHING

    def _delivered(self, job: Mapping[str, Any], frozen: Find) -> FrozenSource | None:
        """Return what an earlier box delivers of the job, as `_prepare` made it; None if it did not come so far.

        `frozen` finds what was frozen: `frozen_before`, or `unread_before` where only the target is asked.
        """
        find = preparing.prepared_before if preparing.is_asked(job) else frozen
        source = find(self._stores.objects, job)
        return source and self._joined(job, source, frozen)

    def _joined(self, job: Mapping[str, Any], source: FrozenSource, frozen: Find = frozen_before) -> FrozenSource:
        """Return a job's rows with those behind them that its repair of a table brings back, too."""
        found = [self._stores.documents.get(f"export_jobs/{job_id}") for job_id in job.get("rows_of") or ()]
        others = [self._delivered(other.data, frozen) for other in found if other]
        if len(others) < len(found) or None in others:
            raise ConflictError("rows that this repair was to bring back were erased; export again", code="rows_erased")
        return joined([source, *(other for other in others if other)])

    def _is_held(self, held: Lease, source: FrozenSource, delivery: Delivery) -> bool:
        """Hold a replace that would take away too many rows, before the target is touched, until somebody approves it.

        Rows that other jobs or people put there count as much as those that the last job is remembered to have left.
        """
        job = held.job
        if job.get("approved") or job["max_shrink"] >= 1.0 or Mode(job["mode"]) is not Mode.REPLACE:
            return False
        standing = max(held.target.get("last_rows") or 0, delivery.live_rows() or 0)
        reason = shrink_reason(standing, source.scan.rows, job["max_shrink"])
        if reason is None:
            return False
        fields = {"status": JobStatus.HELD.value, "held_reason": reason, "idle_claims": 0}
        held.save(fields, release=True)
        log_event("job_held", severity="WARNING", job_id=job["id"], reason=reason)
        return True

    def _begin(self, held: Lease, source: FrozenSource) -> Delivery | None:
        """Check limits and make staging, once; what `begin` returned is recorded before the first chunk is written.

        Returns None if the job is held.
        """
        connector, plan = self._open_connector(held.job), self._plan(held.job, source)
        delivery = connector.open_delivery(plan)
        if held.job.get("begun"):
            return delivery
        intent = delivery.preflight()
        if self._is_held(held, source, delivery):
            return None
        if not delivery.is_staged:
            check_rows(delivery, source)
            self._keep_file(held, source, batch_rows=delivery.chunk_rows)
            held.save({"touched": True, "intent": held.job.get("intent") or json.dumps(intent)})
            delivery = connector.open_delivery(self._plan(held.job, source))
        begun = delivery.begin()
        rows = delivery.chunk_rows
        progress = Progress(rows_total=source.scan.rows, chunks_total=-(-source.scan.rows // rows))
        held.save(
            {
                "begun": json.dumps({"state": dict(begun.state)}),
                "chunk_rows": rows,
                "next_chunk": 0,
                "expected": json.dumps(delivery.fingerprint(source.no_rows()).to_json()),
                "phase": Phase.WRITE.value,
                "idle_claims": 0,
                "progress": msgspec.to_builtins(progress),
            },
            remember=begun.target,
        )
        return connector.open_delivery(
            replace(plan, state=json.loads(held.job["begun"])["state"], target=begun.target or plan.target)
        )

    def _plan(self, job: Mapping[str, Any], source: FrozenSource) -> DeliveryPlan:
        return DeliveryPlan(
            job_id=job["id"],
            table_name=job["table_name"],
            mode=Mode(job["mode"]),
            schema=source.scan.schema,
            rows=source.scan.rows,
            key=tuple(job.get("key") or ()),
            options=job["target"],
            target=self._remembered_target(job),
            intent=json.loads(job.get("intent") or "null") or {},
            state=json.loads(job["begun"])["state"] if job.get("begun") else {},
            checkpoint=job.get("checkpoint") or {},
        )

    def _write(self, held: Lease, delivery: Delivery, source: FrozenSource, ends: datetime) -> bool:
        """Write the chunks that are not in yet; return False when the time box ended first."""
        rows, index = held.job["chunk_rows"], held.job["next_chunk"]
        for table in source.tables(index * rows, rows):
            if self._stores.clock.now() >= ends:
                return False
            chunk = Chunk(index, index * rows, table)
            found = delivery.fingerprint(chunk.table, chunk.first_row)
            written = delivery.write(chunk)
            manifest.record(held, chunk, found, written.sent_bytes)
            index += 1
        return True

    def _publish(self, held: Lease, delivery: Delivery) -> Outcome:
        published = delivery.publish()
        job, rows = held.job, held.job["progress"]["rows_total"]
        before = held.target.get("last_rows", 0)
        after = {Mode.REPLACE: rows, Mode.APPEND: before + rows, Mode.UPSERT: max(before, rows)}[Mode(job["mode"])]
        target = {"last_job_id": job["id"], "last_accepted": job["accepted"], "last_rows": after}
        target["last_columns"] = preparing.remembered(job)
        late = self._stores.clock.now() + leases.LEASE
        recheck = {} if delivery.is_staged else {"recheck_at": late}
        if not delivery.is_staged:
            target["made_of"] = made_of(held.target, job)
        held.save(
            {
                **recheck,
                "status": JobStatus.SUCCESS.value,
                "phase": Phase.FINISHED.value,
                "completed_at": self._stores.clock.now(),
                "refresh_due_at": late if job["refresh_after"] else None,
                "record_count": rows,
                "cost": receipt(job),
                "file_size_bytes": job.get("file_size_bytes") or frozen_bytes(job),
                "location": published.location,
                "published": dict(published.details),
            },
            target=target,
            remember=published.details.get("target"),
            release=True,
        )
        return finished(held.job, self._lineage)

    def _wait(self, held: Lease, error: VendorUnavailableError) -> Outcome:
        """Give the job back until the vendor may answer again; end it when it kept us waiting too often."""
        if error.code in OWN_WAITS:
            return self._give_back(held, error, held.job.get("waits", 0))
        waits = held.job.get("waits", 0) + 1
        if waits <= MAX_WAITS:
            return self._give_back(held, error, waits)
        if error.retry_after_s is None:
            return self._end_badly(held, error)
        return self._give_back(held, error, waits, gave_up=True)  # tidying up calls the vendor, too: not before it said

    def _give_back(self, held: Lease, error: BIConnectorsError, waits: int, *, gave_up: bool = False) -> Outcome:
        """Let the job rest for as long as the vendor asks, else for a while; with `gave_up` it then ends for this error."""
        asked = error.retry_after_s if isinstance(error, VendorUnavailableError) else None
        pause = asked if asked is not None else backoff_s(held.job, waits)
        at = self._stores.clock.now() + timedelta(seconds=pause)
        waiting = f"until {at:%Y-%m-%dT%H:%M:%SZ}: {error.message}"
        fields: dict[str, Any] = {"waits": waits, "waiting": waiting, "idle_claims": 0}
        if isinstance(error, VendorUnavailableError) and error.checkpoint:
            fields["checkpoint"] = error.checkpoint
        if gave_up:
            fields["gave_up"] = {"code": error.code, "message": error.message}
        try:
            held.save(fields, release=True)
        except LostLeaseError:
            return Finished()
        except CancelRequestedError:
            return self._cancel(held)
        return Continue(at)

    def _cancel(self, held: Lease) -> Outcome:
        return self._end(held, JobStatus.CANCELLED, "cancelled", "cancelled by request")

    def _end_badly(self, held: Lease, error: BIConnectorsError) -> Outcome:
        more = {"retryable": error.retryable, "details": plain_details(error)}
        return self._end(held, JobStatus.FAILED, error.code, error.message, more)

    def _end(
        self, held: Lease, status: JobStatus, code: str, reason: str, more: Mapping[str, Any] | None = None
    ) -> Outcome:
        """End the job with its reason, staging removed; unless its publish took effect, of which the target is asked first.

        A job whose publish was sent ends only when the target said that it has not taken effect and its staging is gone, without
        which a request that is still on its way is refused: until then it waits, for `UNKNOWN_FOR` at most.
        """
        left, is_sent, now = "", held.job.get("publishing"), self._stores.clock.now()
        try:
            if source := self._delivered(held.job, unread_before):
                delivery = self._open_connector(held.job).open_delivery(self._plan(held.job, source))
                if is_sent and delivery.is_published():
                    return self._publish(held, delivery)
                delivery.abandon()
                if is_sent and delivery.is_published():  # it arrived while its staging was removed
                    return self._publish(held, delivery)
        except LostLeaseError:
            return Finished()
        except Exception as exc:  # noqa: BLE001 - a fault of ours here must not keep the job from its end, and the target from others
            unknown = told(held.job, exc)
            if is_sent and now < held.job.get("publish_sent_at", held.job["started_at"]) + UNKNOWN_FOR:
                return self._give_back(held, unknown, held.job.get("waits", 0) + 1)
            if is_sent:
                code, reason, more = "outcome_unknown", unknown_outcome(reason, unknown.message), {}
            elif unknown.message.split(" while ")[0] not in reason:
                left = f" (its staging was not removed: {unknown.message})"
        message = reason + (left if held.job.get("begun") else "")
        error = {"code": code, "message": message, "retryable": False, "details": {}, **(more or {})}
        ended = {"status": status.value, "completed_at": now, "waiting": None, "cost": receipt(held.job)}
        try:
            held.save({**ended, "error_message": message, "error": error}, release=True)
        except LostLeaseError:
            return Finished()
        return finished(held.job, self._lineage)
