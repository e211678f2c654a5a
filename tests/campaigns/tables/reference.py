"""What must happen to each value, written down value by value: slow, and with nothing of the shipped code."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.campaigns.tables.values import DATE, DECIMAL, DOUBLE, INT, TEXT, TIME, ZONED, Table

_DAY_ZERO = datetime(1899, 12, 30)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


class Refused:
    """Stands for a value that the target, or the format, cannot hold."""

    def __repr__(self) -> str:
        return "refused"


REFUSED = Refused()


def utf16(text: str) -> int:
    return sum(2 if ord(letter) > 0xFFFF else 1 for letter in text)


def _microseconds(value: datetime | date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return (moment.replace(tzinfo=UTC) - _UNIX) // timedelta(microseconds=1)


def power_bi(value: Any, kind: str) -> Any:
    """Moments are counted in steps of 1/300 s from 1970."""
    if kind == INT:
        return REFUSED if value in (2**63 - 1, -(2**63)) else value
    if kind == DOUBLE:
        return value if math.isfinite(value) and abs(value) < 1.7976931348623157e308 else REFUSED
    if kind == DECIMAL:
        return value if abs(value) < 10**24 else REFUSED
    if kind == TEXT:
        return value if utf16(value) <= 4_000 and "\0" not in value else REFUSED
    if kind in (DATE, TIME, ZONED):
        steps = _microseconds(value) * 3
        return steps // 10_000 if steps % 10_000 == 0 else REFUSED
    return value


def looker(value: Any, kind: str) -> Any:
    if kind == DOUBLE and not math.isfinite(value):
        return REFUSED
    return REFUSED if kind == TEXT and "\0" in value else value


def google_sheets(value: Any, kind: str) -> Any:
    """Days are whole numbers, moments milliseconds, from 1899-12-30. Empty text is an empty cell."""
    if kind == INT:
        return value if abs(value) <= 2**53 else REFUSED
    if kind == DOUBLE:
        return value if math.isfinite(value) else REFUSED
    if kind == DECIMAL:
        return float(value) if Decimal(repr(float(value))) == value else REFUSED
    if kind == TEXT:
        return REFUSED if utf16(value) > 50_000 or "\0" in value else value or None
    if kind == DATE:
        return (value - _DAY_ZERO.date()).days
    if kind in (TIME, ZONED):
        since = value.replace(tzinfo=None) - _DAY_ZERO
        return since // timedelta(milliseconds=1) if since % timedelta(milliseconds=1) == timedelta(0) else REFUSED
    return value


def kept(fmt: str, value: Any, kind: str) -> Any:
    """What a kept file holds. CSV and XLSX have one empty value, which is read as null here; JSON has no NaN."""
    if value == "" and kind == TEXT:
        return "" if fmt == "parquet" else None
    if fmt in ("json", "jsonl"):
        return REFUSED if kind == DOUBLE and not math.isfinite(value) else value
    return _in_xlsx(value, kind) if fmt == "xlsx" else value


def _in_xlsx(value: Any, kind: str) -> Any:
    if kind == INT:
        return value if abs(value) <= 2**53 else REFUSED
    if kind == DOUBLE:
        return value if math.isfinite(value) else REFUSED
    if kind == DECIMAL:
        return value if len(str(abs(value).normalize().as_tuple().digits).split(",")) <= 15 or value == 0 else REFUSED
    if kind == TEXT:
        return value if len(value) <= 32_767 else REFUSED
    if kind == DATE:
        return value if value >= date(1900, 3, 1) else REFUSED
    if kind in (TIME, ZONED):
        first = datetime(1900, 3, 1, tzinfo=value.tzinfo)
        return value if value >= first and value.microsecond % 1_000 == 0 else REFUSED
    return value


TARGETS = {"power_bi": power_bi, "looker": looker, "google_sheets": google_sheets}


def expected(table: Table, rule: Any) -> tuple[list[tuple[Any, ...]], set[tuple[int, str]]]:
    """Return the rows as they must arrive, and the places (one-based row, column) of all values that must be refused."""
    rows, refused = [], set()
    for number, row in enumerate(table.rows, 1):
        cells = []
        for name, value in row.items():
            cell = None if value is None else rule(value, table.types[name])
            cells.append(cell)
            if cell is REFUSED:
                refused.add((number, name))
        rows.append(tuple(cells))
    return rows, refused
