"""Files of a table by writers that are not ours, and kept files by readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaigns.tables.values import DATE, DECIMAL, DOUBLE, INT, TEXT, TIME, ZONED, Table

ARROW = {
    INT: pa.int64(), DOUBLE: pa.float64(), "bool": pa.bool_(), TEXT: pa.string(), DATE: pa.date32(),
    TIME: pa.timestamp("us"), ZONED: pa.timestamp("us", "UTC"), DECIMAL: pa.decimal128(28, 4),
}  # fmt: skip


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
    for row in table.rows:
        cells = [
            '"' + v.replace('"', '""') + '"' if isinstance(v, str) else "" if v is None else spelled(v)
            for v in row.values()
        ]
        out.write(",".join(cells) + "\r\n")
    return out.getvalue().encode()


def _json_rows(table: Table) -> list[str]:
    def value(cell: Any) -> Any:
        return cell if cell is None or isinstance(cell, bool | int | float | str) else spelled(cell)

    return [json.dumps({name: value(cell) for name, cell in row.items()}, allow_nan=False) for row in table.rows]


def _xlsx(table: Table) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    rows: list[list[Any]] = [list(table.types), *(list(row.values()) for row in table.rows)]
    for row_number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if isinstance(value, float) and float(f"{value:.16g}") != value:
                raise ValueError("openpyxl writes 16 digits")
            cell = sheet.cell(row_number, column)
            cell.value = spelled(value) if isinstance(value, datetime) and value.tzinfo else value
            if isinstance(value, str):
                cell.data_type = "s"  # openpyxl would take "=1+1" for a formula, and so would Excel
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


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
"""Raise ValueError, or an error of the library, where the format has no form for a value."""


def read_kept(fmt: str, data: bytes, table: Table) -> list[dict[str, Any]]:
    """Return the rows of a kept file as plain values, text by text: typed by the table's types, as a reader would declare them."""
    if fmt == "parquet":
        return pq.read_table(io.BytesIO(data)).to_pylist()
    if fmt == "xlsx":
        sheet: Any = openpyxl.load_workbook(io.BytesIO(data)).active
        cells = list(sheet.iter_rows(values_only=True))
        rows = [dict(zip(map(str, cells[0]), row, strict=True)) for row in cells[1:]]
    elif fmt == "csv":
        frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, na_values=[], quoting=0)
        names = [_undefused(name) for name in frame.columns]
        rows = [dict(zip(names, map(_undefused, row), strict=True)) for row in frame.itertuples(index=False, name=None)]
    else:
        text = data.decode()
        rows = json.loads(text) if fmt == "json" else [json.loads(line) for line in text.split("\n") if line]
    return [{name: typed(row[name], kind) for name, kind in table.types.items()} for row in rows]


def _undefused(text: str) -> str:
    """The documented rule: an apostrophe before a formula, or before apostrophes and a formula, is not of the value."""
    return text[1:] if text.startswith("'") and text.lstrip("'")[:1] in {*"=+-@\t\r"} - {""} else text


def typed(value: Any, kind: str) -> Any:
    """Return a cell of a kept file as a value of its column's type; empty text is null here, as CSV and XLSX have it."""
    if value is None or value == "":
        return None
    if kind in (TIME, ZONED):
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if kind == ZONED else moment
    if kind == DATE:
        return value.date() if isinstance(value, datetime) else date.fromisoformat(value)
    if kind == DECIMAL:
        return Decimal(str(value))
    if kind == "bool":
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    return {INT: int, DOUBLE: float, TEXT: str}[kind](value)
