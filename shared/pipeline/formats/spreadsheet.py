"""XLSX: one sheet of a workbook, its first row (or rows) with values as the header, each row below as a row.

Cells have types, so none is guessed: text stays text. A column of whole numbers is int64, else double; date cells are `date`
if all stand at midnight, else `timestamp` to the millisecond, which is what Excel's number holds; times without a date become
text, to the millisecond too; a mixture is refused with the cells and the way out. A formula counts by its stored result, and is
refused without one. Empty text is null, as an empty cell. Empty rows and columns after the last value are not read; empty rows
between values are rows of nulls. Merged cells hold their value in the first.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError
from shared.pipeline.formats import Scan
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    EXACT_INT,
    INT,
    STRING,
    TIMESTAMP,
    cast_column,
    check_names,
    declared_types,
)
from shared.pipeline.formats.dialect import joined_names
from shared.pipeline.formats.intake import Meter, exact_batches, opened, refuse, too_large
from shared.pipeline.formats.json_values import arrow_array
from shared.pipeline.formats.spreadsheet_writer import XlsxWriter
from shared.pipeline.formats.workbook import Serial, Workbook, cell_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats import Opener, ReadOptions
    from shared.pipeline.formats.intake import Intake

_WHAT = "an XLSX workbook"
_CHUNK_ROWS = 5_000
_MAX_GAP_ROWS = 10_000
"""Our choice: a value after more empty rows than this is a stray cell, which would otherwise become as many rows of nulls."""
_DAY_MS = 86_400_000
_UNIX_EPOCH_DAYS = 25_569
_MAX_SERIAL = 2_958_466
_WHOLE, _NUMBER, _FLAG, _TEXT = "a whole number", "a number", "true or false", "text"
_DATE_KIND, _TIME_KIND, _HOUR_KIND = "a date", "a date with a time", "a time of day"


class XlsxReader:
    """Finds the types of all cells, then yields the columns; the sheet streams both times."""

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        with opened(opener, _WHAT) as intake:
            head = intake.head()
            if not head.startswith(b"PK"):
                raise refuse(_WHAT, head)
            sheet = _Sheet(intake, options)
            if sheet.is_empty:
                raise SourceError("the sheet is empty; its first row must name the columns", code="columns_invalid")
            check_names(sheet.names, options)
            declared = declared_types(options, sheet.names)
            columns = [_Column(name, index) for index, name in enumerate(sheet.names)]
            meter = Meter(options)
            for addresses, rows in sheet.chunks():
                values = list(zip(*rows, strict=True))
                for column in columns:
                    if column.name not in declared:
                        column.observe(values[column.index], addresses)
                schema = pa.schema([(item.name, declared.get(item.name) or item.result()) for item in columns])
                meter.take(_batch(values, schema, meter.rows + 1))
            schema = pa.schema([(item.name, declared.get(item.name) or item.result()) for item in columns])
            return Scan(schema, meter.rows, options)

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        if start_row >= scan.rows:
            return
        with opened(opener, _WHAT) as intake:
            sheet = _Sheet(intake, scan.options)
            yield from exact_batches(_batches_from(sheet, scan, start_row), scan.schema, batch_rows)


def _batches_from(sheet: _Sheet, scan: Scan, start_row: int) -> Iterator[pa.RecordBatch]:
    row = 0
    for _, rows in sheet.chunks():
        wanted = rows[max(start_row - row, 0) :]
        row += len(rows)
        if wanted:
            yield _batch(list(zip(*wanted, strict=True)), scan.schema, row - len(wanted) + 1)


class _Sheet:
    """The header, and the rows below it padded to its width."""

    def __init__(self, intake: Intake, options: ReadOptions) -> None:
        workbook = Workbook(cast("IO[bytes]", intake))
        self._rows: Iterator[tuple[int, list[Any]]] = (
            item for item in workbook.rows(options.sheet) if item[0] > options.skip_rows
        )
        self._options = options
        self.names, self._header_row = self._header(options.header_rows)
        self.is_empty = not self.names
        if len(self.names) > options.max_columns:
            raise too_large(f"it has {len(self.names):,} columns, at most {options.max_columns:,} are read")

    def _header(self, wanted: int) -> tuple[list[str], int]:
        """The column names and the row of the sheet that the last of them stands in; without header rows, by the first row."""
        header: list[list[str]] = []
        for number, values in self._rows:
            names = ["" if name is None else _as_text(name) for name in _trimmed(values)]
            if not wanted and names:
                self._rows = itertools.chain([(number, values)], self._rows)
                return [f"column_{index}" for index in range(1, len(names) + 1)], number - 1
            if names:
                header.append(names)
            if len(header) == wanted:
                return joined_names(header), number
        return [], 0

    def chunks(self) -> Iterator[tuple[list[int], list[list[Any]]]]:
        """Yield (sheet row numbers, rows) with every row as wide as the header."""
        width = len(self.names)
        numbers: list[int] = []
        rows: list[list[Any]] = []
        expected = self._header_row + 1
        for number, values in self._rows:
            values = _trimmed(values)
            if not values:
                continue
            if len(values) > width:
                cell = cell_name(number, next(i for i in range(width, len(values)) if values[i] is not None))
                message = f"cell {cell} holds a value, but its column has no header; name the column, or clear the cell"
                raise SourceError(message, code="columns_invalid")
            if number - expected > _MAX_GAP_ROWS:
                message = f"row {number} of the sheet follows {number - expected:,} empty rows; delete them, or its stray cells"
                raise SourceError(message, code="source_too_large")
            for empty in range(expected, number):
                numbers.append(empty)
                rows.append([None] * width)
            expected = number + 1
            numbers.append(number)
            rows.append(values + [None] * (width - len(values)))
            if len(rows) >= _CHUNK_ROWS:
                yield numbers, rows
                numbers, rows = [], []
        if rows:
            yield numbers, rows


def _trimmed(values: list[Any]) -> list[Any]:
    """The values up to the last one; empty text is null."""
    if "" in values:
        values = [None if value == "" else value for value in values]
    end = len(values)
    while end and values[end - 1] is None:
        end -= 1
    return values[:end]


class _Column:
    """The kinds of cells that one undeclared column holds so far, each with its first cell."""

    def __init__(self, name: str, index: int) -> None:
        self.name, self.index = name, index
        self.kinds: dict[str, str] = {}
        self._large_at = ""

    def observe(self, values: tuple[Any, ...], addresses: list[int]) -> None:
        found = set(map(type, values)) - {type(None)}
        is_settled = (found <= {str} and _TEXT in self.kinds) or (found <= {bool} and _FLAG in self.kinds)
        if is_settled and len(self.kinds) == 1:
            return
        for value, row in zip(values, addresses, strict=True):
            if value is None:
                continue
            kind = _kind(value, row, self.index)
            if kind not in self.kinds:
                self.kinds[kind] = cell_name(row, self.index)
            if type(value) is int and not -EXACT_INT <= value <= EXACT_INT and not self._large_at:
                self._large_at = cell_name(row, self.index)
        self._refuse_mixture()

    def _refuse_mixture(self) -> None:
        kinds = set(self.kinds)
        is_one_type = len(kinds) < 2 or kinds == {_WHOLE, _NUMBER} or kinds == {_DATE_KIND, _TIME_KIND}
        if is_one_type and not (_NUMBER in kinds and self._large_at):
            return
        if is_one_type:
            first, second = f"fractions (cell {self.kinds[_NUMBER]})", f"an integer beyond 2^53 (cell {self._large_at})"
        else:
            first, second = (f"{kind} in cell {cell}" for kind, cell in list(self.kinds.items())[:2])
        message = f"column {self.name!r} holds {first} and {second}; make them one type, or declare the column string"
        raise SourceError(message, code="types_mixed", column=self.name)

    def result(self) -> pa.DataType:
        if _NUMBER in self.kinds:
            return DOUBLE
        if _TIME_KIND in self.kinds:
            return TIMESTAMP
        return {_WHOLE: INT, _FLAG: BOOL, _DATE_KIND: DATE}.get(next(iter(self.kinds), _TEXT), STRING)


def _kind(value: Any, row: int, column: int) -> str:
    kind = type(value)
    if kind is str:
        return _TEXT
    if kind is int:
        return _WHOLE
    if kind is float:
        return _WHOLE if value.is_integer() and -EXACT_INT <= value <= EXACT_INT else _NUMBER
    if kind is bool:
        return _FLAG
    if not 0 <= value < _MAX_SERIAL or 60 <= value < 61:
        message = f"cell {cell_name(row, column)} has a date format and the number {float(value)!r}, which is no date; correct it"
        raise SourceError(message, code="value_invalid")
    if value < 1:
        return _HOUR_KIND
    return _TIME_KIND if _milliseconds(value) % _DAY_MS else _DATE_KIND


def _milliseconds(value: float) -> int:
    """Since the Unix epoch. Excel counts a 29 February 1900 that never was, so the days before it are one off."""
    return round((value + 1 if value < 60 else value) * _DAY_MS) - _UNIX_EPOCH_DAYS * _DAY_MS


def _batch(columns: list[tuple[Any, ...]], schema: pa.Schema, first_row: int) -> pa.RecordBatch:
    arrays = [_array(values, field, first_row) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: tuple[Any, ...], field: pa.Field, first_row: int) -> pa.Array:
    kind, found = field.type, set(map(type, values)) - {type(None)}
    if kind.equals(DOUBLE) and found <= {int, float}:
        return arrow_array([None if value is None else float(value) for value in values], DOUBLE)
    if kind.equals(INT) and found <= {int, float} and all(value is None or _is_int64(value) for value in values):
        return arrow_array([None if value is None else int(value) for value in values], INT)
    if kind.equals(BOOL) and found <= {bool}:
        return arrow_array(values, BOOL)
    if kind.equals(STRING) and found <= {str}:
        return arrow_array(values, STRING)
    is_day = kind.equals(DATE) or kind.equals(TIMESTAMP)
    if is_day and found <= {Serial} and all(value is None or value >= 1 for value in values):
        moments = arrow_array([None if value is None else _milliseconds(value) for value in values], INT)
        stamps = pc.cast(pc.cast(moments, pa.timestamp("ms")), TIMESTAMP)
        return cast_column(stamps, kind, field.name, first_row)
    texts = arrow_array([None if value is None else _as_text(value) for value in values], STRING)
    return cast_column(texts, kind, field.name, first_row)


def _is_int64(value: float) -> bool:
    return value == int(value) and -(2**63) <= value < 2**63


def _as_text(value: Any) -> str:
    """The text of a cell in a column declared otherwise, or of a header."""
    if isinstance(value, Serial):
        if value < 1:
            return _clock(round(value * _DAY_MS))
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=_milliseconds(value))  # noqa: DTZ001 - cells have no zone
        of_day = _milliseconds(value) % _DAY_MS
        return moment.date().isoformat() + (f"T{_clock(of_day)}" if of_day else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_INT:
        return str(int(value))
    return str(value)


def _clock(milliseconds: int) -> str:
    """A time of day, with as many digits of the second as it needs."""
    seconds, rest = divmod(milliseconds, 1_000)
    text = f"{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:03}".rstrip("0") if rest else text


READER = XlsxReader()
WRITER = XlsxWriter()
