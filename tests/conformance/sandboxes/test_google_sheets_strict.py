"""The Google Sheets sandbox refuses what Google refuses: names and types that the API does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from infra.local.sandboxes.google_sheets.batch_update import HANDLERS
from infra.local.sandboxes.google_sheets.members import ENUMS, MESSAGES
from infra.local.sandboxes.server import SandboxServer
from tests.conformance.contracts import loaders

pytestmark = pytest.mark.usefixtures("vendors")
API = "https://sheets.googleapis.com/v4/spreadsheets"
FIND = "Cannot find field."
NAME = "Invalid JSON payload received. Unknown name"


class Caller:
    """Plain requests to one new spreadsheet with the tabs Dashboard (id 0) and Other (id 5)."""

    def __init__(self, server: SandboxServer) -> None:
        made = server.accounts.google.service_account_key["client_email"]
        self.admin = f"{server.admin_url}/google_sheets/spreadsheets"
        tabs = [{"title": "Dashboard", "rows": 20, "columns": 5}, {"title": "Other", "sheetId": 5}]
        body = {"title": "strict", "tabs": tabs, "share": {made: "writer"}}
        self.id = requests.post(self.admin, json=body, timeout=30).json()["id"]
        scope = "https://www.googleapis.com/auth/spreadsheets"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {server.tokens.issue('google', made, scope, 3600)}"

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        return self.http.request(method, f"{API}/{self.id}{path}", params=query, json=body, timeout=30)

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        answer = self.call(method, path, body, **query)
        return answer.status_code, answer.json().get("error", {}).get("message", answer.text)

    def batch(self, *parts: Any, **members: Any) -> tuple[int, str]:
        return self.refused("POST", ":batchUpdate", {"requests": list(parts), **members})

    def state(self) -> Any:
        return requests.get(f"{self.admin}/{self.id}", timeout=30).json()["resource"]


@pytest.fixture
def caller(vendors: SandboxServer) -> Caller:
    vendors.settings(
        "google_sheets", **{f"{k}_per_minute_per_{w}": 10**6 for k in ("read", "write") for w in ("user", "project")}
    )
    return Caller(vendors)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            {"addSheet": {"properties": {"colour": 1}}},
            f"{NAME} \"colour\" at 'requests[0].add_sheet.properties': {FIND}",
        ),
        ({"noSuch": {}}, f"{NAME} \"noSuch\" at 'requests[0]': {FIND}"),
        ({"DeleteSheet": {}}, f"{NAME} \"DeleteSheet\" at 'requests[0]': {FIND}"),
        ({"deleteSheet": {"sheetId": 5, "oops": 1}}, f"{NAME} \"oops\" at 'requests[0].delete_sheet': {FIND}"),
        (
            {"addSheet": 5},
            "Invalid value at 'requests[0].add_sheet' (type.googleapis.com/google.apps.sheets.v4.AddSheetRequest), 5",
        ),
        (
            {"addSheet": {"properties": {"title": 5}}},
            "Invalid value at 'requests[0].add_sheet.properties.title' (TYPE_STRING), 5",
        ),
        (
            {"addSheet": {"properties": {"title": ["a"]}}},
            f"{NAME} \"title\" at 'requests[0].add_sheet.properties': Proto field is not repeating, cannot start list.",
        ),
        (
            {"addSheet": {"properties": {"title": {}}}},
            "Invalid value at 'requests[0].add_sheet.properties' (title), Starting an object on a scalar field",
        ),
        ({"deleteSheet": {"sheetId": "x"}}, "Invalid value at 'requests[0].delete_sheet.sheet_id' (TYPE_INT32), \"x\""),
        (
            {"deleteSheet": {"sheetId": 2**31}},
            "Invalid value at 'requests[0].delete_sheet.sheet_id' (TYPE_INT32), 2147483648",
        ),
        ({"deleteSheet": {"sheetId": True}}, "Invalid value at 'requests[0].delete_sheet.sheet_id' (TYPE_INT32), true"),
        (
            {"appendDimension": {"dimension": "UP", "length": 1}},
            "Invalid value at 'requests[0].append_dimension.dimension' (type.googleapis.com/google.apps.sheets.v4.Dimension), \"UP\"",
        ),
        (
            {"repeatCell": {"range": {}, "cell": {}, "fields": "noSuch"}},
            "Invalid value at 'requests[0].repeat_cell.fields' (type.googleapis.com/google.protobuf.FieldMask), \"noSuch\"",
        ),
        (
            {"deleteSheet": {"sheetId": 5}, "addSheet": {}},
            "Invalid value at 'requests[0]' (oneof), oneof field 'kind' is already set. Cannot set 'addSheet'",
        ),
        ({}, "Invalid requests[0]: No request set."),
        (
            {"updateDeveloperMetadata": {"dataFilters": [{"oops": 1}], "developerMetadata": {}, "fields": "*"}},
            f"{NAME} \"oops\" at 'requests[0].update_developer_metadata.data_filters[0]': {FIND}",
        ),
        ({"insertDimension": {}}, "Invalid requests[0].insertDimension: dimension must be ROWS or COLUMNS."),
    ],
)
def test_requests_that_google_does_not_know_are_refused_in_its_words(caller: Caller, parts: Any, text: str) -> None:
    before = caller.state()
    assert caller.batch(parts) == (400, text)
    assert caller.state() == before


@pytest.mark.parametrize(
    ("part", "member"),
    [
        ({"addChart": {"chart": {}}}, "requests[0].addChart"),
        ({"addChart": {}}, "requests[0].addChart"),
        (
            {"insertDimension": {"range": {}, "inheritFromBefore": True}},
            "requests[0].insertDimension.inheritFromBefore",
        ),
        (
            {"repeatCell": {"range": {}, "cell": {"note": "n"}, "fields": "note"}},
            "requests[0].repeatCell.cell.note",
        ),
        ({"copyPaste": {"pasteType": "PASTE_FORMULA"}}, "requests[0].copyPaste.pasteType PASTE_FORMULA"),
        ({"addSheet": {"properties": {"sheetType": "OBJECT"}}}, "requests[0].addSheet.properties.sheetType OBJECT"),
        (
            {"updateSpreadsheetProperties": {"properties": {"locale": "de_DE"}, "fields": "locale"}},
            "requests[0].updateSpreadsheetProperties.properties.locale de_DE",
        ),
    ],
)
def test_what_google_has_and_the_sandbox_lacks_is_501_by_name(caller: Caller, part: Any, member: str) -> None:
    assert caller.batch(part) == (501, f"The sandbox does not imitate {member}.")


def test_defaults_snake_case_and_numbers_in_text_are_taken_as_protobuf_takes_them(caller: Caller) -> None:
    insert = {"insert_dimension": {"range": {"sheetId": "5", "dimension": "ROWS", "start_index": 0, "endIndex": 2.0}}}
    insert["insert_dimension"]["inheritFromBefore"] = False  # type: ignore[assignment]  # a flag beside the range
    assert caller.call("POST", ":batchUpdate", {"requests": [insert], "commentsViewMode": None}).status_code == 200
    assert caller.state()["sheets"][1]["properties"]["gridProperties"]["rowCount"] == 1002
    clear_note = {"repeatCell": {"range": {"sheetId": 5}, "cell": {}, "fields": "note"}}
    assert caller.call("POST", ":batchUpdate", {"requests": [clear_note]}).status_code == 200


def test_every_violation_is_listed_with_its_place(caller: Caller) -> None:
    answer = caller.call("POST", ":batchUpdate", {"requests": [{"addSheet": {"a": 1, "properties": {"b": 2}}}], "c": 3})
    first, second, third = (
        f"{NAME} \"a\" at 'requests[0].add_sheet': {FIND}",
        f"{NAME} \"b\" at 'requests[0].add_sheet.properties': {FIND}",
        f'{NAME} "c": {FIND}',
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": 400,
        "status": "INVALID_ARGUMENT",
        "message": f"{first}\n{second}\n{third}",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [
                    {"field": "requests[0].add_sheet", "description": first},
                    {"field": "requests[0].add_sheet.properties", "description": second},
                    {"description": third},
                ],
            }
        ],
    }


def test_value_ranges_are_read_strictly(caller: Caller) -> None:
    raw = {"valueInputOption": "RAW"}
    list_value = "(type.googleapis.com/google.protobuf.ListValue)"
    put = "/values/Dashboard!A1"
    assert caller.refused("PUT", put, {"values": [["x"]], "oops": 1}, **raw) == (
        400,
        f"{NAME} \"oops\" at 'data': {FIND}",
    )
    assert caller.refused("PUT", put, {"values": [["x"], "y"]}, **raw) == (
        400,
        f"Invalid value at 'data.values[1]' {list_value}, \"y\"",
    )
    assert caller.refused("PUT", put, {"values": "x"}, **raw) == (
        400,
        f"Invalid value at 'data.values' {list_value}, \"x\"",
    )
    assert caller.refused("PUT", put, {"values": [["x", {}]]}, **raw) == (400, "Invalid values[0][1]: struct_value { }")
    batch = {"valueInputOption": "RAW", "data": [{"range": "A1", "values": [[1]], "oops": 1}]}
    assert caller.refused("POST", "/values:batchUpdate", batch) == (400, f"{NAME} \"oops\" at 'data[0]': {FIND}")
    assert caller.refused("POST", "/values:batchClear", {"ranges": [1]}) == (
        400,
        "Invalid value at 'ranges[0]' (TYPE_STRING), 1",
    )
    assert caller.refused("PUT", put, [1], **raw)[0] == 400
    assert caller.call("GET", put).json() == {"range": "Dashboard!A1", "majorDimension": "ROWS"}


def test_a_value_range_must_be_for_the_place_in_the_url(caller: Caller) -> None:
    raw = {"valueInputOption": "RAW"}
    refused = caller.refused("PUT", "/values/Dashboard!A1", {"range": "Dashboard!B2", "values": [["x"]]}, **raw)
    text = "Requested writing within range [Dashboard!A1], but the range of the values is [Dashboard!B2]"
    assert refused == (400, text)
    same = caller.call("PUT", "/values/Dashboard!A1", {"range": "'Dashboard'!A1", "values": [["x"]]}, **raw)
    assert same.json()["updatedCells"] == 1


def test_query_parameters_and_masks_that_do_not_exist_are_refused(caller: Caller) -> None:
    bind = "Cannot bind query parameter. Field 'oops' could not be found in request message."
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/values/A1", None),
        ("PUT", "/values/A1", {"values": [[1]]}),
        ("POST", ":batchUpdate", {"requests": [{"deleteSheet": {"sheetId": 5}}]}),
        ("POST", "/developerMetadata:search", {}),
    ):
        assert caller.refused(method, path, body, oops="1") == (400, f'{NAME} "oops": {bind}')
        assert caller.refused(method, path, body, fields="noSuch") == (400, "Request contains an invalid argument.")
    assert caller.refused("GET", "", fields="spreadsheetId, sheets") == (400, "Request contains an invalid argument.")
    assert caller.refused("GET", "", fields="sheets.properties.colour") == (
        400,
        "Request contains an invalid argument.",
    )
    assert caller.call("GET", "", fields="sheets(properties(sheet_id)),spreadsheetId").json() == {
        "spreadsheetId": caller.id,
        "sheets": [{"properties": {"sheetId": 0}}, {"properties": {"sheetId": 5}}],
    }
    assert caller.call("GET", "/values/A1", fields="range").json() == {"range": "Dashboard!A1"}
    kind = "type.googleapis.com/google.apps.sheets.v4.ValueRenderOption"
    assert caller.refused("GET", "/values/A1", valueRenderOption="X") == (
        400,
        f"Invalid value at 'value_render_option' ({kind}), \"X\"",
    )
    assert caller.refused("GET", "", alt="media") == (501, "The sandbox does not imitate alt media.")
    assert caller.refused("GET", "", includeGridData="perhaps") == (
        400,
        "Invalid value at 'include_grid_data' (TYPE_BOOL), \"perhaps\"",
    )


def test_a_refused_request_leaves_nested_properties_as_they_are(caller: Caller) -> None:
    def colour(red: float, *more: Any) -> tuple[int, str]:
        properties = {"sheetId": 5, "tabColor": {"red": red}}
        return caller.batch({"updateSheetProperties": {"properties": properties, "fields": "tabColor.red"}}, *more)

    assert colour(1)[0] == 200
    assert colour(0.5, {"deleteSheet": {"sheetId": 99}})[0] == 400
    assert caller.call("GET", "").json()["sheets"][1]["properties"]["tabColor"] == {"red": 1}


@pytest.mark.contract
def test_the_description_has_the_members_of_the_contract_and_no_other() -> None:
    if reason := loaders.missing():
        pytest.skip(reason)
    contract = json.loads((loaders.folder() / loaders.FILES["google_sheets"]).read_text(encoding="utf-8"))
    queries = {"CommonQuery", "NoQuery", "GetQuery", "ReadQuery", "BatchReadQuery", "UpdateQuery", "AppendQuery"}
    assert set(MESSAGES) - set(contract["schemas"]) == queries | {"LookupLocation"}
    for name, message in MESSAGES.items():
        if name in contract["schemas"]:
            listed = contract["schemas"][name].get("properties", {})
            assert {member.name for member in message.members.values()} == set(listed), name
            for member in message.members.values():
                where = listed[member.name].get("items", listed[member.name])
                if member.type in ENUMS and member.type != "Locale":
                    known = ENUMS[member.type].imitated | ENUMS[member.type].not_imitated
                    assert {value for value in where["enum"] if not value.endswith("_UNSPECIFIED")} == known, (
                        member.name
                    )
    assert {one.name for one in MESSAGES["CommonQuery"].members.values()} == set(contract["parameters"])


def test_the_requests_that_are_described_are_the_ones_that_are_handled() -> None:
    assert {one.name for one in MESSAGES["Request"].members.values() if one.is_imitated} == set(HANDLERS)
