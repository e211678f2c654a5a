"""Requests about cells: values and formats of rectangles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .a1 import Rect, grid_rect, show
from .book import Cell, Formula, Row, Sheet
from .entered import check_length, number
from .formats import FormatRule
from .masks import Mask, paths
from .refusal import Refusal
from .sheet_requests import NEED_FIELDS

if TYPE_CHECKING:
    from .batch_update import Change


def copy_paste(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    source_sheet, source = _rect(change, body.get("source") or {})
    target_sheet, asked = _rect(change, body.get("destination") or {}, inside=False)
    kind = body.get("pasteType", "PASTE_NORMAL")
    down, across = _repeats(asked.rows, source.rows), _repeats(asked.columns, source.columns)
    whole = Rect(asked.top, asked.top + down * source.rows, asked.left, asked.left + across * source.columns)
    _inside(target_sheet, whole)
    change.check_time(whole.rows * whole.columns)
    rows = list(source_sheet.read(source))
    copied_formats = source_sheet.formats.clone()
    for i in range(down):
        for j in range(across):
            place = Rect(
                whole.top + i * source.rows, whole.top + (i + 1) * source.rows,
                whole.left + j * source.columns, whole.left + (j + 1) * source.columns,
            )  # fmt: skip
            if kind != "PASTE_FORMAT":
                target_sheet.write(place, _as_values(change, source_sheet, rows) if kind == "PASTE_VALUES" else rows)
            if kind != "PASTE_VALUES":
                copied_formats.copy_to(source, target_sheet.formats, place)
    return {}


def repeat_cell(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    sheet, rect = _rect(change, body.get("range") or {})
    cell = body.get("cell") or {}
    values, formats = _fields(body.get("fields", {}))
    if values:
        value = cell_of(cell)
        if value is None:
            sheet.clear(rect)
        else:
            change.check_time(rect.rows * rect.columns)
            row: Row = [value] * rect.columns
            sheet.write(rect, [row] * rect.rows)
    _set_format(sheet, rect, formats, cell)
    return {}


def update_cells(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    rows = [row.get("values") or [] for row in body.get("rows") or []]
    fields = _fields(body.get("fields", {}))
    if "start" in body:
        start = body["start"]
        sheet = _sheet(change, start.get("sheetId", 0))
        top, left = start.get("rowIndex", 0), start.get("columnIndex", 0)
        if top < 0 or left < 0:
            raise Refusal("start must not be negative.")
        rect = Rect(top, top + len(rows), left, left + max(map(len, rows), default=0))
        _inside(sheet, rect)
    else:
        sheet, rect = _rect(change, body.get("range") or {})
        if len(rows) > rect.rows:
            raise Refusal(
                f"Attempting to write row: {rect.bottom}, beyond the last requested row of: {rect.bottom - 1}"
            )
        if max(map(len, rows), default=0) > rect.columns:
            raise Refusal(
                f"Attempting to write column: {rect.right}, beyond the last requested column of: {rect.right - 1}"
            )
    _put(sheet, rect, rows, fields, is_range="start" not in body)
    return {}


def append_cells(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    sheet = _sheet(change, body.get("sheetId", 0))
    rows = [row.get("values") or [] for row in body.get("rows") or []]
    fields = _fields(body.get("fields", {}))
    top = sheet.grid.last_row()
    rect = Rect(top, top + len(rows), 0, max(map(len, rows), default=0))
    grid = sheet.properties["gridProperties"]
    grid["rowCount"], grid["columnCount"] = max(grid["rowCount"], rect.bottom), max(grid["columnCount"], rect.right)
    change.check_cells()
    _put(sheet, rect, rows, fields, is_range=True)
    return {}


def find_replace(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    """Replace in the texts that cells show, formulas as they were typed. Python's regular expressions stand for Java's."""
    from .shown import formatted

    if "range" not in body:
        raise Refusal("the sandbox replaces in a range only.")
    sheet, rect = _rect(change, body["range"])
    find = body.get("find", "") if body.get("searchByRegex") else re.escape(body.get("find", ""))
    try:
        pattern = re.compile(
            f"(?:{find})\\Z" if body.get("matchEntireCell") else find, 0 if body.get("matchCase") else re.I
        )
    except re.error as error:
        raise Refusal(f"Invalid regular expression: {error}") from error
    counts = {"valuesChanged": 0, "formulasChanged": 0, "rowsChanged": 0, "sheetsChanged": 0, "occurrencesChanged": 0}
    for at, row in enumerate(sheet.read(rect), rect.top):
        had = counts["occurrencesChanged"]
        for column, cell in enumerate(row, rect.left):
            if cell is None or (isinstance(cell, Formula) and not body.get("includeFormulas")):
                continue
            is_formula = isinstance(cell, Formula)
            text = cell.text if isinstance(cell, Formula) else formatted(cell, sheet.formats.number_format(at, column))
            new, found = pattern.subn(lambda _: body.get("replacement", ""), str(text))
            if found:
                check_length(new)
                sheet.write(Rect(at, at + 1, column, column + 1), [[new or None]])
                counts["formulasChanged" if is_formula else "valuesChanged"] += 1
                counts["occurrencesChanged"] += found
        counts["rowsChanged"] += counts["occurrencesChanged"] > had
    counts["sheetsChanged"] = int(counts["occurrencesChanged"] > 0)
    return {"findReplace": {name: count for name, count in counts.items() if count}}


def cell_of(cell: dict[str, Any]) -> Cell:
    """The value of a CellData's userEnteredValue; None if it has none."""
    value = cell.get("userEnteredValue") or {}
    if not value:
        return None
    ((kind, content),) = value.items()
    match kind:
        case "numberValue":
            return number(content)
        case "stringValue":
            check_length(content)
            return str(content) or None
        case "boolValue":
            return bool(content)
    return Formula(str(content))


def _put(
    sheet: Sheet,
    rect: Rect,
    rows: list[list[dict[str, Any]]],
    fields: tuple[bool, list[tuple[str, ...]]],
    *,
    is_range: bool,
) -> None:
    values, formats = fields
    if values:
        cells: list[Row] = [[cell_of(cell) for cell in row] for row in rows]
        if not is_range:
            for offset, row in enumerate(cells):
                sheet.write(Rect(rect.top + offset, rect.top + offset + 1, rect.left, rect.left + len(row)), [row])
        else:
            sheet.write(rect, cells)
    if not formats:
        return
    for down in range(rect.rows if is_range else len(rows)):
        row_cells = rows[down] if down < len(rows) else []
        for across in range(rect.columns if is_range else len(row_cells)):
            cell = row_cells[across] if across < len(row_cells) else {}
            at = Rect(rect.top + down, rect.top + down + 1, rect.left + across, rect.left + across + 1)
            _set_format(sheet, at, formats, cell)


def _fields(mask: Mask) -> tuple[bool, list[tuple[str, ...]]]:
    """Whether values are asked for, and which paths below userEnteredFormat; there is nothing else that could be cleared."""
    found = paths(mask)
    if not found:
        raise Refusal(NEED_FIELDS)
    values, formats = False, []
    for path in found:
        if path == ("*",):
            return True, [("*",)]
        if path[0] == "userEnteredValue":
            values = True
        elif path[0] == "userEnteredFormat":
            formats.append(path[1:] or ("*",))
    return values, formats


def _set_format(sheet: Sheet, rect: Rect, formats: list[tuple[str, ...]], cell: dict[str, Any]) -> None:
    if formats:
        sheet.formats.add(FormatRule(rect, tuple(formats), cell.get("userEnteredFormat") or {}))


def _as_values(change: Change, sheet: Sheet, rows: list[Row]) -> list[Row]:
    from .formula import evaluate

    if not any(isinstance(cell, Formula) for row in rows for cell in row):
        return rows
    return [[evaluate(change.book, sheet, c) if isinstance(c, Formula) else c for c in row] for row in rows]


def _repeats(asked: int, source: int) -> int:
    return asked // source if source and asked % source == 0 and asked else 1


def _sheet(change: Change, sheet_id: int) -> Sheet:
    sheet = change.book.by_id(sheet_id)
    if sheet is None:
        raise Refusal(f"No grid with id: {sheet_id}")
    return sheet


def _rect(change: Change, range_: dict[str, Any], *, inside: bool = True) -> tuple[Sheet, Rect]:
    sheet = _sheet(change, range_.get("sheetId", 0))
    rect = grid_rect(range_, sheet.row_count, sheet.column_count)
    if rect.rows < 0 or rect.columns < 0 or rect.top < 0 or rect.left < 0:
        raise Refusal("Range start must not be after its end.")
    if inside:
        _inside(sheet, rect)
    return sheet, rect


def _inside(sheet: Sheet, rect: Rect) -> None:
    if rect.bottom > sheet.row_count or rect.right > sheet.column_count:
        raise Refusal(exceeds(sheet, rect))


def exceeds(sheet: Sheet, rect: Rect) -> str:
    """Google's text for a range beyond the grid."""
    limits = f"Max rows: {sheet.row_count}, max columns: {sheet.column_count}"
    return f"Range ({show(sheet.title, rect)}) exceeds grid limits. {limits}"
