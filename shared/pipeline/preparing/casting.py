"""Exact casts: a value becomes the same value of another type, or is bad. Nothing is rounded or cut here.

| from | to | bad where |
|---|---|---|
| string | every type | the text is no value of the type, or a number that no double holds to its last digit; empty text is null |
| every type | string | never |
| int64 | double, decimal | beyond 2^53; more digits than the decimal has |
| int64 | bool | neither 0 nor 1 |
| double | int64, decimal | not whole; not that decimal (by its shortest text); NaN, infinities |
| bool | int64 | never |
| decimal | int64, double, decimal | not whole; not that double; does not fit |
| date | timestamp | never |
| timestamp | date | not midnight |
All else is refused: a time with a zone and one without are different things, for which `local_time` and `instant` are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    EMPTY,
    INT,
    NO_TEXT,
    STRING,
    TIMESTAMP,
    doubles_of,
    same_back,
    text_scalar,
)
from shared.pipeline.formats.sink import beyond_years, plain_text

WHOLE = r"^[+-]?[0-9]+$"
PLUS = text_scalar("+")


@dataclass(frozen=True)
class Computed:
    """Values of one column; `bad` tells the rows that have none because theirs cannot be computed. Those are null."""

    values: pa.Array
    bad: pa.BooleanArray | None = None


def computed(values: pa.Array, *bad: pa.BooleanArray | None) -> Computed:
    """Values of which some may be bad for one reason or another; those become null."""
    found = either(*bad)
    return Computed(values if found is None else pc.if_else(found, nulls(values.type, 1)[0], values), found)


class CastRefusedError(Exception):
    """There is no exact cast between two types."""


def none_bad(rows: int) -> pa.BooleanArray:
    """All false."""
    return pa.repeat(constant("false", BOOL), rows)


def either(*masks: pa.BooleanArray | None) -> pa.BooleanArray | None:
    """The masks joined by or; None if there is none."""
    found: pa.BooleanArray | None = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else pc.or_(found, mask)
    return found


def constant(text: str, kind: pa.DataType) -> pa.Scalar:
    """A constant by its text. `pa.scalar` would import pandas. Raises `pa.ArrowInvalid` if the text is no such value."""
    return pc.cast(pa.repeat(text_scalar(text), 1), kind)[0]


def nulls(kind: pa.DataType, rows: int) -> pa.Array:
    """A column without values."""
    return pa.nulls(rows, kind)


def attempt(kernel: Callable[..., pa.Array], kind: pa.DataType, *columns: pa.Array) -> Computed:
    """Run a kernel over columns of one length; rows that it refuses are bad. `kind` is the type of its result.

    One run if it refuses nothing; else halves, down to the single rows.
    """
    rows = len(columns[0])
    try:
        return Computed(kernel(*columns))
    except pa.ArrowInvalid:
        pieces: list[Computed] = []
        _halve(kernel, kind, columns, pieces)
        values = pa.concat_arrays([piece.values for piece in pieces])
        bad = pa.concat_arrays([none_bad(len(p.values)) if p.bad is None else p.bad for p in pieces])
        assert len(values) == rows
        return Computed(values, bad)


def _halve(
    kernel: Callable[..., pa.Array], kind: pa.DataType, columns: tuple[pa.Array, ...], pieces: list[Computed]
) -> None:
    rows = len(columns[0])
    if rows == 1:
        pieces.append(Computed(nulls(kind, 1), pa.repeat(constant("true", BOOL), 1)))
        return
    for part in (slice(0, rows // 2), slice(rows // 2, rows)):
        halves = tuple(column.slice(part.start, part.stop - part.start) for column in columns)
        try:
            pieces.append(Computed(kernel(*halves)))
        except pa.ArrowInvalid:
            _halve(kernel, kind, halves, pieces)


def cast(values: pa.Array, kind: pa.DataType) -> Computed:
    """The same values as `kind`, see the table above. Raises `CastRefusedError` if there is no exact cast between the types."""
    if values.type.equals(kind):
        return Computed(values)
    if pa.types.is_null(values.type):
        return Computed(nulls(kind, len(values)))
    if pa.types.is_string(values.type):
        return attempt(lambda texts: _of_text(texts, kind), kind, pc.if_else(pc.equal(values, EMPTY), NO_TEXT, values))
    if kind.equals(STRING):
        return attempt(_exact_text, kind, values)
    kernel = _kernel(values.type, kind)
    return attempt(kernel, kind, values)


def as_text(values: pa.Array) -> pa.Array:
    """Values of any type as text that people and `cast` read back as the same values."""
    if pa.types.is_string(values.type):
        return values
    if not pa.types.is_decimal(values.type):
        return plain_text(values)
    text = pc.cast(values, STRING)
    if pc.any(pc.match_substring(text, "E")).as_py():  # Arrow writes 0E-18
        plain = [None if value is None else format(value, "f") for value in values.to_pylist()]
        return pa.array(plain, STRING)
    return text


def _exact_text(values: pa.Array) -> pa.Array:
    if beyond_years(values) is not None:
        raise pa.ArrowInvalid("outside the years 1 to 9999")
    return as_text(values)


def _of_text(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    if kind.equals(INT):  # the kernel alone would take 0x1F too, and no sign
        if pc.all(pc.match_substring_regex(texts, WHOLE)).as_py() is False:
            raise pa.ArrowInvalid("not a whole number")
        return pc.cast(pc.replace_substring_regex(texts, r"^\+", ""), kind)
    return doubles_of(texts) if kind.equals(DOUBLE) else pc.cast(texts, kind)


def _kernel(source: pa.DataType, kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    """How one type becomes another; a kernel raises `pa.ArrowInvalid` where a value does not."""
    if pa.types.is_decimal(kind) and (pa.types.is_integer(source) or pa.types.is_floating(source)):
        return lambda values: pc.cast(pc.cast(values, STRING), kind)
    if pa.types.is_decimal(source) and pa.types.is_decimal(kind):
        return lambda values: pc.cast(values, kind)
    if pa.types.is_decimal(source) and kind.equals(DOUBLE):
        return lambda values: doubles_of(pc.cast(values, STRING))
    if source.equals(TIMESTAMP) and kind.equals(DATE):
        return lambda values: same_back(values, kind, lambda found: pc.cast(found, TIMESTAMP))
    if source.equals(INT) and kind.equals(BOOL):
        return lambda values: same_back(values, kind, lambda found: pc.cast(found, INT))
    plain = [(INT, DOUBLE), (DOUBLE, INT), (BOOL, INT), (DATE, TIMESTAMP)]
    if (source, kind) in plain or (pa.types.is_decimal(source) and kind.equals(INT)):
        return lambda values: pc.cast(values, kind)
    raise CastRefusedError(f"{source} cannot become {kind}")


def constant_of(value: str | float | bool, kind: pa.DataType) -> pa.Scalar:  # noqa: FBT001 - a JSON value
    """A JSON value as a constant of a type. Raises `CastRefusedError` if it is no value of that type."""
    found = cast(pa.repeat(text_scalar(json_text(value)), 1), kind) if value != "" else None
    if found is None and kind.equals(STRING):
        return EMPTY
    if found is None or found.bad is not None:
        raise CastRefusedError(f"{value!r} is not a value of that type")
    return found.values[0]


def json_text(value: str | float | bool | None) -> str:  # noqa: FBT001 - a JSON value
    """A JSON value as the text that casts read."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return str(value)
