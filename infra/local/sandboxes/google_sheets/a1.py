"""A1 notation and grid ranges. Rectangles are zero-based and half-open, as Google's GridRange is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import invalid

_CELL = re.compile(r"^\$?([A-Za-z]{1,3})?\$?(0{0,9}[1-9][0-9]{0,9})?$")
_PLAIN_TITLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


@dataclass(frozen=True)
class Rect:
    """Rows `top` to `bottom`, columns `left` to `right`, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> int:
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        return self.right - self.left

    def contains(self, other: Rect) -> bool:
        return (
            self.top <= other.top
            and self.bottom >= other.bottom
            and self.left <= other.left
            and self.right >= other.right
        )

    def overlap(self, other: Rect) -> Rect | None:
        """The common part, None if there is none."""
        part = Rect(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )
        return part if part.rows > 0 and part.columns > 0 else None

    def moved(self, rows: int, columns: int) -> Rect:
        return Rect(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)


def column_name(index: int) -> str:
    """Letters of a zero-based column: 0 is A, 26 is AA."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


def column_index(letters: str) -> int:
    """Zero-based column of its letters."""
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - 64
    return index - 1


def quoted(title: str) -> str:
    """A sheet title as Google prints it in a range: quoted unless it is a plain word that is no cell reference."""
    if _PLAIN_TITLE.match(title) and not re.match(r"^[A-Za-z]{1,3}[0-9]+$", title):
        return title
    return "'" + title.replace("'", "''") + "'"


def show(title: str, rect: Rect) -> str:
    """A rectangle in A1 notation with its sheet; a single cell without the colon."""
    first = f"{column_name(rect.left)}{rect.top + 1}"
    last = f"{column_name(rect.right - 1)}{rect.bottom}"
    return f"{quoted(title)}!{first}" if first == last else f"{quoted(title)}!{first}:{last}"


@dataclass(frozen=True)
class Reference:
    """A parsed range: a sheet title (None: the first sheet) and bounds, None where open or not given."""

    title: str | None
    top: int | None = None
    bottom: int | None = None
    left: int | None = None
    right: int | None = None
    is_single: bool = False

    def rect(self, rows: int, columns: int) -> Rect:
        """The bounds on a grid of this size; not clipped."""
        return Rect(
            self.top or 0,
            rows if self.bottom is None else self.bottom,
            self.left or 0,
            columns if self.right is None else self.right,
        )


def parse(text: str, titles: Iterable[str]) -> Reference:
    """Parse `Sheet1!A1:B2`, `'My tab'!A:C`, `A1`, `2:5` or a bare sheet title.

    Raises:
        VendorError: 400 "Unable to parse range".
    """
    sheet, cells = _split(text)
    if sheet is None and cells is not None and cells in set(titles):
        return Reference(cells)
    if cells is None:
        return Reference(sheet)
    start, colon, end = cells.partition(":")
    first, last = _CELL.match(start), _CELL.match(end) if colon else None
    if not first or not start or (colon and (not last or not end)):
        raise invalid(f"Unable to parse range: {text}")
    left, top = _bounds(first)
    if last is None:
        if left is None or top is None:
            raise invalid(f"Unable to parse range: {text}")
        return Reference(sheet, top, top + 1, left, left + 1, is_single=True)
    right, bottom = _bounds(last)
    if (left is None and right is not None) or (right is None and left is not None and top is None):
        raise invalid(f"Unable to parse range: {text}")
    if bottom is not None and top is not None and bottom < top:
        top, bottom = bottom, top
    if right is not None and left is not None and right < left:
        left, right = right, left
    return Reference(sheet, top, None if bottom is None else bottom + 1, left, None if right is None else right + 1)


def grid_rect(range_: dict[str, Any], rows: int, columns: int) -> Rect:
    """The rectangle of a GridRange; missing ends are the grid's."""
    return Rect(
        range_.get("startRowIndex", 0),
        range_.get("endRowIndex", rows),
        range_.get("startColumnIndex", 0),
        range_.get("endColumnIndex", columns),
    )


def _split(text: str) -> tuple[str | None, str | None]:
    if text.startswith("'"):
        match = re.match(r"^'((?:[^']|'')*)'(?:!(.*))?$", text, re.DOTALL)
        if not match:
            raise invalid(f"Unable to parse range: {text}")
        return match.group(1).replace("''", "'"), match.group(2)
    sheet, mark, cells = text.rpartition("!")
    return (sheet, cells) if mark else (None, cells)


def _bounds(match: re.Match[str]) -> tuple[int | None, int | None]:
    letters, digits = match.groups()
    return (column_index(letters) if letters else None, int(digits) - 1 if digits else None)
