"""Sources of more than one file, through the API: pinned, frozen, matched by name."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.functional.conftest import World

API = "/api/bi-connectors"


def export(world: World, source: dict[str, Any], **more: Any) -> Any:
    body = {"connector_name": "ymca_sheets", "table_name": "people", "source": source, **more}
    return world.call("export", "POST", f"{API}/export", body)


def done(world: World, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = export(world, source, **more)
    assert answer.status == 202, answer.body
    world.work()
    found: dict[str, Any] = world.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    return found


def put(world: World, **files: bytes) -> None:
    for name, data in files.items():
        world.fakes.objects.put("in", name.replace("__", "/").replace("_csv", ".csv").replace("_jsonl", ".jsonl"), data)


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def test_files_under_a_prefix_are_one_table_by_name_of_file_and_column(registered: World) -> None:
    put(registered, d__b_csv=b"name,id\nCy,3\nDi,4\n", d__a_csv=b"id,name\n1,Ann\n2,Bo\n", other_csv=b"x\n1\n")
    registered.fakes.objects.put("in", "d/", b"")
    registered.fakes.objects.put("in", "d/_SUCCESS", b"")
    found = done(registered, {"uri": "gs://in/d/"})
    assert found["status"] == "success", found
    assert registered.vendor.live["people"] == [
        {"id": 1, "name": "Ann"}, {"id": 2, "name": "Bo"}, {"id": 3, "name": "Cy"}, {"id": 4, "name": "Di"},
    ]  # fmt: skip
    assert (found["record_count"], found["source"]["kind"], found["source"]["files"]) == (4, "files", 2)


def test_a_star_stands_for_any_text_of_one_folder(registered: World) -> None:
    put(registered, y__1__p_csv=b"a\n1\n", y__2__p_csv=b"a\n2\n", y__2__q_csv=b"a\n3\n", y__2__deep__p_csv=b"a\n4\n")
    assert done(registered, {"uri": "gs://in/y/*/p.csv"})["status"] == "success"
    assert registered.vendor.live["people"] == [{"a": 1}, {"a": 2}]


def test_chunks_run_across_files(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n", d__2_csv=b"a\n", d__3_csv=b"a\n2\n3\n", d__4_csv=b"a\n4\n5\n")
    done(registered, {"uri": "gs://in/d/"})
    assert registered.vendor.calls.count("write") == 3  # of two, two and one row
    assert [row["a"] for row in registered.vendor.live["people"]] == [1, 2, 3, 4, 5]


def test_a_drifting_file_is_refused_by_its_name(registered: World) -> None:
    put(registered, d__1_csv=b"id,name\n1,Ann\n", d__2_csv=b"id,name\n2,Bo\n", d__3_csv=b"id,phone\n3,x\n")
    found = done(registered, {"uri": "gs://in/d/*.csv"})
    assert (found["status"], found["error"]["code"]) == ("failed", "files_drift")
    assert found["error_message"].startswith("gs://in/d/3.csv: it lacks 'name' and also has 'phone'")
    assert registered.vendor.calls == []


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        (b"v\n1\n", b"v\n2.5\n", [1.0, 2.5]),
        (b"v\n9007199254740993\n", b"v\n2.5\n", ["9007199254740993", "2.5"]),
        (b"v\n1\n", b"v\n007\n", ["1", "007"]),
        (b"k,v\n1,\n", b"k,v\n2,5\n", [None, 5]),
        (b"v\n2024-01-02\n", b"v\n2024-01-02 03:04:05\n", ["2024-01-02", "2024-01-02 03:04:05"]),
    ],
)
def test_types_are_those_of_all_files_read_as_one(
    registered: World, first: bytes, second: bytes, values: list[Any]
) -> None:
    put(registered, d__1_csv=first, d__2_csv=second)
    found = done(registered, {"uri": "gs://in/d/"})
    assert found["status"] == "success", found
    assert [row["v"] for row in registered.vendor.live["people"]] == values


def test_parquet_files_must_agree_on_types_unless_declared(registered: World) -> None:
    registered.fakes.objects.put("in", "d/1.parquet", parquet(pa.table({"v": pa.array([1], pa.int32())})))
    registered.fakes.objects.put("in", "d/2.parquet", parquet(pa.table({"v": [2.5]})))
    found = done(registered, {"uri": "gs://in/d/"})
    assert found["error"]["code"] == "files_drift"
    assert found["error_message"].startswith(
        "gs://in/d/2.parquet: column 'v' is double, and int64 in gs://in/d/1.parquet"
    )
    assert done(registered, {"uri": "gs://in/d/"}, columns={"v": "double"})["status"] == "success"
    assert registered.vendor.live["people"] == [{"v": 1.0}, {"v": 2.5}]


def test_each_file_is_read_with_the_declared_columns_that_it_has(registered: World) -> None:
    mixed = b'{"v": 1.50}\n{"v": "x"}\n{"v": [1]}\n'  # refused unless declared
    put(registered, d__1_jsonl=mixed, d__2_jsonl=b'{"v": 7, "w": 12345678901234567890}\n', d__3_jsonl=b'{"w": "y"}\n')
    contract = {"on_breach": "discard_row"}  # it lets columns come and go
    found = done(registered, {"uri": "gs://in/d/"}, columns={"v": "string", "w": "string"}, contract=contract)
    assert found["status"] == "success", found
    assert registered.vendor.live["people"] == [
        {"v": "1.50", "w": None}, {"v": "x", "w": None}, {"v": "[1]", "w": None},
        {"v": "7", "w": "12345678901234567890"}, {"v": None, "w": "y"},
    ]  # fmt: skip


def test_a_column_that_is_declared_and_in_none_of_many_files_is_refused(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n", d__2_csv=b"a\n2\n")
    found = done(registered, {"uri": "gs://in/d/"}, columns={"b": "string"})
    assert (found["status"], found["error"]["code"]) == ("failed", "schema_invalid")


def test_parquet_lists_of_many_files_are_text_where_declared(registered: World) -> None:
    for name in ("1", "2"):
        registered.fakes.objects.put("in", f"d/{name}.parquet", parquet(pa.table({"v": [[1, None]]})))
    assert done(registered, {"uri": "gs://in/d/"}, columns={"v": "string"})["status"] == "success"
    assert registered.vendor.live["people"] == [{"v": "[1,null]"}] * 2


def test_a_file_that_changed_after_acceptance_fails_the_job(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n", d__2_csv=b"a\n2\n")
    answer = export(registered, {"uri": "gs://in/d/"})
    put(registered, d__2_csv=b"a\n3\n")
    registered.work()
    found = registered.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    assert found["error"]["code"] == "source_changed"


def test_files_that_came_after_acceptance_are_not_taken(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n")
    export(registered, {"uri": "gs://in/d/"})
    put(registered, d__2_csv=b"a\n2\n")
    registered.work()
    assert registered.vendor.live["people"] == [{"a": 1}]


@pytest.mark.parametrize(
    ("uri", "status", "code"),
    [("gs://in/none/", 404, "source_not_found"), ("gs://in/mix/", 400, "invalid_request")],
)
def test_a_prefix_without_files_of_one_format_is_refused(registered: World, uri: str, status: int, code: str) -> None:
    put(registered, mix__1_csv=b"a\n1\n")
    registered.fakes.objects.put("in", "mix/2.jsonl", b'{"a": 1}\n')
    answer = export(registered, {"uri": uri})
    assert (answer.status, answer.body["code"]) == (status, code)


def test_more_files_than_the_limit_are_refused(registered: World) -> None:
    for number in range(1001):
        registered.fakes.objects.put("in", f"d/{number}.csv", b"a\n1\n")
    answer = export(registered, {"uri": "gs://in/d/"})
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert "1,001 files" in answer.body["detail"]
    assert "1,000" in answer.body["detail"]


def test_a_pattern_whose_names_are_too_many_to_be_listed_is_refused(registered: World) -> None:
    """However few of them fit it."""
    for number in range(10_001):
        registered.fakes.objects.put("in", f"d/{number}.log", b"")
    answer = export(registered, {"uri": "gs://in/d/*.csv"})
    assert (answer.status, answer.body["field"]) == (400, "source.uri")
    assert "more than 10,000 objects begin with gs://in/d/" in answer.body["detail"]


def test_rows_and_a_source_are_not_taken_together(registered: World) -> None:
    body = {
        "connector_name": "ymca_sheets",
        "table_name": "people",
        "rows": [{"id": 1}],
        "source": {"uri": "gs://in/a.csv"},
    }
    answer = registered.call("export", "POST", f"{API}/export", body)
    assert (answer.status, answer.body["field"]) == (400, "source")


def test_a_source_is_exactly_one_thing(registered: World) -> None:
    answer = export(registered, {"uri": "gs://in/a.csv", "firestore": {"collection": "c"}})
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert "exactly one of uri, bigquery and firestore" in answer.body["detail"]


def test_many_files_are_republished_and_erased(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n", d__2_csv=b"a\n2\n")
    first = done(registered, {"uri": "gs://in/d/"})
    registered.vendor.live.clear()
    registered.fakes.objects.delete("in", "d/1.csv")
    again = registered.call("export", "POST", f"{API}/export-jobs/{first['id']}:republish")
    registered.work()
    assert registered.vendor.live["people"] == [{"a": 1}, {"a": 2}]
    for job_id in (first["id"], again.body["id"]):
        assert registered.fakes.objects.list_prefix("frozen", f"jobs/{job_id}/", 10)
        assert registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}").status == 204
        assert registered.fakes.objects.list_prefix("frozen", f"jobs/{job_id}/", 10) == []


def test_the_job_says_which_moment_its_rows_are_of(registered: World) -> None:
    put(registered, d__1_csv=b"a\n1\n")
    registered.fakes.clock.sleep(3600)
    put(registered, d__2_csv=b"a\n2\n")
    registered.fakes.clock.sleep(3600)
    assert done(registered, {"uri": "gs://in/d/"})["source_as_of"] == "2026-01-05T13:00:00Z"
    assert done(registered, {"uri": "gs://in/d/1.csv"})["source_as_of"] == "2026-01-05T12:00:00Z"
