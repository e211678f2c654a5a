"""The frozen source of a job: copied once, typed and counted once, then read again from any chunk on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.errors import SourceError, VendorUnavailableError
from shared.pipeline.formats import Format, Scan, reader
from shared.pipeline.sources import rechunk
from shared.ports import ObjectInfo, Objects, Stores

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {
    "file": "shared.pipeline.sources.files:freeze_one",
    "files": "shared.pipeline.sources.files:freeze_many",
    "bigquery": "shared.pipeline.sources.bigquery:freeze",
    "firestore": "shared.pipeline.sources.firestore:freeze",
}
"""What freezes each kind of source: a function of `Freezing`."""
GONE = frozenset({"source_changed", "source_gone"})
"""What is said of an object that is not there any more as it was; nobody changes those of the frozen bucket."""


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


@dataclass(frozen=True)
class Part:
    """One object in the frozen bucket. Its scan has its own columns in its own order; no format: that of the whole."""

    info: ObjectInfo
    scan: Scan
    format: Format | None = None


@dataclass(frozen=True)
class FrozenSource:
    """A source that cannot change any more, and what one pass over it found.

    Attributes:
        scan: of the whole: all columns, all rows. A column that a part lacks is null in the part's rows; a time without a zone
            is one in UTC where the whole says so.
        parts: in order; none where only the columns and the number of rows are asked for.
        as_of: the moment whose rows these are, where it is known.
        manifest: where the list of many parts is kept; None for one part.
    """

    objects: Objects
    format: Format
    scan: Scan
    parts: tuple[Part, ...]
    as_of: datetime | None = None
    manifest: ObjectInfo | None = None

    @classmethod
    def single(
        cls, objects: Objects, info: ObjectInfo, fmt: Format, scan: Scan, as_of: datetime | None = None
    ) -> FrozenSource:
        """Return a source of one object."""
        return cls(objects, fmt, scan, (Part(info, scan),), as_of)

    @property
    def size_bytes(self) -> int:
        return sum(part.info.size_bytes for part in self.parts)

    def tables(self, start_row: int, rows: int) -> Iterator[pa.Table]:
        """Yield tables of exactly `rows` rows, except the last, from the zero-based `start_row` on; flat memory."""
        yield from rechunk(self._batches(start_row, rows), rows)

    def no_rows(self) -> pa.Table:
        """Return a table of none of them.

        Not by `empty_table`, which makes arrays of Python lists: pyarrow imports pandas for those where it is installed (40 MB).
        """
        import pyarrow as pa

        return pa.Table.from_batches([], self.scan.schema)

    def _batches(self, start_row: int, rows: int) -> Iterator[pa.RecordBatch]:
        skip = start_row
        for part in self.parts:
            if skip < part.scan.rows:
                read = reader(part.format or self.format).batches
                pinned = PinnedObject(self.objects, part.info)
                for batch in read(pinned, part.scan, skip, rows):
                    yield self._of_the_whole(batch)
            skip = max(skip - part.scan.rows, 0)

    def _of_the_whole(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        if batch.schema.equals(self.scan.schema):
            return batch
        columns = [
            batch.column(field.name).cast(field.type)
            if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in self.scan.schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.scan.schema)

    def to_record(self) -> dict[str, Any]:
        """Return the job's fields that `frozen_before` reads. The scan is JSON text: Firestore has no lists of lists."""
        frozen = asdict(self.manifest or self.parts[0].info)
        if self.manifest:
            frozen |= {"parts": len(self.parts), "parts_bytes": self.size_bytes}
        scan = json.dumps(self.scan.to_json())
        return {"frozen": frozen, "frozen_format": self.format.value, "scan": scan, "source_as_of": self.as_of}


@dataclass(frozen=True)
class Freezing:
    """What freezing a job's source works with.

    Attributes:
        bucket: where frozen objects lie, each job's under `jobs/<id>/`.
        job: the job as it is now, `save` included.
        save: records fields on the job; raises when the job is lost or to be cancelled.
        ends: when this box of work is over.
    """

    stores: Stores
    bucket: str
    job: Mapping[str, Any]
    save: Callable[[Mapping[str, Any]], None]
    ends: datetime

    @property
    def folder(self) -> str:
        return f"jobs/{self.job['id']}/"

    @property
    def source(self) -> Mapping[str, Any]:
        """The source as it was pinned when the job was accepted."""
        found: Mapping[str, Any] = self.job["source"]
        return found

    def go_on_until_the_end(self, doing: str) -> None:
        """Raise `VendorUnavailableError` (the next box goes on at once) when this box of work is over."""
        if self.stores.clock.now() >= self.ends:
            raise VendorUnavailableError(f"{doing} goes on", code="source_exporting", retry_after_s=0.0)


def freeze(freezing: Freezing) -> FrozenSource:
    """Bring the job's source into the frozen bucket, on the vendor's side and not through here; repeats find what is there.

    Raises:
        SourceError: the source is gone or changed, or is not what its format asks for; code `rows_erased`: it was rows that this
            service kept, and keeps no more.
        VendorUnavailableError: the rows are still being made; the same call goes on later.
    """
    earlier = freezing.job.get("frozen_from")
    try:
        return _copied(freezing, earlier) if earlier else _frozen(freezing)
    except SourceError as error:
        is_ours = earlier or freezing.source.get("bucket") == freezing.bucket
        if error.code not in GONE or not is_ours:
            raise
        message = "the rows that this job was to start from are not kept any more; export again"
        raise SourceError(message, code="rows_erased") from error


def _frozen(freezing: Freezing) -> FrozenSource:
    module, _, name = KINDS[freezing.source.get("kind", "file")].partition(":")
    freeze_kind: Callable[[Freezing], FrozenSource] = getattr(importlib.import_module(module), name)
    return freeze_kind(freezing)


def frozen_before(objects: Objects, job: Mapping[str, Any]) -> FrozenSource | None:
    """Return what an earlier attempt of the job froze, None if none did. Raises `SourceError` if the list of its parts is gone."""
    unread = unread_before(objects, job)
    if unread is None:
        return None
    frozen = dict(job["frozen"])
    is_many = frozen.pop("parts", None) is not None
    frozen.pop("parts_bytes", None)
    info = ObjectInfo(**frozen)
    if not is_many:
        return replace(unread, parts=(Part(info, unread.scan),))
    with objects.open(info) as handle:
        listed = json.loads(handle.read())
    parts = tuple(Part(ObjectInfo(**item["info"]), Scan.from_json(item["scan"])) for item in listed)
    return replace(unread, parts=parts, manifest=info)


def unread_before(objects: Objects, job: Mapping[str, Any]) -> FrozenSource | None:
    """As `frozen_before`, as far as the job's record tells: without parts, for who wants columns and number but no rows."""
    if not job.get("frozen"):
        return None
    fmt = Format(job.get("frozen_format") or job["source"]["format"])
    return FrozenSource(objects, fmt, Scan.from_json(json.loads(job["scan"])), (), job.get("source_as_of"))


def frozen_bytes(job: Mapping[str, Any]) -> int:
    """Return the size of what a job froze, all parts together."""
    frozen = job["frozen"]
    size: int = frozen.get("parts_bytes", frozen["size_bytes"])
    return size


def of_parts(
    freezing: Freezing, fmt: Format, scan: Scan, parts: Sequence[Part], as_of: datetime | None
) -> FrozenSource:
    """Return the source of these parts; the list of more than one is kept in an object, for a job's record is small."""
    objects = freezing.stores.objects
    if len(parts) == 1 and parts[0].scan.schema.equals(scan.schema):
        return FrozenSource.single(objects, parts[0].info, fmt, parts[0].scan, as_of)
    listed = [{"info": plain(part.info), "scan": part.scan.to_json()} for part in parts]
    name = freezing.folder + "parts.json"
    with objects.writer(freezing.bucket, name, content_type="application/json") as sink:
        sink.write(json.dumps(listed).encode())
    return FrozenSource(objects, fmt, scan, tuple(parts), as_of, objects.stat(freezing.bucket, name))


def plain(info: ObjectInfo) -> dict[str, Any]:
    """Return what finds the generation again, as JSON values."""
    return {"bucket": info.bucket, "name": info.name, "generation": info.generation, "size_bytes": info.size_bytes}


def _copied(freezing: Freezing, earlier: Mapping[str, Any]) -> FrozenSource:
    """Freeze what another job froze before: the same bytes, so that nothing is read to type them again."""
    source = frozen_before(freezing.stores.objects, {**freezing.job, **earlier})
    if source is None:
        raise ValueError("frozen_from without a frozen source")
    parts = []
    for part in source.parts:
        name = freezing.folder + part.info.name.rpartition("/")[2]
        parts.append(Part(freezing.stores.objects.copy(part.info, freezing.bucket, name), part.scan))
    return of_parts(freezing, source.format, source.scan, parts, source.as_of)
