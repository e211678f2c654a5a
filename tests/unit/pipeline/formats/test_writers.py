"""What the writers write comes back, and opens elsewhere without surprises."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import SourceError
from shared.pipeline.formats import Format
from shared.pipeline.formats.column_types import schema_of
from shared.pipeline.preparing import casting
from shared.pipeline.sources import rechunk
from tests.unit.pipeline.formats.rig import columns, refused, table, written

_TYPES = {
    "int64": "int64", "double": "double", "bool": "bool", "string": "string", "date": "date", "timestamp": "timestamp",
    "timestamp_tz": "timestamp_tz", "decimal": "decimal(12,3)",
}  # fmt: skip
_VALUES = {
    "int64": [9007199254740992, None, -1],
    "double": [1.0, None, -2.5e-07],
    "bool": [True, None, False],
    "string": ['é,"quoted"\nline', None, "007"],
    "date": [date(2024, 2, 29), None, date(1900, 3, 1)],
    "timestamp": [datetime(2024, 1, 2, 3, 4, 5, 678_000), None, datetime(1999, 12, 31)],
    "timestamp_tz": [datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), None, datetime(1999, 12, 31, tzinfo=UTC)],
    "decimal": [Decimal("123456789.120"), None, Decimal("-0.001")],
}
_SOURCE = pa.table(_VALUES, schema=schema_of(_TYPES))
_DECLARE = {
    Format.CSV: {"decimal": "decimal(12,3)"},
    Format.JSON: {name: _TYPES[name] for name in ("date", "timestamp", "timestamp_tz", "decimal")},
    Format.JSONL: {name: _TYPES[name] for name in ("date", "timestamp", "timestamp_tz", "decimal")},
    Format.PARQUET: None,
    Format.XLSX: {"decimal": "decimal(12,3)"},
}


@pytest.mark.parametrize("fmt", list(Format))
@pytest.mark.parametrize("batch_rows", [1, 2, 10])
def test_every_type_comes_back(fmt: Format, batch_rows: int) -> None:
    found = columns(fmt, written(fmt, _SOURCE, batch_rows), schema=_DECLARE[fmt])
    for name, kind in _TYPES.items():
        if fmt is Format.XLSX and name == "timestamp_tz":  # Excel has no zones: the same instant, said to be UTC
            assert found[name] == ("timestamp", [moment and moment.replace(tzinfo=None) for moment in _VALUES[name]])
        else:
            assert found[name] == (kind, _VALUES[name]), name


@pytest.mark.parametrize("fmt", list(Format))
def test_no_rows_give_a_file_that_reads_as_no_rows(fmt: Format) -> None:
    assert table(fmt, written(fmt, _SOURCE.slice(0, 0))).num_rows == 0


_FORMULAS = ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", "plain", "1=2"]


def test_csv_keeps_a_spreadsheet_from_running_text() -> None:
    data = written(Format.CSV, pa.table({"=h": _FORMULAS, "n": [-1] * 8})).decode()
    rows = list(csv.reader(io.StringIO(data, newline="")))
    assert rows[0] == ["'=h", "n"]
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+1", "'-x", "'@SUM(A1)", "'\tx", "'\rx", "plain", "1=2"]
    assert {row[1] for row in rows[1:]} == {"-1"}


def test_csv_tells_null_from_empty_text_and_ends_lines_as_rfc_4180() -> None:
    assert written(Format.CSV, pa.table({"a": ["", None, "x"], "b": [1, 2, None]})) == b'a,b\r\n"",1\r\n,2\r\nx,\r\n'


def test_csv_of_one_column_has_no_blank_line_for_a_null() -> None:
    assert written(Format.CSV, pa.table({"a": pa.array([1, None])})) == b'a\r\n1\r\n""\r\n'


UNSEEN = [
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\v",
    "\f",
    "\x85",
    "\xa0",
    "\xad",
    "\u2003",
    "\u2028",
    "\u3000",
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u3164",
]
HARMFUL = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "'=x",
    "''-",
    "-",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    *(f"{unseen}=1" for unseen in UNSEEN),
    " \uff1d1",
    "\ufeff \n@x",
]
HARMLESS = ["x=1", "'quoted'", "a\n=1", " x", "\xa0-less".replace("-", "x"), "1-2", "é=1", "_", "x@example.org"]


def test_xlsx_text_is_never_a_formula_or_a_link() -> None:
    texts = ["=1+1", "https://example.org", "12", "{=A1}", "mailto:x@example.org"]
    sheet = openpyxl.load_workbook(io.BytesIO(written(Format.XLSX, pa.table({"=a+1": texts})))).active
    cells = [sheet.cell(row=row, column=1) for row in range(1, 7)]
    assert [cell.value for cell in cells] == ["=a+1", *texts]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [cell.hyperlink for cell in cells] == [None] * 6
    sheet = openpyxl.load_workbook(io.BytesIO(written(Format.XLSX, pa.table({"a": texts[1:3]})))).active
    assert [(sheet[f"A{row}"].data_type, sheet[f"A{row}"].hyperlink) for row in (2, 3)] == [("s", None)] * 2


def test_xlsx_text_that_looks_like_a_formula_is_marked_as_text_and_comes_back_as_it_is() -> None:
    """Excel's own mark: a cell that somebody edits, or a sheet that is saved as CSV, does not become a formula."""
    for texts in (HARMFUL, HARMLESS):
        source = pa.table({texts[0]: texts, "n": [-5] * len(texts)})
        data = written(Format.XLSX, source)
        sheet = openpyxl.load_workbook(io.BytesIO(data)).active
        marks = [bool(sheet.cell(row=row, column=1).quotePrefix) for row in range(1, len(texts) + 2)]
        assert marks == [texts is HARMFUL] * (len(texts) + 1)
        assert not sheet["B2"].quotePrefix
        assert table(Format.XLSX, data).column(0).to_pylist() == texts


def test_xlsx_dates_are_date_cells() -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(written(Format.XLSX, _SOURCE))).active
    assert sheet["E2"].value == datetime(2024, 2, 29)
    assert sheet["E2"].is_date
    assert sheet["F2"].value == datetime(2024, 1, 2, 3, 4, 5, 678_000)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 2**53 + 1]),
        pa.array([datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 0, 1)], pa.timestamp("us")),
        pa.array([date(2024, 1, 1), date(1900, 2, 28)]),
        pa.array(["", "x" * 32_768]),
        pa.array([Decimal(1), Decimal(10**15 + 1)], pa.decimal128(38, 0)),
        pa.array([1.0, float("nan")]),
    ],
)
def test_xlsx_refuses_what_excel_would_change(column: pa.Array) -> None:
    with pytest.raises(SourceError) as caught:
        written(Format.XLSX, pa.table({"a": column}))
    assert (caught.value.row, caught.value.column) == (2, "a")


def test_xlsx_refuses_more_rows_than_a_sheet_has() -> None:
    source = pa.table({"a": pa.nulls(1_048_576, pa.int64())})
    with pytest.raises(SourceError, match="more than 1,048,575 rows"):
        written(Format.XLSX, source, batch_rows=1_048_576)


@pytest.mark.parametrize("fmt", [Format.JSON, Format.JSONL])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_it_has_no_number_for(fmt: Format, number: float) -> None:
    with pytest.raises(SourceError) as caught:
        written(fmt, pa.table({"a": [None, number]}))
    assert (caught.value.row, caught.value.column) == (2, "a")


def test_json_is_an_array_that_any_parser_reads() -> None:
    rows = json.loads(written(Format.JSON, _SOURCE, batch_rows=2))
    assert rows[0]["timestamp_tz"] == "2024-01-02T03:04:05.678000Z"
    assert rows[0]["decimal"] == "123456789.120"
    assert list(rows[1].values()) == [None] * 8
    assert json.loads(written(Format.JSON, _SOURCE.slice(0, 0))) == []


def test_parquet_keeps_the_bounds_of_numbers_and_times_and_a_dictionary_of_what_comes_again() -> None:
    source = pa.table(
        {"id": range(3_000), "group": [f"g{n % 7}" for n in range(3_000)], "text": [f"t{n}" for n in range(3_000)]}
    )
    group = pq.ParquetFile(io.BytesIO(written(Format.PARQUET, source))).metadata.row_group(0)
    assert [(group.column(0).statistics.min, group.column(0).statistics.max)] == [(0, 2_999)]
    assert ["RLE_DICTIONARY" in group.column(index).encodings for index in range(3)] == [False, True, False]


def test_rechunk_gives_exact_tables_in_order() -> None:
    batches = pa.table({"a": range(25)}).to_batches(max_chunksize=4)
    tables = list(rechunk(batches, 10))
    assert [item.num_rows for item in tables] == [10, 10, 5]
    assert pa.concat_tables(tables).column("a").to_pylist() == list(range(25))
    assert list(rechunk([], 10)) == []


def test_a_workbook_keeps_all_seventeen_digits_of_a_double() -> None:
    numbers = [1.0665702206886816e16, 0.1 + 0.2, 1 / 3, -2.2250738585072014e-308, 5e-324, 1e300]
    source = pa.table({"x": pa.array(numbers)})
    assert table(Format.XLSX, written(Format.XLSX, source)).column("x").to_pylist() == numbers


def test_text_that_looks_like_a_formula_is_made_safe_and_comes_back() -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=x", "''-", "'quoted'", "-", "", None, "plain"]
    source = pa.table({"=name": pa.array(texts), "n": pa.array(range(len(texts)))})
    data = written(Format.CSV, source)
    assert data.startswith(b"'=name,n\r\n'=1+1,0\r\n'+1,1\r\n'-1,2\r\n'@x,3\r\n")
    assert table(Format.CSV, data, formula_safe=True).to_pydict() == source.to_pydict()
    assert table(Format.CSV, data).column("'=name").to_pylist()[6] == "''=x"


def test_no_text_hides_a_formula_in_csv() -> None:
    source = pa.table({"t": [*HARMFUL, *HARMLESS], "n": [-5] * (len(HARMFUL) + len(HARMLESS))})
    data = written(Format.CSV, source)
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))[1:]
    assert [text for text, _ in rows] == [*(f"'{text}" for text in HARMFUL), *HARMLESS]
    assert {number for _, number in rows} == {"-5"}
    assert table(Format.CSV, data, formula_safe=True).to_pydict() == source.to_pydict()
    for text in ("=1", "\uff1d1", "\xa0=1", "\ufeff=1", "'=1"):
        named = pa.table({text: [1]})
        assert table(Format.CSV, written(Format.CSV, named), formula_safe=True).to_pydict() == named.to_pydict()


FAR = [pa.array([0, 2**60], pa.timestamp("us")), pa.array([0, -(2**59)], pa.timestamp("us", "UTC")),
       pa.array([0, 2**22], pa.int32()).cast(pa.date32())]  # fmt: skip


@pytest.mark.parametrize("values", FAR, ids=["time", "time_tz", "day"])
def test_a_year_that_has_no_text_is_refused_and_never_written_as_some(values: pa.Array) -> None:
    """Arrow writes `<value outTof range: 1152921504606846976>` for it, and Excel has no day after 9999."""
    source = pa.table({"x": values})
    for fmt in (Format.CSV, Format.JSON, Format.JSONL, Format.XLSX):
        with pytest.raises(SourceError, match="row 2, column 'x'") as caught:
            written(fmt, source)
        assert caught.value.code == "value_invalid"
    error = refused(Format.PARQUET, written(Format.PARQUET, source), schema={"x": "string"})
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "x")
    found = casting.cast(values, pa.string())
    assert found.values.null_count == 1
    assert found.bad is not None
    assert found.bad.to_pylist() == [False, True]
