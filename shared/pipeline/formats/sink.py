"""What all writers share: a counting sink, values as text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError
from shared.pipeline.formats.column_types import EMPTY, STRING, text_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_DAY, _LAST_DAY, _DAY_S = -719_162, 2_932_896, 86_400
"""The years 1 to 9999, as days since 1970."""
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_POINT_ZERO, _ZULU = text_scalar(".0"), text_scalar("Z")


class CountingSink(io.RawIOBase):
    """Passes bytes on to `sink` and counts them; closing it leaves `sink` open. Cannot seek, so it suits a stream."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.written

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._sink.write(data)
        self.written += size
        return size


def plain_text(values: pa.Array) -> pa.Array:
    """Values of any type but `string` as text that reads back as the same type and value.

    Doubles keep a point or an exponent; times are ISO 8601 with `T`, six decimals only where there are any, `Z` for UTC.
    Of what `beyond_years` finds Arrow makes a remark, good for a report alone.
    """
    if pa.types.is_timestamp(values.type):
        return _time_text(values)
    text = pc.cast(values, STRING)
    if pa.types.is_floating(values.type) and pc.any(pc.equal(pc.floor(values), values)).as_py():
        is_whole = pc.match_substring_regex(text, r"^-?[0-9]+$")
        return pc.if_else(is_whole, pc.binary_join_element_wise(text, _POINT_ZERO, EMPTY), text)
    return text


def beyond_years(values: pa.Array) -> int | None:
    """Where the first day or time stands that is outside of the years 1 to 9999; None if there is none."""
    kind = values.type
    if pa.types.is_date32(kind):
        first, last, numbers = _FIRST_DAY, _LAST_DAY, pc.cast(values, pa.int32())
    elif pa.types.is_timestamp(kind):
        ticks = _DAY_S * PER_SECOND[kind.unit]
        first, last, numbers = _FIRST_DAY * ticks, (_LAST_DAY + 1) * ticks - 1, pc.cast(values, pa.int64())
    else:
        return None
    bounds = pc.min_max(numbers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (first <= low and high <= last):
        return None
    return next(
        at for at, number in enumerate(numbers.to_pylist()) if number is not None and not first <= number <= last
    )


def refuse_years(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Pass batches on. Raises `SourceError` at the first day or time outside of the years 1 to 9999, which is no text."""
    row = 0
    for batch in batches:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if (at := beyond_years(values)) is not None:
                raise year_refused(name, row + at + 1)
        row += batch.num_rows
        yield batch


def year_refused(column: str, row: int) -> SourceError:
    """The refusal of a day or time; `row` counts from one."""
    message = f"row {row}, column {column!r}: a day or time outside of the years 1 to 9999 cannot be written; correct it, or make it null"
    return SourceError(message, code="value_invalid", row=row, column=column)


def _time_text(values: pa.Array) -> pa.Array:
    """By way of the times without a zone: Arrow writes those thirty times as fast."""
    kind = values.type
    is_plain = kind.tz in (None, "UTC")
    if is_plain:
        values = pc.cast(pc.cast(values, pa.int64()), pa.timestamp(kind.unit))
    text = _lettered(values, "Z" if kind.tz else "") if is_plain else None
    if text is None:
        text = pc.binary_replace_slice(pc.cast(values, STRING), 10, 11, "T")
        text = pc.binary_join_element_wise(text, _ZULU, EMPTY) if kind.tz == "UTC" else text
    if kind.unit == "us":
        return pc.replace_substring(text, ".000000", "")
    return pc.replace_substring_regex(text, r"\.0+(Z?)$", r"\1")


def _lettered(times: pa.Array, end: str) -> pa.Array | None:
    """Times without a zone as text, `T` and `end` put in by position; None where the texts differ in length."""
    data = times.buffers()[1]
    whole = pa.Array.from_buffers(
        times.type, len(times), [None, data], offset=times.offset
    )  # whatever stands under a null
    text = pc.cast(whole, STRING)
    lengths = pc.min_max(pc.binary_length(text))
    width = lengths["max"].as_py()
    if width is None or width != lengths["min"].as_py():
        return None
    letters = np.empty((len(text), width + len(end)), np.uint8)
    letters[:, :width] = np.frombuffer(text.buffers()[2], np.uint8, len(text) * width).reshape(len(text), width)
    letters[:, 10] = ord("T")
    if end:
        letters[:, width] = ord(end)
    offsets = np.arange(0, letters.size + 1, letters.shape[1], dtype=np.int32)
    valid = pc.is_valid(times).buffers()[1] if times.null_count else None
    return pa.Array.from_buffers(STRING, len(text), [valid, pa.py_buffer(offsets), pa.py_buffer(letters)])


def refuse_non_finite(batches: Iterator[pa.RecordBatch], what: str) -> Iterator[pa.RecordBatch]:
    """Pass batches on. Raises `SourceError` at the first NaN or infinity, which `what` has no value for, and as `refuse_years`."""
    row = 0
    for batch in refuse_years(batches):
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_floating(values.type) and pc.all(pc.is_finite(values)).as_py() is False:
                at = pc.is_finite(values).to_pylist().index(False)
                message = (
                    f"row {row + at + 1}, column {name!r} is {values[at].as_py()}, and {what} has no such number; "
                    "make it null, or write CSV or Parquet"
                )
                raise SourceError(message, code="value_invalid", row=row + at + 1, column=name)
        row += batch.num_rows
        yield batch
