"""Where rows come from: a module for each kind of source, and what they share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa


class BytesOpener:
    """Bytes in memory as a source that can be opened again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        return len(self._data)

    def open(self) -> Any:
        """A fresh handle at the start."""
        import io

        return io.BytesIO(self._data)


def staged_rows(rows: Sequence[Any]) -> Iterator[bytes]:
    """Yield the rows of a request as JSON Lines, one line each, exactly as they came; the reader of that format types them.

    Raises `SourceError` naming the row that is not an object, or holds what JSON has no value for (NaN, infinities).
    """
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            message = f"row {number} is {type(row).__name__}; each row must be an object with the columns as keys"
            raise SourceError(message, code="row_invalid", row=number)
        try:
            yield json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        except (ValueError, TypeError) as exc:
            message = f"row {number} holds a value that JSON has no form for ({exc}); use null, a finite number or text"
            raise SourceError(message, code="row_invalid", row=number) from exc


def rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows as tables of exactly `rows` rows, except the last; nothing if there are none. Copies no values."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while rest.num_rows:
            piece = rest.slice(0, rows - count)
            held.append(piece)
            count += piece.num_rows
            rest = rest.slice(piece.num_rows)
            if count == rows:
                yield pa.Table.from_batches(held)
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)
