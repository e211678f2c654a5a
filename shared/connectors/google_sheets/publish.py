"""The one atomic batch that makes a table live, as plain data; nothing here calls Google."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shared.connectors.google_sheets.encode import number_format
from shared.connectors.google_sheets.keys import Move
from shared.connectors.google_sheets.layout import TOKEN_KEY, Area, Owned, Tab, Token, derived_id

Request = dict[str, Any]


@dataclass(frozen=True)
class Placement:
    """Where the staged rows go.

    Attributes:
        tab: the target, None if the batch is to make it.
        title, sheet_id: of the target, made or to be made.
        owned: what the last publish left there (an adopted table at first), None on an empty or new tab.
        top: first target row, zero-based; 0 means with the header, else the header stays and only rows are added.
        rows: rows of the source that come below `top`, header not counted.
        moves: where each staged row goes in an upsert; None where all of them go to `area` in order.
    """

    tab: Tab | None
    title: str
    sheet_id: int
    owned: Owned | None
    top: int
    rows: int
    columns: int
    moves: tuple[Move, ...] | None = None

    @property
    def area(self) -> Area:
        """The cells that the publish writes."""
        height = self.rows + 1 if self.top == 0 else self.rows
        return Area(self.top, self.top + height, 0, self.columns)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns that the target's grid must have; never fewer than it has."""
        rows, columns = max(self.area.bottom, 1), self.columns
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
        area, owned = self.area, self.owned or Owned(0, 0)
        overlap = max(area.top, min(owned.rows, area.bottom))
        parts = [Area(overlap, area.bottom, 0, area.right), Area(area.top, overlap, owned.columns, area.right)]
        inside = [part.within(self.tab.rows, self.tab.columns) for part in parts]
        return [part for part in inside if not part.is_empty]

    def all_moves(self) -> tuple[Move, ...]:
        """Which staged rows go where; the staged header goes with them where the table starts anew."""
        if self.moves is not None:
            return self.moves
        height = self.area.bottom - self.area.top
        return (Move(0 if self.top == 0 else 1, self.top, height),) if height else ()

    def left_over(self) -> list[Area]:
        """What the last publish left outside of `area`, to be emptied. Nothing when rows are added."""
        if self.tab is None or self.owned is None or self.top > 0:
            return []
        area, owned = self.area, self.owned
        parts = [
            Area(area.bottom, owned.rows, 0, owned.columns),
            Area(0, min(area.bottom, owned.rows), area.right, owned.columns),
        ]
        inside = [part.within(self.tab.rows, self.tab.columns) for part in parts]
        return [part for part in inside if not part.is_empty]


@dataclass(frozen=True)
class Marks:
    """The mark that a publish leaves, and the older ones that it removes."""

    new: Token
    surplus: Sequence[Token] = ()


def publish_requests(placement: Placement, staging_id: int, schema: pa.Schema, marks: Marks) -> list[Request]:
    """Return the batch. Its `deleteSheet` and `createDeveloperMetadata` cannot be applied twice: that is the guard.

    The new mark's id follows from the tab and the number of this publish on it (`mark_id`), so the batch is refused as well
    when any other publish came in between, and with it what this one knew of the live rows.
    """
    sheet_id = placement.sheet_id
    requests: list[Request] = [*_grid(placement)]
    requests += [_copy(move, placement.columns, staging_id, sheet_id) for move in placement.all_moves()]
    requests += [
        {"repeatCell": {"range": part.grid_range(sheet_id), "cell": {}, "fields": "userEnteredValue"}}
        for part in placement.left_over()
    ]
    requests += _formats(placement, schema)
    requests.append({"deleteSheet": {"sheetId": staging_id}})
    requests += [_unmark(old) for old in marks.surplus]
    requests.append(_mark(marks.new, sheet_id))
    return requests


def mark_id(placement: Placement, taken: frozenset[int]) -> int:
    """The id of the next publish's mark, the same for everybody who saw the tab as it is now."""
    sequence = 1 + (placement.tab.sequence if placement.tab else 0)
    return derived_id(f"{placement.sheet_id}", f"publish {sequence}", taken)


def owned_after(placement: Placement, schema: pa.Schema) -> Owned:
    """Return what is ours once the batch is applied."""
    sequence = 1 + (placement.tab.sequence if placement.tab else 0)
    return Owned(placement.area.bottom, placement.columns, formats_of(schema), sequence)


def formats_of(schema: pa.Schema) -> dict[int, str]:
    """The number formats that we set, by column."""
    return {index: shape["type"] for index, shape in _shapes(schema)}


def _copy(move: Move, columns: int, staging_id: int, sheet_id: int) -> Request:
    return {
        "copyPaste": {
            "source": Area(move.staged, move.staged + move.rows, 0, columns).grid_range(staging_id),
            "destination": Area(move.target, move.target + move.rows, 0, columns).grid_range(sheet_id),
            "pasteType": "PASTE_VALUES",
            "pasteOrientation": "NORMAL",
        }
    }


def _shapes(schema: pa.Schema) -> Iterator[tuple[int, Mapping[str, str]]]:
    for index, field in enumerate(schema):
        if shape := number_format(field.type):
            yield index, shape


def _grid(placement: Placement) -> Iterator[Request]:
    rows, columns = placement.grid
    size = {"rowCount": rows, "columnCount": columns}
    if placement.tab is None:
        properties = {"sheetId": placement.sheet_id, "title": placement.title, "gridProperties": size}
        yield {"addSheet": {"properties": properties}}
    elif placement.growth:
        present = {"rowCount": placement.tab.rows, "columnCount": placement.tab.columns}
        grown = {name: value for name, value in size.items() if value != present[name]}
        fields = ",".join(f"gridProperties.{name}" for name in grown)
        properties = {"sheetId": placement.sheet_id, "gridProperties": grown}
        yield {"updateSheetProperties": {"properties": properties, "fields": fields}}


def _formats(placement: Placement, schema: pa.Schema) -> Iterator[Request]:
    """Date formats where our rows are new or the column was no date before: a person's own date format stays elsewhere."""
    shapes, owned, area = dict(_shapes(schema)), placement.owned or Owned(0, 0), placement.area
    data_top = max(area.top, 1)
    for column, shape in shapes.items():
        top = max(data_top, owned.rows) if owned.formats.get(column) == shape["type"] else data_top
        yield from _format(
            placement.sheet_id, Area(top, area.bottom, column, column + 1), {"numberFormat": dict(shape)}
        )
    if placement.top == 0:
        for column in owned.formats.keys() - shapes.keys():
            yield from _format(placement.sheet_id, Area(1, owned.rows, column, column + 1), {})


def _format(sheet_id: int, area: Area, shape: Mapping[str, Any]) -> Iterator[Request]:
    if not area.is_empty:
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
