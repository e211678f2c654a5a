"""XLSX, with openpyxl as the writer and as the reference reader."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from shared.pipeline.formats import Format
from shared.pipeline.formats.workbook import is_date_format
from tests.unit.pipeline.formats.rig import columns, refused, table

XLSX = Format.XLSX


def _book(rows: list[list[Any]], change: Callable[[openpyxl.Workbook], None] = lambda _: None) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2.0, None], "int64", [1, 2, None]),
        ([1, 0.5], "double", [1.0, 0.5]),
        (["007", "=x"[1:], "2024-01-02"], "string", ["007", "x", "2024-01-02"]),
        ([True, None, False], "bool", [True, None, False]),
        ([date(2024, 2, 29), datetime(2024, 1, 2)], "date", [date(2024, 2, 29), date(2024, 1, 2)]),
        (
            [datetime(2024, 1, 2, 3, 4, 5, 678_000), date(2024, 1, 2)],
            "timestamp",
            [datetime(2024, 1, 2, 3, 4, 5, 678_000), datetime(2024, 1, 2)],
        ),
        ([date(1900, 1, 1), date(1900, 3, 1)], "date", [date(1900, 1, 1), date(1900, 3, 1)]),
        ([time(12, 30, 1), time(0, 0, 0, 500_000)], "string", ["12:30:01", "00:00:00.5"]),
        ([9007199254740991, 1e300], "double", [9007199254740991.0, 1e300]),
        (["a _x000D_ b", "line\nbreak", "  spaces "], "string", ["a _x000D_ b", "line\nbreak", "  spaces "]),
    ],
)
def test_cells_keep_their_types(values: list[Any], kind: str, expected: list[Any]) -> None:
    if values[0] == "a _x000D_ b":
        expected[0] = "a \r b"  # the escape of ECMA-376 for a character that XML cannot hold
    data = _book([["n", "a"], *[[index, value] for index, value in enumerate(values)]])
    assert columns(XLSX, data)["a"] == (kind, expected)


def test_a_whole_number_beyond_64_bits_is_refused_where_the_column_is_declared_whole() -> None:
    error = refused(XLSX, _book([["n", "a"], [1, 5], [2, float(2**63)]]), schema={"a": "int64"})
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "a")


def test_both_epochs_give_the_same_dates() -> None:
    def to_1904(book: openpyxl.Workbook) -> None:
        book.epoch = CALENDAR_MAC_1904

    rows = [["a"], [date(2024, 2, 29)], [date(1950, 1, 1)]]
    assert columns(XLSX, _book(rows, to_1904)) == columns(XLSX, _book(rows))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("General", False), ("0.00", False), ("#,##0", False), ("0.00E+00", False), ("@", False), ("[h]:mm:ss", False),
        ('0 "days"', False), ("[Red]0.00", False), ("[$EUR] #,##0", False), ("yyyy-mm-dd", True), ("[$-409]d-mmm-yy", True),
        ("h:mm AM/PM", True), ('yyyy"年"m"月"', True), ("mm:ss.0", True), ("dd\\.mm\\.yyyy", True),
    ],
)  # fmt: skip
def test_number_formats_that_show_a_date(code: str, expected: bool) -> None:
    assert is_date_format(code) is expected


def test_a_mixture_is_refused_with_its_cells_and_declaring_text_reads_it() -> None:
    data = _book([["n", "a"], [1, 5], [2, None], [3, "x"], [4, date(2024, 1, 2)], [5, True]])
    error = refused(XLSX, data)
    assert (error.code, error.column) == ("types_mixed", "a")
    assert error.message == (
        "column 'a' holds a whole number in cell B2 and text in cell B4; make them one type, or declare the column string"
    )
    assert columns(XLSX, data, schema={"a": "string"})["a"][1] == ["5", None, "x", "2024-01-02", "true"]


def test_an_error_cell_is_refused_with_its_address_but_its_text_is_text() -> None:
    def break_formula(book: openpyxl.Workbook) -> None:
        book.active["B3"].value = "#REF!"
        book.active["B3"].data_type = "e"

    error = refused(XLSX, _book([["n", "a"], [1, 5], [2, 6]], break_formula))
    assert error.message.startswith("cell B3 holds the error #REF!")

    def as_text(book: openpyxl.Workbook) -> None:
        book.active["B3"].value = "#REF!"
        book.active["B3"].data_type = "s"

    assert columns(XLSX, _book([["n", "a"], [1, "x"], [2, 6]], as_text))["a"] == ("string", ["x", "#REF!"])


def test_empty_rows_and_columns_after_the_data_are_not_read_and_those_between_are_null() -> None:
    data = _book([["a", "b", None, None], [1, "x", None], [None, None], [3, ""], ["", None], [None]])
    assert columns(XLSX, data) == {"a": ("int64", [1, None, 3]), "b": ("string", ["x", None, None])}


def test_a_value_outside_the_header_is_refused_with_its_address() -> None:
    assert refused(XLSX, _book([["a"], [1], [2, None, 9]])).message.startswith("cell C3 holds a value")
    assert refused(XLSX, _book([["a", None, "c"], [1, 2, 3]])).message.startswith("column 2 of 3 has no name")


def test_a_far_stray_cell_is_refused_at_once() -> None:
    def stray(book: openpyxl.Workbook) -> None:
        book.active["A1048576"] = 1

    assert refused(XLSX, _book([["a"], [1]], stray)).code == "source_too_large"


def test_the_sheet_is_the_first_or_the_named_one() -> None:
    def second(book: openpyxl.Workbook) -> None:
        book.create_sheet("Zwei & more").append(["b"])
        book["Zwei & more"].append([2])

    data = _book([["a"], [1]], second)
    assert columns(XLSX, data) == {"a": ("int64", [1])}
    assert columns(XLSX, data, sheet="Zwei & more") == {"b": ("int64", [2])}
    assert refused(XLSX, data, sheet="Drei").message == (
        "the workbook has no sheet 'Drei'; its sheets are 'Sheet', 'Zwei & more'"
    )


def test_the_first_sheet_is_the_first_that_people_see() -> None:
    def hide(book: openpyxl.Workbook) -> None:
        book.create_sheet("second").append(["b"])
        book["second"].append([2])
        book["Sheet"].sheet_state = "hidden"
        book.create_sheet("settings", 0).sheet_state = "veryHidden"

    data = _book([["a"], [1]], hide)
    assert columns(XLSX, data) == {"b": ("int64", [2])}
    assert columns(XLSX, data, sheet="Sheet") == {"a": ("int64", [1])}


def test_times_of_day_are_no_dates_in_either_epoch() -> None:
    def to_1904(book: openpyxl.Workbook) -> None:
        book.epoch = CALENDAR_MAC_1904
        for row, shown in enumerate(["hh:mm", "h:mm AM/PM", "mm:ss.0"], 2):
            book.active.cell(row, 1).number_format = shown
        book.active.cell(2, 2).number_format = "yyyy-mm-dd hh:mm"

    data = _book([["a", "b"], [0.5, 0.25], [0.52083341, None], [0.000001157407, None]], to_1904)
    found = columns(XLSX, data)
    assert found["a"] == ("string", ["12:00:00", "12:30:00.007", "00:00:00.1"])
    assert found["b"][1][0] == datetime(1904, 1, 1, 6)


def test_a_time_keeps_its_thousandths_as_text() -> None:
    data = _book([["a"], [datetime(2024, 2, 29, 12, 30, 0, 500_000)], [date(2024, 1, 1)]])
    assert columns(XLSX, data, schema={"a": "string"})["a"] == ("string", ["2024-02-29T12:30:00.5", "2024-01-01"])


def test_a_formula_without_its_result_is_refused_with_its_address() -> None:
    error = refused(XLSX, _book([["a", "b"], [1, "=A2+1"]]))  # openpyxl calculates nothing
    assert (error.code, "cell B2 holds a formula without its result" in error.message) == ("value_invalid", True)
    parts = _parts()
    sheet = parts["xl/worksheets/sheet1.xml"].replace(b"<v>ab</v>", b"<v></v>")  # a text of no letters is a result
    assert columns(XLSX, _packed({**parts, "xl/worksheets/sheet1.xml": sheet}))["a"][1] == ["x", "y", "x", "two runs"]


def test_an_empty_sheet_is_refused_and_a_header_alone_is_a_table_without_rows() -> None:
    assert refused(XLSX, _book([])).code == "columns_invalid"
    assert table(XLSX, _book([["a", "b"]])).num_rows == 0


def _parts() -> dict[str, bytes]:
    """The parts of a workbook with shared strings, one of them in rich text, by xlsxwriter."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet()
        bold = book.add_format({"bold": True})
        for row, text in enumerate(["a", "x", "y", "x"]):
            sheet.write_string(row, 0, text)
        sheet.write_rich_string(4, 0, "two ", bold, "runs")
        sheet.write_formula(5, 0, '="a"&"b"', None, "ab")
    with zipfile.ZipFile(out) as book:
        return {name: book.read(name) for name in book.namelist()}


def _packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for name, data in parts.items():
            book.writestr(name, data)
    return out.getvalue()


def test_shared_strings_rich_text_and_results_of_formulas_are_text() -> None:
    parts = _parts()
    hint = b'</r><rPh sb="0" eb="1"><t>reading</t></rPh></si>'
    parts["xl/sharedStrings.xml"] = parts["xl/sharedStrings.xml"].replace(b"</r></si>", hint)
    assert columns(XLSX, _packed(parts))["a"] == ("string", ["x", "y", "x", "two runs", "ab"])


@pytest.mark.parametrize("name", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml", "_rels/.rels"])
def test_a_document_type_is_refused(name: str) -> None:
    parts = _parts()
    parts[name] = b'<!DOCTYPE x [<!ENTITY e "eeee">]>' + _body(parts[name])
    assert refused(XLSX, _packed(parts)).code == "source_damaged"


def _body(xml: bytes) -> bytes:
    return xml[xml.index(b"?>") + 2 :] if xml.startswith(b"<?xml") else xml


def test_header_rows_are_counted_joined_or_absent() -> None:
    rows = [["Report", None], ["amount", "amount"], ["net", "gross"], [1, 2.5], [3, 4]]
    assert columns(XLSX, _book(rows), skip_rows=1, header_rows=2) == {
        "amount net": ("int64", [1, 3]),
        "amount gross": ("double", [2.5, 4.0]),
    }
    assert columns(XLSX, _book(rows), skip_rows=3, header_rows=0) == {
        "column_1": ("int64", [1, 3]),
        "column_2": ("double", [2.5, 4.0]),
    }
    assert refused(XLSX, _book(rows), skip_rows=9).code == "columns_invalid"


def _iso(rows: list[list[Any]]) -> bytes:
    return _book(rows, lambda book: setattr(book, "iso_dates", True))


def test_days_and_times_as_iso_texts_are_those_days_and_times() -> None:
    days = [date(1900, 1, 1), date(1900, 2, 28), date(1900, 3, 1), date(9999, 12, 31)]
    times = [time(10, 30), time(0, 0), time(23, 59, 59), None]
    found = columns(Format.XLSX, _iso([["day", "time"], *map(list, zip(days, times, strict=True))]))
    assert found == {"day": ("date", days), "time": ("string", ["10:30:00", "00:00:00", "23:59:59", None])}
    noon = datetime(1900, 1, 15, 12)
    assert columns(Format.XLSX, _iso([["at"], [noon]]))["at"] == ("timestamp", [noon])


def test_a_day_before_the_first_of_a_workbook_is_refused_with_its_address() -> None:
    error = refused(Format.XLSX, _iso([["day"], [datetime(1899, 12, 31, 12)]]))
    assert error.code == "value_invalid"
    assert "cell A2 holds 1899-12-31T12:00:00" in str(error)


def test_the_built_in_format_for_elapsed_time_shows_days_as_its_spelling_does() -> None:
    def elapsed(book: openpyxl.Workbook) -> None:
        for cell in ("A2", "A3"):
            book.active[cell].number_format = "[h]:mm:ss"  # number 46

    assert columns(Format.XLSX, _book([["spent"], [0.5], [1.5]], elapsed))["spent"] == ("double", [0.5, 1.5])
