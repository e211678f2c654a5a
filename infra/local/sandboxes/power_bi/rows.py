"""Rows as a push dataset takes and holds them.

A frame holds Int64, Float64, Boolean, String, decimals as Decimal(38, 4), and date-times as ticks of 1/300 s since 1970 (Int64),
because that is the grain that Power BI keeps (powerbi-docs api-dataset-properties).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import polars as pl

from .bodies import check_body
from .columns import Schema
from .errors import invalid

MAX_POST_ROWS = 10_000
MAX_TEXT = 4_000
_WHOLE_LIMIT = 10**24  # precision 28, scale 4
_PLACES = Decimal("0.0001")
_ISO = "%Y-%m-%dT%H:%M:%S%.fZ"
_OTHER_FORMS = ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d")
FRAME_TYPES: dict[str, Any] = {
    "Int64": pl.Int64,
    "Double": pl.Float64,
    "Boolean": pl.Boolean,
    "String": pl.String,
    "DateTime": pl.Int64,
    "Decimal": pl.Decimal(38, 4),
}


def read_rows(body: Any, schema: Schema) -> pl.DataFrame:
    """The rows of a PostRowsRequest as a frame; a key that is missing from a row is blank.

    Raises:
        VendorError: 400 for an unknown column or a value that does not fit; nothing of the request counts then.
    """
    rows = check_body("rows", body)["rows"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise invalid("The request needs a list of objects called 'rows'")
    if len(rows) > MAX_POST_ROWS:
        raise invalid(f"A request takes at most {MAX_POST_ROWS} rows, got {len(rows)}")
    unknown = sorted(set().union(*rows) - set(schema))
    if unknown:
        raise invalid(f"Column '{unknown[0]}' does not exist in the table")
    columns = [_READERS[kind](name, [row.get(name) for row in rows]) for name, kind in schema.items()]
    return pl.DataFrame(columns)


def empty_frame(schema: Schema) -> pl.DataFrame:
    """No rows, with the types of a table."""
    return pl.DataFrame(schema={name: FRAME_TYPES[kind] for name, kind in schema.items()})


def _check_types(name: str, values: list[Any], kind: str, *allowed: type) -> None:
    wrong = set(map(type, values)) - {type(None), *allowed}
    if wrong:
        value = next(value for value in values if type(value) in wrong)
        raise invalid(f"Column '{name}' is of type {kind}; cannot convert {json.dumps(value, default=str)[:50]}")


def _int64(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "Int64", int)
    numbers = [value for value in values if value is not None]
    # "MinValue and MaxValue are not allowed": powerbi-docs api-dataset-properties
    if numbers and not (min(numbers) > -(2**63) and max(numbers) < 2**63 - 1):
        raise invalid(
            f"Column '{name}' is of type Int64; a value is out of its range (its minimum and maximum are not allowed)"
        )
    return pl.Series(name, values, pl.Int64)


def _double(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "Double", float, int, Decimal)
    series = pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    if not series.drop_nulls().is_finite().all():
        raise invalid(f"Column '{name}' is of type Double; a value is not finite")
    if (series.abs() == sys.float_info.max).any():
        raise invalid(f"Column '{name}' is of type Double; its minimum and maximum are not allowed")
    return series


def _boolean(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "Boolean", bool)
    return pl.Series(name, values, pl.Boolean)


def _string(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "String", str)
    if any(value is not None and len(value.encode("utf-16-le")) > 2 * MAX_TEXT for value in values):
        raise invalid(f"Column '{name}' holds a string of more than {MAX_TEXT} characters")
    return pl.Series(name, values, pl.String)


def _decimal(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "Decimal", Decimal, int)
    if any(value is not None and abs(value) >= _WHOLE_LIMIT for value in values):
        raise invalid(f"Column '{name}' is of type Decimal; a value needs more than 28 digits")
    rounded = [None if value is None else Decimal(value).quantize(_PLACES, ROUND_HALF_UP) for value in values]
    return pl.Series(name, rounded, pl.Decimal(38, 4))


def _date_time(name: str, values: list[Any]) -> pl.Series:
    _check_types(name, values, "DateTime", str)
    series = pl.Series(name, values, pl.String)
    parsed = series.str.to_datetime(_ISO, strict=False, time_unit="us").cast(pl.Int64)
    if parsed.null_count() != series.null_count():
        parsed = pl.Series(name, [None if value is None else _microseconds(name, value) for value in values], pl.Int64)
    return (parsed * 3 + 5_000) // 10_000


def _microseconds(name: str, value: str) -> int:
    moment: datetime | None = None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        for form in _OTHER_FORMS:
            try:
                moment = datetime.strptime(value, form)  # noqa: DTZ007 - no zone means UTC
                break
            except ValueError:
                continue
    if moment is None:
        raise invalid(f"Column '{name}' is of type DateTime; cannot convert '{value[:50]}'")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_READERS: dict[str, Callable[[str, list[Any]], pl.Series]] = {
    "Int64": _int64,
    "Double": _double,
    "Boolean": _boolean,
    "String": _string,
    "Decimal": _decimal,
    "DateTime": _date_time,
}


def shown(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The frame with date-times as text: `2013-01-01T05:00:00`, with `.003` where a part of a second is left."""
    moments = [name for name, kind in schema.items() if kind == "DateTime" and name in frame.columns]
    return frame.with_columns(_moment_text(pl.col(name)).alias(name) for name in moments)


def _moment_text(ticks: pl.Expr) -> pl.Expr:
    milliseconds = (ticks * 20 + 3) // 6  # the nearest of ticks * 10/3
    text = milliseconds.cast(pl.Datetime("ms")).cast(pl.String)
    return text.str.replace(" ", "T", literal=True).str.strip_suffix(".000")
