"""What is refused before a spreadsheet is touched, and which tabs a job removes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from shared.connectors._base import Mode
from shared.errors import TargetError
from tests.conformance.connectors.google_sheets_book import OTHERS, PEOPLE, Book, QuickClock, book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


class LaterClock(QuickClock):
    """Some days ahead."""

    def __init__(self, days: float) -> None:
        super().__init__()
        self._ahead = dt.timedelta(days=days)

    def now(self) -> dt.datetime:
        return super().now() + self._ahead


def later(book: Book, days: float) -> Book:
    """The same spreadsheet for a process that runs some days on."""
    return replace(book, clock=LaterClock(days))


def add(book: Book, *requests: dict[str, Any]) -> None:
    book.api("POST", ":batchUpdate", json={"requests": list(requests)})


def tab(sheet_id: int, title: str, rows: int = 5, columns: int = 2) -> dict[str, Any]:
    size = {"rowCount": rows, "columnCount": columns}
    return {"addSheet": {"properties": {"sheetId": sheet_id, "title": title, "hidden": True, "gridProperties": size}}}


def test_staging_of_a_dead_job_goes_after_two_days(book: Book) -> None:
    book.stage(book.plan(PEOPLE, "dead"), PEOPLE)
    later(book, 1.9).open(book.plan(OTHERS, "job-2")).begin()
    assert book.tabs() == ["Dashboard", "__staging_dead", "__staging_job-2"]
    begun = later(book, 2.1).open(book.plan(OTHERS, "job-3")).begin()
    assert begun.state["removed_staging_tabs"] == 1
    assert book.tabs() == ["Dashboard", "__staging_job-2", "__staging_job-3"]


def test_a_job_s_own_staging_stays_however_old(book: Book) -> None:
    plan, _, _ = book.stage(book.plan(PEOPLE, "slow"), PEOPLE)
    later(book, 30).open(plan).begin()
    later(book, 30).open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["Ada", 1], ["Bob"], [None, 3]]


def test_a_person_s_tab_that_looks_alike_stays(book: Book) -> None:
    """One has our name only, one a mark of somebody else's, one our mark but a person's name for it."""
    book.stage(book.plan(PEOPLE, "dead"), PEOPLE)
    staged = book.tab("__staging_dead")
    named = {"properties": {"sheetId": staged["sheetId"], "title": "Rescued"}, "fields": "title"}
    foreign = {"metadataKey": "bi_connectors.staging", "metadataValue": "mine", "visibility": "DOCUMENT"}
    mark = {"createDeveloperMetadata": {"developerMetadata": {**foreign, "location": {"sheetId": 6}}}}
    add(book, {"updateSheetProperties": named}, tab(5, "__staging_mine"), tab(6, "__staging_other"), mark)
    begun = later(book, 99).open(book.plan(OTHERS, "job-2")).begin()
    assert begun.state["removed_staging_tabs"] == 0
    assert book.tabs() == ["Dashboard", "Rescued", "__staging_mine", "__staging_other", "__staging_job-2"]


def test_removing_twice_or_losing_the_answer_is_no_harm(book: Book) -> None:
    book.stage(book.plan(PEOPLE, "dead"), PEOPLE)
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="lost_reply")
    begun = later(book, 3).open(book.plan(OTHERS, "job-2")).begin()
    assert begun.state["removed_staging_tabs"] == 1
    assert book.tabs() == ["Dashboard", "__staging_job-2"]


def test_cells_of_dead_staging_do_not_count(book: Book) -> None:
    """4 M cells of a dead job, and a table that needs 8 M while it is staged."""
    wide = pa.table({f"c{i}": pa.array([], pa.int64()) for i in range(100)})
    book.open(replace(book.plan(wide, "dead"), rows=39_999)).begin()
    plan = replace(book.plan(wide, "job-2"), rows=39_999)
    with pytest.raises(TargetError) as caught:
        book.open(plan).preflight()
    assert caught.value.code == "cell_limit"
    later(book, 3).open(plan).preflight()
    later(book, 3).open(plan).begin()
    assert book.tabs() == ["Dashboard", "__staging_job-2"]


def test_cells_that_a_person_added_meanwhile_are_counted_before_publishing(book: Book) -> None:
    plan, _, _ = book.stage(book.plan(PEOPLE), PEOPLE)
    add(book, tab(9, "Big", 99_999, 100), tab(10, "More", 20, 2))
    before = book.tabs()
    with pytest.raises(TargetError, match="has 9,999,998, and this table needs 0 for staging and 8 in 'orders'"):
        book.open(plan).publish()
    assert book.tabs() == before


def empty(names: list[str], kind: pa.DataType) -> pa.Table:
    return pa.schema([(name, kind) for name in names]).empty_table()


REFUSED = {
    "column_limit": (
        empty([f"c{i}" for i in range(18_279)], pa.int8()),
        {},
        "holds 18,278 columns, the table has 18,279",
    ),
    "no_columns": (pa.table({}), {}, "the table has no column"),
    "worksheet_title": (OTHERS, {"worksheet": "x" * 101}, "1 to 100 characters"),
    "type_not_supported": (pa.table({"x": [[1]]}), {}, "column 'x' is list"),
    "name_too_long": (
        empty(["n", "y" * 50_001], pa.int8()),
        {},
        "a name of 50,001 characters; a cell holds at most 50,000",
    ),
    "metadata_limit": (
        empty([f"d{i}" for i in range(2_400)], pa.date32()),
        {},
        "which holds 30,000; cast some to text",
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_limit_is_refused_with_its_figure_and_nothing_is_touched(book: Book, code: str) -> None:
    rows, options, text = REFUSED[code]
    with pytest.raises(TargetError, match=text) as caught:
        book.open(book.plan(rows, options=options)).preflight()
    assert caught.value.code == code
    assert book.tabs() == ["Dashboard"]


@pytest.mark.parametrize(("present", "fits"), [(198, True), (199, False)])
def test_tabs_are_counted_with_staging_and_target(make: Callable[..., Book], present: int, fits: bool) -> None:
    book = make(*({"title": f"t{i}", "rows": 1, "columns": 1} for i in range(present)))
    if fits:
        book.deliver(OTHERS)
        assert len(book.tabs()) == 199
        return
    with pytest.raises(TargetError, match="holds 200 tabs; 'Numbers' has 199 and needs 2 more") as caught:
        book.open(book.plan(OTHERS)).preflight()
    assert caught.value.code == "tab_limit"


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND, Mode.UPSERT])
def test_value_that_a_cell_cannot_hold_is_refused_with_row_and_column(book: Book, mode: Mode) -> None:
    rows = pa.table({"k": ["a", "b"], "v": ["x", "y" * 50_001]})
    plan = book.plan(rows, mode=mode, key=("k",) * (mode is Mode.UPSERT))
    with pytest.raises(TargetError, match="row 12, column 'v': a cell holds at most 50,000 characters") as caught:
        book.open(plan).fingerprint(rows, 10)
    assert caught.value.code == "value_not_exact"


def test_marks_of_wide_tables_make_room_for_the_next(book: Book) -> None:
    """600 date columns take over 7,000 characters of the tab's 30,000 with every publish."""
    wide = pa.table({f"d{i}": pa.array([i], pa.date32()) for i in range(600)})
    for number in range(6):
        book.deliver(wide, job=f"job-{number}")
    marks = book.tab("orders")["metadata"]
    assert [mark["metadataValue"][:20] for mark in marks] == [f'{{"job":"job-{n}","n":{n + 1}' for n in (3, 4, 5)]
