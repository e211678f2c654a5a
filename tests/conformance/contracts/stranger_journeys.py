"""What other people's clients do in the validated run: gspread, looker_sdk and plain HTTP, as their own code would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gspread
import looker_sdk
import pytest
import requests
from gspread.utils import Dimension, InsertDataOption, ValueInputOption, ValueRenderOption
from looker_sdk import api_settings
from looker_sdk.sdk.api40 import models

from tests.conformance.contracts.recorder import Recorder

BASE = "https://api.powerbi.com/v1.0/myorg"
SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]


def sheets(recorder: Recorder) -> None:
    """gspread on the demo spreadsheet."""
    google = recorder.server.accounts.google
    client = gspread.service_account_from_dict(google.service_account_key, scopes=SCOPES)
    book = client.open_by_key(google.spreadsheet_id)
    tab = book.add_worksheet("Stranger", 20, 5)
    tab.update([["a", 1, None], ["=1+1", 2.5, True]], "A1")
    tab.update([["2024-01-31", "=A1"]], "A3", value_input_option=ValueInputOption.user_entered)
    tab.append_row(["appended", 7])
    tab.append_rows([["x"], ["y"]], insert_data_option=InsertDataOption.insert_rows, table_range="A1")
    found = tab.find("appended")
    assert found is not None
    assert found.row == 4
    tab.batch_get(["A1:B2", "C1"])
    tab.batch_update([{"range": "A5", "values": [[1, 2]]}])
    tab.get("A1:C3", value_render_option=ValueRenderOption.unformatted, major_dimension=Dimension.cols)
    tab.get_all_values()
    tab.batch_clear(["A5"])
    tab.clear()
    tab.resize(rows=30, cols=6)
    tab.format("A1:B2", {"numberFormat": {"type": "DATE", "pattern": "yyyy-mm-dd"}, "textFormat": {"bold": True}})
    tab.freeze(rows=1)
    tab.update_title("Renamed")
    tab.hide()
    tab.show()
    tab.insert_rows([["z"]], 1)
    tab.delete_rows(1)
    tab.add_rows(5)
    assert "Renamed" in [sheet.title for sheet in book.worksheets()]
    _annotate(book, tab)
    book.fetch_sheet_metadata({"includeGridData": "true", "ranges": ["Renamed!A1:B2"]})
    book.fetch_sheet_metadata({"fields": "spreadsheetId,properties(title,locale),sheets.properties"})
    book.del_worksheet(tab)
    _sheets_refused(recorder, client, book)


def _annotate(book: gspread.Spreadsheet, tab: gspread.Worksheet) -> None:
    made = {"metadataId": 77, "metadataKey": "who", "location": {"sheetId": tab.id}, "visibility": "DOCUMENT"}
    lookup = {"developerMetadataLookup": {"metadataKey": "who"}}
    values = [{"values": [{"userEnteredValue": {"stringValue": "t"}}, {"userEnteredValue": {"numberValue": 1}}]}]
    book.batch_update(
        {
            "requests": [
                {"createDeveloperMetadata": {"developerMetadata": made}},
                {"appendCells": {"sheetId": tab.id, "rows": values, "fields": "userEnteredValue"}},
                {
                    "updateDeveloperMetadata": {
                        "dataFilters": [lookup],
                        "developerMetadata": {"metadataValue": "me"},
                        "fields": "metadataValue",
                    }
                },
            ],
            "includeSpreadsheetInResponse": True,
        }
    )
    url = f"https://sheets.googleapis.com/v4/spreadsheets/{book.id}/developerMetadata"
    assert book.client.request("get", f"{url}/77").json()["metadataValue"] == "me"
    book.client.request("post", f"{url}:search", json={"dataFilters": [lookup]})
    book.batch_update({"requests": [{"deleteDeveloperMetadata": {"dataFilter": lookup}}]})


def _sheets_refused(recorder: Recorder, client: gspread.Client, book: gspread.Spreadsheet) -> None:
    tab = book.worksheet("Dashboard")
    wrong: list[Callable[[], Any]] = [
        lambda: client.open_by_key("1nowhere"),
        lambda: tab.update([["x"]], "ZZZZ99999999"),
        lambda: tab.get("no range!"),
        lambda: tab.update([[{"nested": 1}]], "A1"),
        lambda: book.batch_update({"requests": [{"addSheet": {"properties": {"title": "Dashboard"}}}]}),
        lambda: book.batch_update({"requests": [{"deleteSheet": {"sheetId": 12345}}]}),
    ]
    for call in wrong:
        with pytest.raises((gspread.exceptions.GSpreadException, PermissionError)):
            call()
    recorder.server.settings("google_sheets", write_per_minute_per_user=0)
    with pytest.raises(gspread.exceptions.APIError):
        tab.clear()


class _Settings(api_settings.ApiSettings):
    def __init__(self, account: Any) -> None:
        self._given: Any = {
            "base_url": account.base_url,
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "verify_ssl": "true",
        }
        super().__init__()

    def read_config(self) -> Any:
        return dict(self._given)


def looker(recorder: Recorder) -> None:
    """looker_sdk on the demo instance; the table `planes` is there already."""
    account = recorder.server.accounts.looker
    sdk = looker_sdk.init40(config_settings=_Settings(account))
    assert sdk.me().id
    assert sdk.versions().supported_versions
    assert [each.name for each in sdk.all_connections()] == [account.connection]
    sdk.connection(account.connection, fields="name,dialect_name")
    sdk.test_connection(account.connection, tests=models.DelimSequence(["connect"]))
    assert [each.id for each in sdk.all_datagroups()] == [account.datagroup_id]
    sdk.update_datagroup(account.datagroup_id, models.WriteDatagroup(stale_before=1))
    sdk.lookml_model(account.model)
    query = models.WriteQuery(model=account.model, view="planes", fields=["planes.id", "planes.name"], limit="10")
    for result_format in ("json", "csv", "sql"):
        sdk.run_inline_query(result_format, query, cache=False)
    stored = sdk.create_query(query)
    sdk.query(str(stored.id))
    sdk.run_query(str(stored.id), "json", limit=2)
    build = sdk.start_pdt_build(account.model, account.view, force_rebuild="true", source="stranger")
    sdk.check_pdt_build(str(build.materialization_id))
    sdk.stop_pdt_build(str(build.materialization_id))
    sdk.graph_derived_tables_for_view(account.view, models=account.model)
    wrong: list[Callable[[], Any]] = [
        lambda: sdk.datagroup("nothing"),
        lambda: sdk.update_datagroup(account.datagroup_id, models.WriteDatagroup(triggered_at=2**40)),
        lambda: sdk.run_inline_query("json", models.WriteQuery(model="x", view="y", fields=["y.z"])),
        lambda: sdk.run_inline_query("json", models.WriteQuery(model=account.model, view="planes", fields=["no.such"])),
    ]
    for call in wrong:
        with pytest.raises(looker_sdk.error.SDKError):
            call()
    sdk.auth.logout()


def power_bi(recorder: Recorder) -> None:
    """Plain HTTP with a token of one's own."""
    server = recorder.server
    entra, place = server.accounts.entra, server.accounts.power_bi
    scope = "https://analysis.windows.net/powerbi/api/.default"
    headers = {"Authorization": f"Bearer {server.tokens.issue('entra', entra.client_id, scope, 3600)}"}

    def call(method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{BASE}{path}", headers=headers, timeout=30, **options)

    group = f"/groups/{place.workspace_id}"
    assert call("GET", "/groups", params={"$top": "10", "$skip": "0", "$filter": f"id eq '{place.workspace_id}'"}).ok
    assert call("GET", f"{group}/datasets").ok
    table = {"name": "t", "columns": [{"name": "n", "dataType": "Int64"}, {"name": "d", "dataType": "Decimal"}]}
    body = {"name": "stranger", "defaultMode": "Push", "tables": [table]}
    made = call("POST", f"{group}/datasets", json=body, params={"defaultRetentionPolicy": "basicFIFO"})
    rows = f"{group}/datasets/{made.json()['id']}/tables/t/rows"
    assert call("POST", rows, json={"rows": [{"n": 1, "d": 1.5}, {"n": None}]}).ok
    assert call("GET", f"{group}/datasets/{made.json()['id']}/tables").json()["value"]
    queries = f"{group}/datasets/{made.json()['id']}/executeQueries"
    asked = {
        "queries": [{"query": "EVALUATE ROW(\"n\", COUNTROWS('t'))"}],
        "serializerSettings": {"includeNulls": True},
    }
    assert call("POST", queries, json=asked).ok
    model = f"{group}/datasets/{place.refresh_dataset_id}"
    assert call("GET", f"{model}/refreshes", params={"$top": "1"}).ok
    wrong = [
        call("GET", "/datasets"),
        requests.get(f"{BASE}{group}/datasets", timeout=30),
        call("GET", f"{group}/datasets/nowhere"),
        call("POST", rows, json={"rows": [{"no such column": 1}]}),
        call("POST", rows, data=b"{not json"),
        call("POST", queries, json={"queries": [{"query": "EVALUATE 'nothing'"}]}),
        call("POST", f"{model}/refreshes", json={"notifyOption": "Sometimes"}),
        *[call("POST", rows, json={"rows": []}) for _ in range(125)],
    ]
    assert {answer.status_code for answer in wrong if not answer.ok} == {400, 401, 403, 404, 429}
    assert call("DELETE", rows).ok
    assert call("DELETE", f"{group}/datasets/{made.json()['id']}").ok
