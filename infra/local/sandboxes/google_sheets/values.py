"""The spreadsheets.values calls on a book: get, update, append and clear by A1 ranges."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from .a1 import Rect, Reference, parse, show
from .book import Book, Cell, Row, Sheet
from .cell_requests import exceeds
from .entered import entered, raw
from .errors import invalid
from .formats import FormatRule
from .metadata import shift
from .shown import read_values, transpose


def locate(book: Book, text: str) -> tuple[Sheet, Reference]:
    """The sheet and bounds of an A1 range. Raises `VendorError` (400) if it cannot be parsed or the sheet is missing."""
    reference = parse(text, [sheet.title for sheet in book.sheets])
    sheet = book.sheets[0] if reference.title is None else book.by_title(reference.title)
    if sheet is None:
        raise invalid(f"Unable to parse range: {text}")
    return sheet, reference


def check_body_range(book: Book, text: str, body: dict[str, Any]) -> None:
    """Refuse a ValueRange for another place than the URL's; Google does so too, in words that nobody published."""
    named = body.get("range")
    if named and locate(book, named) != locate(book, text):
        raise invalid(f"Requested writing within range [{text}], but the range of the values is [{named}]")


def get(book: Book, text: str, options: dict[str, Any]) -> dict[str, Any]:
    """A ValueRange; without `values` when nothing is there."""
    render = options.get("valueRenderOption", "FORMATTED_VALUE")
    date_render = options.get("dateTimeRenderOption", "SERIAL_NUMBER")
    dimension = options.get("majorDimension", "ROWS")
    sheet, reference = locate(book, text)
    asked = reference.rect(sheet.row_count, sheet.column_count)
    if asked.top >= sheet.row_count or asked.left >= sheet.column_count:
        raise invalid(exceeds(sheet, asked))
    rect = Rect(asked.top, min(asked.bottom, sheet.row_count), asked.left, min(asked.right, sheet.column_count))
    rows = read_values(book, sheet, rect, render, date_render)
    values = rows if dimension == "ROWS" else transpose(rows, rect.columns)
    return {"range": show(sheet.title, rect), "majorDimension": dimension, **({"values": values} if values else {})}


def update(book: Book, text: str, body: dict[str, Any], options: dict[str, Any], today: date) -> dict[str, Any]:
    """Write a ValueRange at a range of an already cloned book; returns an UpdateValuesResponse without spreadsheetId."""
    convert = _converter(options.get("valueInputOption"), today)
    rows = _rows(body)
    sheet, reference = locate(book, text)
    asked = reference.rect(sheet.row_count, sheet.column_count)
    width = max(map(len, rows), default=0)
    rect = Rect(asked.top, asked.top + len(rows), asked.left, asked.left + width)
    if not reference.is_single and reference != Reference(reference.title):
        _within(sheet, asked, rect)
    if rect.bottom > sheet.row_count or rect.right > sheet.column_count or asked.top >= sheet.row_count:
        raise invalid(
            exceeds(sheet, Rect(rect.top, max(rect.bottom, rect.top + 1), rect.left, max(rect.right, rect.left + 1)))
        )
    return _write(book, sheet, rect, (rows, convert), options)


def append(book: Book, text: str, body: dict[str, Any], options: dict[str, Any], today: date) -> dict[str, Any]:
    """Write below the table that the range points at, growing the grid; returns an AppendValuesResponse without ids."""
    convert = _converter(options.get("valueInputOption"), today)
    rows = _rows(body)
    sheet, reference = locate(book, text)
    asked = reference.rect(sheet.row_count, sheet.column_count)
    if asked.top >= sheet.row_count or asked.left >= sheet.column_count:
        raise invalid(exceeds(sheet, asked))
    table = _table(sheet, asked)
    top, left = (table.bottom, table.left) if table else (reference.top or 0, reference.left or 0)
    rect = Rect(top, top + len(rows), left, left + max(map(len, rows), default=0))
    grid = sheet.properties["gridProperties"]
    if options.get("insertDataOption") == "INSERT_ROWS" and top < sheet.grid.last_row():
        below = list(sheet.grid.rows(top, sheet.grid.last_row()))
        sheet.grid.put_rows(top, [[] for _ in rows] + below)
        sheet.formats.shift("ROWS", top, len(rows))
        shift(book, sheet.sheet_id, "ROWS", top, len(rows))
        grid["rowCount"] += len(rows)
    grid["rowCount"], grid["columnCount"] = max(grid["rowCount"], rect.bottom), max(grid["columnCount"], rect.right)
    updates = _write(book, sheet, rect, (rows, convert), options)
    return {**({"tableRange": show(sheet.title, table)} if table else {}), "updates": updates}


def clear(book: Book, text: str) -> str:
    """Empty a range's values; returns it as Google prints it, cut to the grid."""
    sheet, reference = locate(book, text)
    asked = reference.rect(sheet.row_count, sheet.column_count)
    if asked.top >= sheet.row_count or asked.left >= sheet.column_count:
        raise invalid(exceeds(sheet, asked))
    rect = Rect(asked.top, min(asked.bottom, sheet.row_count), asked.left, min(asked.right, sheet.column_count))
    sheet.clear(rect)
    return show(sheet.title, rect)


Converter = Callable[[Any], tuple[Cell, dict[str, str] | None]]


def _converter(option: str | None, today: date) -> Converter | None:
    """None for RAW, which needs no look at the cell's format."""
    if option is None:
        raise invalid("'valueInputOption' is required but not specified")
    return None if option == "RAW" else (lambda value: entered(value, today))


def _write(
    book: Book, sheet: Sheet, rect: Rect, content: tuple[list[list[Any]], Converter | None], options: dict[str, Any]
) -> dict[str, Any]:
    rows, convert = content
    cells: list[Row] = []
    for down, row in enumerate(rows):
        if convert is None:
            cells.append([raw(value) for value in row])
            continue
        made = [convert(value) for value in row]
        cells.append([cell for cell, _ in made])
        for across, (_, shape) in enumerate(made):
            if shape is not None:
                at = Rect(rect.top + down, rect.top + down + 1, rect.left + across, rect.left + across + 1)
                sheet.formats.add(FormatRule(at, (("numberFormat",),), {"numberFormat": shape}))
    sheet.write(rect, cells, skip_none=True)
    written = sum(len(row) - row.count(None) for row in cells)
    result: dict[str, Any] = {"updatedRange": show(sheet.title, _shown(rect))}
    if written:
        result |= {"updatedRows": rect.rows, "updatedColumns": rect.columns, "updatedCells": written}
    if options.get("includeValuesInResponse"):
        keys = {
            "valueRenderOption": "responseValueRenderOption",
            "dateTimeRenderOption": "responseDateTimeRenderOption",
        }
        chosen = {key: options[name] for key, name in keys.items() if options.get(name)}
        result["updatedData"] = get(book, result["updatedRange"], chosen)
    return result


def _shown(rect: Rect) -> Rect:
    return Rect(rect.top, max(rect.bottom, rect.top + 1), rect.left, max(rect.right, rect.left + 1))


def _rows(body: dict[str, Any]) -> list[list[Any]]:
    values: list[list[Any]] = body.get("values") or []
    if body.get("majorDimension", "ROWS") == "ROWS":
        return values
    height = max(map(len, values), default=0)
    if all(len(column) == height for column in values):
        return [list(row) for row in zip(*values, strict=True)]
    return [[column[index] if index < len(column) else None for column in values] for index in range(height)]


def _within(sheet: Sheet, asked: Rect, rect: Rect) -> None:
    prefix = f"Requested writing within range [{show(sheet.title, asked)}], but tried writing to"
    if rect.right > asked.right:
        raise invalid(f"{prefix} column [{show('A', Rect(0, 1, asked.right, asked.right + 1))[2:-1]}]")
    if rect.bottom > asked.bottom:
        raise invalid(f"{prefix} row [{asked.bottom + 1}]")


def _table(sheet: Sheet, rect: Rect) -> Rect | None:
    """The rows around the range's first content, down to the next empty row, that a person would call one table."""
    last = min(rect.bottom, sheet.grid.last_row())
    top = bottom = -1
    left, right = sheet.column_count, 0
    for index, row in enumerate(sheet.read(Rect(rect.top, max(last, rect.top), rect.left, rect.right)), rect.top):
        if row:
            top = index if top < 0 else top
            bottom = index + 1
            left = min(left, rect.left + next(i for i, cell in enumerate(row) if cell is not None))
            right = max(right, rect.left + len(row))
    if top < 0:
        return None
    if bottom >= last:  # the range may name only the table's first rows
        for index, row in enumerate(sheet.grid.rows(bottom, sheet.grid.last_row()), bottom):
            if not any(cell is not None for cell in row[left:]):
                break
            bottom, right = index + 1, max(right, len(row))
    return Rect(top, bottom, left, right)
