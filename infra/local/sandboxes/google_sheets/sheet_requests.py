"""Requests about tabs and their sizes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from .book import DEFAULT_COLUMNS, DEFAULT_ROWS, MAX_COLUMNS, Grid, Row, Sheet, trimmed
from .masks import copy_fields, paths
from .metadata import shift
from .refusal import Refusal

if TYPE_CHECKING:
    from .batch_update import Change

MAX_TITLE = 100  # "The sheet name cannot be greater than 100 characters." (public threads)
MAX_ID = 2**31 - 1
NEED_FIELDS = "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)"


def shown_properties(change_or_book: Any, sheet: Sheet) -> dict[str, Any]:
    """SheetProperties as Google answers them: with the index, and without falsy flags."""
    book = getattr(change_or_book, "book", change_or_book)
    first = {"sheetId": sheet.sheet_id, "title": sheet.title, "index": book.sheets.index(sheet), "sheetType": "GRID"}
    rest = {k: v for k, v in sheet.properties.items() if k not in first and v not in (None, False, {})}
    grid = {k: v for k, v in sheet.properties["gridProperties"].items() if v}
    return {**first, **rest, "gridProperties": grid}


def add_sheet(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    book, asked = change.book, dict(body.get("properties") or {})
    index = asked.pop("index", len(book.sheets))
    if not 0 <= index <= len(book.sheets):
        raise Refusal(f"Invalid sheet index: {index}")
    title = asked.get("title") or book.free_title()
    _check_title(change, title, None)
    sheet_id = asked.get("sheetId")
    if sheet_id is None:
        sheet_id = random.randrange(1, MAX_ID)  # noqa: S311 - an id, not a secret
    elif book.by_id(sheet_id):
        raise Refusal(f"A sheet with id {sheet_id} already exists.")
    elif not 0 <= sheet_id <= MAX_ID:
        raise Refusal("Sheet id must be non-negative.")
    if len(book.sheets) >= int(change.settings["max_tabs"]):
        raise Refusal(f"The spreadsheet already has the maximum of {change.settings['max_tabs']} sheets.")
    grid = {**(asked.get("gridProperties") or {})}
    grid["rowCount"], grid["columnCount"] = (
        grid.get("rowCount") or DEFAULT_ROWS,
        grid.get("columnCount") or DEFAULT_COLUMNS,
    )
    _check_size(grid)
    properties = {**asked, "sheetId": sheet_id, "title": title, "sheetType": "GRID", "gridProperties": grid}
    sheet = Sheet(book.next_key, properties, Grid(lambda _: [], 0))
    book.next_key += 1
    book.sheets.insert(index, sheet)
    change.check_cells()
    return {"addSheet": {"properties": shown_properties(change, sheet)}}


def delete_sheet(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    book, sheet = change.book, _sheet(change, body.get("sheetId", 0))
    left = [other for other in book.sheets if other is not sheet]
    if not left:
        raise Refusal("You can't remove all the sheets in a document.")
    if all(other.properties.get("hidden") for other in left):
        raise Refusal("You can't remove all the visible sheets in a document.")
    book.sheets = left
    for key, value in list(book.metadata.items()):
        location = value["location"]
        if sheet.sheet_id in (location.get("sheetId"), (location.get("dimensionRange") or {}).get("sheetId")):
            del book.metadata[key]
    return {}


def update_sheet_properties(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    asked = body.get("properties") or {}
    sheet = _sheet(change, asked.get("sheetId", 0))
    had = (sheet.row_count, sheet.column_count)
    fields = paths(body.get("fields", {}))
    if not fields:
        raise Refusal(NEED_FIELDS)
    if ("*",) in fields:
        fields = [(key,) for key in asked]
    for path in fields:
        if path == ("title",):
            _check_title(change, asked.get("title", ""), sheet)
        if path == ("index",):
            _move(change, sheet, asked.get("index", 0))
        elif path != ("sheetId",):
            copy_fields(asked, sheet.properties, path)
    if all(other.properties.get("hidden") for other in change.book.sheets):
        raise Refusal("You can't hide all the sheets in a document.")
    _check_size(sheet.properties.get("gridProperties") or {})
    _cut(sheet)
    for dimension, old, new in zip(("ROWS", "COLUMNS"), had, (sheet.row_count, sheet.column_count), strict=True):
        if new < old:
            shift(change.book, sheet.sheet_id, dimension, new, new - old)
    change.check_cells()
    return {}


def update_spreadsheet_properties(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    fields = paths(body.get("fields", {}))
    if not fields:
        raise Refusal(NEED_FIELDS)
    asked = body.get("properties") or {}
    for path in [(key,) for key in asked] if ("*",) in fields else fields:
        copy_fields(asked, change.book.properties, path)
    return {}


def append_dimension(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    sheet, grid = _grid(change, body.get("sheetId", 0))
    count = body.get("length", 0)
    if count < 1:
        raise Refusal("Length must be at least 1.")
    if "dimension" not in body:
        raise Refusal("dimension must be ROWS or COLUMNS.")
    name = "rowCount" if body["dimension"] == "ROWS" else "columnCount"
    grid[name] += count
    _check_size(sheet.properties["gridProperties"])
    change.check_cells()
    return {}


def insert_dimension(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    sheet, dimension, start, end = _span(change, body.get("range") or {})
    count, grid = end - start, sheet.properties["gridProperties"]
    grid["rowCount" if dimension == "ROWS" else "columnCount"] += count
    _check_size(grid)
    change.check_cells()
    if dimension == "ROWS":
        rows = list(sheet.grid.rows(start, sheet.grid.last_row()))
        new: list[Row] = [[] for _ in range(count)]
        sheet.grid.put_rows(start, new + rows)
    else:
        old = sheet.grid.rows(0, sheet.grid.last_row())
        sheet.grid.put_rows(0, [row[:start] + [None] * count + row[start:] if len(row) > start else row for row in old])
    sheet.formats.shift(dimension, start, count)
    shift(change.book, sheet.sheet_id, dimension, start, count)
    return {}


def delete_dimension(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    sheet, dimension, start, end = _span(change, body.get("range") or {})
    grid = sheet.properties["gridProperties"]
    size = grid["rowCount" if dimension == "ROWS" else "columnCount"]
    if end > size:
        raise Refusal(
            f"Cannot delete a {dimension.lower()[:-1]} that doesn't exist. Tried to delete index {end - 1} but there are only {size}."
        )
    if end - start >= size:
        raise Refusal(f"You can't delete all the {dimension.lower()} on the sheet.")
    if dimension == "ROWS":
        last = sheet.grid.last_row()
        rows = list(sheet.grid.rows(end, last)) if last > end else []
        grid["rowCount"] -= end - start
        sheet.grid.cut(start)
        sheet.grid.put_rows(start, rows)
    else:
        grid["columnCount"] -= end - start
        sheet.grid.put_rows(0, [trimmed(row[:start] + row[end:]) for row in sheet.grid.rows(0, sheet.grid.last_row())])
    sheet.formats.shift(dimension, start, start - end)
    shift(change.book, sheet.sheet_id, dimension, start, start - end)
    return {}


def _sheet(change: Change, sheet_id: int) -> Sheet:
    sheet = change.book.by_id(sheet_id)
    if sheet is None:
        raise Refusal(f"No sheet with id: {sheet_id}")
    return sheet


def _grid(change: Change, sheet_id: int) -> tuple[Sheet, dict[str, Any]]:
    sheet = change.book.by_id(sheet_id)
    if sheet is None:
        raise Refusal(f"No grid with id: {sheet_id}")
    return sheet, sheet.properties["gridProperties"]


def _span(change: Change, range_: dict[str, Any]) -> tuple[Sheet, str, int, int]:
    sheet, grid = _grid(change, range_.get("sheetId", 0))
    dimension = range_.get("dimension")
    if dimension is None:
        raise Refusal("dimension must be ROWS or COLUMNS.")
    size = grid["rowCount" if dimension == "ROWS" else "columnCount"]
    start, end = range_.get("startIndex", 0), range_.get("endIndex", size)
    if not 0 <= start < end or start > size:
        raise Refusal(
            f"range.startIndex[{start}] must be less than range.endIndex[{end}] and inside the grid ({size})."
        )
    return sheet, dimension, start, end


def _check_title(change: Change, title: str, own: Sheet | None) -> None:
    if len(title) > MAX_TITLE:
        raise Refusal(f"The sheet name cannot be greater than {MAX_TITLE} characters.")
    if not title:
        raise Refusal("The sheet name cannot be empty.")
    other = change.book.by_title(title)
    if other is not None and other is not own:
        raise Refusal(f'A sheet with the name "{title}" already exists. Please enter another name.')


def _check_size(grid: dict[str, Any]) -> None:
    if (grid.get("rowCount") or 0) < 1 or (grid.get("columnCount") or 0) < 1:
        raise Refusal("A sheet must have at least one row and one column.")
    if (grid.get("frozenRowCount") or 0) < 0 or (grid.get("frozenColumnCount") or 0) < 0:
        raise Refusal("A frozen count must not be negative.")
    if grid["columnCount"] > MAX_COLUMNS:
        raise Refusal(
            f"This action would increase the number of columns in the sheet above the limit of {MAX_COLUMNS} columns."
        )
    if (grid.get("frozenRowCount") or 0) >= grid["rowCount"] > 1:
        raise Refusal("You can't freeze all visible rows on the sheet.")
    if (grid.get("frozenColumnCount") or 0) >= grid["columnCount"] > 1:
        raise Refusal("You can't freeze all visible columns on the sheet.")


def _cut(sheet: Sheet) -> None:
    rows, columns = sheet.row_count, sheet.column_count
    if sheet.grid.last_row() > rows:
        sheet.grid.cut(rows)
    all_rows = list(sheet.grid.rows(0, sheet.grid.last_row()))
    if any(len(row) > columns for row in all_rows):
        sheet.grid.put_rows(0, [trimmed(row[:columns]) for row in all_rows])


def _move(change: Change, sheet: Sheet, index: int) -> None:
    sheets = change.book.sheets
    if not 0 <= index <= len(sheets):
        raise Refusal(f"Invalid sheet index: {index}")
    old = sheets.index(sheet)
    sheets.pop(old)
    sheets.insert(index, sheet)
