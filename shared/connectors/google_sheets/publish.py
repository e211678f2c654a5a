"""The one atomic batch that makes a table live, as plain data; nothing here calls Google."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shared.connectors.google_sheets import edges
from shared.connectors.google_sheets.encode import number_format
from shared.connectors.google_sheets.keys import Move
from shared.connectors.google_sheets.layout import TOKEN_KEY, Area, Owned, Tab, Token, derived_id, header_digest

Request = dict[str, Any]


@dataclass(frozen=True)
class Placement:
    """Where the staged rows go.

    Attributes:
        tab: the target, None if the batch is to make it.
        title, sheet_id: of the target, made or to be made.
        owned: our range as it lies now (an adopted table at first), None on an empty or new tab.
        top: first row that is written, counted from the range's own first; 0 means with the header, else the header stays and
            only rows are added.
        rows: rows of the source that come below `top`, header not counted.
        moves: where each staged row goes in an upsert; None where all of them go to `area` in order.
        order: by column of the source, its place in our range, where that has the same columns in another order; empty if not.
    """

    tab: Tab | None
    title: str
    sheet_id: int
    owned: Owned | None
    top: int
    rows: int
    columns: int
    moves: tuple[Move, ...] | None = None
    edges: tuple[edges.Edge, ...] = ()
    order: tuple[int, ...] = ()

    def arranged(self, schema: pa.Schema) -> pa.Schema:
        """The source's columns in the order that they have on the tab."""
        places = dict(zip(self.order, schema, strict=True)) if self.order else {}
        return pa.schema([places[place] for place in sorted(places)]) if places else schema

    @property
    def height(self) -> int:
        """Rows that our range has afterwards, header included."""
        return self.top + self.rows + (self.top == 0)

    @property
    def area(self) -> Area:
        """The cells that the publish writes."""
        return self.at(Area(self.top, self.height, 0, self.columns))

    def at(self, part: Area) -> Area:
        """A part of our range where it lies on the tab."""
        return part.moved(self.owned.top, self.owned.left) if self.owned else part

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns that the target's grid must have; never fewer than it has."""
        rows, columns = max(self.area.bottom, 1), self.area.right
        return (rows, columns) if self.tab is None else (max(self.tab.rows, rows), max(self.tab.columns, columns))

    @property
    def growth(self) -> int:
        """Cells that the spreadsheet gains."""
        rows, columns = self.grid
        return rows * columns - (0 if self.tab is None else self.tab.cells)

    def newly_covered(self) -> list[Area]:
        """The parts of `area` that were not ours and lie on the present grid: they must be empty."""
        if self.tab is None:
            return []
        owned = self.owned or Owned(0, 0)
        overlap = max(self.top, min(owned.rows, self.height))
        parts = [
            Area(overlap, self.height, 0, self.columns),
            Area(self.top, overlap, owned.columns, self.columns),
        ]
        inside = [self.at(part).within(self.tab.rows, self.tab.columns) for part in parts]
        return [part for part in inside if not part.is_empty]

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        """The source's columns, first and behind the last, in pieces that stand side by side on the tab too."""
        order = self.order or range(self.columns)
        starts = [index for index, place in enumerate(order) if not index or place != order[index - 1] + 1]
        return tuple(zip(starts, [*starts[1:], len(order)], strict=True))

    def all_moves(self) -> tuple[Move, ...]:
        """Which staged rows go where; the staged header goes with them where the table starts anew."""
        if self.moves is not None:
            return self.moves
        count = self.height - self.top
        return (Move(0 if self.top == 0 else 1, self.top, count),) if count else ()

    def left_over(self) -> list[Area]:
        """What the last publish left outside of `area`, to be emptied. Nothing when rows are added."""
        if self.tab is None or self.owned is None or self.top > 0:
            return []
        owned = self.owned
        parts = [
            Area(self.height, owned.rows, 0, owned.columns),
            Area(0, min(self.height, owned.rows), self.columns, owned.columns),
        ]
        inside = [self.at(part).within(self.tab.rows, self.tab.columns) for part in parts]
        return [part for part in inside if not part.is_empty]


@dataclass(frozen=True)
class Marks:
    """The mark that a publish leaves, and the older ones that it removes."""

    new: Token
    surplus: Sequence[Token] = ()


def publish_requests(placement: Placement, staging_id: int, schema: pa.Schema, marks: Marks) -> list[Request]:
    """Return the batch. Its `deleteSheet` and `createDeveloperMetadata` cannot be applied twice: that is the guard.

    The new mark's id follows from the tab and the number of this publish on it (`mark_id`), so the batch is refused as well
    when any other publish came in between, and with it what this one knew of the live rows. So it is when a person's edit moved
    the range (`edges.move_requests`).
    """
    sheet_id = placement.sheet_id
    requests: list[Request] = [*_grid(placement), *_last_look(placement)]
    requests += [one for move in placement.all_moves() for one in _copies(move, placement, staging_id)]
    requests += [
        {"repeatCell": {"range": part.grid_range(sheet_id), "cell": {}, "fields": "userEnteredValue"}}
        for part in placement.left_over()
    ]
    requests += _formats(placement, placement.arranged(schema))
    requests.append({"deleteSheet": {"sheetId": staging_id}})
    owned = marks.new.owned
    requests += edges.move_requests(placement.edges, placement.tab, sheet_id, owned.area, owned.sequence)
    requests += [_unmark(old) for old in marks.surplus]
    requests.append(_mark(marks.new, sheet_id))
    return requests


def overwritten(answer: Mapping[str, Any]) -> int:
    """Cells that somebody filled between the look at what is newly covered and the batch, as its answer tells."""
    counts = [one["findReplace"] for one in answer.get("replies", []) if "findReplace" in one]
    return sum(one.get("valuesChanged", 0) + one.get("formulasChanged", 0) for one in counts)


def mark_overwritten(token: Token) -> Request:
    """The request that writes into our mark what the batch overwrote; `token` has it."""
    lookup = {"metadataId": token.metadata_id}
    changed = {"metadataValue": token.value()}
    filters = [{"developerMetadataLookup": lookup}]
    return {
        "updateDeveloperMetadata": {"dataFilters": filters, "developerMetadata": changed, "fields": "metadataValue"}
    }


def mark_id(placement: Placement, taken: frozenset[int]) -> int:
    """The id of the next publish's mark, the same for everybody who saw the tab as it is now."""
    sequence = 1 + (placement.tab.sequence if placement.tab else 0)
    return derived_id(f"{placement.sheet_id}", f"publish {sequence}", taken)


def owned_after(placement: Placement, schema: pa.Schema) -> Owned:
    """Return what is ours once the batch is applied."""
    sequence = 1 + (placement.tab.sequence if placement.tab else 0)
    schema = placement.arranged(schema)
    before, header = placement.owned or Owned(0, 0), header_digest(schema.names)
    size = (placement.height, placement.columns)
    return Owned(*size, formats_of(schema), sequence, before.top, before.left, header)


def formats_of(schema: pa.Schema) -> dict[int, str]:
    """The number formats that we set, by column."""
    return {index: shape["type"] for index, shape in _shapes(schema)}


def _copies(move: Move, placement: Placement, staging_id: int) -> Iterator[Request]:
    """Copy staged rows: columns that stand side by side on both tabs at once."""
    for start, end in placement.pieces:
        left = placement.order[start] if placement.order else start
        target = placement.at(Area(move.target, move.target + move.rows, left, left + end - start))
        yield {
            "copyPaste": {
                "source": Area(move.staged, move.staged + move.rows, start, end).grid_range(staging_id),
                "destination": target.grid_range(placement.sheet_id),
                "pasteType": "PASTE_VALUES",
                "pasteOrientation": "NORMAL",
            }
        }


def _shapes(schema: pa.Schema) -> Iterator[tuple[int, Mapping[str, str]]]:
    for index, field in enumerate(schema):
        if shape := number_format(field.type):
            yield index, shape


def _grid(placement: Placement) -> Iterator[Request]:
    """Rows and columns are added, never a size set: that would cut off what a person added meanwhile."""
    rows, columns = placement.grid
    if placement.tab is None:
        size = {"rowCount": rows, "columnCount": columns}
        properties = {"sheetId": placement.sheet_id, "title": placement.title, "gridProperties": size}
        yield {"addSheet": {"properties": properties}}
        return
    for dimension, more in (("ROWS", rows - placement.tab.rows), ("COLUMNS", columns - placement.tab.columns)):
        if more:
            yield {"appendDimension": {"sheetId": placement.sheet_id, "dimension": dimension, "length": more}}


def _last_look(placement: Placement) -> Iterator[Request]:
    """Empty what the rows newly cover, which was empty when it was looked at: the answer counts the cells that were not."""
    for part in placement.newly_covered():
        area = part.grid_range(placement.sheet_id)
        whole = {"find": "(?s).+", "searchByRegex": True, "includeFormulas": True, "replacement": ""}
        yield {"findReplace": {**whole, "range": area}}


def _formats(placement: Placement, schema: pa.Schema) -> Iterator[Request]:
    """Date formats where our rows are new or the column was no date before: a person's own date format stays elsewhere."""
    shapes, owned = dict(_shapes(schema)), placement.owned or Owned(0, 0)
    data_top = max(placement.top, 1)
    for column, shape in shapes.items():
        top = max(data_top, owned.rows) if owned.formats.get(column) == shape["type"] else data_top
        yield from _format(placement, Area(top, placement.height, column, column + 1), {"numberFormat": dict(shape)})
    if placement.top == 0:
        for column in owned.formats.keys() - shapes.keys():
            yield from _format(placement, Area(1, owned.rows, column, column + 1), {})


def _format(placement: Placement, part: Area, shape: Mapping[str, Any]) -> Iterator[Request]:
    if not part.is_empty:
        area, sheet_id = placement.at(part), placement.sheet_id
        cell = {"userEnteredFormat": dict(shape)} if shape else {}
        fields = "userEnteredFormat.numberFormat"
        yield {"repeatCell": {"range": area.grid_range(sheet_id), "cell": cell, "fields": fields}}


def _mark(token: Token, sheet_id: int) -> Request:
    metadata = {
        "metadataId": token.metadata_id,
        "metadataKey": TOKEN_KEY,
        "metadataValue": token.value(),
        "location": {"sheetId": sheet_id},
        "visibility": "DOCUMENT",
    }
    return {"createDeveloperMetadata": {"developerMetadata": metadata}}


def _unmark(old: Token) -> Request:
    lookup = {"metadataId": old.metadata_id}
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}
