"""A spreadsheet in memory: sheets of row blocks, copied on write, so that a batch is applied to a copy or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .a1 import Rect
from .formats import Formats

BLOCK_ROWS = 1000
DEFAULT_ROWS, DEFAULT_COLUMNS = 1000, 26
MAX_COLUMNS = 18_278  # ZZZ


@dataclass(frozen=True)
class Formula:
    """What a person typed, the equals sign included."""

    text: str


Cell = None | bool | int | float | str | Formula
Row = list[Cell]
"""Cells of one row without trailing empty ones; never changed in place once it is in a block."""

Block = list[Row]


class Grid:
    """The cells of one sheet: blocks of `BLOCK_ROWS` rows, loaded when first read.

    A clone shares all blocks and copies one before it first writes to it; `dirty` names the blocks that were written.
    """

    def __init__(self, load: Callable[[int], Block], block_count: int) -> None:
        self._load = load
        self._blocks: list[Block | None] = [None] * block_count
        self.dirty: set[int] = set()

    def clone(self) -> Grid:
        other = Grid(self._load, 0)
        other._blocks = list(self._blocks)
        return other

    @property
    def block_count(self) -> int:
        return len(self._blocks)

    def rebind(self, load: Callable[[int], Block]) -> None:
        """Load missing blocks from here from now on."""
        self._load = load

    def cut(self, row_count: int) -> None:
        """Drop all rows from `row_count` on."""
        keep = -(-row_count // BLOCK_ROWS)
        del self._blocks[keep:]
        self.dirty = {index for index in self.dirty if index < keep}
        if keep and row_count % BLOCK_ROWS and keep <= len(self._blocks):
            del self._writable(keep - 1)[row_count % BLOCK_ROWS :]

    def block(self, index: int) -> Block:
        """One block for reading; empty beyond the end."""
        if index >= len(self._blocks):
            return []
        found = self._blocks[index]
        if found is None:
            found = self._blocks[index] = self._load(index)
        return found

    def rows(self, top: int, bottom: int) -> Iterator[Row]:
        """Exactly `bottom - top` rows, empty ones included."""
        at = top
        while at < bottom:
            index, offset = divmod(at, BLOCK_ROWS)
            until = min(bottom, (index + 1) * BLOCK_ROWS)
            part = self.block(index)[offset : offset + until - at]
            yield from part
            for _ in range(until - at - len(part)):
                yield []
            at = until

    def put_rows(self, top: int, rows: list[Row]) -> None:
        """Replace whole rows from `top` on."""
        done = 0
        while done < len(rows):
            index, offset = divmod(top + done, BLOCK_ROWS)
            count = min(BLOCK_ROWS - offset, len(rows) - done)
            block = self._writable(index)
            if len(block) < offset:
                block.extend([] for _ in range(offset - len(block)))
            block[offset : offset + count] = rows[done : done + count]
            while block and not block[-1]:
                block.pop()
            done += count

    def last_row(self) -> int:
        """Number of rows up to the last one that holds anything."""
        for index in range(len(self._blocks) - 1, -1, -1):
            if block := self.block(index):
                return index * BLOCK_ROWS + len(block)
        return 0

    def _writable(self, index: int) -> Block:
        while len(self._blocks) <= index:
            self._blocks.append([])
            self.dirty.add(len(self._blocks) - 1)
        if index not in self.dirty:
            self._blocks[index] = list(self.block(index))
            self.dirty.add(index)
        return self.block(index)


@dataclass
class Sheet:
    """One tab. `key` is the storage key, never used twice; `properties` are Google's SheetProperties without `index`."""

    key: int
    properties: dict[str, Any]
    grid: Grid
    formats: Formats = field(default_factory=Formats)

    @property
    def sheet_id(self) -> int:
        return int(self.properties["sheetId"])

    @property
    def title(self) -> str:
        return str(self.properties["title"])

    @property
    def row_count(self) -> int:
        return int(self.properties["gridProperties"]["rowCount"])

    @property
    def column_count(self) -> int:
        return int(self.properties["gridProperties"]["columnCount"])

    @property
    def whole(self) -> Rect:
        return Rect(0, self.row_count, 0, self.column_count)

    def clone(self) -> Sheet:
        grid_properties = dict(self.properties["gridProperties"])
        properties = {**self.properties, "gridProperties": grid_properties}
        return Sheet(self.key, properties, self.grid.clone(), self.formats.clone())

    def read(self, rect: Rect) -> Iterator[Row]:
        """The cells of a rectangle, row by row, each cut to its columns and without trailing empty cells."""
        for row in self.grid.rows(rect.top, rect.bottom):
            yield trimmed(row[rect.left : rect.right])

    def write(self, rect: Rect, rows: list[Row], *, skip_none: bool = False) -> None:
        """Replace the cells of a rectangle; rows and cells that are missing become empty.

        With `skip_none`, a None (and what is missing) leaves the cell as it is, and "" empties it.
        """
        merged: list[Row] = []
        width = rect.columns
        for index, old in enumerate(self.grid.rows(rect.top, rect.bottom)):
            new = rows[index] if index < len(rows) else []
            if skip_none:
                new = _over(old[rect.left : rect.right], new, width)
            if len(old) > rect.right:
                new = new + [None] * (width - len(new)) + old[rect.right :]
            if rect.left and new:
                new = old[: rect.left] + [None] * (rect.left - len(old)) + new
            elif rect.left:
                new = old[: rect.left]
            merged.append(trimmed(new))
        self.grid.put_rows(rect.top, merged)

    def clear(self, rect: Rect) -> None:
        """Empty the values of a rectangle; formats stay."""
        bottom = min(rect.bottom, self.grid.last_row())
        if bottom > rect.top:
            self.write(Rect(rect.top, bottom, rect.left, rect.right), [])


@dataclass
class Book:
    """One spreadsheet. `metadata` is every DeveloperMetadata by id, as Google returns it."""

    spreadsheet_id: str
    properties: dict[str, Any]
    sheets: list[Sheet]
    metadata: dict[int, dict[str, Any]]
    next_key: int

    def clone(self) -> Book:
        """A copy to change; rows are shared until written."""
        return Book(
            self.spreadsheet_id,
            dict(self.properties),
            [sheet.clone() for sheet in self.sheets],
            dict(self.metadata),
            self.next_key,
        )

    def cells(self) -> int:
        """Cells of all tabs, empty ones included: what the limit counts."""
        return sum(sheet.row_count * sheet.column_count for sheet in self.sheets)

    def by_id(self, sheet_id: int) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.sheet_id == sheet_id), None)

    def by_title(self, title: str) -> Sheet | None:
        """Titles are compared without regard to case, as Google does when it looks for duplicates."""
        exact = next((sheet for sheet in self.sheets if sheet.title == title), None)
        return exact or next((sheet for sheet in self.sheets if sheet.title.lower() == title.lower()), None)

    def free_title(self) -> str:
        taken = [int(m.group(1)) for s in self.sheets if (m := re.match(r"^Sheet(\d+)$", s.title))]
        return f"Sheet{max(taken, default=0) + 1}"


def trimmed(row: Row) -> Row:
    """The row without trailing empty cells; the same object if there are none."""
    end = len(row)
    while end and row[end - 1] is None:
        end -= 1
    return row if end == len(row) else row[:end]


def _over(old: Row, new: Row, width: int) -> Row:
    old = old + [None] * (width - len(old))
    cells = [old[i] if value is None else (None if value == "" else value) for i, value in enumerate(new)]
    return cells + old[len(cells) :]
