"""A small part of Sheets' formula language: enough that people's formulas show live values over exported tables.

Known: literals, one cell, `+ - * /` between numbers, and SUM, COUNT, COUNTA, MIN, MAX, AVERAGE, ROWS of ranges. Anything else
shows `#NAME?`, a missing sheet `#REF!`, as Sheets does for what it does not know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.local.sandboxes._base import VendorError

from .a1 import parse
from .book import Formula

if TYPE_CHECKING:
    from .book import Book, Cell, Sheet

_CALL = re.compile(r"^([A-Z]+)\((.*)\)$", re.DOTALL | re.IGNORECASE)
_ARITHMETIC = re.compile(r"^(.+?)\s*([+\-*/])\s*([^+\-*/]+)$", re.DOTALL)
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?$")
MAX_DEPTH = 20


class FormulaError(Exception):
    """Shown in the cell, e.g. `#REF!`."""


def evaluate(book: Book, sheet: Sheet, formula: Formula, depth: int = 0) -> Cell:
    """The value a formula shows; errors are text such as `#NAME?`."""
    try:
        return _expression(book, sheet, formula.text[1:].strip(), depth)
    except FormulaError as error:
        return str(error)


def _expression(book: Book, sheet: Sheet, text: str, depth: int) -> Cell:
    if depth > MAX_DEPTH:
        raise FormulaError("#REF!")
    if _NUMBER.match(text):
        return float(text) if "." in text else int(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    if text.upper() in ("TRUE", "FALSE"):
        return text.upper() == "TRUE"
    if (call := _CALL.match(text)) and call.group(2).count("(") == call.group(2).count(")"):
        return _function(book, sheet, call.group(1).upper(), call.group(2), depth)
    if parts := _ARITHMETIC.match(text):
        return _arithmetic(book, sheet, parts, depth)
    cells = _range(book, sheet, text, depth)
    return cells[0] if cells else 0


def _arithmetic(book: Book, sheet: Sheet, parts: re.Match[str], depth: int) -> Cell:
    left, right = (_expression(book, sheet, parts.group(i).strip(), depth + 1) for i in (1, 3))
    left, right = left or 0, right or 0
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise FormulaError("#VALUE!")
    match parts.group(2):
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right == 0:
        raise FormulaError("#DIV/0!")
    return left / right


def _function(book: Book, sheet: Sheet, name: str, arguments: str, depth: int) -> Cell:
    cells: list[Cell] = []
    for argument in filter(None, (part.strip() for part in arguments.split(","))):
        is_literal = _NUMBER.match(argument) or argument.startswith('"')
        cells += [_expression(book, sheet, argument, depth + 1)] if is_literal else _range(book, sheet, argument, depth)
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)]
    match name:
        case "SUM":
            return sum(numbers)
        case "COUNT":
            return len(numbers)
        case "COUNTA":
            return sum(cell is not None for cell in cells)
        case "ROWS":
            return len(cells)
        case "MIN" | "MAX":
            return (min if name == "MIN" else max)(numbers, default=0)
        case "AVERAGE":
            if not numbers:
                raise FormulaError("#DIV/0!")
            return sum(numbers) / len(numbers)
    raise FormulaError("#NAME?")


def _range(book: Book, sheet: Sheet, text: str, depth: int) -> list[Cell]:
    try:
        reference = parse(text, ())
    except VendorError as error:
        raise FormulaError("#NAME?") from error
    target = sheet if reference.title is None else book.by_title(reference.title)
    if target is None:
        raise FormulaError("#REF!")
    rect = reference.rect(target.row_count, target.column_count)
    cells: list[Cell] = []
    for row in target.read(rect):
        for cell in row + [None] * (rect.columns - len(row)):
            cells.append(evaluate(book, target, cell, depth + 1) if isinstance(cell, Formula) else cell)
    return cells
