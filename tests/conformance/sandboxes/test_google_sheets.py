"""The Google Sheets sandbox, driven as strangers would: by unmodified gspread through the proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gspread
import pytest
import requests

from infra.local.sandboxes.server import SandboxServer

pytestmark = pytest.mark.usefixtures("vendors")
SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]
MakeBook = Callable[..., gspread.Spreadsheet]


def admin(server: SandboxServer, method: str, path: str, **body: Any) -> Any:
    url = f"{server.admin_url}/google_sheets/{path}"
    answer = requests.request(method, url, json=body or None, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


@pytest.fixture
def client(vendors: SandboxServer) -> gspread.Client:
    admin(vendors, "POST", "quota/reset")
    return gspread.service_account_from_dict(vendors.accounts.google.service_account_key, scopes=SCOPES)


@pytest.fixture
def make(vendors: SandboxServer, client: gspread.Client) -> Iterator[MakeBook]:
    """A new spreadsheet, shared with the service account, opened."""
    made = []
    email = vendors.accounts.google.service_account_key["client_email"]

    def build(role: str = "writer", **fields: Any) -> gspread.Spreadsheet:
        made.append(admin(vendors, "POST", "spreadsheets", share={email: role}, **fields)["id"])
        return client.open_by_key(made[-1])

    yield build
    for one in made:
        admin(vendors, "DELETE", f"spreadsheets/{one}")


def api_error(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(gspread.exceptions.APIError) as caught:
        call()
    return caught.value.response.status_code, caught.value.error["message"]


def test_demo_spreadsheet_is_shared_with_the_service_account(vendors: SandboxServer, client: gspread.Client) -> None:
    book = client.open_by_key(vendors.accounts.google.spreadsheet_id)
    assert book.title == "Volunteer dashboard"
    assert [tab.title for tab in book.worksheets()] == ["Dashboard"]
    assert book.sheet1.acell("A1").value == "Volunteer dashboard"
    assert book.sheet1.acell("B3", value_render_option="FORMULA").value == "=COUNTA(weather!A2:A)"


def test_tabs_are_added_found_renamed_and_deleted(make: MakeBook) -> None:
    book = make()
    tab = book.add_worksheet("Orders & Co", 10, 3)
    assert (tab.row_count, tab.col_count, tab.index) == (10, 3, 1)
    tab.update_title("It's here")
    assert book.worksheet("It's here").id == tab.id
    tab.update([["x"]], "A1")
    assert tab.get("A1") == [["x"]]
    book.del_worksheet(tab)
    assert [one.title for one in book.worksheets()] == ["Sheet1"]
    with pytest.raises(gspread.WorksheetNotFound):
        book.worksheet("It's here")
    assert api_error(lambda: book.del_worksheet(book.sheet1)) == (
        400,
        "Invalid requests[0].deleteSheet: You can't remove all the sheets in a document.",
    )


def test_second_tab_of_one_name_is_refused(make: MakeBook) -> None:
    book = make()
    assert api_error(lambda: book.add_worksheet("sheet1", 1, 1)) == (
        400,
        'Invalid requests[0].addSheet: A sheet with the name "sheet1" already exists. Please enter another name.',
    )


def test_raw_values_stay_as_they_are_and_null_is_skipped(make: MakeBook) -> None:
    tab = make().sheet1
    tab.update([["old", "old", "old", "old"]], "A1")
    tab.update([["=1+1", None, "", "00123"], [1, 1.5, True, "1/2"]], "A1")
    read = tab.get("A1:D2", value_render_option="UNFORMATTED_VALUE")
    assert read == [["=1+1", "old", "", "00123"], [1, 1.5, True, "1/2"]]


def test_user_entered_values_are_parsed_like_typing(make: MakeBook) -> None:
    tab = make().sheet1
    typed = ["=1+1", "00123", "2024-01-02", "1-2", "12%", "$1,234.50", "true", "'007", "10:30", "plain"]
    tab.update([typed], "A1", raw=False)
    unformatted = tab.get("A1:J1", value_render_option="UNFORMATTED_VALUE")[0]
    year_start = unformatted[3]
    assert unformatted[:3] == [2, 123, 45293]
    assert isinstance(year_start, int)
    assert unformatted[4:] == [0.12, 1234.5, True, "007", 0.4375, "plain"]
    assert tab.get("A1:J1")[0][2] == "1/2/2024"
    assert tab.get("A1:J1")[0][4:6] == ["12.00%", "$1,234.50"]
    assert tab.acell("A1", value_render_option="FORMULA").value == "=1+1"


def test_answers_have_the_recorded_shapes(make: MakeBook) -> None:
    """As in gspread's cassettes of real traffic (recorded/google_sheets)."""
    book = make()
    tab = book.sheet1
    written = tab.batch_update(
        [
            {"range": "A1:D1", "values": [["A1", "B1", "", "D1"]]},
            {"range": "A4:D4", "values": [["A4", "B4", "", "D4"]]},
        ]
    )
    one = {"spreadsheetId": book.id, "updatedRows": 1, "updatedColumns": 4, "updatedCells": 4}
    assert written == {
        "spreadsheetId": book.id,
        "totalUpdatedRows": 2,
        "totalUpdatedColumns": 4,
        "totalUpdatedCells": 8,
        "totalUpdatedSheets": 1,
        "responses": [{**one, "updatedRange": "Sheet1!A1:D1"}, {**one, "updatedRange": "Sheet1!A4:D4"}],
    }
    assert book.values_get("'Sheet1'!A1:D4") == {
        "range": "Sheet1!A1:D4",
        "majorDimension": "ROWS",
        "values": [["A1", "B1", "", "D1"], [], [], ["A4", "B4", "", "D4"]],
    }
    assert book.values_get("'Sheet1'!A1:1")["range"] == "Sheet1!A1:Z1"
    assert book.values_clear("'Sheet1'") == {"spreadsheetId": book.id, "clearedRange": "Sheet1!A1:Z1000"}
    appended = book.values_append("'Sheet1'", {"valueInputOption": "RAW"}, {"values": [["a", "b"]]})
    assert appended["updates"] == {**one, "updatedRange": "Sheet1!A1:B1", "updatedColumns": 2, "updatedCells": 2}


def test_appended_rows_follow_the_table_and_the_grid_grows(make: MakeBook) -> None:
    tab = make(tabs=[{"title": "T", "rows": 2, "columns": 2}]).sheet1
    tab.append_row(["h1", "h2"])
    tab.append_rows([[1, 2], [3, 4]])
    assert tab.get_all_records() == [{"h1": 1, "h2": 2}, {"h1": 3, "h2": 4}]
    assert tab.spreadsheet.sheet1.row_count == 3


def test_columns_trimmed_and_pages_read(make: MakeBook) -> None:
    tab = make().sheet1
    tab.update([["a", "", "c"], ["", "", ""], ["x"]], "B2")
    assert tab.get("B2:D4", major_dimension="COLUMNS") == [["a", "", "x"], [], ["c"]]
    assert tab.batch_get(["B2:B3", "D2"]) == [[["a"]], [["c"]]]
    assert tab.get("F1:G9") == [[]]


def test_find_clear_resize_and_rows(make: MakeBook) -> None:
    tab = make().sheet1
    tab.update([["a", "b"], ["c", "d"], ["e", "f"]], "A1")
    found = tab.find("d")
    assert (found.row, found.col) == (2, 2)
    tab.delete_rows(2)
    assert tab.get_values() == [["a", "b"], ["e", "f"]]
    tab.insert_row(["new"], 2)
    assert tab.get_values() == [["a", "b"], ["new", ""], ["e", "f"]]
    tab.resize(rows=2, cols=1)
    assert tab.get_values() == [["a"], ["new"]]
    tab.clear()
    assert tab.get_values() == [[]]


def test_formats_show_dates_and_stay_when_values_are_cleared(make: MakeBook) -> None:
    tab = make().sheet1
    tab.format(
        "A1:A2", {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"}, "textFormat": {"bold": True}}
    )
    tab.clear()
    tab.update([[45293.5]], "A1")
    assert tab.acell("A1").value == "2024-01-02 12:00:00"
    resource = tab.spreadsheet.fetch_sheet_metadata(
        {"ranges": "Sheet1!A1", "fields": "sheets.data.rowData.values.userEnteredFormat"}
    )
    assert resource["sheets"][0]["data"][0]["rowData"][0]["values"][0]["userEnteredFormat"] == {
        "numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"},
        "textFormat": {"bold": True},
    }


def test_unknown_and_unshared_spreadsheets(vendors: SandboxServer, client: gspread.Client) -> None:
    with pytest.raises(gspread.SpreadsheetNotFound):
        client.open_by_key("1NoSuchSpreadsheet")
    hidden = admin(vendors, "POST", "spreadsheets", title="private")["id"]
    with pytest.raises(PermissionError) as caught:
        client.open_by_key(hidden)
    assert caught.value.__cause__.error["message"] == "The caller does not have permission"  # type: ignore[union-attr]


def test_reader_may_read_but_not_write(make: MakeBook) -> None:
    tab = make(role="reader").sheet1
    assert tab.get_values() == [[]]
    assert api_error(lambda: tab.update([["x"]], "A1"))[0] == 403


def test_limits_are_google_s(make: MakeBook, vendors: SandboxServer) -> None:
    tab = make(tabs=[{"title": "Solar", "rows": 981, "columns": 24}]).sheet1
    assert api_error(lambda: tab.update([["x"]], "Y1")) == (
        400,
        "Range (Solar!Y1) exceeds grid limits. Max rows: 981, max columns: 24",
    )
    assert api_error(lambda: tab.update([["x"] * 13], "A3:L113")) == (
        400,
        "Requested writing within range [Solar!A3:L113], but tried writing to column [M]",
    )
    assert api_error(lambda: tab.update([["x" * 50_001]], "A1")) == (
        400,
        "Your input contains more than the maximum of 50000 characters in a single cell.",
    )
    assert api_error(lambda: tab.spreadsheet.add_worksheet("big", 500_000, 20)) == (
        400,
        (
            "Invalid requests[0].addSheet: "
            "This action would increase the number of cells in the workbook above the limit of 10000000 cells."
        ),
    )
    assert api_error(lambda: tab.hide()) == (
        400,
        "Invalid requests[0].updateSheetProperties: You can't hide all the sheets in a document.",
    )


def test_unparsable_ranges_are_refused(make: MakeBook) -> None:
    book = make()
    assert api_error(lambda: book.values_get("Nowhere!A1")) == (400, "Unable to parse range: Nowhere!A1")
    assert api_error(lambda: book.values_get("Sheet1!?")) == (400, "Unable to parse range: Sheet1!?")


def test_batch_is_all_or_nothing_and_replies_are_one_to_one(make: MakeBook) -> None:
    book = make()
    good = {"addSheet": {"properties": {"title": "new", "sheetId": 7}}}
    bad = {"deleteSheet": {"sheetId": 99}}
    message = api_error(lambda: book.batch_update({"requests": [good, bad]}))
    assert message == (400, "Invalid requests[1].deleteSheet: No sheet with id: 99")
    assert [tab.title for tab in book.worksheets()] == ["Sheet1"]
    replies = book.batch_update({"requests": [good, {"deleteSheet": {"sheetId": 7}}]})["replies"]
    assert replies[0]["addSheet"]["properties"]["sheetId"] == 7
    assert replies[1] == {}
    assert api_error(lambda: book.batch_update({"requests": []})) == (400, "Must specify at least one request.")


def test_unimitated_request_names_itself(make: MakeBook) -> None:
    book = make()
    status, message = api_error(lambda: book.batch_update({"requests": [{"addChart": {"chart": {}}}]}))
    assert (status, message) == (501, "The sandbox does not imitate requests[0].addChart.")


def test_copy_paste_moves_values_or_formats(make: MakeBook) -> None:
    book = make(tabs=[{"title": "A", "values": [["x", "=1+1"], [1, "2024-01-02"]]}, {"title": "B"}])
    source = {"sheetId": 0, "startRowIndex": 0, "endRowIndex": 2, "startColumnIndex": 0, "endColumnIndex": 2}
    target = {**source, "sheetId": 1, "startRowIndex": 3, "endRowIndex": 5}
    book.worksheet("B").update([["", "keep", "", "keep"]], "A4")

    def paste(kind: str) -> list[list[Any]]:
        body = {"copyPaste": {"source": source, "destination": target, "pasteType": kind}}
        book.batch_update({"requests": [body]})
        return book.worksheet("B").get("A4:D5", value_render_option="FORMULA")

    assert paste("PASTE_VALUES") == [["x", 2, "", "keep"], [1, 45293]]
    assert book.worksheet("B").acell("B5").value == "45293"
    assert paste("PASTE_NORMAL") == [["x", "=1+1", "", "keep"], [1, 45293]]
    assert book.worksheet("B").acell("B5").value == "1/2/2024"


def test_developer_metadata_ids_are_unique_and_go_with_the_sheet(make: MakeBook) -> None:
    book = make()
    tab = book.add_worksheet("T", 1, 1)
    made = {
        "metadataId": 42,
        "metadataKey": "k",
        "metadataValue": "v",
        "visibility": "DOCUMENT",
        "location": {"sheetId": tab.id},
    }
    create = {"createDeveloperMetadata": {"developerMetadata": made}}
    book.batch_update({"requests": [create]})
    assert api_error(lambda: book.batch_update({"requests": [create]})) == (
        400,
        (
            "Invalid requests[0].createDeveloperMetadata: Cannot add developer metadata with ID [42] because developer "
            "metadata with that ID already exists."
        ),
    )
    url = f"https://sheets.googleapis.com/v4/spreadsheets/{book.id}/developerMetadata"
    found = book.client.request("get", f"{url}/42").json()
    assert found == {**made, "location": {"locationType": "SHEET", "sheetId": tab.id}}
    lookup = {"dataFilters": [{"developerMetadataLookup": {"metadataKey": "k"}}]}
    search = book.client.request("post", f"{url}:search", json=lookup).json()
    assert search["matchedDeveloperMetadata"][0]["developerMetadata"]["metadataId"] == 42
    book.del_worksheet(tab)
    assert api_error(lambda: book.client.request("get", f"{url}/42"))[0] == 404


def test_metadata_of_rows_and_columns_moves_with_them_and_goes_with_them(make: MakeBook) -> None:
    """As the discovery document describes DeveloperMetadata; a lookup meets it at that very place, or in all of the sheet."""
    book = make()

    def mark(key: str, dimension: str, index: int) -> dict[str, Any]:
        span = {"sheetId": 0, "dimension": dimension, "startIndex": index, "endIndex": index + 1}
        made = {"metadataKey": key, "visibility": "DOCUMENT", "location": {"dimensionRange": span}}
        return {"createDeveloperMetadata": {"developerMetadata": made}}

    def span(kind: str, dimension: str, start: int, end: int) -> dict[str, Any]:
        return {kind: {"range": {"sheetId": 0, "dimension": dimension, "startIndex": start, "endIndex": end}}}

    def found(**lookup: Any) -> dict[str, int]:
        body = {"dataFilters": [{"developerMetadataLookup": lookup}]}
        url = f"https://sheets.googleapis.com/v4/spreadsheets/{book.id}/developerMetadata:search"
        matches = book.client.request("post", url, json=body).json().get("matchedDeveloperMetadata", [])
        every = [one["developerMetadata"] for one in matches]
        return {one["metadataKey"]: one["location"]["dimensionRange"]["startIndex"] for one in every}

    book.batch_update({"requests": [mark("a", "ROWS", 4), mark("b", "ROWS", 9), mark("c", "COLUMNS", 2)]})
    book.batch_update({"requests": [span("insertDimension", "ROWS", 4, 6), span("insertDimension", "COLUMNS", 3, 4)]})
    whole = {"metadataLocation": {"sheetId": 0}}
    assert found(**whole) == {"a": 6, "b": 11, "c": 2}
    book.batch_update({"requests": [span("deleteDimension", "ROWS", 7, 9), span("deleteDimension", "COLUMNS", 0, 1)]})
    assert found(**whole) == {"a": 6, "b": 9, "c": 1}
    row = {"metadataLocation": {"dimensionRange": {"sheetId": 0, "dimension": "ROWS", "startIndex": 6, "endIndex": 7}}}
    assert found(**row) == {"a": 6, "c": 1}
    assert found(**row, locationMatchingStrategy="EXACT_LOCATION") == {"a": 6}
    assert found(**whole, locationMatchingStrategy="EXACT_LOCATION") == {}
    book.batch_update({"requests": [span("deleteDimension", "ROWS", 5, 8), span("deleteDimension", "COLUMNS", 1, 2)]})
    assert found(**whole) == {"b": 6}
    assert api_error(lambda: book.batch_update({"requests": [mark("d", "ROWS", 10_000)]}))[0] == 400


def test_quota_answers_google_s_429_and_refills_with_the_clock(vendors: SandboxServer, make: MakeBook) -> None:
    vendors.settings("google_sheets", write_per_minute_per_user=2)
    tab = make().sheet1
    tab.update([[1]], "A1")
    tab.update([[2]], "A1")
    with pytest.raises(gspread.exceptions.APIError) as caught:
        tab.update([[3]], "A1")
    error = caught.value.error
    assert error["code"] == 429
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert error["details"][0]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert error["details"][0]["metadata"]["quota_limit"] == "WriteRequestsPerMinutePerUser"
    vendors.clock.advance(61)
    tab.update([[3]], "A1")
    assert tab.acell("A1").value == "3"


def test_expired_token_is_refused_and_gspread_gets_a_new_one(vendors: SandboxServer, make: MakeBook) -> None:
    tab = make().sheet1
    vendors.tokens.expire_all("google")
    assert tab.get_values() == [[]]
    answer = requests.get(
        f"https://sheets.googleapis.com/v4/spreadsheets/{tab.spreadsheet.id}",
        headers={"Authorization": "Bearer no"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_slow_copies_time_out_without_effect(vendors: SandboxServer, make: MakeBook) -> None:
    book = make()
    book.sheet1.update([["x"]], "A1")
    vendors.settings("google_sheets", copy_cells_per_s=1, timeout_s=1)
    source = {"sheetId": 0, "startRowIndex": 0, "endRowIndex": 9, "startColumnIndex": 0, "endColumnIndex": 9}
    body = {"copyPaste": {"source": source, "destination": {**source, "startRowIndex": 9, "endRowIndex": 18}}}
    assert api_error(lambda: book.batch_update({"requests": [body]}))[0] == 504
    assert book.sheet1.get_values() == [["x"]]


def test_everything_outlives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendors: SandboxServer) -> None:
    for attempt in range(2):
        with SandboxServer(tmp_path) as server:
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            client = gspread.service_account_from_dict(server.accounts.google.service_account_key, scopes=SCOPES)
            book = client.open_by_key(server.accounts.google.spreadsheet_id)
            if attempt == 0:
                tab = book.add_worksheet("kept", 3000, 2)
                tab.update([[index, f"row {index}"] for index in range(2500)], "A1")
                tab.format("A1:A2500", {"numberFormat": {"type": "NUMBER", "pattern": "0.0"}})
            read = book.worksheet("kept").get("A2499:B2500")
            assert read == [["2498.0", "row 2498"], ["2499.0", "row 2499"]]
