"""What JSON and JSON Lines share: a reader over rows that were cut out of the text, and the rows as JSON objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import polars as pl
import pyarrow as pa

from shared.errors import SourceError
from shared.pipeline.formats.column_types import STRING
from shared.pipeline.formats.encoding import Utf8Stream
from shared.pipeline.formats.intake import BINARY_MAGIC, exact_batches, opened, refuse, rows_from
from shared.pipeline.formats.json_values import Chunk, batches_of, scan_chunks
from shared.pipeline.formats.sink import CountingSink, plain_text, refuse_non_finite

if TYPE_CHECKING:
    from shared.pipeline.formats import Opener, ReadOptions, Scan
    from shared.pipeline.formats.intake import Intake

READ_BYTES = 1 << 21
MAX_ROW_BYTES = 1 << 25
"""Our choice: bounds the memory for one row, as in CSV."""


@dataclass(frozen=True)
class RowsReader:
    """Reads what `cut` cuts out of the text: chunks of consecutive rows. `foreign` are first letters of other formats."""

    what: str
    cut: Callable[[Utf8Stream], Iterator[Chunk]]
    foreign: tuple[bytes, ...] = ()

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        with opened(opener, self.what, may_be_packed=True) as intake:
            head = intake.head()
            if head.startswith(BINARY_MAGIC) or head.lstrip().startswith(self.foreign):
                raise refuse(self.what, head)
            return scan_chunks(self._chunks(intake, 0), options)

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        if scan.kept is not None:
            yield from exact_batches(rows_from(scan.kept, start_row), scan.schema, batch_rows)
            return
        with opened(opener, self.what, may_be_packed=True) as intake:
            yield from batches_of(self._chunks(intake, start_row), scan, batch_rows)

    def _chunks(self, intake: Intake, start_row: int) -> Iterator[Chunk]:
        """Yield the rows from the zero-based `start_row` on; those before are counted, not parsed."""
        row = 0
        for chunk in self.cut(Utf8Stream(intake, "utf-8")):
            skipped = min(max(start_row - row, 0), chunk.count)
            if skipped < chunk.count:
                yield chunk.placed(skipped, row + skipped + 1)
            row += chunk.count


def refuse_long_row(size_bytes: int) -> None:
    """Raise `SourceError` if what is held of one row passes `MAX_ROW_BYTES`."""
    if size_bytes > MAX_ROW_BYTES:
        message = f"a row is longer than {MAX_ROW_BYTES >> 20} MiB; check that the file has the named format, or shorten the row"
        raise SourceError(message, code="source_too_large")


@dataclass(frozen=True)
class RowsWriter:
    """Objects with every column, null as null; dates and times as ISO text, decimals as text (a number would become a float).

    NaN and infinities are refused: JSON has none. The rows stand between `opening` and `closing`, parted by `separator`.
    """

    opening: bytes
    separator: bytes
    closing: bytes

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        out = CountingSink(sink)
        before = self.opening
        for batch in refuse_non_finite(batches, "JSON"):
            if batch.num_rows:
                out.write(before + _objects(batch.select(schema.names)).replace(b"\n", self.separator))
                before = self.separator
        out.write((self.opening if before == self.opening else b"") + self.closing)
        return out.written


def _objects(batch: pa.RecordBatch) -> bytes:
    """The rows as JSON objects, parted by line breaks."""
    columns = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        is_native = values.type.equals(STRING) or pa.types.is_integer(values.type)
        is_native = is_native or pa.types.is_boolean(values.type) or pa.types.is_floating(values.type)
        columns[name] = values if is_native else plain_text(values)
    return pl.DataFrame(pa.table(columns)).write_ndjson().encode().removesuffix(b"\n")
