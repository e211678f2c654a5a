"""The atomic batch, as data: what it holds for each situation of the target."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from shared.connectors.google_sheets.layout import Area, Owned, Tab, Token, Workbook, derived_id, staging_title
from shared.connectors.google_sheets.publish import Marks, Placement, owned_after, publish_requests

SCHEMA = pa.schema([("name", pa.string()), ("day", pa.date32())])


def batch(placement: Placement) -> list[dict[str, Any]]:
    token = Token(5, "job", owned_after(placement, SCHEMA))
    return publish_requests(placement, 99, SCHEMA, Marks(token))


def kinds(placement: Placement) -> list[str]:
    return [next(iter(request)) for request in batch(placement)]


def tab(owned: Owned | None, rows: int = 10, columns: int = 5) -> Tab:
    tokens = () if owned is None else (Token(1, "before", owned),)
    return Tab(7, "orders", rows, columns, tokens)


def test_new_target_is_made_in_the_same_batch() -> None:
    placement = Placement(None, "orders", 7, None, 0, 3, 2)
    assert kinds(placement) == ["addSheet", "copyPaste", "repeatCell", "deleteSheet", "createDeveloperMetadata"]
    assert batch(placement)[0]["addSheet"]["properties"] == {
        "sheetId": 7,
        "title": "orders",
        "gridProperties": {"rowCount": 4, "columnCount": 2},
    }


def test_grid_grows_only_where_needed() -> None:
    owned = Owned(2, 2, {1: "DATE"}, 1)
    grown = batch(Placement(tab(owned), "orders", 7, owned, 0, 30, 2))[0]["updateSheetProperties"]
    assert grown == {
        "properties": {"sheetId": 7, "gridProperties": {"rowCount": 31}},
        "fields": "gridProperties.rowCount",
    }
    assert "updateSheetProperties" not in kinds(Placement(tab(owned), "orders", 7, owned, 0, 3, 2))


def test_shrinking_clears_the_old_tail_and_dropped_columns_only() -> None:
    owned = Owned(9, 4, {1: "DATE"}, 1)
    placement = Placement(tab(owned), "orders", 7, owned, 0, 3, 2)
    assert placement.left_over() == [Area(4, 9, 0, 4), Area(0, 4, 2, 4)]
    cleared = [r["repeatCell"] for r in batch(placement) if "repeatCell" in r and r["repeatCell"]["cell"] == {}]
    assert [one["fields"] for one in cleared] == ["userEnteredValue", "userEnteredValue"]


def test_growing_looks_at_what_it_would_newly_cover() -> None:
    owned = Owned(3, 1, {}, 1)
    placement = Placement(tab(owned), "orders", 7, owned, 0, 20, 2)
    assert placement.newly_covered() == [Area(3, 10, 0, 2), Area(0, 3, 1, 2)]


def test_append_copies_rows_without_the_header_below_what_is_owned() -> None:
    owned = Owned(4, 2, {1: "DATE"}, 1)
    placement = Placement(tab(owned), "orders", 7, owned, 4, 3, 2)
    copy = batch(placement)[0]["copyPaste"]
    assert copy["source"] == {
        "sheetId": 99,
        "startRowIndex": 1,
        "endRowIndex": 4,
        "startColumnIndex": 0,
        "endColumnIndex": 2,
    }
    assert copy["destination"] == {
        "sheetId": 7,
        "startRowIndex": 4,
        "endRowIndex": 7,
        "startColumnIndex": 0,
        "endColumnIndex": 2,
    }
    assert owned_after(placement, SCHEMA) == Owned(7, 2, {1: "DATE"}, 2)


def test_guard_is_in_every_batch() -> None:
    for top in (0, 4):
        owned = Owned(4, 2, {}, 1)
        requests = batch(Placement(tab(owned), "orders", 7, owned, top, 0, 2))
        assert {"deleteSheet": {"sheetId": 99}} in requests
        assert requests[-1]["createDeveloperMetadata"]["developerMetadata"]["metadataId"] == 5


def test_ids_follow_from_the_job_and_avoid_what_is_taken() -> None:
    first = derived_id("job", "staging", set())
    assert 0 < first < 2**31
    assert derived_id("job", "staging", set()) == first
    second = derived_id("job", "staging", {first})
    assert second not in (first, derived_id("job", "token", set()))


def test_long_job_ids_still_give_a_title() -> None:
    assert staging_title("a") == "__staging_a"
    assert len(staging_title("a" * 200)) == 74


def test_foreign_metadata_is_no_token() -> None:
    resource = {
        "properties": {"title": "t"},
        "sheets": [
            {
                "properties": {"title": "orders", "gridProperties": {"rowCount": 1, "columnCount": 1}},
                "developerMetadata": [
                    {"metadataId": 1, "metadataKey": "mine", "metadataValue": "x"},
                    {"metadataId": 2, "metadataKey": "bi_connectors.publish", "metadataValue": "not json"},
                    {"metadataId": 3, "metadataKey": "bi_connectors.publish"},
                ],
            }
        ],
    }
    workbook = Workbook.parse(resource)
    assert workbook.tabs[0].owned is None
    assert workbook.tabs[0].sheet_id == 0
    assert workbook.metadata_ids == {1, 2, 3}
