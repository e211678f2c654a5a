"""The Spreadsheet resource as `spreadsheets.get` answers it, with grid data only where it is asked for."""

from __future__ import annotations

from typing import Any

from .a1 import Rect
from .book import Book, Cell, Formula, Sheet
from .formula import evaluate
from .masks import Mask
from .metadata import of_sheet
from .sheet_requests import shown_properties
from .shown import formatted
from .values import locate

DEFAULT_FORMAT = {
    "backgroundColor": {"red": 1, "green": 1, "blue": 1},
    "padding": {"top": 2, "right": 3, "bottom": 2, "left": 3},
    "verticalAlignment": "BOTTOM",
    "wrapStrategy": "OVERFLOW_CELL",
    "textFormat": {
        "foregroundColor": {},
        "fontFamily": "arial,sans,sans-serif",
        "fontSize": 10,
        "bold": False,
        "italic": False,
        "strikethrough": False,
        "underline": False,
        "foregroundColorStyle": {"rgbColor": {}},
    },
    "backgroundColorStyle": {"rgbColor": {"red": 1, "green": 1, "blue": 1}},
}


def spreadsheet(book: Book, mask: Mask, ranges: list[str], *, grid_data: bool) -> dict[str, Any]:
    """The resource, not yet cut to the mask; a mask decides about grid data alone, as Google documents."""
    below = mask.get("sheets", {}) if mask else {}
    if mask and "*" not in mask:
        grid_data = "data" in below or ("sheets" in mask and (not below or "*" in below))
    rects = [_located(book, text) for text in ranges]
    chosen = [sheet for sheet in book.sheets if not rects or any(sheet is found for found, _ in rects)]
    sheets = []
    for sheet in chosen:
        one: dict[str, Any] = {"properties": shown_properties(book, sheet)}
        if grid_data:
            parts = [rect for found, rect in rects if found is sheet] or [sheet.whole]
            one["data"] = [_grid_data(book, sheet, rect) for rect in parts]
        if on_sheet := of_sheet(book, sheet.sheet_id):
            one["developerMetadata"] = on_sheet
        sheets.append(one)
    resource: dict[str, Any] = {
        "spreadsheetId": book.spreadsheet_id,
        "properties": {**book.properties, "defaultFormat": DEFAULT_FORMAT},
        "sheets": sheets,
        "spreadsheetUrl": f"https://docs.google.com/spreadsheets/d/{book.spreadsheet_id}/edit",
    }
    if on_book := of_sheet(book, None):
        resource["developerMetadata"] = on_book
    return resource


def _located(book: Book, text: str) -> tuple[Sheet, Rect]:
    sheet, reference = locate(book, text)
    rect = reference.rect(sheet.row_count, sheet.column_count)
    return sheet, Rect(rect.top, min(rect.bottom, sheet.row_count), rect.left, min(rect.right, sheet.column_count))


def _grid_data(book: Book, sheet: Sheet, rect: Rect) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    styled = [part for rule in sheet.formats.rules if (part := rule.rect.overlap(rect))]
    last = max([min(rect.bottom, sheet.grid.last_row()), *(part.bottom for part in styled)], default=rect.top)
    for at, row in enumerate(sheet.read(Rect(rect.top, max(last, rect.top), rect.left, rect.right)), rect.top):
        width = max([len(row), *(p.right - rect.left for p in styled if p.top <= at < p.bottom)], default=0)
        cells = row + [None] * (width - len(row))
        values = [_cell_data(book, sheet, cell, at, rect.left + i) for i, cell in enumerate(cells)]
        rows.append({"values": values} if values else {})
    start = {name: value for name, value in (("startRow", rect.top), ("startColumn", rect.left)) if value}
    return {**start, **({"rowData": rows} if rows else {})}


def _cell_data(book: Book, sheet: Sheet, cell: Cell, row: int, column: int) -> dict[str, Any]:
    style = sheet.formats.at(row, column)
    data: dict[str, Any] = {}
    if cell is not None:
        shown = evaluate(book, sheet, cell) if isinstance(cell, Formula) else cell
        entered = {"formulaValue": cell.text} if isinstance(cell, Formula) else _extended(shown)
        data = {
            "userEnteredValue": entered,
            "effectiveValue": _extended(shown),
            "formattedValue": formatted(shown, style.get("numberFormat") or {}),
        }
    if style:
        data |= {"userEnteredFormat": style, "effectiveFormat": {**DEFAULT_FORMAT, **style}}
    return data


def _extended(value: Cell) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int | float):
        return {"numberValue": value}
    return {"stringValue": value}
