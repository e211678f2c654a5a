"""The frozen source of a job: copied once, typed and counted once, then read again from any chunk on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.pipeline.formats import Format, ReadOptions, Scan, reader
from shared.ports import ObjectInfo, Objects

if TYPE_CHECKING:
    import pyarrow as pa


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
class FrozenSource:
    """A source that cannot change any more, and what one pass over it found."""

    objects: Objects
    info: ObjectInfo
    format: Format
    scan: Scan

    def tables(self, start_row: int, rows: int) -> Iterator[pa.Table]:
        """Yield tables of exactly `rows` rows, except the last, from the zero-based `start_row` on; flat memory."""
        import pyarrow as pa

        pinned = PinnedObject(self.objects, self.info)
        for batch in reader(self.format).batches(pinned, self.scan, start_row, rows):
            yield pa.Table.from_batches([batch])

    def to_record(self) -> dict[str, Any]:
        """Return the job's fields that `frozen_before` reads. The scan is JSON text: Firestore has no lists of lists."""
        return {"frozen": asdict(self.info), "scan": json.dumps(self.scan.to_json())}


def freeze(objects: Objects, bucket: str, job_id: str, source: Mapping[str, Any]) -> FrozenSource:
    """Copy the pinned generation to `bucket` (on the server, not through here) and scan the copy; repeats find the copy.

    Raises:
        SourceError: the generation is gone, or the file is not what its format asks for.
    """
    name = f"jobs/{job_id}/source.{source['format']}"
    info = ObjectInfo(source["bucket"], source["name"], source["generation"], source["size_bytes"])
    if (info.bucket, info.name) != (bucket, name):
        info = objects.copy(info, bucket, name)
    file_format = Format(source["format"])
    scan = reader(file_format).scan(PinnedObject(objects, info), ReadOptions(**source["options"]))
    return FrozenSource(objects, info, file_format, scan)


def frozen_before(objects: Objects, job: Mapping[str, Any]) -> FrozenSource | None:
    """Return what an earlier attempt of the job froze, None if none did."""
    if not job.get("frozen"):
        return None
    info, scan = ObjectInfo(**job["frozen"]), Scan.from_json(json.loads(job["scan"]))
    return FrozenSource(objects, info, Format(job["source"]["format"]), scan)
