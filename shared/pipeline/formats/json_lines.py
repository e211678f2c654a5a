"""JSON Lines: one JSON object a line, UTF-8. Blank lines are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import polars as pl
import pyarrow as pa

from shared.errors import SourceError
from shared.pipeline.formats.encoding import Utf8Stream
from shared.pipeline.formats.intake import BINARY_MAGIC, opened, refuse
from shared.pipeline.formats.json_values import Chunk, batches_of, scan_chunks
from shared.pipeline.formats.sink import CountingSink, plain_text, refuse_non_finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats import Opener, ReadOptions, Scan
    from shared.pipeline.formats.intake import Intake

_WHAT = "a JSON Lines file (one object a line)"
_READ_BYTES = 1 << 20
MAX_ROW_BYTES = 1 << 26
"""Our choice: bounds the memory for one row, as in CSV."""


class JsonLinesReader:
    """Rows by line; types by `json_values`."""

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        with opened(opener, _WHAT) as intake:
            head = intake.head()
            if head.startswith(BINARY_MAGIC) or head.lstrip()[:1] == b"<":
                raise refuse(_WHAT, head)
            return scan_chunks(_chunks(intake, 0), options)

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        with opened(opener, _WHAT) as intake:
            yield from batches_of(_chunks(intake, start_row), scan, batch_rows)


def _chunks(intake: Intake, start_row: int) -> Iterator[Chunk]:
    """Yield the rows from the zero-based `start_row` on; the lines before are counted, not parsed."""
    row = 0
    for lines in _lines(Utf8Stream(intake, "utf-8")):
        wanted = lines[max(start_row - row, 0) :]
        row += len(lines)
        if wanted:
            yield Chunk(wanted, row - len(wanted) + 1)


def _lines(stream: Utf8Stream) -> Iterator[list[bytes]]:
    """Yield the complete lines of each block, without blank ones."""
    rest = b""
    while data := stream.read(_READ_BYTES):
        end = data.rfind(b"\n") + 1
        if not end:
            rest += data
            refuse_long_row(len(rest))
            continue
        yield [line for line in (rest + data[:end]).splitlines() if not line.isspace() and line]
        rest = data[end:]


def refuse_long_row(size_bytes: int) -> None:
    """Raise `SourceError` if what is held of one row passes `MAX_ROW_BYTES`."""
    if size_bytes > MAX_ROW_BYTES:
        message = f"a row is longer than {MAX_ROW_BYTES >> 20} MiB; check that the file has the named format, or shorten the row"
        raise SourceError(message, code="source_too_large")


def encoded_lines(batch: pa.RecordBatch) -> bytes:
    """The rows as JSON objects, one a line: dates and times as ISO text, decimals as text (a number would become a float)."""
    columns = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        is_native = values.type.equals(pa.string()) or pa.types.is_integer(values.type)
        is_native = is_native or pa.types.is_boolean(values.type) or pa.types.is_floating(values.type)
        columns[name] = values if is_native else plain_text(values)
    return pl.DataFrame(pa.table(columns)).write_ndjson().encode()


class JsonLinesWriter:
    """One object a line, every column present, null as null. NaN and infinities are refused: JSON has none."""

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        out = CountingSink(sink)
        for batch in refuse_non_finite(batches, "JSON"):
            out.write(encoded_lines(batch.select(schema.names)))
        return out.written


READER = JsonLinesReader()
WRITER = JsonLinesWriter()
