"""Arrow to what a sheet can hold and back to comparable text.

A cell is empty, text, a number (an IEEE double) or a boolean. Dates and times are numbers: days since 30 December 1899. What a
cell cannot hold exactly is refused with row and column, never changed:

| Arrow | cell | refused |
|---|---|---|
| integer | number | beyond ±2^53 |
| float | number | NaN, infinity |
| decimal | number | digits that a double does not give back |
| date | number, shown as a date | |
| timestamp | number, shown as date and time; with a zone: UTC | finer than a millisecond |
| text | text | more than 50,000 characters |
| boolean | boolean | |
| null | empty, as the empty text is | |

A serial number holds milliseconds exactly up to the year 9999, microseconds only up to 2079 (measured: tests/unit).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from shared.connectors._text import has_nul
from shared.errors import TargetError, shown
from shared.type_rules import GOOGLE_SHEETS, becomes

MAX_EXACT_INTEGER = 2**53
MAX_CHARACTERS = 50_000  # error text of the API, recorded in public threads
MAX_PAYLOAD_BYTES = 2_000_000  # Google recommends 2 MB: developers.google.com/workspace/sheets/api/limits
SAMPLE_ROWS = 500  # our choice
DAY_MS = 86_400_000
EXACT_DIGITS, EXACT_POWER = 10**15, 22
"""A decimal of at most 15 digits is given back by its double; powers of ten up to this one are doubles themselves."""
EPOCH_DAYS = 25_569  # 1970-01-01 as a serial number
FIRST_SERIAL, END_SERIAL = -693_593, 2_958_466
"""0001-01-01 and 10000-01-01. Our choice, as for the other targets: the years that Python and ISO text agree on."""
_YEARS = "a year outside 1 to 9999"
PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}

Numbers = np.ndarray[Any, Any]
Column = Numbers | list[Any]


def is_supported(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type can become cells."""
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_date,
        pa.types.is_timestamp,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    return is_text(kind) or any(test(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text, dictionaries of text included."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def number_format(kind: pa.DataType) -> dict[str, str] | None:
    """The number format that a column of this type needs to look right, None for the automatic one."""
    if pa.types.is_date(kind):
        return {"type": "DATE", "pattern": becomes("date", GOOGLE_SHEETS).removeprefix("number shown as ")}
    if pa.types.is_timestamp(kind):
        return {"type": "DATE_TIME", "pattern": becomes("timestamp", GOOGLE_SHEETS).removeprefix("number shown as ")}
    return None


def encode(table: pa.Table, first_row: int) -> list[Column]:
    """Return the cells by columns, "" for null, ready for orjson with OPT_SERIALIZE_NUMPY.

    `first_row` is the zero-based number of the table's first row in the source, for messages.

    Raises:
        TargetError: code `value_not_exact`, a value that a cell cannot hold; details row (one-based) and column.
    """
    return [
        _encode(column, _Place(name, first_row, column))
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]


def bodies(columns: list[Column], rows: int, top: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (first row, end row, ValueRange as JSON) of parts of at most about 2 MB; rows zero-based from `top`, end excluded."""
    if rows > SAMPLE_ROWS:  # a look at the first rows spares writing all of them only to cut them
        sample = len(_body([column[:SAMPLE_ROWS] for column in columns]))
        parts = -(-sample * rows * 10 // (SAMPLE_ROWS * MAX_PAYLOAD_BYTES * 9))
        if parts > 1:
            yield from _cut(columns, rows, top, -(-rows // parts))
            return
    whole = _body(columns)
    if len(whole) <= MAX_PAYLOAD_BYTES or rows <= 1:
        if rows:
            yield top, top + rows, whole
        return
    yield from _cut(columns, rows, top, -(-rows // 2))


def _cut(columns: list[Column], rows: int, top: int, step: int) -> Iterator[tuple[int, int, bytes]]:
    for start in range(0, rows, step):
        part = [column[start : start + step] for column in columns]
        yield from bodies(part, min(step, rows - start), top + start)


def _body(columns: list[Column]) -> bytes:
    return orjson.dumps({"majorDimension": "COLUMNS", "values": columns}, option=orjson.OPT_SERIALIZE_NUMPY)


def canonical_source(table: pa.Table, first_row: int) -> Iterator[tuple[str | None, ...]]:
    """Yield each source row as comparable text. Raises as `encode`."""
    columns = encode(table, first_row)
    kinds = [field.type for field in table.schema]
    return _rows([_canonical(column, kind) for column, kind in zip(columns, kinds, strict=True)], table.num_rows)


def canonical_cells(columns: list[list[Any]], schema: pa.Schema, rows: int) -> Iterator[tuple[str | None, ...]]:
    """Yield `rows` rows of cells, as the API returned them by columns, as comparable text; what is left out is empty."""
    found = []
    for index, field in enumerate(schema):
        column = columns[index] if index < len(columns) else []
        cells = _canonical(column, field.type)
        found.append(cells + [None] * (rows - len(cells)))
    return _rows(found, rows)


def _rows(columns: list[list[str | None]], rows: int) -> Iterator[tuple[str | None, ...]]:
    return zip(*columns, strict=True) if columns else iter([()] * rows)


def _canonical(column: Column, kind: pa.DataType) -> list[str | None]:
    """Type-marked text: a number and the text of its digits differ. Minus zero is zero; times are whole milliseconds."""
    cells = column.tolist() if isinstance(column, np.ndarray) else column
    if pa.types.is_timestamp(kind):
        return [f"m{round(c * DAY_MS)}" if type(c) is float or type(c) is int else _cell(c) for c in cells]
    return [_cell(c) for c in cells]


def _cell(cell: Any) -> str | None:
    kind = type(cell)
    if kind is str:
        return "t" + cell if cell else None
    if kind is float or kind is int:
        return f"n{float(cell) + 0.0!r}"
    if kind is bool:
        return "b1" if cell else "b0"
    return None if cell is None else f"?{cell!r}"


class _Place:
    """Where values stand, for refusing one."""

    def __init__(self, column: str, first_row: int, values: pa.ChunkedArray) -> None:
        self.column = column
        self._first_row = first_row
        self._values = values

    def refuse(self, bad: Numbers, rule: str) -> None:
        """Raise for the first True; no effect if there is none."""
        if bad.any():
            index = int(bad.argmax())
            row, value = self._first_row + index + 1, shown(self._values[index])
            raise TargetError(
                f"row {row}, column {self.column!r}: {rule}, and the value is {value}; cast or clean the column in the mapping",
                code="value_not_exact",
                row=row,
                column=self.column,
                rule=rule,
                value=value,
            )


def _encode(values: pa.ChunkedArray, place: _Place) -> Column:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if is_text(kind):
        return _text(values, place)
    if pa.types.is_decimal(kind):
        return _decimals(values, place)
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        cells: list[Any] = ["" if cell is None else cell for cell in values.to_pylist()]
        return cells
    if not is_supported(kind):
        raise TargetError(
            f"column {place.column!r} is {kind}, which a sheet cannot hold; cast it to text in the mapping",
            code="type_not_supported",
            column=place.column,
        )
    numbers, nulls = _numbers(values)
    if pa.types.is_integer(kind):
        bad = (numbers > MAX_EXACT_INTEGER) | (numbers < -MAX_EXACT_INTEGER) if kind.bit_width == 64 else nulls & ~nulls
        place.refuse(bad, "a sheet's numbers are doubles, exact up to 9,007,199,254,740,992 only")
    elif pa.types.is_floating(kind):
        numbers = numbers.astype(np.float64)
        place.refuse(~np.isfinite(numbers), "a sheet holds no NaN and no infinity")
    elif pa.types.is_timestamp(kind):
        numbers = _serial_times(numbers, kind.unit, place)
        place.refuse((numbers < FIRST_SERIAL) | (numbers >= END_SERIAL), _YEARS)
    else:
        numbers = (
            numbers.astype(np.int64) if pa.types.is_date32(kind) else numbers // DAY_MS
        )  # date64 counts milliseconds
        numbers = numbers + EPOCH_DAYS
        place.refuse((numbers < FIRST_SERIAL) | (numbers >= END_SERIAL), _YEARS)
    return _with_blanks(numbers, nulls)


def _numbers(values: pa.ChunkedArray) -> tuple[Numbers, Numbers]:
    """Return the stored numbers, 0 where null, and which are null.

    Read from Arrow's buffers: `to_numpy`, and any Arrow scalar made from a Python value, import pandas (0.7 s measured),
    and `to_numpy` makes floats of integers with nulls.
    """
    array = values.combine_chunks()
    count, data = len(array), array.buffers()[1]
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    letter = "f" if pa.types.is_floating(array.type) else "u" if pa.types.is_unsigned_integer(array.type) else "i"
    width = array.type.bit_width // 8
    numbers = np.frombuffer(data, np.dtype(f"{letter}{width}"), count, array.offset * width)
    nulls = _nulls(array)
    return (np.where(nulls, numbers.dtype.type(0), numbers) if nulls.any() else numbers), nulls


def _text(values: pa.ChunkedArray, place: _Place) -> list[str]:
    array = values.combine_chunks()
    cells: list[Any] = array.to_pylist()
    if array.null_count:
        cells = ["" if cell is None else cell for cell in cells]
    if has_nul(values):
        place.refuse(np.array(["\0" in cell for cell in cells], np.bool_), "text with a NUL character")
    if (pc.max(pc.binary_length(array)).as_py() or 0) > MAX_CHARACTERS:
        too_long = [len(cell.encode("utf-16-le", "surrogatepass")) // 2 > MAX_CHARACTERS for cell in cells]
        place.refuse(np.array(too_long, np.bool_), f"a cell holds at most {MAX_CHARACTERS:,} characters")
    return cells


def _decimals(values: pa.ChunkedArray, place: _Place) -> Column:
    array = values.combine_chunks()
    if pa.types.is_decimal128(array.type) and len(array) and 0 <= array.type.scale <= EXACT_POWER:
        halves = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]
        digits = np.where(_nulls(array), 0, halves[:, 0])
        fits = (np.where(_nulls(array), 0, halves[:, 1]) == digits >> 63) & (np.abs(digits) < EXACT_DIGITS)
        if (
            fits.all()
        ):  # both numbers are exact, so the quotient is the double nearest to the decimal, and gives it back
            return _with_blanks(digits / 10**array.type.scale, _nulls(array))
    cells = array.to_pylist()
    doubles = [None if cell is None else float(cell) for cell in cells]
    bad = [cell is not None and Decimal(repr(double)) != cell for cell, double in zip(cells, doubles, strict=True)]
    place.refuse(np.array(bad, np.bool_), "a sheet's numbers are doubles, which do not give this decimal back")
    return ["" if double is None else double for double in doubles]


def _with_blanks(numbers: Numbers, nulls: Numbers) -> Column:
    if not nulls.any():
        return np.ascontiguousarray(numbers)
    cells: list[Any] = numbers.tolist()
    for index in np.flatnonzero(nulls):
        cells[index] = ""
    return cells


def _nulls(array: pa.Array) -> Numbers:
    """Which values are null, from Arrow's buffer."""
    validity = array.buffers()[0]
    if not array.null_count:
        return np.zeros(len(array), np.bool_)
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little", count=array.offset + len(array))
    nulls: Numbers = bits[array.offset :] == 0
    return nulls


def _serial_times(ticks: Numbers, unit: str, place: _Place) -> Numbers:
    if unit == "s":
        milliseconds = ticks * 1000
    else:
        per_ms = PER_MS[unit]
        milliseconds = ticks // per_ms
        place.refuse(milliseconds * per_ms != ticks, "a sheet's times are exact to the millisecond only")
    return (milliseconds + EPOCH_DAYS * DAY_MS) / DAY_MS
