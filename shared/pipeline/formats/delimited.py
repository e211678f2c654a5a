"""CSV: comma-separated values as RFC 4180 has them, and the same with semicolons, tabs or bars.

Blank lines are skipped, except in a file of one column, where each is a null. An unquoted empty cell is null; a quoted one is
empty text in a text column and null in any other. Both CRLF and LF end a line.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from shared.errors import SourceError
from shared.pipeline.formats import Scan
from shared.pipeline.formats.column_types import EMPTY, STRING, cast_column, check_names, declared_types, text_scalar
from shared.pipeline.formats.encoding import Utf8Stream
from shared.pipeline.formats.inference import TextColumn
from shared.pipeline.formats.intake import BINARY_MAGIC, Meter, exact_batches, opened, refuse
from shared.pipeline.formats.sink import CountingSink, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats import Opener, ReadOptions
    from shared.pipeline.formats.intake import Intake

_WHAT = "a CSV file"
_DELIMITERS = ",;\t|"
_BLOCK_BYTES = (1 << 20, 1 << 24, 1 << 26)
"""Sizes tried in turn: a row must fit into one block. Our choice: 1 MiB keeps memory flat, 64 MiB bounds one row."""
_CLOSED_AT_BREAK = re.compile(rb'[\r\n]"[\r\n]*\Z')
_WIDE = re.compile("utf[-_]?(16|32)", re.IGNORECASE)
_FORMULA = r"^[=+\-@\t\r]"
_APOSTROPHE = text_scalar("'")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class CsvReader:
    """Finds types over the whole file as text, then yields the typed columns."""

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        for block_bytes in _BLOCK_BYTES:
            with opened(opener, _WHAT) as intake:
                try:
                    return _scan(intake, options, block_bytes)
                except pa.ArrowInvalid as exc:
                    if "straddling" not in str(exc):
                        raise
        message = f"a row is longer than {_BLOCK_BYTES[-1] >> 20} MiB; a quote is probably not closed: check the file's quotes"
        raise SourceError(message, code="source_damaged")

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        hints = scan.hints
        drop = start_row if hints["may_have_blank_lines"] else 0
        with opened(opener, _WHAT) as intake:
            stream = Utf8Stream(intake, scan.options.encoding)
            table = _Table(stream, hints, scan.schema.names, scan.options, skip_rows=start_row - drop)
            typed = _typed(table.batches(), scan, start_row - drop, drop)
            yield from exact_batches(typed, scan.schema, batch_rows)


def _scan(intake: Intake, options: ReadOptions, block_bytes: int) -> Scan:
    head = intake.head()
    if not head:
        raise SourceError(
            "expected a CSV file, found an empty file (0 bytes); it needs a header line", code="source_format"
        )
    if head.startswith(BINARY_MAGIC) and not (head.startswith(_UTF16) and _WIDE.match(options.encoding)):
        raise refuse(_WHAT, head)
    names, delimiter = _header(intake, options)
    check_names(names, options)
    declared = declared_types(options, names)
    stream = Utf8Stream(intake, options.encoding)
    hints: dict[str, Any] = {"delimiter": delimiter, "block_bytes": block_bytes}
    table = _Table(stream, hints, names, options)
    columns = [TextColumn() for _ in names]
    meter = Meter(options)
    last: pa.RecordBatch | None = None
    for batch in table.batches():
        first_row = meter.rows + 1
        meter.take(batch)
        for name, column, values in zip(names, columns, batch.columns, strict=True):
            if name in declared:
                cast_column(values, declared[name], name, first_row)
            else:
                column.observe(values)
        last = batch if batch.num_rows else last
    _refuse_open_quote(last, stream.tail, meter.rows)
    kinds = [declared.get(name, column.result()) for name, column in zip(names, columns, strict=True)]
    hints["may_have_blank_lines"] = stream.may_have_blank_lines
    return Scan(pa.schema(list(zip(names, kinds, strict=True))), meter.rows, options, hints)


def _header(intake: Intake, options: ReadOptions) -> tuple[list[str], str]:
    """The names and the delimiter; leaves the position at the start."""
    data = Utf8Stream(intake, options.encoding).read(_BLOCK_BYTES[0])
    text = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1].decode()
    intake.seek(0)
    best: tuple[list[str], str] = ([], options.delimiter or ",")
    for delimiter in options.delimiter or _DELIMITERS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = next((row for row in rows if row), [])
        if len(names) > len(best[0]):
            best = names, delimiter
    if not best[0]:
        raise SourceError("the file holds no header line; the first line must name the columns", code="columns_invalid")
    return best


class _Table:
    """The rows below the header as batches of text columns."""

    def __init__(
        self, stream: Utf8Stream, hints: dict[str, Any], names: list[str], options: ReadOptions, *, skip_rows: int = 0
    ) -> None:
        self._ragged: pa.csv.InvalidRow | None = None
        self._read = pa.csv.ReadOptions(
            use_threads=False, block_size=hints["block_bytes"], skip_rows_after_names=skip_rows
        )
        self._parse = pa.csv.ParseOptions(
            delimiter=hints["delimiter"],
            newlines_in_values=True,
            ignore_empty_lines=len(names) > 1,
            invalid_row_handler=self._note,
        )
        self._convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, STRING),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=list(options.null_values),
        )
        self._stream = stream
        self._names = names

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield them block by block. Raises `SourceError` naming the first row of another width than the header."""
        try:
            with pa.csv.open_csv(self._stream, self._read, self._parse, self._convert) as reader:
                if reader.schema.names != self._names:
                    raise SourceError("the header line cannot be read as CSV; check its quotes", code="columns_invalid")
                yield from reader
        except pa.ArrowInvalid as exc:
            if self._ragged is None:
                raise
            row, found = self._ragged.number - 1, self._ragged.actual_columns
            message = (
                f"row {row} has {found} cells, the header has {len(self._names)}; "
                "quote cells that hold the delimiter or a line break"
            )
            raise SourceError(message, code="row_ragged", row=row) from exc

    def _note(self, row: pa.csv.InvalidRow) -> str:
        self._ragged = row
        return "error"


def _refuse_open_quote(last: pa.RecordBatch | None, tail: bytes, rows: int) -> None:
    """A quote still open at the end swallows the last line break: pyarrow takes that silently, we do not."""
    text = last.column(last.num_columns - 1)[-1].as_py() if last is not None else None
    if text and text[-1] in "\r\n" and not _CLOSED_AT_BREAK.search(tail):
        message = f"row {rows}: a quote is open at the end of the file; the file is cut off, or a quote is missing"
        raise SourceError(message, code="source_damaged", row=rows)


def _typed(batches: Iterator[pa.RecordBatch], scan: Scan, row: int, drop: int) -> Iterator[pa.RecordBatch]:
    """The batches in the scan's types, without the first `drop` rows; `row` rows were skipped before them."""
    for batch in batches:
        skipped = min(drop, batch.num_rows)
        drop -= skipped
        row += skipped
        batch = batch.slice(skipped)
        columns = [
            cast_column(values, column.type, column.name, row + 1)
            for values, column in zip(batch.columns, scan.schema, strict=True)
        ]
        row += batch.num_rows
        yield pa.RecordBatch.from_arrays(columns, schema=scan.schema)


class CsvWriter:
    """RFC 4180 in UTF-8 with CRLF. Null is an empty cell, empty text a quoted empty cell.

    Text that a spreadsheet would run as a formula (it starts with = + - @ tab or CR) gets a leading apostrophe, which shows as
    text there; numbers are untouched. In a file of one column a null is a quoted empty cell: a blank line would be lost.
    """

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        out = CountingSink(sink)
        header = io.StringIO(newline="")
        csv.writer(header, lineterminator="\r\n").writerow([_defused_name(name) for name in schema.names])
        out.write(header.getvalue().encode())
        for batch in batches:
            columns = {name: _text(batch.column(index)) for index, name in enumerate(schema.names)}
            if len(columns) == 1:
                columns = {name: pc.coalesce(values, EMPTY) for name, values in columns.items()}
            frame = pl.DataFrame(pa.table(columns))
            out.write(frame.write_csv(include_header=False, line_terminator="\r\n", null_value="").encode())
        return out.written


def _text(values: pa.Array) -> pa.Array:
    if not pa.types.is_string(values.type):
        return plain_text(values)
    is_formula = pc.match_substring_regex(values, _FORMULA)
    return pc.if_else(is_formula, pc.binary_join_element_wise(_APOSTROPHE, values, EMPTY), values)


def _defused_name(name: str) -> str:
    return "'" + name if re.match(_FORMULA, name) else name


READER = CsvReader()
WRITER = CsvWriter()
