"""Parquet, with its own types, narrowed to the eight of this package where nothing is lost.

Integers become int64 and floats double (same number); dictionaries their values; times microseconds; times with a zone the
same instant in UTC; decimals of up to 38 digits stay; enums, JSON and UUIDs are text. Whatever would lose something, and lists,
structs, maps, binary, times of day and durations, is refused with the column's name, unless the column is declared `string`:
see `parquet_text`. The old INT96 times are counted in microseconds or nanoseconds: see `parquet_int96`. Memory:
one batch and one page of each column; with pyarrow's default `pre_buffer=True` the whole file stays in memory (measured:
840 MB against 142 MB for 10 million rows). Pages that carry a checksum are checked against it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.errors import SourceError
from shared.pipeline.formats import Scan
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    INT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_TZ,
    cast_column,
    check_names,
    declared_types,
)
from shared.pipeline.formats.intake import Meter, check_lengths, exact_batches, opened, refuse, too_large
from shared.pipeline.formats.parquet_footer import Footer, largest_page, read_footer
from shared.pipeline.formats.parquet_int96 import MICROSECONDS, unit_of
from shared.pipeline.formats.parquet_text import as_text, uuid_text
from shared.pipeline.formats.sink import CountingSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats import Opener, ReadOptions
    from shared.pipeline.formats.intake import Intake

_WHAT = "a Parquet file"
_MAGIC = b"PAR1"
_BUFFER_BYTES = 1 << 18
_MAX_CHUNK_BYTES = 1 << 32
"""One column of one row group, uncompressed. Our choice: more is no table that anybody wrote on purpose."""
_MAX_PAGE_BYTES = 1 << 26
"""One page, uncompressed: it is unpacked and decoded in one piece. Our choice; writers make pages of 1 MiB."""
_MAX_BATCH_BYTES = 1 << 27
"""Text of one column in one batch after its dictionary is resolved. Our choice."""
_MAX_RATIO, _FREE_BYTES = 2_000, 1 << 30
"""Our choice: a column of one value takes next to nothing, but no table that somebody needs is all of it."""
_SCAN_ROWS = 10_000
_SPREAD_ROWS = 200
_SAMPLE_ROWS = 1_000
_GROUP_ROWS = 131_072
_GROUP_BYTES = 1 << 25


class ParquetReader:
    """Reads everything once, so that a damaged page is met before a target is touched; then streams row groups."""

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        hints: dict[str, str] = {}
        with opened(opener, _WHAT) as intake:
            file, footer = _open(intake, MICROSECONDS)
            source = file.schema_arrow
            check_names(source.names, options)
            declared = declared_types(options, source.names)
            enums = {chunk.path for chunk in footer.chunks if chunk.is_enum}
            schema = pa.schema([(field.name, declared.get(field.name) or _natural(field, enums)) for field in source])
            _check_sizes(intake, footer, schema, options)
            if old_times := sorted({chunk.path for chunk in footer.chunks if chunk.is_int96}):
                unit = unit_of(lambda unit: _open(intake, unit)[0], old_times)
                hints["int96"] = unit
                file, footer = _open(intake, unit)
            meter = Meter(options)
            most = _MAX_RATIO * intake.size_bytes + _FREE_BYTES
            for batch in file.iter_batches(batch_size=_at_once(footer, _SCAN_ROWS), use_threads=False):
                meter.take(_typed(batch, schema, meter.rows + 1, options))
                if meter.bytes > most:
                    raise too_large(f"its {intake.size_bytes:,} bytes unpack to more than {_MAX_RATIO:,} times as many")
            _check_rows(meter.rows, sum(footer.group_rows))
            return Scan(schema, sum(footer.group_rows), options, hints)

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        with opened(opener, _WHAT) as intake:
            yield from exact_batches(_rows_from(intake, scan, start_row, batch_rows), scan.schema, batch_rows)


def _open(intake: Intake, int96_unit: str) -> tuple[pq.ParquetFile, Footer]:
    head = intake.head()
    intake.seek(max(intake.size_bytes - 4, 0))
    tail = intake.read(4)
    intake.seek(0)
    if not head.startswith(_MAGIC):
        raise refuse(_WHAT, head)
    if tail != _MAGIC:
        message = "the Parquet file is cut off: it does not end in PAR1; write it again, or upload it again in full"
        raise SourceError(message, code="source_damaged")
    footer = read_footer(intake)
    intake.seek(0)
    # Texts stored with dictionaries are read as such: a short file cannot become gigabytes before it is measured.
    spread = {chunk.path for chunk in footer.chunks if chunk.is_text_spread_out}
    words = sorted({chunk.path for chunk in footer.chunks if chunk.is_text_by_dictionary} - spread)
    file = pq.ParquetFile(
        intake,
        pre_buffer=False,
        buffer_size=_BUFFER_BYTES,
        read_dictionary=words,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit=int96_unit,
    )
    return file, footer


def _at_once(footer: Footer, rows: int) -> int:
    """How many rows to decode at once: few where long words cannot be measured before they are repeated."""
    return min(rows, _SPREAD_ROWS) if any(chunk.is_text_spread_out for chunk in footer.chunks) else rows


def _natural(field: pa.Field, enums: set[str]) -> pa.DataType:
    """The column type that a Parquet type becomes. Raises `SourceError` naming the column if there is none."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if is_text or pa.types.is_null(kind) or isinstance(kind, pa.UuidType | pa.JsonType) or field.name in enums:
        return STRING
    if isinstance(kind, pa.Bool8Type):
        return BOOL
    if pa.types.is_integer(kind):
        return INT
    if pa.types.is_floating(kind):
        return DOUBLE
    if pa.types.is_boolean(kind):
        return kind
    if pa.types.is_date(kind):
        return DATE
    if pa.types.is_timestamp(kind):
        return TIMESTAMP if kind.tz is None else TIMESTAMP_TZ
    if pa.types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return pa.decimal128(kind.precision, kind.scale)
    message = (
        f"column {field.name!r} has the Parquet type {kind}, which no target takes as it is; declare it string to carry it as "
        "text (lists, structs and maps as JSON, binary where it is UTF-8), or leave it out"
    )
    raise SourceError(message, code="schema_invalid", column=field.name)


def _check_sizes(intake: Intake, footer: Footer, schema: pa.Schema, options: ReadOptions) -> None:
    """Limits by the footer: rows times widths, because `total_byte_size` hides what encoding saves; and of large chunks' pages."""
    rows = sum(footer.group_rows)
    if rows > options.max_rows:
        raise too_large(f"it has {rows:,} rows, at most {options.max_rows:,} are read")
    row_bytes = sum(4 if kind.equals(STRING) else max(kind.bit_width // 8, 1) for kind in schema.types)
    if rows * row_bytes > options.max_decoded_bytes:
        raise too_large(f"its rows take more than {options.max_decoded_bytes:,} bytes")
    for chunk in footer.chunks:
        if chunk.unpacked_bytes > _MAX_CHUNK_BYTES:
            size = f"column {chunk.path!r} takes {chunk.unpacked_bytes:,} bytes in one row group"
            raise too_large(f"{size}, at most {_MAX_CHUNK_BYTES:,}; write smaller row groups")
        if chunk.unpacked_bytes > _MAX_PAGE_BYTES and (page := largest_page(intake, chunk)) > _MAX_PAGE_BYTES:
            raise too_large(
                f"a page of column {chunk.path!r} takes {page:,} bytes, at most {_MAX_PAGE_BYTES:,}; write smaller pages"
            )


def _rows_from(intake: Intake, scan: Scan, start_row: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows from `start_row` on in the scan's schema; row groups before it are not read."""
    file, footer = _open(intake, scan.hints.get("int96", MICROSECONDS))
    sizes = footer.group_rows
    first, row = 0, 0
    while row + sizes[first] <= start_row:
        row += sizes[first]
        first += 1
    drop = start_row - row
    meter = Meter(scan.options)
    groups = list(range(first, len(sizes)))
    for batch in file.iter_batches(batch_size=_at_once(footer, batch_rows), row_groups=groups, use_threads=False):
        kept = batch.slice(min(drop, batch.num_rows))
        drop -= batch.num_rows - kept.num_rows
        row += batch.num_rows
        first_row = row - kept.num_rows + 1
        converted = _typed(kept, scan.schema, first_row, scan.options)
        meter.take(converted)
        yield converted
    _check_rows(row, scan.rows)


def _check_rows(found: int, promised: int) -> None:
    if found != promised:
        message = f"the Parquet file's footer promises {promised} rows, its pages hold {found}; write it again"
        raise SourceError(message, code="source_damaged")


def _typed(batch: pa.RecordBatch, schema: pa.Schema, first_row: int, options: ReadOptions) -> pa.RecordBatch:
    columns = [
        _converted(values, field, first_row, options) for values, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _converted(values: pa.Array, field: pa.Field, first_row: int, options: ReadOptions) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = _resolved(values, field.name, first_row, options)
    if isinstance(values, pa.ExtensionArray):
        values = uuid_text(values) if isinstance(values.type, pa.UuidType) else values.storage
    if pa.types.is_float16(values.type):
        values = pc.cast(values, DOUBLE)  # few kernels take half floats
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type) or pa.types.is_null(values.type):
        values = pc.cast(values, STRING)
    if pa.types.is_string(values.type):
        values.validate(full=True)
    elif field.type.equals(STRING):
        return cast_column(as_text(values, field.name, first_row), STRING, field.name, first_row)
    return cast_column(values, field.type, field.name, first_row)


def _resolved(values: pa.DictionaryArray, name: str, first_row: int, options: ReadOptions) -> pa.Array:
    words = values.dictionary
    if pa.types.is_string(words.type) or pa.types.is_large_string(words.type):
        check_lengths(words, name, first_row, options)
        lengths = pc.take(pc.binary_length(words), values.indices)
        if (pc.sum(lengths).as_py() or 0) > _MAX_BATCH_BYTES:
            raise too_large(f"column {name!r} takes more than {_MAX_BATCH_BYTES:,} bytes in {len(values):,} rows")
    return values.dictionary_decode()


class ParquetWriter:
    """Parquet with checksums, in row groups of 131,072 rows or 32 MiB, whichever is first.

    Each choice was measured (tests/benchmarks/write.py). Texts are packed by zstd, level -1: a tenth less time than 1. Numbers and
    times are packed by snappy: a seventh less time for the whole table than with zstd, and the file is 10 % larger, still smaller
    than what pandas writes. A column gets a dictionary if its first values say that many come again: with that the file is 17 %
    smaller, without it other columns take half the time. The least and the most of a row group stand there for whole numbers and
    times, by which people look for rows; for all columns they would take a sixth more time.
    """

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        out = CountingSink(sink)
        held: list[pa.RecordBatch] = []
        first = next(batches, None)
        texts = {field.name for field in schema if pa.types.is_string(field.type)}
        settings = {
            "compression": {name: "zstd" if name in texts else "snappy" for name in schema.names} or "snappy",
            "compression_level": dict.fromkeys(texts, -1) or None,
            "write_page_checksum": True,
        }
        few = [] if first is None else [name for name in schema.names if _come_again(first.column(name))]
        sought = [field.name for field in schema if _is_sought(field.type)]
        with pq.ParquetWriter(
            pa.PythonFile(out, mode="w"), schema, use_dictionary=few, write_statistics=sought, **settings
        ) as file:
            rows = size_bytes = 0
            for batch in () if first is None else itertools.chain([first], batches):
                held.append(batch)
                rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
                if rows >= _GROUP_ROWS or size_bytes >= _GROUP_BYTES:
                    file.write_table(pa.Table.from_batches(held, schema), row_group_size=_GROUP_ROWS)
                    held, rows, size_bytes = [], 0, 0
            if held:
                file.write_table(pa.Table.from_batches(held, schema), row_group_size=_GROUP_ROWS)
        return out.written


def _come_again(values: pa.Array) -> bool:
    """Whether enough of the first 1,000 values stood there before: every 32nd text (some 15,000 in all), every 8th number or time."""
    kind, sample = values.type, values.slice(0, _SAMPLE_ROWS)
    if not (pa.types.is_string(kind) or _is_sought(kind)):
        return False
    count, share = len(sample) - sample.null_count, 32 if pa.types.is_string(kind) else 8
    return bool(pc.count_distinct(sample, mode="only_valid").as_py() * share <= count * (share - 1))


def _is_sought(kind: pa.DataType) -> bool:
    """Whether readers find rows by the least and the most of such values."""
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind))


READER = ParquetReader()
WRITER = ParquetWriter()
