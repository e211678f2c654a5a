"""Parquet types that no column type holds, as text, for columns that are declared `string`."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError, shown
from shared.pipeline.formats.column_types import STRING
from shared.pipeline.formats.json_values import arrow_array
from shared.pipeline.formats.sink import PER_SECOND, beyond_years, plain_text, year_refused


def is_nested(kind: pa.DataType) -> bool:
    """Whether values are lists, structs or maps."""
    return bool(pa.types.is_nested(kind))


def as_text(values: pa.Array, column: str, first_row: int) -> pa.Array:
    """Values of any type as text: numbers by their digits, times as ISO 8601, durations in seconds, nested values as JSON.

    Binary values stay, for `cast_column` to read as UTF-8. Raises `SourceError` naming the first value that has no such text.
    """
    kind = values.type
    if (at := beyond_years(values)) is not None:
        raise year_refused(column, first_row + at)
    if pa.types.is_duration(kind):
        ticks = pc.cast(values, pa.int64()).to_pylist()
        return arrow_array([None if count is None else duration_text(count, kind.unit) for count in ticks], STRING)
    if is_nested(kind):
        return arrow_array([_nested(value, column, first_row + index) for index, value in enumerate(values)], STRING)
    if pa.types.is_time(kind):
        return _short(pc.cast(values, STRING))
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return pc.cast(values, pa.binary()) if is_binary else plain_text(values)


def uuid_text(values: pa.UuidArray) -> pa.Array:
    """UUIDs as 36 lower-case characters."""
    return arrow_array([None if value is None else str(value) for value in values.to_pylist()], STRING)


def _short(texts: pa.Array) -> pa.Array:
    """Times without zeros at the end of their fraction."""
    return pc.replace_substring_regex(pc.replace_substring_regex(texts, r"(\.[0-9]*?)0+$", r"\1"), r"\.$", "")


def duration_text(ticks: int, unit: str) -> str:
    """An ISO 8601 duration in seconds, e.g. `PT5400.5S`."""
    sign, ticks = ("-", -ticks) if ticks < 0 else ("", ticks)
    whole, rest = divmod(ticks, PER_SECOND[unit])
    fraction = str(rest).zfill(len(str(PER_SECOND[unit])) - 1).rstrip("0")
    return f"{sign}PT{whole}{'.' if fraction else ''}{fraction}S"


def _nested(value: pa.Scalar, column: str, row: int) -> str | None:
    if not value.is_valid:
        return None
    try:
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError) as exc:
        message = f"row {row}, column {column!r}: {shown(value.as_py())} has no JSON text ({exc}); correct it, or leave the column out"
        raise SourceError(message, code="value_invalid", row=row, column=column) from exc


def _plain(value: pa.Scalar) -> Any:
    """JSON values: times as ISO text, decimals as text (a number would become a float), binary as Base64."""
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_map(kind):
        return {_key(pair["key"]): _plain(pair["value"]) for pair in value.values}
    if pa.types.is_struct(kind):
        return {name: _plain(value[name]) for name in value}
    if is_nested(kind):
        return [_plain(item) for item in value.values]
    if pa.types.is_duration(kind):
        return duration_text(value.value, kind.unit)
    if pa.types.is_timestamp(kind):
        return pc.cast(value, STRING).as_py().replace(" ", "T")
    found = value.as_py()
    if isinstance(found, bytes):
        return base64.b64encode(found).decode()
    if isinstance(found, datetime | date | time):
        return found.isoformat()
    return str(found) if isinstance(found, Decimal | timedelta | uuid.UUID) else found


def _key(value: pa.Scalar) -> str:
    found = _plain(value)
    return found if isinstance(found, str) else json.dumps(found)
