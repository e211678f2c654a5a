"""What people do to a tab between our jobs, and between the look and the batch of one: nothing of theirs goes, nothing old stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from shared.connectors._base import Mode
from shared.errors import TargetError
from tests.conformance.connectors.google_sheets_book import Book, QuickClock, book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

NOTE = "mine"
HEADER = ["id", "v"]


def rows(count: int, version: int, first: int = 1) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + count), pa.int64()), "v": [f"v{version}"] * count})


def cells(count: int, version: int, first: int = 1) -> list[list[Any]]:
    return [[number, f"v{version}"] for number in range(first, first + count)]


def batch(book: Book, *requests: dict[str, Any]) -> None:
    book.api("POST", ":batchUpdate", json={"requests": list(requests)})


def edit(book: Book, kind: str, dimension: str, start: int, end: int) -> None:
    """Insert or delete rows or columns of the tab, as a person does."""
    span = {"sheetId": book.tab("orders")["sheetId"], "dimension": dimension, "startIndex": start, "endIndex": end}
    batch(book, {f"{kind}Dimension": {"range": span}})


def room(book: Book, count: int = 10) -> None:
    size = {"sheetId": book.tab("orders")["sheetId"], "dimension": "ROWS", "length": count}
    batch(book, {"appendDimension": size})


def forget_edges(book: Book) -> None:
    """Make the tab what the former release left: one mark on the tab, with rows and columns from A1."""
    for mark in book.tab("orders")["metadata"]:
        old = {"job": "old", "n": 1, "rows": 6, "columns": 2, "formats": {}}
        made = {**mark, "metadataValue": str(old).replace("'", '"').replace(" ", "")}
        lookup = {"developerMetadataLookup": {"metadataId": mark["metadataId"]}}
        batch(
            book,
            {
                "updateDeveloperMetadata": {
                    "dataFilters": [lookup],
                    "developerMetadata": made,
                    "fields": "metadataValue",
                }
            },
        )
    lookup = {"developerMetadataLookup": {"metadataKey": "bi_connectors.edge"}}
    batch(book, {"deleteDeveloperMetadata": {"dataFilter": lookup}})


def refused(book: Book, table: pa.Table, mode: Mode = Mode.REPLACE) -> str:
    """Preflight refuses the job and the tab is as it was; returns the code."""
    before = book.tab("orders")
    key = ("id",) * (mode is Mode.UPSERT)
    with pytest.raises(TargetError) as caught:
        book.open(book.plan(table, "job-2", mode, key=key)).preflight()
    assert book.tab("orders") == before
    return str(caught.value.code)


def test_note_below_stays_when_a_person_deleted_some_of_our_rows(book: Book) -> None:
    book.deliver(rows(9, 1))
    room(book)
    book.type("orders!A13", [[NOTE]])
    edit(book, "delete", "ROWS", 3, 6)
    book.deliver(rows(7, 2), job="job-2")
    assert book.values("orders") == [HEADER, *cells(7, 2), [], [NOTE]]


def test_nothing_of_the_old_rows_stays_when_a_person_inserted_blank_ones(book: Book) -> None:
    book.deliver(rows(5, 1))
    edit(book, "insert", "ROWS", 3, 5)
    book.deliver(rows(5, 2), job="job-2")
    assert book.values("orders") == [HEADER, *cells(5, 2)]


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND, Mode.UPSERT])
def test_table_that_moved_right_and_down_is_followed(book: Book, mode: Mode) -> None:
    book.deliver(rows(3, 1))
    edit(book, "insert", "COLUMNS", 0, 1)
    edit(book, "insert", "ROWS", 0, 2)
    book.type("orders!A1", [["notes"], [NOTE], [NOTE], [NOTE]])
    plan, wanted, found = book.stage(
        book.plan(rows(2, 2, 3), "job-2", mode, key=("id",) * (mode is Mode.UPSERT)), rows(2, 2, 3)
    )
    assert wanted.differences(found) == []
    published = book.open(plan).publish()
    left = [["notes"], [NOTE], [NOTE], [NOTE]]
    ours = {
        Mode.REPLACE: cells(2, 2, 3),
        Mode.APPEND: [*cells(3, 1), *cells(2, 2, 3)],
        Mode.UPSERT: [*cells(2, 1), *cells(2, 2, 3)],
    }[mode]
    below = [[None, *row] for row in ours]
    below[0][0] = NOTE
    assert book.values("orders") == [*left[:2], [NOTE, *HEADER], *below]
    assert published.details["range"] == f"'orders'!B3:C{3 + len(ours)}"
    book.deliver(rows(1, 3), job="job-3")
    assert book.values("orders") == [*left[:2], [NOTE, *HEADER], [NOTE, 1, "v3"]]


def test_rows_are_appended_below_ours_wherever_that_is_now(book: Book) -> None:
    book.deliver(rows(5, 1), mode=Mode.APPEND)
    edit(book, "insert", "ROWS", 3, 5)
    book.deliver(rows(1, 2, 6), job="job-2", mode=Mode.APPEND)
    assert book.values("orders") == [HEADER, *cells(2, 1), [], [], *cells(3, 1, 3), *cells(1, 2, 6)]
    edit(book, "delete", "ROWS", 3, 5)
    edit(book, "delete", "ROWS", 1, 2)
    book.deliver(rows(1, 3, 7), job="job-3", mode=Mode.APPEND)
    assert book.values("orders") == [HEADER, *cells(4, 1, 2), *cells(1, 2, 6), *cells(1, 3, 7)]


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
def test_rows_that_a_person_typed_between_ours_are_not_taken_for_ours(book: Book, mode: Mode) -> None:
    book.deliver(rows(5, 1))
    edit(book, "insert", "ROWS", 3, 4)
    book.type("orders!A4", [[NOTE]])
    assert refused(book, rows(5, 2, 10), mode) == "range_changed"


@pytest.mark.parametrize(("start", "end"), [(5, 6), (0, 1)])
def test_range_whose_last_row_or_header_is_gone_is_refused(book: Book, start: int, end: int) -> None:
    """Where ours ends cannot be told any more: a note may have come up to our rows."""
    book.deliver(rows(5, 1))
    room(book)
    book.type("orders!A8", [[NOTE]])
    edit(book, "delete", "ROWS", start, end)
    assert refused(book, rows(5, 2)) == "range_changed"


def test_note_that_came_up_to_our_rows_is_not_taken_for_ours(book: Book) -> None:
    book.deliver(rows(5, 1))
    room(book)
    book.type("orders!A7", [[NOTE]])
    edit(book, "delete", "ROWS", 3, 4)
    assert refused(book, rows(5, 2)) == "range_changed"


@pytest.mark.parametrize(
    "change",
    [
        lambda book: edit(book, "insert", "COLUMNS", 1, 2),
        lambda book: edit(book, "delete", "COLUMNS", 1, 2),
        lambda book: book.type("orders!B1", [["=A1"]]),
        lambda book: book.type("orders!A1", [["B", "x"]]),
    ],
)
def test_header_that_is_neither_as_it_was_nor_as_it_will_be_is_refused(
    book: Book, change: Callable[[Book], None]
) -> None:
    book.deliver(rows(5, 1).append_column("w", pa.array([1] * 5)))
    change(book)
    other = pa.table({"id": [1], "v": ["x"], "z": [2]})
    assert refused(book, other) == "range_changed"


def test_what_a_person_types_over_our_values_is_replaced(book: Book) -> None:
    """The range is ours: a formula in it is a value that the next replace overwrites, as the README says."""
    book.deliver(rows(3, 1))
    book.type("orders!B3", [["=A3*2"]])
    book.deliver(rows(3, 2), job="job-2")
    assert book.values("orders") == [HEADER, *cells(3, 2)]


def test_tab_of_the_former_release_is_taken_over(book: Book) -> None:
    book.deliver(rows(5, 1))
    room(book)
    forget_edges(book)
    book.deliver(rows(2, 2), job="job-2")
    assert book.values("orders") == [HEADER, *cells(2, 2)]
    edit(book, "insert", "ROWS", 2, 3)
    book.deliver(rows(1, 3), job="job-3")
    assert book.values("orders") == [HEADER, *cells(1, 3)]


@pytest.mark.parametrize(
    "change",
    [
        lambda book: edit(book, "insert", "ROWS", 3, 5),
        lambda book: edit(book, "delete", "ROWS", 3, 5),
        lambda book: edit(book, "insert", "COLUMNS", 0, 1),
    ],
)
def test_tab_of_the_former_release_that_a_person_changed_is_refused(book: Book, change: Callable[[Book], None]) -> None:
    book.deliver(rows(5, 1))
    room(book)
    book.type("orders!A9", [[NOTE]])
    forget_edges(book)
    change(book)
    assert refused(book, rows(5, 2)) == "range_changed"


def test_person_s_tab_is_replaced_only_under_the_header_of_the_table(make: Callable[..., Book]) -> None:
    book = make({"title": "orders", "values": [["notes", "v"], [1, "x"]]})
    assert refused(book, rows(1, 1)) == "content_in_the_way"


class BusyClient:
    """Somebody edits the tab each time before a batch of ours is sent, as long as there are edits."""

    def __init__(self, delivery: Any, edits: list[Callable[[], None]]) -> None:
        self._send, self._edits = delivery._client.batch_update, edits
        delivery._client.batch_update = self

    def __call__(self, *arguments: Any) -> Any:
        if self._edits:
            self._edits.pop(0)()
        return self._send(*arguments)


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND, Mode.UPSERT])
@pytest.mark.parametrize(
    ("kind", "start", "end"), [("insert", 1, 2), ("insert", 0, 1), ("delete", 2, 3), ("delete", 4, 5)]
)
def test_edit_between_look_and_batch_refuses_the_batch_which_is_worked_out_anew(
    book: Book, mode: Mode, kind: str, start: int, end: int
) -> None:
    book.deliver(rows(5, 1))
    key = ("id",) * (mode is Mode.UPSERT)
    plan, _, _ = book.stage(book.plan(rows(3, 2, 4), "job-2", mode, key=key), rows(3, 2, 4))
    other = replace(book, clock=QuickClock())
    delivery = other.open(plan)
    BusyClient(delivery, [lambda: edit(book, kind, "ROWS", start, end)])
    if mode is Mode.UPSERT and (kind, start) == ("insert", 1):
        with pytest.raises(TargetError) as caught:  # the blank row has no key
            delivery.publish()
        assert caught.value.code == "key_empty"
        return
    delivery.publish()
    found = [row for row in book.values("orders") if row]
    old = [row for at, row in enumerate(cells(5, 1), 1) if kind == "insert" or at != start]
    keyed = {row[0]: row for row in old} | {row[0]: row for row in cells(3, 2, 4)}
    assert found[0] == HEADER
    assert (
        found[1:]
        == {
            Mode.REPLACE: cells(3, 2, 4),
            Mode.APPEND: old + cells(3, 2, 4),
            Mode.UPSERT: list(keyed.values()),
        }[mode]
    )


def test_last_row_that_goes_between_look_and_batch_refuses_the_batch(book: Book) -> None:
    book.deliver(rows(5, 1))
    room(book)
    plan, _, _ = book.stage(book.plan(rows(1, 2), "job-2"), rows(1, 2))
    delivery = replace(book, clock=QuickClock()).open(plan)
    BusyClient(delivery, [lambda: edit(book, "delete", "ROWS", 5, 6)])
    with pytest.raises(TargetError) as caught:
        delivery.publish()
    assert caught.value.code == "range_changed"
    assert book.values("orders") == [HEADER, *cells(4, 1)]


def test_upsert_into_rows_that_were_sorted_meanwhile_fails_and_says_so(book: Book) -> None:
    book.deliver(rows(3, 1))
    plan, _, _ = book.stage(book.plan(rows(1, 2), "job-2", Mode.UPSERT, key=("id",)), rows(1, 2))
    delivery = replace(book, clock=QuickClock()).open(plan)
    BusyClient(delivery, [lambda: book.type("orders!A2", [[3, "v1"], [2, "v1"], [1, "v1"]])])
    with pytest.raises(TargetError, match="rows 2 and 4 of the tab 'orders' have the same key") as caught:
        delivery.publish()
    assert caught.value.code == "key_twice"


@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.REPLACE, Mode.UPSERT])
@pytest.mark.parametrize("typed", [NOTE, 7, "=1+1"])
def test_cell_that_is_filled_while_rows_cover_it_fails_the_job_and_says_so(book: Book, mode: Mode, typed: Any) -> None:
    book.deliver(rows(2, 1))
    room(book)
    key = ("id",) * (mode is Mode.UPSERT)
    plan, _, _ = book.stage(book.plan(rows(4, 2, 2), "job-2", mode, key=key), rows(4, 2, 2))
    delivery = replace(book, clock=QuickClock()).open(plan)
    BusyClient(delivery, [lambda: book.type("orders!B5", [[typed]])])
    for asked in (delivery, book.open(plan)):  # whoever asks the target gets the same answer
        with pytest.raises(TargetError, match="and 1 cells went that somebody filled there") as caught:
            asked.publish()
        assert caught.value.code == "content_overwritten"
    book.deliver(rows(1, 3), job="job-3")
    assert book.values("orders") == [HEADER, [1, "v3"]]


@pytest.mark.parametrize("values", [[], [["id", "v"], [1, "x"], [2, "y"], *[[]] * 9, ["total"]]])
def test_rows_that_a_replace_would_take_away_are_counted(make: Callable[..., Book], values: list[list[Any]]) -> None:
    book = make({"title": "orders", "values": values})
    assert book.open(book.plan(rows(1, 1))).live_rows() == (2 if values else 0)
    assert book.open(book.plan(rows(1, 1), options={"worksheet": "none"})).live_rows() == 0
    book.deliver(rows(7, 1))
    edit(book, "delete", "ROWS", 2, 4)
    delivery = book.open(book.plan(rows(1, 2), "job-2"))
    delivery.preflight()
    calls = book.server.calls("google_sheets")["total"]
    assert delivery.live_rows() == 5
    assert book.server.calls("google_sheets")["total"] == calls
