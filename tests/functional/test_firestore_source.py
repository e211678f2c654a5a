"""A Firestore collection as a source, on a fake: how fields become columns, and how a read goes on."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

from shared.data.backup import BELOW, COLLECTIONS
from shared.errors import SourceError, VendorUnavailableError
from shared.pipeline.sources import firestore
from shared.ports import GeoPoint, Reference
from tests.functional.conftest import World
from tests.functional.test_sources import API, done, export

CITIES = {"firestore": {"collection": "cities"}}
AT = dt.datetime(2024, 3, 31, 1, 30, 0, 123456, tzinfo=dt.UTC)


def put(world: World, *documents: dict[str, Any]) -> None:
    for number, fields in enumerate(documents):
        world.fakes.collections.documents[f"cities/{number}"] = fields


def test_nested_fields_become_columns_by_rule(registered: World) -> None:
    fields = {
        "name": "=1+1", "n": 2**60, "ok": True, "at": AT, "place": GeoPoint(52.5, 13.4), "mayor": Reference("people/7"),
        "raw": b"\x00\xff", "empty": {}, "nothing": None, "inner": {"a": {"b": 1.5}, "c": "x"},
        "list": [1, {"z": AT, "a": b"\x00"}, math.nan, GeoPoint(1.0, 2.0), Reference("a/b"), None],
    }  # fmt: skip
    put(registered, fields, {})
    found = done(registered, CITIES)
    assert found["status"] == "success", found
    first, second = registered.vendor.live["people"]
    assert first == {
        "__id__": "0", "at": AT, "empty": "{}", "inner.a.b": 1.5, "inner.c": "x",
        "list": '[1,{"a":"AA==","z":"2024-03-31T01:30:00.123456Z"},"NaN",{"latitude":1.0,"longitude":2.0},"a/b",null]',
        "mayor": "people/7", "n": 2**60, "name": "=1+1", "ok": True, "place.latitude": 52.5, "place.longitude": 13.4,
        "raw": "AP8=",
    }  # fmt: skip
    assert second == {**dict.fromkeys(first), "__id__": "1"}
    assert list(first) == ["__id__", *sorted(name for name in first if name != "__id__")]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([2**53, 0.5], [9007199254740992.0, 0.5]),
        ([2**53 + 1, 0.5], ["9007199254740993", "0.5"]),
        ([1, "007"], ["1", "007"]),
        ([True, 1], ["true", "1"]),
        ([AT, "soon"], ["2024-03-31T01:30:00.123456Z", "soon"]),
        ([1.0, "x"], ["1.0", "x"]),
        ([math.nan, math.inf, -math.inf, "x"], ["NaN", "Infinity", "-Infinity", "x"]),
        ([b"\x00", "x"], ["AA==", "x"]),
    ],
)
def test_a_field_of_several_types_keeps_every_value(registered: World, values: list[Any], column: list[Any]) -> None:
    put(registered, *({"v": value} for value in values))
    assert done(registered, CITIES)["status"] == "success"
    assert [row["v"] for row in registered.vendor.live["people"]] == column


def test_two_fields_of_one_column_are_refused_with_the_document(registered: World) -> None:
    put(registered, {"a.b": 1, "a": {"b": 2}})
    found = done(registered, CITIES)
    assert found["error"]["code"] == "columns_invalid"
    assert "document cities/0: two fields become the column 'a.b'" in found["error_message"]


def test_a_read_goes_on_at_the_same_moment_after_a_failure(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firestore, "PAGE_DOCUMENTS", 4)
    put(registered, *({"n": number} for number in range(10)))
    registered.fakes.collections.failures = [VendorUnavailableError("busy")]
    found = done(registered, CITIES)
    assert found["status"] == "success", found
    assert [row["n"] for row in registered.vendor.live["people"]] == list(range(10))
    reads = registered.fakes.collections.reads
    assert [after for _, after in reads] == [None, None, "cities/3", "cities/7"]
    assert {at for at, _ in reads} == {reads[0][0]}
    assert found["source_as_of"] == reads[0][0].isoformat().replace("+00:00", "Z")


def test_a_box_of_work_that_is_over_goes_on_in_the_next(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firestore, "PAGE_DOCUMENTS", 1)
    put(registered, {"n": 1}, {"n": 2}, {"n": 3})
    collections, clock = registered.fakes.collections, registered.fakes.clock
    read = collections.read

    def slow(*arguments: Any) -> Any:
        clock.sleep(300)
        return read(*arguments)

    monkeypatch.setattr(collections, "read", slow)
    answer = export(registered, CITIES)
    registered.work_once()
    job = registered.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    assert (job["status"], job["phase"]) == ("running", "freeze")
    registered.work()
    assert [row["n"] for row in registered.vendor.live["people"]] == [1, 2, 3]
    assert len(collections.reads) == 4  # no page twice


def test_the_pages_do_not_outlive_the_file(registered: World) -> None:
    put(registered, {"n": 1})
    found = done(registered, CITIES)
    names = [info.name for info in registered.fakes.objects.list_prefix("frozen", f"jobs/{found['id']}/", 10)]
    assert names == [f"jobs/{found['id']}/source.parquet"]


def test_a_moment_that_is_not_kept_ends_the_job_with_what_to_do(registered: World) -> None:
    put(registered, {"n": 1})
    registered.fakes.collections.failures = [
        SourceError("too old; enable point-in-time recovery", code="read_time_too_old")
    ]
    found = done(registered, CITIES)
    assert (found["status"], found["error"]["code"]) == ("failed", "read_time_too_old")
    assert registered.vendor.calls == []


def test_a_group_is_every_collection_of_that_id_with_paths(registered: World) -> None:
    registered.fakes.collections.documents = {
        "a/1/marks/x": {"n": 1},
        "b/2/marks/x": {"n": 2},
        "marks/z/other/x": {"n": 3},
    }
    done(registered, {"firestore": {"collection": "marks", "group": True}})
    assert registered.vendor.live["people"] == [
        {"__id__": "x", "__path__": "a/1/marks/x", "n": 1}, {"__id__": "x", "__path__": "b/2/marks/x", "n": 2},
    ]  # fmt: skip


def test_an_empty_collection_is_a_table_without_rows(registered: World) -> None:
    found = done(registered, CITIES)
    assert (found["status"], found["record_count"]) == ("success", 0)


def test_declared_columns_are_typed(registered: World) -> None:
    put(registered, {"day": "2024-02-29"})
    done(registered, CITIES, columns={"day": "date"})
    assert registered.vendor.live["people"] == [{"__id__": "0", "day": dt.date(2024, 2, 29)}]


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ({"collection": "cities/SF"}, 400, "invalid_request"),
        ({"collection": "cities//x"}, 400, "invalid_request"),
        ({"collection": "__all__"}, 400, "invalid_request"),
        ({"collection": "a/b/c", "group": True}, 400, "invalid_request"),
        ({"collection": "connectors"}, 403, "own_collection"),
        ({"collection": "export_jobs/x/chunks"}, 403, "own_collection"),
        ({"collection": "chunks", "group": True}, 403, "own_collection"),
        ({"collection": "audit", "database": ""}, 403, "own_collection"),
        ({"collection": "audit", "project": ""}, 403, "own_collection"),
        ({"collection": "audit", "project": "123456789012"}, 400, "invalid_request"),
        ({"collection": "audit", "project": "fake "}, 400, "invalid_request"),
        ({"collection": "audit", "project": "FAKE"}, 400, "invalid_request"),
        ({"collection": "audit", "database": "(default)/"}, 400, "invalid_request"),
        ({"collection": "audit", "database": "a0000000-0000-4000-8000-000000000000"}, 400, "invalid_request"),
    ],
)
def test_what_is_no_collection_or_ours_is_refused(
    registered: World, source: dict[str, Any], status: int, code: str
) -> None:
    answer = export(registered, {"firestore": source})
    assert (answer.status, answer.body["code"]) == (status, code)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("name", sorted({*COLLECTIONS, *BELOW.values(), "maintenance", "quotas", "breakers"}))
def test_no_collection_of_ours_is_a_source(registered: World, name: str, group: bool) -> None:
    answer = export(registered, {"firestore": {"collection": name, "group": group}})
    assert (answer.status, answer.body["code"]) == (403, "own_collection")


def test_another_database_may_have_collections_of_our_names(registered: World) -> None:
    registered.fakes.collections.documents = {"tables/1": {"n": 1}}
    assert done(registered, {"firestore": {"collection": "tables", "database": "shop"}})["status"] == "success"
