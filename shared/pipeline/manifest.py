"""The manifest of a job: a line for each chunk, made once and never changed, and the sum that the vendor's rows are held against.

`export_jobs/{id}/chunks/{index}` has the chunk's rows, its bytes and a checksum over them as they came from the frozen source
(the same for every kind of target), the bytes sent, and what they look like once the target holds them (`fingerprint`).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from shared.connectors._base import Chunk, Delivery
from shared.connectors._fingerprint import Fingerprint
from shared.errors import ConflictError, InternalError, VerificationError
from shared.models import SCHEMA, Phase
from shared.pipeline.lease import Lease

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_DIFFERENCES = 5
IMMUTABLE = ("rows", "bytes", "checksum")


def record(held: Lease, chunk: Chunk, found: Fingerprint, sent_bytes: int) -> None:
    """Write that a chunk is in: the job's sums and the chunk's line, in one transaction.

    Raises:
        InternalError: code `chunk_changed`, the chunk has a line already and its rows were others then.
    """
    path = f"{held.path}/chunks/{chunk.index:06d}"
    line = _line(chunk, found, sent_bytes)
    fields = _sums(held.job, chunk, found, sent_bytes)
    try:
        held.save(fields, create={path: line})
    except ConflictError as exc:  # an earlier commit whose answer was lost
        before = held.read(path)
        if any(before.get(name) != line[name] for name in IMMUTABLE):
            raise InternalError(
                f"chunk {chunk.index} has {line['rows']} rows of checksum {line['checksum']}, and had {before.get('rows')} of "
                f"{before.get('checksum')} when it was first written: the frozen source does not read the same twice",
                code="chunk_changed",
            ) from exc
        held.save(fields)


def verify(held: Lease, delivery: Delivery) -> dict[str, Any]:
    """Read back what the vendor holds and return both sides of the comparison.

    Raises:
        VerificationError: they differ.
    """
    expected = Fingerprint.from_json(json.loads(held.job["expected"]))
    found = delivery.read_back()
    differences = expected.differences(found)
    if differences:
        shown = "; ".join(differences[:SHOWN_DIFFERENCES])
        raise VerificationError(f"what the vendor holds is not what was sent: {shown}; report this")
    return {
        "by": "rows" if found.checksum is not None else "aggregates",
        "expected": {"rows": expected.rows, "checksum": expected.to_json()["checksum"]},
        "found": {"rows": found.rows, "checksum": found.to_json()["checksum"]},
    }


def _line(chunk: Chunk, found: Fingerprint, sent_bytes: int) -> dict[str, Any]:
    size, checksum = _content(chunk.table)
    return {
        "schema": SCHEMA,
        "index": chunk.index,
        "first_row": chunk.first_row,
        "rows": chunk.table.num_rows,
        "bytes": size,
        "checksum": checksum,
        "sent_bytes": sent_bytes,
        "fingerprint": json.dumps(found.to_json()),
    }


def _sums(job: dict[str, Any], chunk: Chunk, found: Fingerprint, sent_bytes: int) -> dict[str, Any]:
    done = job["progress"]
    progress = {
        **done,
        "rows_done": done["rows_done"] + chunk.table.num_rows,
        "chunks_done": chunk.index + 1,
        "sent_bytes": done["sent_bytes"] + sent_bytes,
    }
    is_last = progress["chunks_done"] == progress["chunks_total"]
    return {
        "next_chunk": chunk.index + 1,
        "expected": json.dumps((Fingerprint.from_json(json.loads(job["expected"])) + found).to_json()),
        "progress": progress,
        "idle_claims": 0,
        "waits": 0,
        "phase": (Phase.VERIFY if is_last else Phase.WRITE).value,
    }


class _Digest:
    """A sink that keeps the size and the checksum of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        length = len(memoryview(data))
        self.size += length
        self.hash.update(data)
        return length


def _content(table: pa.Table) -> tuple[int, str]:
    """Return bytes and checksum of a chunk as an Arrow stream of one batch, whatever batches it came in."""
    import pyarrow as pa

    digest = _Digest()
    with pa.ipc.new_stream(pa.PythonFile(digest, mode="w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return digest.size, digest.hash.hexdigest()
