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

from shared.errors import TargetError, shown
from shared.type_rules import GOOGLE_SHEETS, becomes

MAX_EXACT_INTEGER = 2**53
MAX_CHARACTERS = 50_000  # error text of the API, recorded in public threads
MAX_PAYLOAD_BYTES = 2_000_000  # Google recommends 2 MB: developers.google.com/workspace/sheets/api/limits
DAY_MS = 86_400_000
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
    whole = orjson.dumps({"majorDimension": "COLUMNS", "values": columns}, option=orjson.OPT_SERIALIZE_NUMPY)
    if len(whole) <= MAX_PAYLOAD_BYTES or rows <= 1:
        if rows:
            yield top, top + rows, whole
        return
    half = rows // 2
    yield from bodies([column[:half] for column in columns], half, top)
    yield from bodies([column[half:] for column in columns], rows - half, top + half)


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
    if not nulls.any():
        return np.ascontiguousarray(numbers)
    cells = numbers.tolist()
    for index in np.flatnonzero(nulls):
        cells[index] = ""
    return cells


def _numbers(values: pa.ChunkedArray) -> tuple[Numbers, Numbers]:
    """Return the stored numbers, 0 where null, and which are null.

    Read from Arrow's buffers: `to_numpy`, and any Arrow scalar made from a Python value, import pandas (0.7 s measured),
    and `to_numpy` makes floats of integers with nulls.
    """
    array = values.combine_chunks()
    count, (validity, data) = len(array), array.buffers()
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    letter = "f" if pa.types.is_floating(array.type) else "u" if pa.types.is_unsigned_integer(array.type) else "i"
    width = array.type.bit_width // 8
    numbers = np.frombuffer(data, np.dtype(f"{letter}{width}"), count, array.offset * width)
    if not array.null_count or validity is None:
        return numbers, np.zeros(count, np.bool_)
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little", count=array.offset + count)
    nulls = bits[array.offset :] == 0
    return np.where(nulls, numbers.dtype.type(0), numbers), nulls


def _text(values: pa.ChunkedArray, place: _Place) -> list[str]:
    longest = pc.max(pc.utf8_length(values)).as_py() or 0
    cells = ["" if cell is None else cell for cell in values.to_pylist()]
    has_nul = pc.match_substring(values, "\0")
    if pc.any(has_nul).as_py():
        place.refuse(np.array([flag is True for flag in has_nul.to_pylist()], np.bool_), "text with a NUL character")
    if longest > MAX_CHARACTERS // 2:  # then characters beyond the basic plane, which count twice, may matter
        too_long = [len(cell.encode("utf-16-le", "surrogatepass")) // 2 > MAX_CHARACTERS for cell in cells]
        place.refuse(np.array(too_long, np.bool_), f"a cell holds at most {MAX_CHARACTERS:,} characters")
    return cells


def _decimals(values: pa.ChunkedArray, place: _Place) -> list[Any]:
    cells = values.to_pylist()
    doubles = [None if cell is None else float(cell) for cell in cells]
    bad = [cell is not None and Decimal(repr(double)) != cell for cell, double in zip(cells, doubles, strict=True)]
    place.refuse(np.array(bad, np.bool_), "a sheet's numbers are doubles, which do not give this decimal back")
    return ["" if double is None else double for double in doubles]


def _serial_times(ticks: Numbers, unit: str, place: _Place) -> Numbers:
    if unit == "s":
        milliseconds = ticks * 1000
    else:
        per_ms = PER_MS[unit]
        milliseconds = ticks // per_ms
        place.refuse(milliseconds * per_ms != ticks, "a sheet's times are exact to the millisecond only")
    return (milliseconds + EPOCH_DAYS * DAY_MS) / DAY_MS
