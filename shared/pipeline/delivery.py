"""The export engine: takes one accepted job from its frozen source to a verified, published table, in time boxes.

Every step is recorded before the next begins, so that another worker can go on after a crash at any point. What makes a
repeated step harmless lies in the target (`shared.connectors._base.Delivery`), not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from shared.connectors._base import Chunk, Connector, Delivery, DeliveryPlan, Mode
from shared.connectors._fingerprint import Fingerprint
from shared.errors import BIConnectorsError, InternalError, VendorUnavailableError, VerificationError
from shared.models import JobStatus, Phase, Progress
from shared.pipeline import lease as leases
from shared.pipeline.formats import CONTENT_TYPES, Format, ReadOptions, Scan, reader, writer
from shared.pipeline.lease import Busy, Lease, LostLeaseError, Over
from shared.ports import ObjectInfo, Objects, Stores
from shared.telemetry import log_event

if TYPE_CHECKING:
    import pyarrow as pa

TIME_BOX = timedelta(minutes=8)  # our choice: under the task's 15-minute deadline, so that a box always ends by itself
MAX_IDLE_CLAIMS = 6  # our choice: a job that stops its worker six times without one checkpoint is not going to pass
MAX_WAITS = 6  # our choice: 5 + 10 + … + 160 s, about five minutes of a vendor in trouble without a Retry-After
FIRST_WAIT_S = 5.0
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class Finished:
    """Nothing more to do for this task."""


@dataclass(frozen=True)
class Continue:
    """Enqueue another task for the job, at `at` (None: at once)."""

    at: datetime | None = None


Outcome = Finished | Continue


@dataclass(frozen=True)
class PinnedObject:
    """One generation of an object as something that can be opened again (`formats.Opener`)."""

    objects: Objects
    info: ObjectInfo

    @property
    def size_bytes(self) -> int:
        return self.info.size_bytes

    def open(self) -> BinaryIO:
        return self.objects.open(self.info)


class ExportEngine:
    """Drives one export job. `open_connector` takes a connector's name; targets are remembered by connector and table."""

    def __init__(
        self,
        stores: Stores,
        *,
        frozen_bucket: str,
        exports_bucket: str,
        open_connector: Callable[[str], Connector],
        remembered_target: Callable[[str, str], Mapping[str, Any]],
        remember_target: Callable[[str, str, Mapping[str, Any]], None],
    ) -> None:
        self._stores = stores
        self._frozen_bucket = frozen_bucket
        self._exports_bucket = exports_bucket
        self._open_connector = open_connector
        self._remembered_target = remembered_target
        self._remember_target = remember_target

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
        try:
            return self._advance(held)
        except LostLeaseError:
            return Finished()
        except VendorUnavailableError as error:
            return self._wait(held, error)
        except BIConnectorsError as error:
            return self._fail(held, error)

    def _advance(self, held: Lease) -> Outcome:
        if held.job["idle_claims"] > MAX_IDLE_CLAIMS:
            raise InternalError(
                f"the worker stopped {MAX_IDLE_CLAIMS} times in phase {held.job['phase']!r} without getting further; "
                "look for its log lines by this job's id",
                code="worker_died",
            )
        ends = self._stores.clock.now() + TIME_BOX
        info, scan = self._freeze(held)
        connector = self._open_connector(held.job["connector_name"])
        delivery = self._begin(held, connector, scan)
        if not self._write(held, delivery, info, scan, ends):
            held.save({"idle_claims": 0}, release=True)
            return Continue()
        if held.job.get("publishing") and delivery.is_published():
            return self._finish(held, delivery)
        self._verify(held, delivery)
        self._keep_file(held, info, scan)
        return self._finish(held, delivery)

    def _freeze(self, held: Lease) -> tuple[ObjectInfo, Scan]:
        """Copy the source's generation once, read its types and count its rows; later attempts use what was recorded."""
        source = held.job["source"]
        if held.job.get("frozen"):
            return ObjectInfo(**held.job["frozen"]), Scan.from_json(json.loads(held.job["scan"]))
        held.save({"phase": Phase.FREEZE.value})
        info = ObjectInfo(source["bucket"], source["name"], source["generation"], source["size_bytes"])
        if info.bucket != self._frozen_bucket:
            info = self._stores.objects.copy(
                info, self._frozen_bucket, f"jobs/{held.job['id']}/source.{source['format']}"
            )
        scan = reader(Format(source["format"])).scan(
            PinnedObject(self._stores.objects, info), ReadOptions(**source["options"])
        )
        frozen = {
            "bucket": info.bucket,
            "name": info.name,
            "generation": info.generation,
            "size_bytes": info.size_bytes,
        }
        progress = Progress(rows_total=scan.rows)
        held.save(
            {
                "frozen": frozen,
                "scan": json.dumps(scan.to_json()),
                "idle_claims": 0,
                "progress": msgspec.to_builtins(progress),
            }
        )
        return info, scan

    def _begin(self, held: Lease, connector: Connector, scan: Scan) -> Delivery:
        """Check limits and make staging, once; what `begin` returned is recorded before the first chunk is written."""
        if held.job.get("begun"):
            return connector.open_delivery(self._plan(held, scan))
        held.save({"phase": Phase.PREFLIGHT.value})
        delivery = connector.open_delivery(self._plan(held, scan))
        delivery.preflight()
        begun = delivery.begin()
        if begun.target:
            self._remember_target(held.job["connector_name"], held.job["table_name"], begun.target)
        rows = delivery.chunk_rows
        progress = Progress(rows_total=scan.rows, chunks_total=-(-scan.rows // rows))
        held.save(
            {
                "begun": json.dumps({"state": dict(begun.state)}),
                "chunk_rows": rows,
                "next_chunk": 0,
                "expected": json.dumps(delivery.fingerprint(scan.schema.empty_table()).to_json()),
                "phase": Phase.WRITE.value,
                "idle_claims": 0,
                "progress": msgspec.to_builtins(progress),
            }
        )
        return connector.open_delivery(self._plan(held, scan))

    def _plan(self, held: Lease, scan: Scan) -> DeliveryPlan:
        job = held.job
        return DeliveryPlan(
            job_id=job["id"],
            table_name=job["table_name"],
            mode=Mode(job["mode"]),
            schema=scan.schema,
            rows=scan.rows,
            options=job["target"],
            target=self._remembered_target(job["connector_name"], job["table_name"]),
            state=json.loads(job["begun"])["state"] if job.get("begun") else {},
        )

    def _write(self, held: Lease, delivery: Delivery, info: ObjectInfo, scan: Scan, ends: datetime) -> bool:
        """Write the chunks that are not in yet; return False when the time box ended first."""
        rows = held.job["chunk_rows"]
        index = held.job["next_chunk"]
        for table in self._chunks(held, info, scan, index * rows, rows):
            if self._stores.clock.now() >= ends:
                return False
            chunk = Chunk(index, index * rows, table)
            found = delivery.fingerprint(chunk.table)
            written = delivery.write(chunk)
            expected = Fingerprint.from_json(json.loads(held.job["expected"]))
            done = held.job["progress"]
            progress = {
                **done,
                "rows_done": done["rows_done"] + table.num_rows,
                "chunks_done": index + 1,
                "sent_bytes": done["sent_bytes"] + written.sent_bytes,
            }
            record = {
                "schema": 1,
                "index": index,
                "first_row": chunk.first_row,
                "rows": table.num_rows,
                "sent_bytes": written.sent_bytes,
                "fingerprint": json.dumps(found.to_json()),
            }
            index += 1
            held.save(
                {
                    "next_chunk": index,
                    "expected": json.dumps((expected + found).to_json()),
                    "progress": progress,
                    "idle_claims": 0,
                    "waits": 0,
                    "phase": Phase.WRITE.value,
                },
                also={f"{held.path}/chunks/{index - 1:06d}": record},
            )
        return True

    def _chunks(self, held: Lease, info: ObjectInfo, scan: Scan, start_row: int, rows: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        source = reader(Format(held.job["source"]["format"]))
        for batch in source.batches(PinnedObject(self._stores.objects, info), scan, start_row, rows):
            yield pa.Table.from_batches([batch])

    def _verify(self, held: Lease, delivery: Delivery) -> None:
        held.save({"phase": Phase.VERIFY.value})
        expected = Fingerprint.from_json(json.loads(held.job["expected"]))
        found = delivery.read_back()
        differences = expected.differences(found)
        verification = {
            "by": "rows" if found.checksum is not None else "aggregates",
            "expected": {"rows": expected.rows, "checksum": expected.to_json()["checksum"]},
            "found": {"rows": found.rows, "checksum": found.to_json()["checksum"]},
        }
        if differences:
            held.save({"verification": verification})
            raise VerificationError(
                "what the vendor holds is not what was sent: "
                + "; ".join(differences[:SHOWN_DIFFERENCES])
                + "; report this"
            )
        held.save({"verification": verification, "idle_claims": 0})

    def _keep_file(self, held: Lease, info: ObjectInfo, scan: Scan) -> None:
        """Write the rows as a file of `export_format`, before publishing: a failure here leaves the target as it was."""
        wanted = held.job.get("export_format")
        if not wanted or held.job.get("export_uri"):
            return
        name = f"{held.job['table_name']}/{held.job['id']}.{wanted}"
        batches = (
            batch for table in self._chunks(held, info, scan, 0, held.job["chunk_rows"]) for batch in table.to_batches()
        )
        with self._stores.objects.writer(
            self._exports_bucket, name, content_type=CONTENT_TYPES[Format(wanted)]
        ) as sink:
            size = writer(Format(wanted)).write(scan.schema, batches, sink)
        held.save({"export_uri": f"gs://{self._exports_bucket}/{name}", "file_size_bytes": size, "idle_claims": 0})

    def _finish(self, held: Lease, delivery: Delivery) -> Outcome:
        held.save({"phase": Phase.PUBLISH.value, "publishing": True})
        published = delivery.publish()
        if "target" in published.details:
            self._remember_target(held.job["connector_name"], held.job["table_name"], published.details["target"])
        now = self._stores.clock.now()
        held.save(
            {
                "status": JobStatus.SUCCESS.value,
                "phase": Phase.FINISHED.value,
                "completed_at": now,
                "record_count": held.job["progress"]["rows_total"],
                "file_size_bytes": held.job.get("file_size_bytes") or held.job["frozen"]["size_bytes"],
                "location": published.location,
                "published": dict(published.details),
            },
            release=True,
        )
        self._log_end(held)
        return Finished()

    def _wait(self, held: Lease, error: VendorUnavailableError) -> Outcome:
        """Give the job back until the vendor may answer again; fail it when it kept us waiting too often."""
        waits = held.job.get("waits", 0) + 1
        if waits > MAX_WAITS:
            return self._fail(held, error)
        pause = error.retry_after_s if error.retry_after_s is not None else FIRST_WAIT_S * 2 ** (waits - 1)
        at = self._stores.clock.now() + timedelta(seconds=pause)
        waiting = f"until {at:%Y-%m-%dT%H:%M:%SZ}: {error.message}"
        try:
            held.save({"waits": waits, "waiting": waiting, "idle_claims": 0}, release=True)
        except LostLeaseError:
            return Finished()
        return Continue(at)

    def _fail(self, held: Lease, error: BIConnectorsError) -> Outcome:
        """End the job with its reason, staging removed. If the vendor cannot be asked to remove it, the reason says so."""
        message = error.message
        try:
            if held.job.get("begun"):
                message += self._abandon(held)
            held.save(
                {
                    "status": JobStatus.FAILED.value,
                    "completed_at": self._stores.clock.now(),
                    "error_message": message,
                    "error": {"code": error.code, "message": message, "retryable": error.retryable, "details": {}},
                },
                release=True,
            )
        except LostLeaseError:
            return Finished()
        self._log_end(held)
        return Finished()

    def _abandon(self, held: Lease) -> str:
        try:
            scan = Scan.from_json(json.loads(held.job["scan"]))
            self._open_connector(held.job["connector_name"]).open_delivery(self._plan(held, scan)).abandon()
        except BIConnectorsError as error:
            return f" (its staging was not removed: {error.message})"
        return ""

    def _log_end(self, held: Lease) -> None:
        job = held.job
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
        )
