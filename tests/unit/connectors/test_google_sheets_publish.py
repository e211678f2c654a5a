"""The atomic batch, as data: what it holds for each situation of the target."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from shared.connectors.google_sheets.edges import Edge
from shared.connectors.google_sheets.layout import (
    Area,
    Owned,
    Tab,
    Token,
    Workbook,
    derived_id,
    header_digest,
    staging_title,
)
from shared.connectors.google_sheets.publish import Marks, Placement, owned_after, publish_requests

EDGES = {"top": 0, "bottom": 3, "left": 0, "right": 1}
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
    made = ["createDeveloperMetadata"] * 5  # four edges and the mark
    assert kinds(placement) == ["addSheet", "copyPaste", "repeatCell", "deleteSheet", *made]
    assert batch(placement)[0]["addSheet"]["properties"] == {
        "sheetId": 7,
        "title": "orders",
        "gridProperties": {"rowCount": 4, "columnCount": 2},
    }


def test_grid_grows_only_where_needed() -> None:
    owned = Owned(2, 2, {1: "DATE"}, 1)
    grown = batch(Placement(tab(owned), "orders", 7, owned, 0, 30, 2))[0]["appendDimension"]
    assert grown == {"sheetId": 7, "dimension": "ROWS", "length": 21}
    assert "appendDimension" not in kinds(Placement(tab(owned), "orders", 7, owned, 0, 3, 2))


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
    look, copy = batch(placement)[0]["findReplace"], batch(placement)[1]["copyPaste"]
    assert look["range"] == Area(4, 7, 0, 2).grid_range(7)
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
    assert owned_after(placement, SCHEMA) == Owned(7, 2, {1: "DATE"}, 2, header=header_digest(["name", "day"]))


def test_range_that_a_person_moved_is_written_where_it_is_now() -> None:
    owned = Owned(4, 2, {1: "DATE"}, 1, 3, 2)
    placement = Placement(tab(owned), "orders", 7, owned, 0, 1, 1)
    assert placement.area == Area(3, 5, 2, 3)
    assert placement.left_over() == [Area(5, 7, 2, 4), Area(3, 5, 3, 4)]
    longer = Placement(tab(owned), "orders", 7, owned, 0, 30, 3)
    assert longer.newly_covered() == [Area(7, 10, 2, 5), Area(3, 7, 4, 5)]
    assert longer.grid == (34, 5)


def test_edge_is_taken_from_where_it_was_seen_and_made_anew_under_its_id() -> None:
    """Where a person's edit moved it meanwhile, it is not taken, and the batch is refused for the id that is there."""
    owned = Owned(4, 2, {}, 1)
    seen = tuple(Edge(number, 7, side, 1, at) for number, (side, at) in enumerate(EDGES.items(), 11))
    requests = batch(Placement(tab(owned), "orders", 7, owned, 0, 8, 2, edges=seen))
    looked = [one["deleteDeveloperMetadata"] for one in requests if "deleteDeveloperMetadata" in one]
    assert looked[-3]["dataFilter"]["developerMetadataLookup"] == {
        "metadataId": 12,
        "metadataLocation": {"dimensionRange": {"sheetId": 7, "dimension": "ROWS", "startIndex": 3, "endIndex": 4}},
        "locationMatchingStrategy": "EXACT_LOCATION",
    }
    made = [one["createDeveloperMetadata"]["developerMetadata"] for one in requests if "createDeveloperMetadata" in one]
    assert [one["metadataId"] for one in made][-5:] == [11, 12, 13, 14, 5]
    assert made[-4]["location"] == {
        "dimensionRange": {"sheetId": 7, "dimension": "ROWS", "startIndex": 8, "endIndex": 9}
    }


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
