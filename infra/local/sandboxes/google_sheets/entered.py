"""What Sheets makes of input: RAW as it is, USER_ENTERED as if a person had typed it (locale en_US)."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Any

from .book import Cell, Formula
from .errors import invalid

MAX_CHARACTERS = 50_000
EPOCH = date(1899, 12, 30)
DATE, TIME, DATE_TIME = {"type": "DATE"}, {"type": "TIME"}, {"type": "DATE_TIME"}
PERCENT, CURRENCY = {"type": "PERCENT", "pattern": "0.00%"}, {"type": "CURRENCY", "pattern": '"$"#,##0.00'}
_NUMBER = re.compile(r"^[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?$")
_ISO = re.compile(r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?)?$")
_US = re.compile(r"^(\d{1,2})[-/](\d{1,2})(?:[-/](\d{4}|\d{2}))?(?:\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?$")
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?$")


def raw(value: Any) -> Cell:
    """The cell for a RAW value: null skips (None), "" stays "" (the writer empties the cell for it).

    Raises:
        VendorError: 400 for more than 50,000 characters.
    """
    kind = type(value)
    if kind is str:
        if len(value) > MAX_CHARACTERS // 2:
            check_length(value)
        return value  # type: ignore[no-any-return]  # its type was just looked at
    if value is None or kind is bool:
        return value  # type: ignore[no-any-return]  # its type was just looked at
    return number(value)


def number(value: float) -> int | float:
    """A number as Sheets keeps it: a double; whole ones are given out without a fraction."""
    if type(value) is int:
        return value if abs(value) <= 2**53 else int(float(value))
    if not math.isfinite(value):
        raise invalid("Invalid value: number is not finite")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def check_length(text: str) -> None:
    """Raises `VendorError` (400) beyond 50,000 characters, counted in UTF-16 units."""
    if len(text) > MAX_CHARACTERS or len(text.encode("utf-16-le")) // 2 > MAX_CHARACTERS:
        raise invalid("Your input contains more than the maximum of 50000 characters in a single cell.")


def entered(value: Any, today: date) -> tuple[Cell, dict[str, str] | None]:
    """The cell for a typed value, and the number format that typing it gives the cell (None: unchanged)."""
    if not isinstance(value, str) or value == "":
        return raw(value), None
    check_length(value)
    text = value.strip()
    if value.startswith("'"):
        return value[1:], None
    if text.startswith("=") and len(text) > 1:
        return Formula(text), None
    if text.upper() in ("TRUE", "FALSE"):
        return text.upper() == "TRUE", None
    return _number(text) or _moment(text, today) or (value, None)


def serial(moment: datetime) -> float:
    """Days since 30 December 1899."""
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    return (moment.date() - EPOCH).days + seconds / 86400


def _number(text: str) -> tuple[Cell, dict[str, str] | None] | None:
    body, shape = text, None
    if text.endswith("%"):
        body, shape = text[:-1], PERCENT
    elif text.lstrip("+-").startswith("$"):
        body, shape = text.replace("$", "", 1), CURRENCY
    if not _NUMBER.match(body) or not any(letter.isdigit() for letter in body):
        return None
    found = float(body.replace(",", ""))
    return number(found / 100 if shape is PERCENT else found), shape


def _moment(text: str, today: date) -> tuple[Cell, dict[str, str] | None] | None:
    try:
        if iso := _ISO.match(text):
            year, month, day, hour, minute, second, _ = iso.groups()
        elif us := _US.match(text):
            month, day, year, hour, minute, second = us.groups()
            year = str(today.year) if year is None else ("20" + year if len(year) == 2 else year)
        elif clock := _CLOCK.match(text):
            hour, minute, second = clock.groups()
            at = datetime(1900, 1, 1, int(hour), int(minute), int(second or 0))  # noqa: DTZ001 - wall time, as in a sheet
            return number(serial(at) - 2), TIME
        else:
            return None
        at = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
    except ValueError:
        return None
    return number(serial(at)), DATE_TIME if hour else DATE
