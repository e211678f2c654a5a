"""How Sheets shows a cell: formatted, unformatted or as its formula (locale en_US)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .book import Formula
from .formula import evaluate

if TYPE_CHECKING:
    from .a1 import Rect
    from .book import Book, Cell, Row, Sheet

DEFAULT_PATTERNS = {
    "DATE": "m/d/yyyy",
    "TIME": "h:mm:ss am/pm",
    "DATE_TIME": "m/d/yyyy h:mm:ss",
    "NUMBER": "#,##0.00",
    "PERCENT": "0.00%",
    "CURRENCY": '"$"#,##0.00',
}
MOMENTS = ("DATE", "TIME", "DATE_TIME")
_TOKENS = re.compile(r'"[^"]*"|\\.|y+|m+|d+|h+|s+|\.0+|am/pm|.', re.IGNORECASE)


def read_values(book: Book, sheet: Sheet, rect: Rect, render: str, date_render: str) -> list[list[Any]]:
    """The values of a rectangle by rows: empty cells are "", trailing empty cells and rows are left out."""
    styled = {
        column
        for column in range(rect.left, rect.right)
        if any(rule.rect.left <= column < rule.rect.right for rule in sheet.formats.rules)
    }
    view = _View(book, sheet, render, date_render)
    is_plain = render == "UNFORMATTED_VALUE" and date_render == "SERIAL_NUMBER"
    found: list[list[Any]] = []
    for at, row in enumerate(sheet.read(rect), rect.top):
        if is_plain and not _has_formula(row):
            found.append(["" if cell is None else cell for cell in row] if None in row else row)
            continue
        cells = enumerate(row, rect.left)
        found.append([view.show(cell, sheet.formats.number_format(at, i) if i in styled else {}) for i, cell in cells])
    while found and not found[-1]:
        found.pop()
    return found


def transpose(rows: list[list[Any]], width: int) -> list[list[Any]]:
    """The same values by columns, trailing empty cells and columns left out."""
    columns: list[list[Any]] = []
    for index in range(width):
        column = [row[index] if index < len(row) else "" for row in rows]
        while column and column[-1] == "":
            column.pop()
        columns.append(column)
    while columns and not columns[-1]:
        columns.pop()
    return columns


def formatted(value: Cell, number_format: dict[str, Any]) -> str:
    """The text a person sees."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str | Formula):
        return value if isinstance(value, str) else value.text
    kind = number_format.get("type", "")
    pattern = number_format.get("pattern") or DEFAULT_PATTERNS.get(kind, "")
    if kind in MOMENTS:
        return moment_text(value, pattern)
    if not pattern:
        return _general(value)
    decimals = len(re.sub(r"[^0]", "", pattern.partition(".")[2]))
    scaled = value * 100 if "%" in pattern else value
    text = f"{scaled:,.{decimals}f}" if "," in pattern else f"{scaled:.{decimals}f}"
    return f"{'$' if '$' in pattern else ''}{text}{'%' if '%' in pattern else ''}"


def moment_text(value: float, pattern: str) -> str:
    """A serial number as date and time, rounded to the millisecond. Out of the calendar's range: the plain number."""
    try:
        at = datetime(1899, 12, 30) + timedelta(milliseconds=round(value * 86_400_000))  # noqa: DTZ001 - wall time, as in a sheet
    except OverflowError:
        return _general(value)
    tokens = _TOKENS.findall(pattern)
    has_half_day = any(token.lower() == "am/pm" for token in tokens)
    text, after_hour = "", False
    for token in tokens:
        letter = token[0].lower()
        if letter == "m" and (after_hour or _next_is_second(tokens, token)):
            text += f"{at.minute:0{len(token)}d}"
        else:
            text += _token(token, at, half_day=has_half_day)
        after_hour = letter == "h" or (after_hour and not letter.isalpha())
    return text


def _token(token: str, at: datetime, *, half_day: bool) -> str:
    if token.lower() == "am/pm":
        return "AM" if at.hour < 12 else "PM"
    if token[0] == '"':
        return token[1:-1]
    if token.startswith(".0"):
        return f".{at.microsecond // 1000:03d}"[: len(token)]
    hour = (at.hour % 12 or 12) if half_day else at.hour
    wide = len(token)
    match token[0].lower():
        case "y":
            return f"{at.year:04d}" if wide > 2 else f"{at.year % 100:02d}"
        case "m":
            return at.strftime("%B") if wide == 4 else at.strftime("%b") if wide == 3 else f"{at.month:0{wide}d}"
        case "d":
            return at.strftime("%A") if wide == 4 else at.strftime("%a") if wide == 3 else f"{at.day:0{wide}d}"
        case "h":
            return f"{hour:0{wide}d}"
        case "s":
            return f"{at.second:0{wide}d}"
    return token[1:] if token[0] == "\\" else token


def _next_is_second(tokens: list[str], token: str) -> bool:
    after = [t[0].lower() for t in tokens[tokens.index(token) + 1 :] if t[0].isalpha()]
    return bool(after) and after[0] == "s"


@dataclass(frozen=True)
class _View:
    book: Book
    sheet: Sheet
    render: str
    date_render: str

    def show(self, cell: Cell, number_format: dict[str, Any]) -> Any:
        if cell is None:
            return ""
        if isinstance(cell, Formula):
            if self.render == "FORMULA":
                return cell.text
            cell = evaluate(self.book, self.sheet, cell)
        is_moment = number_format.get("type") in MOMENTS and not isinstance(cell, bool | str)
        if self.render == "FORMATTED_VALUE" or (is_moment and self.date_render == "FORMATTED_STRING"):
            return formatted(cell, number_format)
        return "" if cell is None else cell


def _general(value: float) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{value:.5E}".replace("E+0", "E+")
    return f"{value:.10g}"


def _has_formula(row: Row) -> bool:
    return any(type(cell) is Formula for cell in row)
