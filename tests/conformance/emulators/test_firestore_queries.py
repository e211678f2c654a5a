"""Queries, cursors and aggregations with the real client."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import And, FieldFilter, GeoPoint, Or
from google.cloud.firestore_v1.field_path import FieldPath

CITIES: dict[str, dict[str, Any]] = {
    "bern": {"n": 1, "size": 134, "tags": ["river", "capital"], "in": {"country": "ch"}, "note": None},
    "genf": {"n": 2, "size": 203, "tags": ["river", "lake"], "in": {"country": "ch"}, "note": math.nan},
    "graz": {"n": 3, "size": 292, "tags": [], "in": {"country": "at"}, "note": 5},
    "linz": {"n": 4, "size": 207, "tags": ["river"], "in": {"country": "at"}, "note": "x"},
    "wien": {"n": 5, "size": 2006, "tags": ["river", "capital"], "in": {"country": "at"}},
    "zug": {"n": 6, "tags": "lake", "in": "ch"},
}


@pytest.fixture
def cities(db: firestore.Client) -> firestore.CollectionReference:
    """Six towns; the last one lacks a size and has other types in two fields."""
    batch = db.batch()
    for name, fields in CITIES.items():
        batch.set(db.collection("cities").document(name), fields)
    batch.commit()
    return db.collection("cities")


def ids(query: Any) -> list[str]:
    return [snapshot.id for snapshot in query.stream()]


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("n", "==", 3, ["graz"]),
        ("n", "==", 3.0, ["graz"]),
        ("size", ">", 203, ["linz", "graz", "wien"]),
        ("size", ">=", 203, ["genf", "linz", "graz", "wien"]),
        ("size", "<", 203, ["bern"]),
        ("size", "<=", 203.0, ["bern", "genf"]),
        ("size", "!=", 203, ["bern", "linz", "graz", "wien"]),
        ("size", "in", [134, 2006, 7], ["bern", "wien"]),
        ("size", "not-in", [134, 2006], ["genf", "linz", "graz"]),
        ("size", "not-in", [134, None], []),
        ("note", "in", [None, math.nan, 5], ["graz"]),
        ("note", "not-in", [math.nan, 5], ["genf", "linz"]),
        ("tags", "array_contains", "capital", ["bern", "wien"]),
        ("tags", "array_contains_any", ["lake", "capital"], ["bern", "genf", "wien"]),
        ("tags", "==", ["river"], ["linz"]),
        ("in.country", "==", "at", ["graz", "linz", "wien"]),
        ("in", "==", {"country": "ch"}, ["bern", "genf"]),
        ("note", "==", None, ["bern"]),
        ("note", "!=", None, ["genf", "graz", "linz"]),
        ("note", "==", math.nan, ["genf"]),
        ("note", "!=", math.nan, ["graz", "linz"]),
        ("note", "<", 6, ["graz"]),
        ("none", "==", 1, []),
    ],
)
def test_operator(
    cities: firestore.CollectionReference, field: str, operator: str, value: object, expected: list[str]
) -> None:
    assert ids(cities.where(filter=FieldFilter(field, operator, value))) == expected


def test_filters_on_the_document_name(cities: firestore.CollectionReference) -> None:
    name = FieldPath.document_id()
    assert ids(cities.where(filter=FieldFilter(name, "==", cities.document("graz")))) == ["graz"]
    assert ids(cities.where(filter=FieldFilter(name, "in", [cities.document("wien"), cities.document("bern")]))) == [
        "bern",
        "wien",
    ]
    assert ids(cities.where(filter=FieldFilter(name, ">", cities.document("linz")))) == ["wien", "zug"]


def test_several_filters_must_all_hold(cities: firestore.CollectionReference) -> None:
    query = cities.where(filter=FieldFilter("in.country", "==", "at")).where(filter=FieldFilter("size", ">", 207))
    assert ids(query.where(filter=FieldFilter("tags", "array_contains", "river"))) == ["wien"]


def test_or_and_and_nest(cities: firestore.CollectionReference) -> None:
    small = And([FieldFilter("in.country", "==", "at"), FieldFilter("size", "<", 250)])
    assert ids(cities.where(filter=Or([FieldFilter("n", "==", 1), small]))) == ["bern", "linz"]


def test_ranges_over_two_fields_order_by_both(cities: firestore.CollectionReference) -> None:
    query = cities.where(filter=FieldFilter("size", ">", 100)).where(filter=FieldFilter("n", "<", 5))
    assert ids(query) == ["bern", "genf", "graz", "linz"]
    assert ids(query.order_by("size", direction="DESCENDING")) == ["graz", "linz", "genf", "bern"]


def test_order_leaves_out_documents_without_the_field(cities: firestore.CollectionReference) -> None:
    assert ids(cities.order_by("size")) == ["bern", "genf", "linz", "graz", "wien"]


def test_order_by_two_fields_in_two_directions(cities: firestore.CollectionReference) -> None:
    query = cities.order_by("in.country", direction="DESCENDING").order_by("size")
    assert ids(query) == ["bern", "genf", "linz", "graz", "wien"]


def test_ties_are_ordered_by_name_in_the_direction_of_the_last_field(db: firestore.Client) -> None:
    for name in ("b", "a", "c"):
        db.document(f"ties/{name}").set({"n": 1})
    assert ids(db.collection("ties").order_by("n")) == ["a", "b", "c"]
    assert ids(db.collection("ties").order_by("n", direction="DESCENDING")) == ["c", "b", "a"]


# fmt: off
def one_of_each(db: firestore.Client) -> list[Any]:
    """Values of all types in Firestore's order."""
    return [
        None, False, True,
        math.nan, -math.inf, -1.5, 0, 2**53, 2**53 + 1, math.inf,
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
        "", "a", "a\x00", "ab", "ä", "🏠",
        b"", b"\x00", b"\x01",
        db.document("a/a"), db.document("a/a/b/a"), db.document("a/b"), db.document("a-b/a"),
        GeoPoint(-10, 0), GeoPoint(1, 2), GeoPoint(1, 3),
        [], [1], [1, 2], [2],
        {}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"b": 0},
    ]
# fmt: on


def test_values_are_ordered_by_type_first(db: firestore.Client) -> None:
    ordered = one_of_each(db)
    batch = db.batch()
    for position, value in enumerate(ordered):
        batch.set(db.document(f"values/{(position * 7) % 100:02}"), {"position": position, "v": value})
    batch.commit()
    found = [s.get("position") for s in db.collection("values").order_by("v").stream()]
    assert found == list(range(len(ordered)))
    backwards = [s.get("position") for s in db.collection("values").order_by("v", direction="DESCENDING").stream()]
    assert backwards == list(reversed(range(len(ordered))))


def test_long_texts_with_one_beginning_are_ordered_to_the_end(db: firestore.Client) -> None:
    for name in ("c", "a", "b"):
        db.document(f"long/{name}").set({"text": "x" * 400 + name})
    assert ids(db.collection("long").order_by("text").limit(2)) == ["a", "b"]
    assert ids(db.collection("long").where(filter=FieldFilter("text", "==", "x" * 400 + "b"))) == ["b"]
    assert ids(db.collection("long").where(filter=FieldFilter("text", ">", "x" * 400 + "a"))) == ["b", "c"]


def test_a_document_with_hundreds_of_fields_is_found_like_any_other(db: firestore.Client) -> None:
    db.document("wide/many").set({"n": 1, **{f"f{number}": number for number in range(400)}})
    db.document("wide/few").set({"n": 0, "f399": 7})
    assert ids(db.collection("wide").where(filter=FieldFilter("f399", "==", 399))) == ["many"]
    assert ids(db.collection("wide").order_by("n")) == ["few", "many"]
    db.document("wide/many").set({"n": -1})
    assert ids(db.collection("wide").where(filter=FieldFilter("f399", ">=", 1))) == ["few"]
    assert ids(db.collection("wide").order_by("n")) == ["many", "few"]


def test_limit_offset_and_limit_to_last(cities: firestore.CollectionReference) -> None:
    assert ids(cities.order_by("n").limit(2)) == ["bern", "genf"]
    assert ids(cities.order_by("n").offset(4)) == ["wien", "zug"]
    assert ids(cities.order_by("n").offset(1).limit(1)) == ["genf"]
    assert [s.id for s in cities.order_by("n").limit_to_last(2).get()] == ["wien", "zug"]
    assert ids(cities.limit(1)) == ["bern"]


def test_cursors_by_field_values(cities: firestore.CollectionReference) -> None:
    by_size = cities.order_by("size")
    assert ids(by_size.start_at({"size": 207})) == ["linz", "graz", "wien"]
    assert ids(by_size.start_after({"size": 207})) == ["graz", "wien"]
    assert ids(by_size.end_at({"size": 207})) == ["bern", "genf", "linz"]
    assert ids(by_size.end_before({"size": 207})) == ["bern", "genf"]
    backwards = cities.order_by("size", direction="DESCENDING")
    assert ids(backwards.start_after({"size": 207}).end_at({"size": 134})) == ["genf", "bern"]


def test_cursors_by_snapshot_page_through_ties(db: firestore.Client) -> None:
    for number in range(7):
        db.document(f"ties/{number}").set({"n": number // 4})
    query, pages = db.collection("ties").order_by("n", direction="DESCENDING").limit(3), []
    page = query.get()
    while page:
        pages.append([snapshot.id for snapshot in page])
        page = query.start_after(page[-1]).get()
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_pages_in_order_of_names(cities: firestore.CollectionReference) -> None:
    query, pages = cities.order_by("__name__").limit(4), []
    page = query.get()
    while page:
        pages.append([snapshot.id for snapshot in page])
        page = query.start_after(page[-1]).get()
    assert pages == [["bern", "genf", "graz", "linz"], ["wien", "zug"]]
    assert ids(cities.order_by("__name__").end_before({"__name__": "graz"})) == ["bern", "genf"]


def test_select_answers_only_these_fields(cities: firestore.CollectionReference) -> None:
    found = cities.where(filter=FieldFilter("n", "==", 1)).select(["size", "in.country"]).get()
    assert found[0].to_dict() == {"size": 134, "in": {"country": "ch"}}
    assert cities.where(filter=FieldFilter("n", "==", 1)).select([]).get()[0].to_dict() == {}


def test_collection_groups_reach_every_depth(db: firestore.Client) -> None:
    for path in ("jobs/a", "teams/x/jobs/b", "teams/x/rooms/y/jobs/c", "teams/x/other/d"):
        db.document(path).set({"open": path != "jobs/a"})
    paths = [s.reference.path for s in db.collection_group("jobs").stream()]
    assert paths == ["jobs/a", "teams/x/jobs/b", "teams/x/rooms/y/jobs/c"]
    assert ids(db.collection_group("jobs").where(filter=FieldFilter("open", "==", True))) == ["b", "c"]
    assert ids(db.collection_group("jobs").order_by("open", direction="DESCENDING").limit(2)) == ["c", "b"]


def test_names_are_ordered_segment_by_segment(db: firestore.Client) -> None:
    for path in ("a/x/k/1", "a-b/x/k/1", "a/x-y/k/1", "a/x/k/1-1"):
        db.document(path).set({"n": 1})
    paths = [s.reference.path for s in db.collection_group("k").stream()]
    assert paths == ["a/x/k/1", "a/x/k/1-1", "a/x-y/k/1", "a-b/x/k/1"]


def test_a_subcollection_is_not_part_of_its_parent_collection(db: firestore.Client) -> None:
    db.document("a/b").set({"n": 1})
    db.document("a/b/a/c").set({"n": 1})
    assert ids(db.collection("a")) == ["b"]


def test_count_sum_and_average(cities: firestore.CollectionReference) -> None:
    query = cities.where(filter=FieldFilter("in.country", "==", "at"))
    results = query.count(alias="towns").sum("size", alias="people").avg("n", alias="middle").get()[0]
    assert {result.alias: result.value for result in results} == {"towns": 3, "people": 2505, "middle": 4.0}


def test_aggregations_of_nothing(cities: firestore.CollectionReference) -> None:
    query = cities.where(filter=FieldFilter("n", "==", 99))
    assert query.count().get()[0][0].value == 0
    assert query.sum("size").get()[0][0].value == 0


def test_sums_skip_what_is_no_number_and_missing_fields_leave_the_document_out(
    cities: firestore.CollectionReference,
) -> None:
    results = cities.where(filter=FieldFilter("n", "!=", 2)).count(alias="n").sum("note", alias="s").get()[0]
    assert {result.alias: result.value for result in results} == {"n": 3, "s": 5}


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ([("size", "in", list(range(31)))], "supports up to 30"),
        ([("size", "not-in", list(range(11)))], "supports up to 10"),
        ([("size", "!=", 1), ("n", "!=", 1)], "Only a single"),
        ([("tags", "array_contains", 1), ("in", "array_contains", 1)], "ARRAY_CONTAINS"),
        ([("size", "not-in", [1]), ("n", "in", [1])], "cannot be used in the same query"),
    ],
)
def test_queries_that_firestore_refuses(
    cities: firestore.CollectionReference, filters: list[tuple[str, str, object]], reason: str
) -> None:
    query = cities
    for one in filters:
        query = query.where(filter=FieldFilter(*one))
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        query.get()


def test_queries_over_ten_thousand_documents_find_the_right_ones(db: firestore.Client) -> None:
    for start in range(0, 10_000, 500):
        batch = db.batch()
        for number in range(start, start + 500):
            fields = {"status": "open" if number % 1000 == 0 else "done", "n": number, "who": f"user {number % 97}"}
            batch.set(db.document(f"jobs/{number:05}"), fields)
        batch.commit()
    jobs = db.collection("jobs")
    assert len(ids(jobs.where(filter=FieldFilter("status", "==", "open")))) == 10
    assert ids(jobs.order_by("n", direction="DESCENDING").limit(2)) == ["09999", "09998"]
    assert ids(jobs.order_by("n").start_after({"n": 5000}).limit(1)) == ["05001"]
    assert ids(jobs.limit(1)) == ["00000"]
