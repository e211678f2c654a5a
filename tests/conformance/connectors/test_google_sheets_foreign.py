"""What people have around our rows stays: random content, formulas and formats beside, below and elsewhere, for every mode."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from shared.connectors._base import DeliveryPlan, Mode
from shared.errors import TargetError
from tests.conformance.connectors.google_sheets_book import Book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

ROWS, COLUMNS, OURS = 40, 9, 3
Cells = list[list[Any]]


def table(first: int, count: int, version: int) -> pa.Table:
    """Rows with ids from `first`; every third has no text."""
    ids = range(first, first + count)
    names = [f"v{version} {number}" if number % 3 else None for number in ids]
    days = pa.array([number + version for number in ids], pa.date32())
    return pa.table({"id": pa.array(ids, pa.int64()), "name": names, "day": days})


def cells_of(rows: pa.Table) -> Cells:
    return [[row["id"], row["name"], (row["day"] - row["day"].min).days - 693_593] for row in rows.to_pylist()]


def expected(mode: Mode, old: Cells, new: Cells) -> Cells:
    """Our rows after a job, the simple way."""
    if mode is Mode.UPSERT:
        keyed = {row[0]: row for row in old} | {row[0]: row for row in new}
        return list(keyed.values())
    return old + new if mode is Mode.APPEND else new


class People:
    """Somebody who fills a spreadsheet around a table of ours, by a seed."""

    def __init__(self, book: Book, dice: random.Random, bottom: int) -> None:
        self._book, self._dice, self._bottom = book, dice, bottom

    def fill(self) -> None:
        sheet_id = self._book.tab("orders")["sheetId"]
        for _ in range(self._dice.randint(1, 6)):
            column = self._dice.randint(OURS, COLUMNS - 1)
            self._type(self._dice.randint(0, ROWS - 1), column)
        for _ in range(self._dice.randint(0, 4)):
            self._type(self._dice.randint(self._bottom, ROWS - 1), self._dice.randint(0, COLUMNS - 1))
        self._book.type("Report!A1", [["=orders!A2", "=SUM(orders!A2:A)", "=orders!B3", self._dice.random()]])
        changes = [self._format(sheet_id) for _ in range(self._dice.randint(1, 5))]
        note = {
            "metadataKey": "mine",
            "metadataValue": "42",
            "visibility": "DOCUMENT",
            "location": {"sheetId": sheet_id},
        }
        changes.append({"createDeveloperMetadata": {"developerMetadata": note}})
        self._book.api("POST", ":batchUpdate", json={"requests": changes})

    def _type(self, row: int, column: int) -> None:
        value = self._dice.choice(["text", 17, 2.5, "=A2", "=SUM(A2:A5)", "'=quoted", True])
        self._book.type(f"orders!{chr(65 + column)}{row + 1}", [[value]])

    def _format(self, sheet_id: int) -> dict[str, Any]:
        top, left = self._dice.randint(0, ROWS - 1), self._dice.randint(0, COLUMNS - 1)
        area = {
            "sheetId": sheet_id,
            "startRowIndex": top,
            "endRowIndex": self._dice.randint(top + 1, ROWS),
            "startColumnIndex": left,
            "endColumnIndex": self._dice.randint(left + 1, COLUMNS),
        }
        bold = {"textFormat": {"bold": self._dice.random() < 0.5, "fontSize": self._dice.randint(8, 20)}}
        cell = {"userEnteredFormat": bold}
        return {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.textFormat"}}


def split(tab: dict[str, Any], ours: int) -> tuple[Cells, dict[tuple[int, int], Any]]:
    """The cells of our block of `ours` rows, and every other one that is not empty by its place."""
    block, others = [], {}
    for at, row in enumerate(tab["values"]):
        if at < ours:
            block.append([*row[:OURS], *[None] * (OURS - len(row))])
        for across, cell in enumerate(row):
            if cell is not None and (at >= ours or across >= OURS):
                others[at, across] = cell
    return block, others


def rest_of(tab: dict[str, Any]) -> dict[str, Any]:
    """What of a tab no export may change."""
    text = [rule for rule in tab["formats"] if rule[1] == [["textFormat"]]]
    notes = [one for one in tab["metadata"] if one["metadataKey"] == "mine"]
    return {"id": tab["sheetId"], "title": tab["title"], "text formats": text, "notes": notes}


def deliver(book: Book, plan: DeliveryPlan, rows: pa.Table) -> None:
    """All of one job."""
    plan, wanted, found = book.stage(plan, rows)
    assert wanted.differences(found) == []
    book.open(plan).publish()


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND, Mode.UPSERT])
@pytest.mark.parametrize("seed", range(25))
def test_everything_that_is_not_ours_stays(make: Callable[..., Book], seed: int, mode: Mode) -> None:
    dice = random.Random(f"{seed} {mode}")
    book = make({"title": "Report", "rows": 5, "columns": 5}, {"title": "orders", "rows": ROWS, "columns": COLUMNS})
    before_rows = table(1, dice.randint(0, 12), 1)
    book.deliver(before_rows)
    bottom = before_rows.num_rows + 1
    People(book, dice, bottom).fill()
    first = dice.randint(1, 12) if mode is Mode.UPSERT else 100
    new = table(first, dice.randint(0, 14), 2)
    new = new.take(pa.array(dice.sample(range(new.num_rows), new.num_rows), pa.int64()))
    before, report = book.tab("orders"), book.tab("Report")
    plan = book.plan(new, "job-2", mode, key=("id",) * (mode is Mode.UPSERT))
    after_rows = expected(mode, cells_of(before_rows), cells_of(new))
    reach = len(after_rows) + 1
    is_in_the_way = any(bottom <= at < reach and across < OURS for at, across in split(before, bottom)[1])
    if is_in_the_way:
        with pytest.raises(TargetError, match="holds something that this connector did not write"):
            deliver(book, plan, new)
        book.open(plan).abandon()
        assert book.tab("orders") == before
    else:
        deliver(book, plan, new)
        after = book.tab("orders")
        block, others = split(after, reach)
        assert block == [["id", "name", "day"], *after_rows]
        assert others == split(before, bottom)[1]
        assert rest_of(after) == rest_of(before)
        assert after["properties"] == before["properties"]
        for area, paths, _ in (rule for rule in after["formats"] if rule not in before["formats"]):
            assert (area[1] <= max(reach, bottom), area[3] <= OURS, paths) == (True, True, [["numberFormat"]])
    assert book.tab("Report") == report
    assert book.tabs() == ["Report", "orders"]
