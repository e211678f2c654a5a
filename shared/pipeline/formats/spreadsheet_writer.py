"""Writes one sheet of an XLSX workbook, row by row; xlsxwriter keeps the rows in a temporary file, not in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import xlsxwriter

from shared.errors import SourceError
from shared.pipeline.formats.column_types import DATE, EXACT_INT, STRING, TIMESTAMP
from shared.pipeline.formats.formulas import are_formulas, is_formula
from shared.pipeline.formats.sink import CountingSink, plain_text, refuse_non_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Write = Callable[[int, int, Any], Any]

MAX_ROWS, MAX_COLUMNS, MAX_CELL_CHARS = 1_048_575, 16_384, 32_767
"""Below the header. Source: support.microsoft.com, Excel specifications and limits."""
_EXACT_DIGITS = 15
_UNIX_EPOCH_DAYS = 25_569
_FIRST_TRUE_SERIAL = 61  # 1900-03-01: before it Excel counts a day that never was
_DAY_US = 86_400_000_000
_FORMATS = {DATE: "yyyy-mm-dd", TIMESTAMP: "yyyy-mm-dd hh:mm:ss.000"}


class XlsxWriter:
    """Text as text (never a formula or link), numbers as numbers, dates and times as date cells, null as an empty cell.

    Text that a spreadsheet could run as a formula, once somebody edits the cell or saves the sheet as CSV, is marked as text in
    Excel's own way (`quotePrefix`, the apostrophe that Excel shows in the line above the sheet), which is not part of the value.
    Times with a zone are written as UTC. Refused, because Excel would change them: integers beyond 2^53, decimals of more than
    15 digits, fractions of a millisecond, days before 1900-03-01, NaN and infinities, texts beyond 32,767 characters, more than
    1,048,575 rows. Empty text becomes an empty cell: XLSX cannot tell them apart.
    """

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        if len(schema) > MAX_COLUMNS:
            raise _refused(f"{len(schema):,} columns; a sheet has {MAX_COLUMNS:,}")
        out = CountingSink(sink)
        book = xlsxwriter.Workbook(out, {"constant_memory": True})
        try:
            _fill(book, schema, batches)
        finally:
            book.close()
        return out.written


def _fill(book: Any, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    sheet = book.add_worksheet("Data")
    formats = {kind: book.add_format({"num_format": code}) for kind, code in _FORMATS.items()}
    formats[STRING] = book.add_format({"quote_prefix": True})
    for index, name in enumerate(schema.names):
        sheet.write_string(0, index, name, formats[STRING] if is_formula(name) else None)
    row = 0
    for batch in refuse_non_finite(batches, "XLSX"):
        if row + batch.num_rows > MAX_ROWS:
            raise _refused(f"more than {MAX_ROWS:,} rows; write CSV or Parquet, or fewer rows")
        columns = [_cells(batch.column(index), field, row) for index, field in enumerate(schema)]
        writers = [_writer(sheet, batch.column(index), formats) for index in range(len(schema))]
        for values in zip(*columns, strict=True):
            row += 1
            for index, value in enumerate(values):
                if value is not None:
                    writers[index](row, index, value)


def _writer(sheet: Any, values: pa.Array, formats: dict[pa.DataType, Any]) -> _Write:
    kind = values.type
    if pa.types.is_string(kind):
        write = cast("_Write", sheet.write_string)  # not `write`, which makes formulas, links and numbers of some texts
        marked = are_formulas(values)
        if marked is None:
            return write
        texts = frozenset(values.filter(marked).to_pylist())
        return lambda row, column, value: sheet.write_string(
            row, column, value, formats[STRING] if value in texts else None
        )
    if pa.types.is_boolean(kind):
        return cast("_Write", sheet.write_boolean)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        style = formats[DATE if pa.types.is_date(kind) else TIMESTAMP]
        return lambda row, column, value: sheet.write_number(row, column, value, style)
    return cast("_Write", sheet.write_number)


def _cells(values: pa.Array, field: pa.Field, rows_before: int) -> list[Any]:
    """The values as xlsxwriter takes them: dates and times as Excel's numbers of days."""
    kind = field.type
    if pa.types.is_date(kind):
        days = pc.cast(values, pa.int32()).to_pylist()
        return _checked(
            [None if day is None else day + _UNIX_EPOCH_DAYS for day in days], _is_true_day, field, rows_before
        )
    if pa.types.is_timestamp(kind):
        moments = _checked(
            pc.cast(values, pa.int64()).to_pylist(), lambda value: value % 1_000 == 0, field, rows_before
        )
        days = [None if moment is None else _Exact(moment / _DAY_US + _UNIX_EPOCH_DAYS) for moment in moments]
        return _checked(days, _is_true_day, field, rows_before)
    if pa.types.is_decimal(kind):
        texts = plain_text(values).to_pylist()
        _checked(texts, _has_exact_digits, field, rows_before)
        return [None if text is None else float(text) for text in texts]
    cells: list[Any] = values.to_pylist()
    if pa.types.is_floating(kind):
        return [None if cell is None else _Exact(cell) for cell in cells]
    if kind.equals(STRING):
        return _checked(cells, lambda value: len(value) <= MAX_CELL_CHARS, field, rows_before)
    if pa.types.is_integer(kind):
        return _checked(cells, lambda value: -EXACT_INT <= value <= EXACT_INT, field, rows_before)
    return cells


class _Exact(float):
    """A number that is written with all its digits; xlsxwriter formats with 16, and some doubles have 17."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return float.__repr__(self)


def _is_true_day(serial: float) -> bool:
    return serial >= _FIRST_TRUE_SERIAL


def _has_exact_digits(text: str) -> bool:
    return len(text.lstrip("-0.").replace(".", "").rstrip("0")) <= _EXACT_DIGITS


def _checked(values: list[Any], is_exact: Callable[[Any], bool], field: pa.Field, rows_before: int) -> list[Any]:
    for index, value in enumerate(values):
        if value is not None and not is_exact(value):
            row = rows_before + index + 1
            message = (
                f"row {row}, column {field.name!r}: an XLSX cell cannot hold this {field.type} unchanged (integers to 2^53, "
                f"15 digits, milliseconds, days from 1900-03-01, {MAX_CELL_CHARS:,} characters); "
                "write CSV or Parquet, or cast the column"
            )
            raise SourceError(message, code="value_invalid", row=row, column=field.name)
    return values


def _refused(reason: str) -> SourceError:
    return SourceError(f"the rows do not fit into an XLSX sheet: {reason}", code="source_too_large")
