"""CSV: comma-separated values as RFC 4180 has them, and the same with semicolons, tabs or bars.

Blank lines are skipped, except in a file of one column, where each is a null. An unquoted empty cell is null; a quoted one is
empty text in a text column and null in any other. CRLF, LF and CR end a line. A byte order mark tells UTF-16; Excel's line
`sep=;` names the delimiter. A last column without name and without values, as delimiters at the end of each row make it, is left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from shared.errors import SourceError
from shared.pipeline.formats import Scan
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    EMPTY,
    INT,
    STRING,
    cast_column,
    check_names,
    declared_types,
    text_scalar,
)
from shared.pipeline.formats.dialect import Header, Respelled, read_header
from shared.pipeline.formats.encoding import UTF16_MARKS, Utf8Stream
from shared.pipeline.formats.formulas import are_formulas, is_formula, restored, restored_names
from shared.pipeline.formats.inference import Place, TextColumn, plain_numbers
from shared.pipeline.formats.intake import BINARY_MAGIC, Meter, exact_batches, opened, refuse
from shared.pipeline.formats.sink import CountingSink, plain_text, refuse_years
from shared.pipeline.formats.whole_rows import Below, Closed, Unquoted, whole_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats import Opener, ReadOptions
    from shared.pipeline.formats.intake import Intake

_WHAT = "a CSV file"
_BOM = b"\xef\xbb\xbf"
_APOSTROPHE = text_scalar("'")
_LEAST_PLAIN, _FIRST_LARGE = 1e-3, 1e9
"""Doubles between are written without exponent by Arrow and by Polars alike."""
_PLAIN_PLACES = 6
"""Decimals with more places may get an exponent from Arrow."""
_DIRECT = frozenset({INT, DOUBLE, BOOL, DATE})


class CsvReader:
    """Finds types over the whole file as text, then yields the typed columns."""

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        with opened(opener, _WHAT, may_be_packed=True) as intake:
            return _scan(intake, options)

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        hints = scan.hints
        drop = start_row if hints["may_have_blank_lines"] else 0
        with opened(opener, _WHAT, may_be_packed=True) as intake:
            table = _Table(intake, _Layout.from_hints(hints, scan.schema), scan.options)
            typed = _typed(table.batches(start_row - drop), scan, start_row - drop, drop)
            yield from exact_batches(typed, scan.schema, batch_rows)


@dataclass(frozen=True)
class _Layout:
    """How the rows lie in the file. `direct` are columns that pyarrow may read as their type, not as text first."""

    header: Header
    direct: Mapping[str, pa.DataType] = field(default_factory=dict)

    def to_hints(self) -> dict[str, Any]:
        return asdict(self.header)

    @classmethod
    def from_hints(cls, hints: Mapping[str, Any], schema: pa.Schema) -> _Layout:
        header = Header(hints["names"], hints["delimiter"], hints["skip_lines"])
        return cls(header, {name: schema.field(name).type for name in hints["direct"]})


def _scan(intake: Intake, options: ReadOptions) -> Scan:
    head = intake.head()
    if not head:
        raise SourceError(
            "expected a CSV file, found an empty file (0 bytes); it needs a header line", code="source_format"
        )
    if head.startswith(BINARY_MAGIC) and not head.startswith(UTF16_MARKS):
        raise refuse(_WHAT, head)
    text = _text_of(intake, options)
    header = read_header(text, options)
    if options.escape:
        intake.seek(0)
        header = read_header(Respelled(_text_of(intake, options), header.delimiter, options.quote), options)
    intake.seek(0)
    names = header.names[:-1] if len(header.names) > 1 and not header.names[-1] else header.names
    names = restored_names(names) if options.formula_safe else names
    check_names(names, options)
    declared = declared_types(options, names)
    table = _Table(intake, _Layout(header), options)
    columns = [TextColumn(options) for _ in names]
    meter = Meter(options)
    for batch in table.batches():
        first_row = meter.rows + 1
        meter.take(batch)
        for name, column, values in zip(names, columns, batch.columns[: len(names)], strict=True):
            if name in declared:
                _cast(values, declared[name], name, first_row, options)
            else:
                column.observe(values)
        if len(names) < batch.num_columns:
            _refuse_unnamed(batch.columns[-1], first_row, len(header.names))
    if table.is_open:
        message = (
            f"row {meter.rows}: a quote is open at the end of the file; the file is cut off, or a quote is missing"
        )
        raise SourceError(message, code="source_damaged", row=meter.rows)
    kinds = [declared.get(name, column.result()) for name, column in zip(names, columns, strict=True)]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    direct = [
        item.name
        for item, column in zip(schema, columns, strict=True)
        if item.name not in declared and item.type in _DIRECT and column.is_plain
    ]
    hints = {
        **table.layout.to_hints(),
        "direct": direct,
        "may_have_blank_lines": options.escape is not None or table.stream.may_have_blank_lines,
    }
    return Scan(schema, meter.rows, options, hints)


def _refuse_unnamed(values: pa.Array, first_row: int, columns: int) -> None:
    """The last column has no name: raise `SourceError` if it holds a value."""
    is_filled = pc.not_equal(values, EMPTY)
    if pc.any(is_filled).as_py():
        row = first_row + pc.index(is_filled, True).as_py()
        message = f"row {row} has a value in column {columns}, which has no name; give every column a header"
        raise SourceError(message, code="columns_invalid", row=row)


def _text_of(intake: Intake, options: ReadOptions) -> Utf8Stream:
    """The file's text; a UTF-16 byte order mark is believed, whatever encoding is named."""
    is_wide = intake.head(2) in UTF16_MARKS and options.encoding.lower() in ("utf-8", "utf8")
    return Utf8Stream(intake, "utf-16" if is_wide else options.encoding, with_blank_lines=True)


class _Table:
    """The rows below the header as batches of text columns."""

    def __init__(self, intake: Intake, layout: _Layout, options: ReadOptions) -> None:
        self._ragged: pa.csv.InvalidRow | None = None
        self.layout = layout
        self.stream = _text_of(intake, options)
        header, quote = layout.header, '"' if options.escape else options.quote
        text = Respelled(self.stream, header.delimiter, options.quote) if options.escape else self.stream
        below = Below(text, header.skip_lines)
        self._rows: Closed | Unquoted = Closed(below, header.delimiter, quote) if quote else Unquoted(below)
        self._names = header.names
        self._parse = pa.csv.ParseOptions(
            delimiter=header.delimiter,
            quote_char=quote or False,
            newlines_in_values=True,
            ignore_empty_lines=len(self._names) > 1,
            invalid_row_handler=self._note,
        )
        self._convert = _conversion({name: layout.direct.get(name, STRING) for name in self._names}, options)
        self._count = _conversion({self._names[0]: STRING}, options)

    @property
    def is_open(self) -> bool:
        """Whether a quote is open where the rows end, which pyarrow takes silently."""
        return self._rows.is_open

    def batches(self, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield them block by block, after so many. Raises `SourceError` naming the first row of another width than the header."""
        rows = 0
        for block in whole_rows(self._rows):
            if rows < skip_rows:
                count = self._parsed(block, rows, self._count).num_rows
                if rows + count <= skip_rows:
                    rows += count
                    continue
            batch = self._parsed(block, rows, self._convert)
            yield batch.slice(max(skip_rows - rows, 0))
            rows += batch.num_rows
        if self._rows.is_cut:
            raise _misquoted(rows)

    def _parsed(self, block: memoryview, rows: int, convert: pa.csv.ConvertOptions) -> pa.RecordBatch:
        """The rows of a block, which `rows` others came before."""
        text = b"".join((_BOM, block)) if block[:3] == _BOM else block  # pyarrow drops one, which is a letter here
        read = pa.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=self._names)
        try:
            table = pa.csv.read_csv(pa.BufferReader(text), read, self._parse, convert)
        except pa.ArrowInvalid as exc:
            if self._ragged is None:
                raise
            row, found = rows + self._ragged.number, self._ragged.actual_columns
            if self._rows.is_cut and self._ragged.text.endswith(self._parse.quote_char):
                raise _misquoted(row) from exc
            message = (
                f"row {row} has {found} cells, the header has {len(self._names)}; "
                "quote cells that hold the delimiter or a line break"
            )
            raise SourceError(message, code="row_ragged", row=row) from exc
        if not table.num_rows:
            return pa.RecordBatch.from_arrays([c.combine_chunks() for c in table.columns], schema=table.schema)
        return table.to_batches()[0]  # all of them: a block is read in one piece

    def _note(self, row: pa.csv.InvalidRow) -> str:
        self._ragged = row
        return "error"


def _conversion(kinds: Mapping[str, pa.DataType], options: ReadOptions) -> pa.csv.ConvertOptions:
    """How to read these columns, and no others."""
    return pa.csv.ConvertOptions(
        column_types=kinds,
        include_columns=list(kinds),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=list(options.null_values),
    )


def _misquoted(row: int) -> SourceError:
    message = (
        f"row {row}: text follows a closed quote; a quote is missing in this row, or one inside a cell is not doubled"
    )
    return SourceError(message, code="source_damaged", row=row)


def _typed(batches: Iterator[pa.RecordBatch], scan: Scan, row: int, drop: int) -> Iterator[pa.RecordBatch]:
    """The batches in the scan's types, without the first `drop` rows; `row` rows were skipped before them."""
    for batch in batches:
        skipped = min(drop, batch.num_rows)
        drop -= skipped
        row += skipped
        batch = batch.slice(skipped)
        columns = [
            _cast(values, column.type, column.name, row + 1, scan.options)
            for values, column in zip(batch.columns[: len(scan.schema)], scan.schema, strict=True)
        ]
        row += batch.num_rows
        yield pa.RecordBatch.from_arrays(columns, schema=scan.schema)


def _cast(values: pa.Array, kind: pa.DataType, name: str, first_row: int, options: ReadOptions) -> pa.Array:
    if values.type.equals(STRING) and (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        values = plain_numbers(values, options, Place(name, first_row))
    if options.formula_safe and values.type.equals(STRING) and kind.equals(STRING):
        return restored(values)
    return cast_column(values, kind, name, first_row)


class CsvWriter:
    """RFC 4180 in UTF-8 with CRLF. Null is an empty cell, empty text a quoted empty cell.

    Text that a spreadsheet could run as a formula (see `formulas`), also one behind apostrophes, gets one more apostrophe in
    front, which shows as text there; numbers are untouched. Taking one apostrophe away from every text that starts with apostrophes
    and such a beginning gives the table back (`ReadOptions.formula_safe`). In a file of one column a null is a quoted empty cell:
    a blank line would be lost.
    """

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        out = CountingSink(sink)
        header = io.StringIO(newline="")
        csv.writer(header, lineterminator="\r\n").writerow([_defused_name(name) for name in schema.names])
        out.write(header.getvalue().encode())
        for batch in refuse_years(batches):
            columns = {name: _text(batch.column(index)) for index, name in enumerate(schema.names)}
            if len(columns) == 1:
                columns = {
                    name: pc.coalesce(values if pa.types.is_string(values.type) else plain_text(values), EMPTY)
                    for name, values in columns.items()
                }
            rows = io.BytesIO()  # as a `str` it would cost twice as much
            pl.DataFrame(pa.table(columns)).write_csv(rows, include_header=False, line_terminator="\r\n", null_value="")
            out.write(rows.getbuffer())
        return out.written


def _text(values: pa.Array) -> pa.Array:
    """What Polars writes as it should stand in the file: the values themselves, or their text."""
    if not pa.types.is_string(values.type):
        return values if _is_spelled_alike(values) else plain_text(values)
    is_formula = are_formulas(values)
    if is_formula is None:
        return values
    return pc.if_else(is_formula, pc.binary_join_element_wise(_APOSTROPHE, values, EMPTY), values)


def _is_spelled_alike(values: pa.Array) -> bool:
    """Whether Polars writes the values as `plain_text` does: true of most, and several times faster than making texts first."""
    kind = values.type
    if pa.types.is_floating(kind):
        sizes = np.abs(values.drop_null().to_numpy(zero_copy_only=False))
        return bool(((sizes == 0) | ((sizes >= _LEAST_PLAIN) & (sizes < _FIRST_LARGE))).all())
    if pa.types.is_decimal(kind):
        return bool(kind.scale <= _PLAIN_PLACES)
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _defused_name(name: str) -> str:
    return "'" + name if is_formula(name) else name


READER = CsvReader()
WRITER = CsvWriter()
