"""What must happen to each value, written down value by value: slow, and with nothing of the shipped code."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.campaigns.tables.values import (
    BINARY,
    CARRIED,
    CLOCK,
    DATE,
    DECIMAL,
    DOUBLE,
    DURATION,
    INT,
    TEXT,
    TIME,
    ZONED,
    Table,
)  # fmt: skip

_DAY_ZERO = datetime(1899, 12, 30)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


class Refused:
    """Stands for a value that the target, or the format, cannot hold."""

    def __repr__(self) -> str:
        return "refused"


REFUSED = Refused()


def carried(value: Any, kind: str) -> Any:
    """The text of a value of a type that no target has."""
    if kind == CLOCK:
        text = value.isoformat()
        return text.rstrip("0") if "." in text else text
    if kind == DURATION:
        ticks = abs(value) // timedelta(microseconds=1)
        whole, fraction = divmod(ticks, 1_000_000)
        text = f"PT{whole}" + (f".{fraction:06}".rstrip("0") if fraction else "") + "S"
        return "-" + text if value < timedelta(0) else text
    if kind == BINARY:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return REFUSED
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return REFUSED


def as_the_file_has_it(fmt: str, table: Table) -> Table:
    """Return the table as its file holds it: types that no target has as text, and in XLSX one empty value and no escapes.

    ECMA-376 part 1, 22.9.2.19: `_x000D_` in a text of a workbook is a carriage return. openpyxl writes texts as they are.
    """

    def cell(value: Any, kind: str) -> Any:
        if value is not None and kind in CARRIED:
            value = carried(value, kind)
        if fmt == "xlsx" and isinstance(value, str):
            return re.sub("_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), value) or None
        return value

    types = {name: TEXT if kind in CARRIED else kind for name, kind in table.types.items()}
    rows = [{name: cell(value, table.types[name]) for name, value in row.items()} for row in table.rows]
    return Table(types, rows)


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
    """What a kept file holds. XLSX has one empty value, JSON has no NaN."""
    if value == "" and kind == TEXT:
        return None if fmt == "xlsx" else ""
    if fmt in ("json", "jsonl"):
        return REFUSED if kind == DOUBLE and not math.isfinite(value) else value
    return _in_xlsx(value, kind) if fmt == "xlsx" else value


def _in_xlsx(value: Any, kind: str) -> Any:
    if kind == INT:
        return value if abs(value) <= 2**53 else REFUSED
    if kind == DOUBLE:
        return value if math.isfinite(value) else REFUSED
    if kind == DECIMAL:
        digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")  # `normalize` would round to 28
        return value if len(digits) <= 15 else REFUSED
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
            cell = value if value is None or value is REFUSED else rule(value, table.types[name])
            cells.append(cell)
            if cell is REFUSED:
                refused.add((number, name))
        rows.append(tuple(cells))
    return rows, refused
