"""Files of a table by writers that are not ours, and kept files by readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.escape import unescape
from openpyxl.utils.exceptions import IllegalCharacterError

from tests.campaigns.tables import reference
from tests.campaigns.tables.values import (
    BINARY,
    BOOL,
    CARRIED,
    CLOCK,
    DATE,
    DECIMAL,
    DOUBLE,
    DURATION,
    INT,
    LIST,
    STRUCT,
    TEXT,
    TIME,
    ZONED,
    Table,
)  # fmt: skip

UNSEEN = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Letters that show nothing and are no spaces, controls or format characters by their category."""

ARROW = {
    INT: pa.int64(), DOUBLE: pa.float64(), BOOL: pa.bool_(), TEXT: pa.string(), DATE: pa.date32(),
    TIME: pa.timestamp("us"), ZONED: pa.timestamp("us", "UTC"), DECIMAL: pa.decimal128(28, 4),
    CLOCK: pa.time64("us"), DURATION: pa.duration("us"), BINARY: pa.binary(), LIST: pa.list_(pa.int64()),
    STRUCT: pa.struct({"x": pa.float64(), "y": pa.string()}),
}  # fmt: skip


def _texts(table: Table, keep: tuple[str, ...] = ()) -> Table:
    """The table with the types as text that a format does not have; `keep` are those that it has."""
    types = {name: TEXT if kind in CARRIED and kind not in keep else kind for name, kind in table.types.items()}
    rows = []
    for row in table.rows:
        cells = dict(row)
        for name, kind in table.types.items():
            if types[name] != kind and row[name] is not None:
                cells[name] = reference.carried(row[name], kind)
                if cells[name] is reference.REFUSED:
                    raise ValueError(f"no text for {row[name]!r}")
        rows.append(cells)
    return Table(types, rows)


_KNOWN = {
    "parquet": (INT, DOUBLE, BOOL, TEXT, DATE, TIME, ZONED, DECIMAL),
    "json": (INT, DOUBLE, BOOL, TEXT, LIST, STRUCT),
    "jsonl": (INT, DOUBLE, BOOL, TEXT, LIST, STRUCT),
    "xlsx": (INT, BOOL, TEXT, DATE),
    "csv": (INT, BOOL, DATE, TEXT),
}


def declared(fmt: str, table: Table, *, all_columns: bool) -> dict[str, str]:
    """The types to declare: of all columns, or of those that a file of this format does not tell by itself.

    JSON without rows tells no columns at all, and text in CSV that is nothing but numbers tells numbers.
    """
    types = {name: TEXT if kind in CARRIED else kind for name, kind in table.types.items()}
    if all_columns or not table.rows:
        return types
    return {
        name: types[name]
        for name, kind in table.types.items()
        if kind not in _KNOWN[fmt] or (fmt == "csv" and kind == TEXT and not any(map(_is_plain, table.column(name))))
    }


def _is_plain(text: str | None) -> bool:
    """Whether no one would take it for a number, a date, a truth or a null."""
    return text is not None and any(letter in text for letter in '=@"ßüäöשم😀y')


def spelled(value: Any) -> str:
    """Return a value as a text file spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat()
        return text + "Z" if value.tzinfo else text
    return value.isoformat() if isinstance(value, date) else repr(value) if isinstance(value, float) else str(value)


def _csv(table: Table) -> bytes:
    """Null is an empty cell; empty text, and text that might be taken for anything else, is quoted."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(table.types)
    for row in _texts(table).rows:
        cells = [
            '"' + v.replace('"', '""') + '"' if isinstance(v, str) else "" if v is None else spelled(v)
            for v in row.values()
        ]
        out.write(",".join(cells) + "\r\n")
    return out.getvalue().encode()


def _json_rows(table: Table) -> list[str]:
    def value(cell: Any) -> Any:
        return cell if cell is None or isinstance(cell, bool | int | float | str | list | dict) else spelled(cell)

    rows = _texts(table, (LIST, STRUCT)).rows
    return [json.dumps({name: value(cell) for name, cell in row.items()}, allow_nan=False) for row in rows]


def _xlsx(table: Table) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    rows: list[list[Any]] = [list(table.types), *(list(row.values()) for row in _texts(table).rows)]
    for row_number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            _check_xlsx(value)
            cell = sheet.cell(row_number, column)
            cell.value = spelled(value) if isinstance(value, datetime) and value.tzinfo else value
            if isinstance(value, str):
                cell.data_type = "s"  # openpyxl would take "=1+1" for a formula, and so would Excel
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _check_xlsx(value: Any) -> None:
    """Raise ValueError where openpyxl would write another value, or Excel has no such value."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError("openpyxl leaves NaN and infinity out")
        if Decimal(f"{value:.16g}") != (Decimal(repr(value)) if isinstance(value, float) else value):
            raise ValueError("openpyxl writes 16 digits")
    if isinstance(value, str) and len(value) > 32_767:
        raise ValueError("openpyxl cuts texts off")
    if isinstance(value, date) and (value.year, value.month) < (1900, 3):
        raise ValueError("Excel's days begin in 1900, and its February of that year has one too many")
    if isinstance(value, datetime) and value.tzinfo is None and value.microsecond % 1_000:
        raise ValueError("a workbook's times are read to the millisecond")


def _parquet(table: Table) -> bytes:
    columns = [pa.array(table.column(name), ARROW[kind]) for name, kind in table.types.items()]
    out = io.BytesIO()
    pq.write_table(pa.table(columns, names=list(table.types)), out, row_group_size=17)
    return out.getvalue()


WRITE: dict[str, Callable[[Table], bytes]] = {
    "csv": _csv,
    "json": lambda table: f"[{', '.join(_json_rows(table))}]".encode(),
    "jsonl": lambda table: "".join(row + "\n" for row in _json_rows(table)).encode(),
    "parquet": _parquet,
    "xlsx": _xlsx,
}
NO_FORM = (ValueError, TypeError, OverflowError, IllegalCharacterError)
"""What they raise where the format has no form for a value."""


def read_kept(fmt: str, data: bytes, table: Table) -> list[dict[str, Any]]:
    """Return the rows of a kept file as plain values, text by text: typed by the table's types, as a reader would declare them."""
    if fmt == "parquet":
        return pq.read_table(io.BytesIO(data)).to_pylist()
    if fmt == "xlsx":
        sheet: Any = openpyxl.load_workbook(io.BytesIO(data)).active
        cells = list(sheet.iter_rows(values_only=True))
        names = [unescape(str(name)) for name in cells[0]]
        rows = [
            {
                name: unescape(cell) or None if isinstance(cell, str) else cell
                for name, cell in zip(names, row, strict=True)
            }
            for row in cells[1:]
        ]
    elif fmt == "csv":
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False)
        names = [_undefused(name) for name in frame.columns]
        rows = [dict(zip(names, map(_undefused, row), strict=True)) for row in frame.rows()]
    else:
        text = data.decode()
        rows = json.loads(text) if fmt == "json" else [json.loads(line) for line in text.split("\n") if line]
    return [{name: typed(row[name], kind) for name, kind in table.types.items()} for row in rows]


def _undefused(text: str | None) -> Any:
    """The documented rule: an apostrophe before a formula, or before apostrophes and a formula, is not of the value."""
    if text is None or not text.startswith("'"):
        return text
    behind = text.lstrip("'")
    seen = next((letter for letter in behind if not _is_unseen(letter)), "")
    return text[1:] if behind[:1] in ("\t", "\r") or seen in set("=+-@\uff1d\uff0b\uff0d\uff20") else text


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in ("Zs", "Zl", "Zp", "Cc", "Cf") or letter in UNSEEN


def typed(value: Any, kind: str) -> Any:
    """Return a cell of a kept file as a value of its column's type."""
    if value is None:
        return None
    if kind in (TIME, ZONED):
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if kind == ZONED else moment
    if kind == DATE:
        return value.date() if isinstance(value, datetime) else date.fromisoformat(value)
    if kind == DECIMAL:
        return Decimal(str(value))
    if kind == BOOL:
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    return {INT: int, DOUBLE: float, TEXT: str}[kind](value)
