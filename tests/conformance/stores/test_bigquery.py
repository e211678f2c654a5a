"""BigQuery as a source: the adapter and the freezing, over Google's own client, on the sandbox and fake-gcs-server."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local import cloud_storage
from infra.local.ports import Ports
from infra.local.sandboxes.bigquery import BigQuerySandbox
from infra.local.sandboxes.server import SandboxServer, inherited_variables
from shared.errors import SourceError, VendorUnavailableError
from shared.pipeline.freezing import Freezing, FrozenSource, freeze, frozen_before
from shared.ports import Stores
from shared.stores.bigquery import BigQueryWarehouse
from shared.stores.cloud_storage import CloudStorageObjects
from tests.fakes.stores import InMemoryStores

PROJECT = "local-project"
LIMIT = 10**9
TYPES = [
    {"name": "i", "type": "INT64"},
    {"name": "f", "type": "FLOAT64"},
    {"name": "b", "type": "BOOL"},
    {"name": "s", "type": "STRING"},
    {"name": "d", "type": "DATE"},
    {"name": "dt", "type": "DATETIME"},
    {"name": "ts", "type": "TIMESTAMP"},
    {"name": "t", "type": "TIME"},
    {"name": "n", "type": "NUMERIC"},
    {"name": "bn", "type": "BIGNUMERIC"},
    {"name": "y", "type": "BYTES"},
    {"name": "g", "type": "GEOGRAPHY"},
    {"name": "j", "type": "JSON"},
    {"name": "a", "type": "INT64", "mode": "REPEATED"},
    {"name": "r", "type": "STRUCT", "fields": [{"name": "x", "type": "INT64"}, {"name": "y", "type": "STRING"}]},
]
ROW: dict[str, Any] = {
    "i": 2**53 + 1, "f": 0.1, "b": True, "s": '=1+1 "é😀\n', "d": "0001-01-01", "dt": "2024-03-31T02:30:00.000001",
    "ts": "2024-03-31T01:30:00.123456+00:00", "t": "23:59:59.999999", "n": "-12345678901234567890123456789.000000001",
    "bn": "12345678901234567890123456789012345678.9012345678901234567890123456789012345678", "y": "AP+A",
    "g": "POINT(13.4 52.5)", "j": {"k": [1, None, "ü"]}, "a": [1, 2], "r": {"x": 1, "y": "z"},
}  # fmt: skip
FROZEN = {
    "i": 2**53 + 1, "f": 0.1, "b": True, "s": '=1+1 "é😀\n', "d": dt.date(1, 1, 1),
    "dt": dt.datetime(2024, 3, 31, 2, 30, 0, 1),
    "ts": dt.datetime(2024, 3, 31, 1, 30, 0, 123456, tzinfo=dt.UTC), "t": "23:59:59.999999",
    "n": Decimal("-12345678901234567890123456789.000000001"),
    "bn": "12345678901234567890123456789012345678.9012345678901234567890123456789012345678", "y": "AP+A",
    "g": "POINT(13.4 52.5)", "j": '{"k":[1,null,"ü"]}', "a": "[1,2]", "r": '{"x":1,"y":"z"}',
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("bigquery"), classes=[BigQuerySandbox]) as running:
        yield running


@pytest.fixture
def sandbox(server: SandboxServer, storage_server: Ports, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    for name in inherited_variables():
        monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_server.url("gcs"))
    server.settings("bigquery", storage_url=storage_server.url("gcs"))
    yield server
    server.reset()


@pytest.fixture
def warehouse() -> BigQueryWarehouse:
    return BigQueryWarehouse(PROJECT, "https://bigquery.googleapis.com")


@pytest.fixture
def stores(warehouse: BigQueryWarehouse, storage_server: Ports) -> Stores:
    cloud_storage.make_buckets(storage_server, ["frozen"])
    return replace(InMemoryStores().stores(), warehouse=warehouse, objects=CloudStorageObjects(PROJECT))


def put(server: SandboxServer, table: str, rows: list[dict[str, Any]], **more: Any) -> None:
    body = {"project": PROJECT, "dataset": "d", "table": table, "schema": TYPES, "rows": rows, **more}
    answer = requests.post(f"{server.admin_url}/bigquery/tables", json=body, timeout=30)
    assert answer.status_code == 201, answer.text


def job(server: SandboxServer, **source: Any) -> dict[str, Any]:
    pinned = {"kind": "bigquery", "table": None, "query": None, "location": None, "maximum_bytes_billed": LIMIT}
    if "table" in source:
        source["table"] = {"project": PROJECT, "dataset": "d", "table": source["table"]}
    options = {"schema": None, "delimiter": None, "encoding": "utf-8", "sheet": None}
    record = {**pinned, "format": "parquet", "options": options, **source}
    return {"id": uuid.uuid4().hex, "created_at": server.clock.now(), "source": record}


def frozen(stores: Stores, record: dict[str, Any]) -> FrozenSource:
    ends = dt.datetime.max.replace(tzinfo=dt.UTC)
    return freeze(Freezing(stores, "frozen", record, record.update, ends))


def rows(source: FrozenSource) -> list[dict[str, Any]]:
    return [row for table in source.tables(0, 1_000) for row in table.to_pylist()]


def test_every_type_arrives_as_the_table_of_types_says(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "types", [ROW, {"s": None, "a": []}])
    source = frozen(stores, job(sandbox, table="types"))
    assert rows(source) == [FROZEN, {**dict.fromkeys(FROZEN), "a": "[]"}]
    assert source.scan.schema.field("ts").type.tz == "UTC"
    assert source.scan.schema.field("dt").type.tz is None


def test_a_table_is_read_as_of_acceptance(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "history", [{"i": 1}])
    accepted = job(sandbox, table="history")
    put(sandbox, "history", [{"i": 2}, {"i": 3}])
    source = frozen(stores, accepted)
    assert [row["i"] for row in rows(source)] == [1]
    assert source.as_of == accepted["created_at"]
    assert [row["i"] for row in rows(frozen(stores, job(sandbox, table="history")))] == [2, 3]


def test_the_sql_of_a_mapping_runs_over_the_source_as_of_acceptance(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "mapped", [{"i": 1, "s": "a"}, {"i": 2, "s": "a"}, {"i": 3, "s": "b"}])
    select = "WITH few AS (SELECT * FROM source WHERE i < 3)\nSELECT s, COUNT(*) AS n FROM few GROUP BY s;"
    accepted = {**job(sandbox, table="mapped"), "mapping": {"sql": select}}
    put(sandbox, "mapped", [])
    assert rows(frozen(stores, accepted)) == [{"s": "a", "n": 2}]
    with pytest.raises(SourceError, match="nope"):
        frozen(stores, {**job(sandbox, table="mapped"), "mapping": {"sql": "SELECT nope FROM source"}})


def test_shards_are_one_source_in_order_and_found_again(sandbox: SandboxServer, stores: Stores) -> None:
    sandbox.settings("bigquery", rows_per_file=2_048)
    put(sandbox, "many", [{"i": number} for number in range(5_000)])
    record = job(sandbox, query="SELECT i, ts FROM `d.many` ORDER BY i")
    source = frozen(stores, record)
    assert len(source.parts) == 3
    assert [row["i"] for row in rows(source)] == list(range(5_000))
    again = frozen_before(stores.objects, {**record, **source.to_record()})
    assert again is not None
    assert next(again.tables(4_999, 10)).to_pylist() == [{"i": 4_999, "ts": None}]


def test_the_sql_of_a_mapping_runs_over_the_source(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "mapped", [{"i": 1}, {"i": 2}, {"i": 3}])
    for sql in (
        "SELECT i * 10 AS ten FROM source WHERE i > 1 ORDER BY i",
        "WITH a AS (SELECT i * 10 AS ten FROM source WHERE i > 1) SELECT * FROM a",
    ):
        record = {**job(sandbox, table="mapped"), "mapping": {"sql": sql}}
        assert rows(frozen(stores, record)) == [{"ten": 20}, {"ten": 30}]


def test_a_repeated_freeze_finds_the_first_job(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "repeat", [{"i": 1}])
    record = job(sandbox, table="repeat")
    frozen(stores, dict(record))
    before = sandbox.calls("bigquery")["routes"]["POST /bigquery/v2/projects/<project>/jobs"]
    assert rows(frozen(stores, dict(record)))[0]["i"] == 1
    after = sandbox.calls("bigquery")["routes"]["POST /bigquery/v2/projects/<project>/jobs"]
    assert after["200"] - before["200"] == 1  # another dry run and no second job


@pytest.mark.parametrize("kind", ["lost_reply", "html_5xx", "reset_in_body"])
def test_an_unknown_outcome_is_asked_of_the_job(
    sandbox: SandboxServer, warehouse: BigQueryWarehouse, stores: Stores, kind: str
) -> None:
    put(sandbox, "unknown", [{"i": 1}])
    record = job(sandbox, table="unknown")
    sandbox.fault(vendor="bigquery", kind=kind, method="POST", path="/jobs$", skip=1, times=1)
    if kind == "html_5xx":  # not applied
        with pytest.raises(VendorUnavailableError):
            frozen(stores, record)
    assert [row["i"] for row in rows(frozen(stores, record))] == [1]
    assert warehouse.look(f"bi_{record['id']}_1", "US") is not None


def test_the_same_id_again_gives_the_job_that_is_there(sandbox: SandboxServer, warehouse: BigQueryWarehouse) -> None:
    put(sandbox, "twice", [{"i": 1}])
    name = f"bi_{uuid.uuid4().hex}_1"
    sql = f"EXPORT DATA OPTIONS (uri='gs://one/{name}/*.parquet', format='PARQUET', overwrite=true) AS\nSELECT i FROM d.twice"
    first = warehouse.start(name, sql, "US", LIMIT)
    assert (first.rows, first.files, first.is_done, first.error) == (1, 1, True, None)
    assert warehouse.start(name, sql, "US", LIMIT) == first


def test_a_running_job_is_not_done_until_its_time(sandbox: SandboxServer, warehouse: BigQueryWarehouse) -> None:
    sandbox.settings("bigquery", job_seconds=60)
    put(sandbox, "slow", [{"i": 1}])
    name = f"bi_{uuid.uuid4().hex}_1"
    sql = f"EXPORT DATA OPTIONS (uri='gs://one/{name}/*.parquet', format='PARQUET', overwrite=true) AS\nSELECT i FROM d.slow"
    assert not warehouse.start(name, sql, "US", LIMIT).is_done
    sandbox.clock.advance(61)
    found = warehouse.look(name, "US")
    assert found is not None
    assert found.is_done
    assert warehouse.look(name, "EU") is None


def test_a_location_is_found_and_kept(sandbox: SandboxServer, warehouse: BigQueryWarehouse, stores: Stores) -> None:
    body = {"dataset": "far", "location": "asia-east1"}
    put(sandbox, "t", [{"i": 7}], **body)
    assert warehouse.estimate("SELECT i FROM far.t", None).location == "asia-east1"
    assert rows(frozen(stores, job(sandbox, query="SELECT i FROM far.t"))) == [{"i": 7}]
    with pytest.raises(SourceError, match="was not found in location EU") as refused:
        warehouse.estimate("SELECT i FROM far.t", "EU")
    assert refused.value.code == "source_not_found"


def test_refusals_carry_bigquery_s_reason(sandbox: SandboxServer, warehouse: BigQueryWarehouse, stores: Stores) -> None:
    put(sandbox, "secret", [{"i": 1}])
    sandbox.settings("bigquery", denied=["d.secret"])
    cases = [
        (
            job(sandbox, table="secret"),
            "source_forbidden",
            r"Access Denied.*\[accessDenied\].*roles/bigquery.dataViewer",
        ),
        (job(sandbox, table="nowhere"), "source_not_found", r"Not found: Table local-project:d.nowhere.*\[notFound\]"),
        (job(sandbox, query="SELEC 1"), "query_refused", r"Syntax error.*\[invalidQuery\]"),
        (job(sandbox, query="SELECT no FROM d.types2"), "source_not_found", "Not found"),
        (job(sandbox, query="SELECT 1 AS a; SELECT 2"), "query_refused", "SCRIPT; expected one SELECT"),
        (job(sandbox, query="DROP TABLE d.secret"), "query_refused", "expected one SELECT"),
    ]
    for record, code, says in cases:
        with pytest.raises(SourceError, match=says) as refused:
            frozen(stores, record)
        assert refused.value.code == code


def test_a_query_over_the_limit_is_refused_dry_and_by_bigquery(
    sandbox: SandboxServer, warehouse: BigQueryWarehouse, stores: Stores
) -> None:
    put(sandbox, "large", [{"i": 1}] * 10)
    with pytest.raises(SourceError) as dry:
        frozen(stores, job(sandbox, table="large", maximum_bytes_billed=100))
    assert dry.value.code == "query_too_expensive"
    with pytest.raises(SourceError, match=r"10485760 or higher required. \[bytesBilledLimitExceeded\]"):
        frozen(stores, job(sandbox, table="large", maximum_bytes_billed=10_000))  # billed are 10 MB at least


def test_a_table_without_rows_is_frozen(sandbox: SandboxServer, stores: Stores) -> None:
    put(sandbox, "empty", [])
    source = frozen(stores, job(sandbox, table="empty"))
    assert (source.scan.rows, source.scan.schema.names) == (0, [field["name"] for field in TYPES])


def test_what_the_sandbox_does_not_imitate_is_501_with_the_route(sandbox: SandboxServer) -> None:
    base = "https://bigquery.googleapis.com/bigquery/v2/projects/p"
    answer = requests.get(f"{base}/datasets", timeout=10)
    assert (answer.status_code, answer.json()["route"]) == (501, "GET /bigquery/v2/projects/p/datasets")
    for configuration in (
        {"load": {}}, {"query": {"query": "SELECT 1"}}, {"query": {"query": "SELECT 1", "useLegacySql": False}},
        {"query": {"query": "SELECT 1", "useLegacySql": False, "destinationTable": {}}},
    ):  # fmt: skip
        answer = requests.post(f"{base}/jobs", json={"configuration": configuration}, timeout=10)
        assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED"), configuration


def test_the_data_outlives_a_restart(tmp_path: Path) -> None:
    with SandboxServer(tmp_path, classes=[BigQuerySandbox]) as first:
        put(first, "kept", [{"i": 5}])
    with SandboxServer(tmp_path, classes=[BigQuerySandbox]) as second:
        tables = second.sandbox("bigquery")._tables  # type: ignore[attr-defined]
        assert tables.find(PROJECT, "d", "kept").rows == 1
