"""Upsert by key: which staged row goes where, decided from keys and row numbers alone; the cells are moved by Google.

A key is compared as the sheet holds it: 1 and 1.0 are one key, the number 7 and the text "7" are two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.connectors.google_sheets import encode
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import Area, Owned
from shared.errors import TargetError

PAGE_CELLS = 300_000  # our choice: as for reading back, an answer of a few MB
MAX_MOVES = 10_000  # our choice: a request of 3.4 MB; Google's limit is 100,000 requests in a batch

Digests = np.ndarray[Any, Any]
"""One 16-byte digest of its key for each data row, in order."""


@dataclass(frozen=True)
class Move:
    """Rows of the staging tab and where they go in the target's range; zero-based, the header is row 0 of both."""

    staged: int
    target: int
    rows: int


@dataclass(frozen=True)
class Block:
    """`rows` data rows of a tab, and how messages speak of it: the first one is called `first` there.

    The header above them begins at `top` and `left`, zero-based. `order` says where each column of the source stands there, empty
    where in the same order.
    """

    title: str
    rows: int
    what: str
    first: int
    advice: str
    top: int = 0
    left: int = 0
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Key:
    """The key columns of a table."""

    schema: pa.Schema
    names: tuple[str, ...]

    def refuse_empty(self, table: pa.Table, first_row: int) -> None:
        """Raise `TargetError` (code `key_empty`) for the first null or empty key of source rows; rows count from one."""
        for name in self.names:
            values = table.column(name)
            empty = pc.is_null(values)
            if encode.is_text(values.type):
                empty = pc.or_(empty, pc.equal(pc.fill_null(values.cast(pa.string()), ""), ""))
            at = pc.index(empty, value=True).as_py()
            if at >= 0:
                raise _empty(f"row {first_row + at + 1} of the source", name, "give every row a key")

    def read(self, client: SheetsClient, block: Block) -> Digests:
        """Read the keys of a block, a page a call.

        Raises:
            TargetError: codes `key_empty`, `key_twice`, naming the columns and the rows.
        """
        order = block.order or range(len(self.schema))
        indices = [order[self.schema.get_field_index(name)] for name in self.names]
        page, parts = max(1, PAGE_CELLS // len(indices)), []
        for top in range(1, block.rows + 1, page):
            bottom = min(block.rows + 1, top + page)
            places = (Area(top, bottom, index, index + 1).moved(block.top, block.left) for index in indices)
            areas = [place.a1(block.title) for place in places]
            columns = [part[0] if part else [] for part in client.read_values(areas)]
            parts.append(b"".join(self._digests(columns, bottom - top, block, top)))
        digests = np.frombuffer(b"".join(parts), "S16")
        self._refuse_twice(digests, block)
        return digests

    def _digests(self, columns: list[list[Any]], rows: int, block: Block, top: int) -> Iterator[bytes]:
        schema = pa.schema([self.schema.field(name) for name in self.names])
        for offset, cells in enumerate(encode.canonical_cells(columns, schema, rows)):
            for name, cell in zip(self.names, cells, strict=True):
                if cell is None:
                    raise _empty(f"row {top + offset - 1 + block.first} of {block.what}", name, block.advice)
            joined = "".join(f"{len(cell)};{cell}" for cell in cells if cell is not None)
            yield hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _refuse_twice(self, digests: Digests, block: Block) -> None:
        order = np.argsort(digests, kind="stable")
        same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
        if not same.size:
            return
        first, second = (int(order[same[0] + step]) + block.first for step in (0, 1))
        columns = ", ".join(map(repr, self.names))
        raise TargetError(
            f"rows {first} and {second} of {block.what} have the same key (column {columns}), and an upsert needs each key "
            f"once; {block.advice}",
            code="key_twice",
            rows=[first, second],
            columns=list(self.names),
        )


def moves(staged: Digests, live: Digests, pieces: int = 1) -> tuple[tuple[Move, ...], int]:
    """Return where the staged rows go, in as few moves as their order allows, and how many of them are new to the target.

    A row whose key is live replaces that row in place; the others go below the live rows in the source's order. A move takes as
    many copies as there are `pieces` of columns that stand side by side on both tabs.

    Raises:
        TargetError: code `too_scattered`, more than `MAX_MOVES` copies.
    """
    if not staged.size:
        return (), 0
    order = np.argsort(live, kind="stable")
    at = np.minimum(np.searchsorted(live, staged, sorter=order), max(0, live.size - 1))
    is_old = live[order[at]] == staged if live.size else np.zeros(staged.size, np.bool_)
    target = live.size + np.cumsum(~is_old) - 1
    if live.size:
        target = np.where(is_old, order[at], target)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(target) != 1) + 1))
    if (copies := int(starts.size) * pieces) > MAX_MOVES:
        raise TargetError(
            f"the {staged.size:,} rows of this upsert go to {copies:,} separate places of the sheet, and one atomic batch "
            f"takes {MAX_MOVES:,}; sort rows and columns of the source as the sheet has them, send fewer rows at once, or replace "
            "the table",
            code="too_scattered",
            moves=copies,
        )
    ends = np.concatenate((starts[1:], [staged.size]))
    runs = zip(starts.tolist(), ends.tolist(), target[starts].tolist(), strict=True)
    return tuple(Move(start + 1, to + 1, end - start) for start, end, to in runs), int((~is_old).sum())


def of_source(staging_title: str, rows: int) -> Block:
    """The staged rows, spoken of as the source's; the first one is row 1."""
    return Block(staging_title, rows, "the source", 1, "make them one in the mapping or at the source")


def of_target(title: str, owned: Owned, rows: int, order: tuple[int, ...]) -> Block:
    """The live rows, spoken of by the numbers that people see; the first one is below the header."""
    place = (owned.top + 2, "mend the tab, or replace the table once", owned.top, owned.left, order)
    return Block(title, rows, f"the tab {title!r}", *place)


def _empty(where: str, column: str, advice: str) -> TargetError:
    return TargetError(
        f"{where} has no value in the key column {column!r}; {advice}", code="key_empty", column=column, where=where
    )
