"""The Google Sheets connector when things go wrong: lost answers, late copies, lost rights, quotas, readers in between."""

from __future__ import annotations

import threading
from dataclasses import replace

import pyarrow as pa
import pytest

from infra.local.accounts import service_account_key
from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Mode, Runtime
from shared.connectors.google_sheets import Config
from shared.connectors.google_sheets.connector import GoogleSheetsConnector
from shared.errors import CredentialError, TargetError, UnsupportedError, VendorUnavailableError, VerificationError
from tests.conformance.connectors.google_sheets_book import OTHERS, PEOPLE, Book, QuickClock, book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


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
        lost.open(lost.plan(PEOPLE)).is_published()


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


def test_connection_test_finds_a_wrong_key_and_missing_rights(book: Book, vendors: SandboxServer) -> None:
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


def test_a_reader_sees_the_old_table_or_the_new_one(book: Book) -> None:
    book.server.settings("google_sheets", read_per_minute_per_user=99_999)
    old = pa.table({"a": ["old"] * 3000, "b": ["old"] * 3000})
    new = pa.table({"a": ["new"] * 2000, "b": ["new"] * 2000})
    book.deliver(old)
    seen: list[tuple[str, int]] = []
    has_read, stop = threading.Event(), threading.Event()

    def read() -> None:
        while not stop.is_set() or seen[-1][0] == "old":
            rows = book.api("GET", "/values/orders!A2:B9999")["values"]
            seen.append((",".join(sorted({cell for row in rows for cell in row})), len(rows)))
            has_read.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert has_read.wait(30)
    book.deliver(new, job="job-2")
    stop.set()
    reader.join(30)
    assert set(seen) == {("old", 3000), ("new", 2000)}


def test_a_busy_token_endpoint_is_waited_for_as_long_as_it_says(book: Book) -> None:
    book.server.fault(
        vendor="google_identity", kind="status", status=429, headers={"Retry-After": "7"}, path="/token$", times=2
    )
    slept = list(book.clock.slept)
    book.open(book.plan(PEOPLE)).preflight()
    assert book.clock.slept[len(slept) :] == [7.0, 7.0]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html_5xx"},
        {"kind": "status", "status": 200, "body": {"error": "internal_failure"}},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "90"}},
    ],
)
def test_trouble_of_the_token_endpoint_is_not_taken_for_a_refused_key(book: Book, fault: dict[str, object]) -> None:
    book.server.fault(vendor="google_identity", path="/token$", times=-1, **fault)
    with pytest.raises(VendorUnavailableError, match="without a token"):
        book.open(book.plan(PEOPLE)).preflight()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"code": 503, "message": "Unavailable.", "status": "UNAVAILABLE"}}, "503 while publishing"),
        ({"error": "what a proxy says"}, "no answer while publishing"),
    ],
)
def test_an_error_in_an_answer_of_200_is_an_error(book: Book, body: dict[str, object], told: str) -> None:
    plan, _, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="status", status=200, body=body, times=-1)
    with pytest.raises(VendorUnavailableError, match=told):
        book.open(plan).publish()
    book.server.clear_faults()
    book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["Ada", 1], ["Bob"], [None, 3]]
