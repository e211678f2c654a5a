"""Rows as Power BI holds them, and their JSON: Arrow to Polars to bytes, column by column.

A value that Power BI cannot hold is refused with its row and column; the one documented change is that times are rounded to
1/300 s, because that is how a push dataset keeps them (powerbi-docs api-dataset-properties).
"""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shared.connectors._text import has_nul
from shared.connectors.power_bi.schema import (
    DECIMAL_DIGITS,
    DECIMAL_PLACES,
    MAX_POST_ROWS,
    MAX_TEXT_LENGTH,
    Body,
)
from shared.errors import TargetError, shown

MAX_BODY_BYTES = (
    8_000_000  # our choice: no limit is documented; far under the 30 MB that IIS takes unless told otherwise
)
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_996_666  # years 1 to 9999, still 9999 after rounding
_FIRST_DAY, _LAST_DAY, _DAY_MS = -719_162, 2_932_896, 86_400_000
_INT64_MAX = 2**63 - 1
_PLACES = Decimal(1).scaleb(-DECIMAL_PLACES)
_SHORT_DECIMAL = Decimal(10) ** (15 - DECIMAL_PLACES)
_WIDE = Context(prec=80)  # quantizing must not run out of digits
_PIECE_BYTES = 1 << 18  # our choice: stays in a processor's second cache
_BEYOND_UTF16_UNIT = "[\U00010000-\U0010ffff]"


def held(table: pa.Table, first_row: int = 0) -> pl.DataFrame:
    """Return the rows as Power BI holds them, in the same order and columns.

    Types: Int64, Float64, Boolean, String; dates and times as `Datetime("ms")` (UTC, on the 1/300 s grid, shown to the
    millisecond); decimals as `Decimal(38, 4)`. Null stays null.

    Raises:
        TargetError: a value that Power BI cannot hold; details `row` (one-based, counted from the zero-based `first_row`),
            `column`, `rule`.
    """
    return pl.DataFrame([_held_column(_Where(name, first_row, table.column(name))) for name in table.column_names])


def refuse_rounding(table: pa.Table, first_row: int = 0) -> None:
    """Refuse times that Power BI would round, because it keeps them in steps of 1/300 s.

    Raises:
        TargetError: as `held`.
    """
    for name in table.column_names:
        if pa.types.is_timestamp(table.column(name).type):
            microseconds = pl.Series(name, table.column(name)).cast(pl.Datetime("us")).cast(pl.Int64)
            rule = "a time that is no whole number of 1/300 s (round it in the source, or allow it: target.round_times)"
            _refuse(_Where(name, first_row, table.column(name)), microseconds * 3 % 10_000 != 0, rule)


def bodies(frame: pl.DataFrame) -> Iterator[Body]:
    """Yield POST bodies that hold the rows in order, each of at most 10,000 rows and about 8 MB (one row may be more)."""
    for start in range(0, frame.height, MAX_POST_ROWS):
        yield from _cut(frame.slice(start, MAX_POST_ROWS))


def _cut(frame: pl.DataFrame) -> Iterator[Body]:
    data = rows_json(frame)
    if len(data) <= MAX_BODY_BYTES or frame.height == 1:
        yield Body(frame.height, data)
        return
    parts = -(-len(data) * 11 // (MAX_BODY_BYTES * 10))  # a tenth more parts: rows differ in size
    step = max(1, frame.height // max(2, parts))
    for start in range(0, frame.height, step):
        yield from _cut(frame.slice(start, step))


def rows_json(frame: pl.DataFrame) -> bytes:
    """Return `{"rows": […]}` of a `held` frame: times as `2024-07-30T00:00:00.000Z`, decimals as plain JSON numbers."""
    marker = secrets.token_hex(8)  # marks numbers that Polars writes as text; too long to occur in the data by chance
    columns: list[pl.Series] = []
    is_marked = False
    for series in frame.iter_columns():
        if isinstance(series.dtype, pl.Datetime):
            columns.append(_iso(series))
        elif not isinstance(series.dtype, pl.Decimal):
            columns.append(series)
        elif _is_short(series):
            columns.append(series.cast(pl.Float64))
        else:
            columns.append((marker + series.cast(pl.String) + marker).alias(series.name))
            is_marked = True
    out = io.BytesIO(b'{"rows":[')
    out.seek(0, io.SEEK_END)
    pl.DataFrame(columns).write_ndjson(out)  # a third faster than `write_json`, and no line break stands inside a row
    with out.getbuffer() as written:
        _join_lines(np.frombuffer(written, np.uint8))
    if frame.height:
        out.seek(-1, io.SEEK_END)
    out.write(b"]}")
    body = out.getvalue()
    if is_marked:
        quoted = marker.encode()
        body = body.replace(b'"' + quoted, b"").replace(quoted + b'"', b"")
    return body


def _join_lines(letters: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Make commas of line breaks, in place: by adding what they differ by, in pieces that stay near the processor."""
    for at in range(0, len(letters), _PIECE_BYTES):
        piece = letters[at : at + _PIECE_BYTES]
        piece += (piece == ord("\n")).view(np.uint8) * np.uint8(ord(",") - ord("\n"))


def _iso(series: pl.Series) -> pl.Series:
    """Times to the millisecond as `2024-07-30T00:00:00.000Z`.

    Arrow writes them, all of one length, and two letters are put in by position: a fifth of what Polars' own text costs.
    """
    if not len(series):
        return series.cast(pl.String)
    filled = series.fill_null(strategy="zero") if series.null_count() else series
    _, _, data = pc.cast(filled.to_arrow(), pa.string()).buffers()
    letters = np.empty((len(series), len("2024-07-30T00:00:00.000Z")), np.uint8)
    letters[:, :-1] = np.frombuffer(data, np.uint8, letters.size - len(series)).reshape(len(series), -1)
    letters[:, 10], letters[:, -1] = ord("T"), ord("Z")
    offsets = np.arange(0, letters.size + 1, letters.shape[1], dtype=np.int32)
    valid = pc.is_valid(series.to_arrow()).buffers()[1] if series.null_count() else None
    texts = pa.Array.from_buffers(pa.string(), len(series), [valid, pa.py_buffer(offsets), pa.py_buffer(letters)])
    return pl.Series(series.name, texts)


def _is_short(series: pl.Series) -> bool:
    """Whether all decimals have at most 15 digits: then the shortest text of the nearest double is the decimal itself."""
    return all(not isinstance(bound, Decimal) or abs(bound) < _SHORT_DECIMAL for bound in (series.min(), series.max()))


def utf16_length(column: pl.Expr) -> pl.Expr:
    """Return the length of text as Power BI counts it: UTF-16 units, so that an emoji is two."""
    return column.str.len_chars() + column.str.count_matches(_BEYOND_UTF16_UNIT)


@dataclass(frozen=True)
class _Where:
    """A column of the rows at hand, and the zero-based row of the source that they start at."""

    column: str
    first_row: int
    values: pa.ChunkedArray


def _held_column(where: _Where) -> pl.Series:
    kind = where.values.type
    if pa.types.is_decimal(kind):
        return _decimals(where)
    series = pl.Series(where.column, where.values)
    if pa.types.is_temporal(kind):
        return _times(where, series)
    if series.dtype == pl.String:
        if has_nul(where.values):
            _refuse(where, series.str.contains("\0", literal=True), "a NUL character")
        longest = series.str.len_bytes().max()  # never fewer than UTF-16 units
        if isinstance(longest, int) and longest > MAX_TEXT_LENGTH:
            length = series.to_frame().select(utf16_length(pl.col(where.column))).to_series()
            too_long = length > MAX_TEXT_LENGTH
            figure = next(iter(length.filter(too_long)), 0)
            _refuse(where, too_long, f"text of {figure:,} characters, where {MAX_TEXT_LENGTH:,} is the limit")
        return series
    if series.dtype.is_float():
        series = series.cast(pl.Float64)
        if not _are_ordinary(series):
            _refuse(where, ~series.is_finite(), "NaN or infinity")
            _refuse(where, series.abs() == sys.float_info.max, "the largest or smallest double")
        return series
    if series.dtype.is_integer():
        rule = "an integer at or beyond the ends of Int64"  # the ends themselves are not allowed either
        if series.dtype == pl.UInt64:
            _refuse(where, series >= _INT64_MAX, rule)
        series = series.cast(pl.Int64)
        if _bounds(series) & {_INT64_MAX, -_INT64_MAX - 1}:
            _refuse(where, (series == _INT64_MAX) | (series == -_INT64_MAX - 1), rule)
        return series
    return series


def _times(where: _Where, series: pl.Series) -> pl.Series:
    if series.dtype == pl.Date:
        days = series.cast(pl.Int64)
        _refuse_years(where, days, _FIRST_DAY, _LAST_DAY)
        return (days * _DAY_MS).cast(pl.Datetime("ms"))
    microseconds = series.cast(pl.Datetime("us")).cast(pl.Int64)
    _refuse_years(where, microseconds, _FIRST_US, _LAST_US)
    ticks = (microseconds * 3 + 5_000) // 10_000
    return ((ticks * 10 + 1) // 3).cast(pl.Datetime("ms"))


def _refuse_years(where: _Where, values: pl.Series, first: int, last: int) -> None:
    if any(not first <= bound <= last for bound in _bounds(values)):
        _refuse(where, (values < first) | (values > last), "a year outside 1 to 9999")


def _bounds(integers: pl.Series) -> set[int]:
    """The least and the greatest; nothing if all are null. A fifth of what a look at every value costs."""
    return {bound for bound in (integers.min(), integers.max()) if isinstance(bound, int)}


def _are_ordinary(doubles: pl.Series) -> bool:
    """Whether each is null or smaller than the largest double, which neither NaN nor an infinity is."""
    return bool((np.abs(doubles.fill_null(0.0).to_numpy()) < sys.float_info.max).all())


def _decimals(where: _Where) -> pl.Series:
    kind, series = where.values.type, pl.Series(where.column, where.values)
    scale, whole = kind.scale, DECIMAL_DIGITS - DECIMAL_PLACES
    if kind.precision - scale > whole:
        large = [value is not None and abs(value) >= 10**whole for value in series.to_list()]
        _refuse(
            where,
            pl.Series(where.column, large, pl.Boolean),
            f"a decimal with more than {whole} digits before the point",
        )
    if scale > DECIMAL_PLACES:
        rounded = [None if value is None else _WIDE.quantize(value, _PLACES) for value in series.to_list()]
        finer = [value != kept for value, kept in zip(series.to_list(), rounded, strict=True)]
        rule = f"a decimal with more than {DECIMAL_PLACES} places; round it in the mapping"
        _refuse(where, pl.Series(where.column, finer, pl.Boolean), rule)
        series = pl.Series(where.column, rounded, pl.Decimal(38, DECIMAL_PLACES))
    return series.cast(pl.Decimal(38, DECIMAL_PLACES))


def _refuse(where: _Where, broken: pl.Series, rule: str) -> None:
    """Raise for the first true value of `broken`; null counts as false."""
    if not broken.any():
        return
    index = broken.fill_null(value=False).arg_max() or 0
    row, value = where.first_row + index + 1, shown(where.values[index])
    raise TargetError(
        f"row {row} holds in column {where.column!r} {rule}, which Power BI cannot hold: {value}; change or leave out the value",
        row=row,
        column=where.column,
        rule=rule,
        value=value,
    )
