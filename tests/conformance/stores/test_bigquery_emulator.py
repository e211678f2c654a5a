"""The adapter on somebody else's BigQuery, where one runs: BIGQUERY_EMULATOR is its URL, with the project `local-project`.

Tried with local-bigquery 0.4.0, which needs Python 3.13 and DuckDB's extensions icu, ducklake and spatial as packages.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from shared.errors import SourceError
from shared.stores.bigquery import BigQueryWarehouse

URL = os.environ.get("BIGQUERY_EMULATOR", "")
PROJECT = "local-project"
pytestmark = pytest.mark.skipif(
    not URL, reason="NO BIGQUERY BUT OUR SANDBOX WAS ASKED: set BIGQUERY_EMULATOR to the URL of one that runs"
)
COLUMNS = {
    "i": "INT64",
    "n": "NUMERIC",
    "ts": "TIMESTAMP",
    "a": "ARRAY<INT64>",
    "r": "STRUCT<x INT64>",
    "j": "JSON",
    "y": "BYTES",
}


@pytest.fixture(scope="module")
def dataset() -> Iterator[str]:
    options = {"api_endpoint": URL}
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = bigquery.Client(PROJECT, credentials=credentials, client_options=options)
    name = f"d{uuid.uuid4().hex[:8]}"
    client.create_dataset(name)
    columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
    client.query(f"CREATE TABLE {name}.t ({columns})").result()
    yield name
    client.delete_dataset(name, delete_contents=True)


def test_a_dry_run_tells_kind_and_columns(dataset: str) -> None:
    found = BigQueryWarehouse(PROJECT, URL).estimate(f"SELECT * FROM {dataset}.t", None)
    assert found.statement_type == "SELECT"
    assert {column.name: (column.type, column.mode) for column in found.columns} == {
        "i": ("INTEGER", "NULLABLE"), "n": ("NUMERIC", "NULLABLE"), "ts": ("TIMESTAMP", "NULLABLE"),
        "a": ("INTEGER", "REPEATED"), "r": ("RECORD", "NULLABLE"), "j": ("JSON", "NULLABLE"), "y": ("BYTES", "NULLABLE"),
    }  # fmt: skip


@pytest.mark.parametrize(("sql", "kind"), [("SELECT 1 AS a; SELECT 2", "SCRIPT"), ("DROP TABLE {0}.t", "DROP_TABLE")])
def test_a_dry_run_tells_what_is_no_select(dataset: str, sql: str, kind: str) -> None:
    assert BigQueryWarehouse(PROJECT, URL).estimate(sql.format(dataset), None).statement_type == kind


@pytest.mark.parametrize(
    ("sql", "code"), [("SELEC 1", "query_refused"), ("SELECT * FROM {0}.nothing", "source_not_found")]
)
def test_refusals_are_told_apart(dataset: str, sql: str, code: str) -> None:
    with pytest.raises(SourceError) as refused:
        BigQueryWarehouse(PROJECT, URL).estimate(sql.format(dataset), None)
    assert refused.value.code == code


def test_tables_and_jobs_are_found_or_not(dataset: str) -> None:
    warehouse = BigQueryWarehouse(PROJECT, URL)
    assert warehouse.table_type(PROJECT, dataset, "t") == "TABLE"
    with pytest.raises(SourceError) as missing:
        warehouse.table_type(PROJECT, dataset, "nothing")
    assert missing.value.code == "source_not_found"
    assert warehouse.look(f"bi_{uuid.uuid4().hex}_1", "US") is None


def test_an_export_runs_once_under_its_id(dataset: str) -> None:
    warehouse, name = BigQueryWarehouse(PROJECT, URL), f"bi_{uuid.uuid4().hex}_1"
    options = f"uri='gs://b/{name}/*.parquet', format='PARQUET', compression='SNAPPY', overwrite=true"
    sql = f"EXPORT DATA OPTIONS ({options}) AS\nSELECT i FROM {dataset}.t"
    first = warehouse.start(name, sql, "US", 10**9)
    assert (first.is_done, first.error, first.rows) == (True, None, 0)
    again = warehouse.start(name, sql, "US", 10**9)
    assert (again.id, again.started_at) == (name, first.started_at)
