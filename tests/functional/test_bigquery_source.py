"""BigQuery as a source, on a fake warehouse: what is asked, what a job does while BigQuery works, and how it ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.errors import SourceError, VendorUnavailableError
from shared.ports import QueryEstimate, WarehouseColumn
from tests.functional.conftest import SHEETS, World
from tests.functional.test_sources import API, done, export

TABLE = {"bigquery": {"table": "sales.orders"}}


def test_a_table_is_exported_as_of_acceptance_and_delivered(registered: World) -> None:
    found = done(registered, TABLE)
    assert found["status"] == "success", found
    assert registered.vendor.live["people"] == [{"id": 1}, {"id": 2}, {"id": 3}]
    warehouse = registered.fakes.warehouse
    select = "SELECT * FROM `fake`.`sales`.`orders` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-05 12:00:00.000000+00:00'"
    assert warehouse.dry_runs == [select]
    name = f"bi_{found['id']}_1"
    uri = f"gs://frozen/jobs/{found['id']}/bigquery-1/*.parquet"
    options = f"uri='{uri}', format='PARQUET', compression='SNAPPY', overwrite=true"
    assert warehouse.started == {name: f"EXPORT DATA OPTIONS ({options}) AS\n{select}"}
    assert found["source_as_of"] == "2026-01-05T12:00:00Z"


def test_a_view_has_no_history_and_is_read_when_bigquery_runs(registered: World) -> None:
    registered.fakes.warehouse.kinds["fake.sales.orders"] = "VIEW"
    answer = export(registered, TABLE)
    registered.fakes.clock.sleep(600)
    registered.work()
    assert registered.fakes.warehouse.dry_runs == ["SELECT * FROM `fake`.`sales`.`orders`"]
    job = registered.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    assert job["source_as_of"] == "2026-01-05T12:10:00Z"


def test_types_without_a_parquet_form_of_ours_become_text_in_bigquery(registered: World) -> None:
    kinds = ("BIGNUMERIC", "TIME", "BYTES", "GEOGRAPHY", "JSON", "RECORD", "NUMERIC", "TIMESTAMP")
    columns = [WarehouseColumn(kind.lower(), kind) for kind in kinds]
    registered.fakes.warehouse.columns = (*columns, WarehouseColumn("list", "INTEGER", "REPEATED"))
    at = dt.datetime(2024, 3, 31, 1, 30)
    registered.fakes.warehouse.result = pa.table(
        {"numeric": pa.array([Decimal("1.5")], pa.decimal128(38, 9)), "timestamp": pa.array([at], pa.timestamp("us"))}
    )
    found = done(registered, TABLE)
    assert found["status"] == "success", found
    sql = next(iter(registered.fakes.warehouse.started.values()))
    replaced = sql.partition("REPLACE (")[2].partition(") FROM (\nSELECT")[0]
    assert replaced.split(", IF") == [
        "IF(`bignumeric` IS NULL, NULL, CAST(`bignumeric` AS STRING)) AS `bignumeric`",
        "(`time` IS NULL, NULL, CAST(`time` AS STRING)) AS `time`",
        "(`bytes` IS NULL, NULL, TO_BASE64(`bytes`)) AS `bytes`",
        "(`geography` IS NULL, NULL, ST_ASTEXT(`geography`)) AS `geography`",
        "(`json` IS NULL, NULL, TO_JSON_STRING(`json`)) AS `json`",
        "(`record` IS NULL, NULL, TO_JSON_STRING(`record`)) AS `record`",
        "(`list` IS NULL, NULL, TO_JSON_STRING(`list`)) AS `list`",
    ]
    row = registered.vendor.live["people"][0]
    assert row == {"numeric": Decimal("1.500000000"), "timestamp": at.replace(tzinfo=dt.UTC)}


def test_a_datetime_stays_without_a_zone(registered: World) -> None:
    registered.fakes.warehouse.columns = (WarehouseColumn("at", "DATETIME"),)
    at = dt.datetime(2024, 3, 31, 1, 30)
    registered.fakes.warehouse.result = pa.table({"at": pa.array([at], pa.timestamp("us"))})
    done(registered, TABLE)
    assert registered.vendor.live["people"] == [{"at": at}]


def test_a_long_export_gives_the_worker_back_and_goes_on_later(registered: World) -> None:
    registered.fakes.warehouse.lasts = 25
    answer = export(registered, TABLE)
    before = registered.fakes.clock.now()
    registered.work_once()
    assert (registered.fakes.clock.now() - before).total_seconds() <= 22
    job = registered.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    assert (job["status"], job["phase"]) == ("running", "freeze")
    assert "BigQuery is still exporting" in job["waiting"]
    registered.work()
    job = registered.call("export", "GET", f"{API}/export-jobs/{answer.body['id']}").body
    assert job["status"] == "success"
    assert len(registered.fakes.warehouse.started) == 1


def test_a_fault_of_bigquery_s_own_is_tried_again_under_another_id(registered: World) -> None:
    registered.fakes.warehouse.failures = [("backendError", "try again"), ("internalError", "and again")]
    found = done(registered, TABLE)
    assert found["status"] == "success"
    assert list(registered.fakes.warehouse.started) == [f"bi_{found['id']}_{attempt}" for attempt in (1, 2, 3)]


@pytest.mark.parametrize("reason", ["invalidQuery", "stopped", "responseTooLarge"])
def test_another_failure_ends_the_job_with_bigquery_s_reason(registered: World, reason: str) -> None:
    registered.fakes.warehouse.failures = [(reason, "no column called x")]
    found = done(registered, TABLE)
    assert (found["status"], found["error"]["code"]) == ("failed", "query_refused")
    assert f"no column called x [{reason}]" in found["error_message"]
    assert registered.vendor.calls == []


def test_three_faults_of_bigquery_s_own_end_the_job(registered: World) -> None:
    registered.fakes.warehouse.failures = [("backendError", "x")] * 3
    found = done(registered, TABLE)
    assert found["error"]["code"] == "query_refused"
    assert len(registered.fakes.warehouse.started) == 3


def test_no_answer_is_waited_for(registered: World) -> None:
    registered.fakes.warehouse.refusals = [VendorUnavailableError("BigQuery did not answer")]
    assert done(registered, TABLE)["status"] == "success"


def test_a_refusal_ends_the_job(registered: World) -> None:
    registered.fakes.warehouse.refusals = [SourceError("no such table", code="source_not_found")]
    assert done(registered, TABLE)["error"]["code"] == "source_not_found"


@pytest.mark.parametrize(
    ("estimate", "code", "says"),
    [
        (QueryEstimate("SELECT", 200 * 2**30, "EU", ()), "query_too_expensive", "214,748,364,800 bytes, at most 107,374,182,400"),
        (QueryEstimate("SCRIPT", 0, "EU", ()), "query_refused", "SCRIPT; expected one SELECT"),
        (QueryEstimate("DELETE", 0, "EU", ()), "query_refused", "DELETE; expected one SELECT"),
    ],
)  # fmt: skip
def test_a_dry_run_refuses_before_anything_is_billed(
    make_world: Callable[..., World], estimate: QueryEstimate, code: str, says: str
) -> None:
    world = allowing(make_world)
    world.fakes.warehouse.estimated = estimate
    found = done(world, {"bigquery": {"query": "SELECT 1 AS id; DROP TABLE t"}})
    assert found["status"] == "failed"
    assert found["error"]["code"] == code
    assert says in found["error_message"]
    assert world.fakes.warehouse.started == {}


@pytest.mark.parametrize(("setting", "asked"), [("500", 10**9), (str(100 * 2**30), 10)])
def test_a_source_can_only_lower_the_limit(make_world: Callable[..., World], setting: str, asked: int) -> None:
    world = allowing(make_world, BIGQUERY_MAX_BYTES_BILLED=setting)
    found = done(world, {"bigquery": {"query": "SELECT 1", "maximum_bytes_billed": asked}})
    assert found["status"] == "failed"
    assert found["error"]["code"] == "query_too_expensive"


def test_queries_are_refused_unless_an_administrator_allows_them(registered: World) -> None:
    source = {"bigquery": {"query": "SELECT 1"}}
    answer = export(registered, source)
    assert (answer.status, answer.body["code"]) == (403, "queries_not_allowed")
    answer = registered.call("export", "PUT", f"{API}/tables/x", {"source": source})
    assert (answer.status, answer.body["code"]) == (403, "queries_not_allowed")


def test_a_query_is_exported_as_it_is_so_that_its_order_stays(make_world: Callable[..., World]) -> None:
    world = allowing(make_world)
    found = done(world, {"bigquery": {"query": "SELECT id FROM d.t ORDER BY id;\n", "location": "asia-east1"}})
    assert found["status"] == "success"
    assert next(iter(world.fakes.warehouse.started.values())).endswith(") AS\nSELECT id FROM d.t ORDER BY id")


@pytest.mark.parametrize("table", ["orders", "a.b.c.d", "d.t` AS x; DROP TABLE y --", "d.t*", "-x.d.t"])
def test_a_table_name_is_checked_before_it_is_quoted(registered: World, table: str) -> None:
    answer = export(registered, {"bigquery": {"table": table}})
    assert (answer.status, answer.body["field"]) == (400, "source.bigquery.table")


def test_an_empty_result_is_a_table_without_rows(registered: World) -> None:
    registered.fakes.warehouse.columns = (WarehouseColumn("id", "INTEGER"), WarehouseColumn("at", "TIMESTAMP"))
    registered.fakes.warehouse.result = pa.table({"id": pa.array([], pa.int64())})
    found = done(registered, TABLE)
    assert (found["status"], found["record_count"]) == ("success", 0)


def test_rows_that_are_not_there_are_a_fault_and_publish_nothing(registered: World) -> None:
    registered.fakes.warehouse.lasts = 15
    answer = export(registered, TABLE)
    registered.work_once()
    job_id = answer.body["id"]
    registered.fakes.objects.delete("frozen", f"jobs/{job_id}/bigquery-1/000000000001.parquet")
    registered.work()
    job = registered.call("export", "GET", f"{API}/export-jobs/{job_id}").body
    assert (job["status"], job["error"]["code"]) == ("failed", "internal")
    assert "BigQuery wrote 2 files and 1 are there" in job["error_message"]


def allowing(make_world: Callable[..., World], **settings: Any) -> World:
    world = make_world(BIGQUERY_QUERIES="true", **settings)
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    return world


def test_the_sql_of_a_mapping_runs_in_bigquery_over_the_source_and_nowhere_else(
    make_world: Callable[..., World],
) -> None:
    world = make_world(BIGQUERY_QUERIES="true")
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    mapping = {"sql": "select id, 1 as n from source; ", "where": "id > 1"}
    found = done(world, TABLE, mapping=mapping)
    assert found["status"] == "success", found
    rows = "SELECT * FROM `fake`.`sales`.`orders` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-05 12:00:00.000000+00:00'"
    select = f"WITH source AS (\n{rows}\n)\nSELECT * FROM (\nselect id, 1 as n from source\n)"
    assert world.fakes.warehouse.dry_runs == [select]
    assert next(iter(world.fakes.warehouse.started.values())).endswith(f"AS\n{select}")
    assert world.vendor.live["people"] == [{"id": 2}, {"id": 3}], (
        "what BigQuery gave, mapped, and no second SQL over it"
    )


def test_sql_over_a_bigquery_source_needs_leave_for_it_reads_with_our_rights(registered: World) -> None:
    answer = export(registered, TABLE, mapping={"sql": "select * from other.secrets"})
    assert (answer.status, answer.body["code"]) == (403, "queries_not_allowed")
    assert registered.fakes.warehouse.dry_runs == []
    answer = registered.call("export", "PUT", f"{API}/tables/people", {"source": TABLE, "mapping": {"sql": "select 1"}})
    assert (answer.status, answer.body["code"]) == (403, "queries_not_allowed")


def test_a_column_name_that_would_end_its_quotes_is_refused(registered: World) -> None:
    registered.fakes.warehouse.columns = (WarehouseColumn("x` FROM secrets --", "BYTES"),)
    found = done(registered, TABLE)
    assert found["status"] == "failed"
    assert found["error"]["code"] == "columns_invalid"
    assert registered.fakes.warehouse.started == {}
