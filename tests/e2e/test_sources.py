"""Sources beyond one file, on the local cloud: BigQuery, Firestore, many files; and a configuration applied as a whole."""

from __future__ import annotations

import json
import uuid
from typing import Any

import grpc
import pytest
import requests
from google.cloud import firestore, secretmanager

from infra.local.demo.api import Api
from infra.local.demo.vendors import Vendors
from infra.local.settings import PROJECT
from infra.local.supervisor import LocalCloud
from tests.campaigns.flights import Cloud


@pytest.fixture
def ways(cloud: LocalCloud, connectors: dict[str, str]) -> Cloud:
    del connectors  # registered
    return Cloud.of(cloud)


@pytest.fixture
def database(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", cloud.endpoints["firestore"])
    return firestore.Client(project=PROJECT)


def name() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


def test_a_bigquery_table_and_a_query_reach_a_sheet(ways: Cloud, vendors: Vendors) -> None:
    table, query = name(), name()
    job = ways.export(connector_name="sheets", table_name=table, source={"bigquery": {"table": "demo.volunteers"}})
    assert job["status"] == "success", job
    assert job["source_as_of"] == job["created_at"]
    kinds = {"id": "number", "name": "text", "joined": "date", "hours": "number"}
    assert list(vendors.google_sheets(table, kinds)) == [
        (1, "Zoë", "2024-02-29", 12.5), (2, "=1+1", None, 0.1), (3, "007", "2025-12-31", None),
    ]  # fmt: skip
    sql = "SELECT name, id * 10 AS ten FROM demo.volunteers WHERE id > 1 ORDER BY id DESC"
    job = ways.export(connector_name="sheets", table_name=query, source={"bigquery": {"query": sql}})
    assert job["status"] == "success", job
    assert list(vendors.google_sheets(query, {"name": "text", "ten": "number"})) == [("007", 30), ("=1+1", 20)]


def test_a_firestore_collection_reaches_a_sheet(ways: Cloud, vendors: Vendors, database: Any) -> None:
    collection = name()
    database.document(f"{collection}/a").set({"n": 1, "at": {"city": "Köln"}, "tags": ["x", 2]})
    database.document(f"{collection}/b").set({"n": 2.5, "at": {"city": None}})
    job = ways.export(connector_name="sheets", table_name=collection, source={"firestore": {"collection": collection}})
    assert job["status"] == "success", job
    kinds = {"__id__": "text", "at.city": "text", "n": "number", "tags": "text"}
    assert list(vendors.google_sheets(collection, kinds)) == [("a", "Köln", 1, '["x",2]'), ("b", None, 2.5, None)]


def test_many_files_are_one_table(ways: Cloud, vendors: Vendors) -> None:
    folder = name()
    ways.put(f"{folder}/1.csv", b"id,name\n1,Ann\n2,007\n")
    ways.put(f"{folder}/2.csv", b"name,id\nBo,3\n")
    uri = f"gs://{PROJECT}-tables/{folder}/"
    job = ways.export(connector_name="sheets", table_name=folder, source={"uri": uri})
    assert job["status"] == "success", job
    assert list(vendors.google_sheets(folder, {"id": "number", "name": "text"})) == [(1, "Ann"), (2, "007"), (3, "Bo")]


def test_a_configuration_is_applied_through_the_gateway(
    cloud: LocalCloud, api: Api, ways: Cloud, vendors: Vendors
) -> None:
    del api
    table, connector = name(), f"c{uuid.uuid4().hex[:8]}"
    transport = secretmanager.SecretManagerServiceClient.get_transport_class("grpc")
    channel = grpc.insecure_channel(cloud.endpoints["secret_manager"])
    secrets = secretmanager.SecretManagerServiceClient(transport=transport(channel=channel))
    parent = f"projects/{PROJECT}"
    secret = secrets.create_secret(
        request={"parent": parent, "secret_id": connector, "secret": {"replication": {"automatic": {}}}}
    )
    payload = json.dumps({"service_account_key": cloud.accounts.google.service_account_key}).encode()
    version = secrets.add_secret_version(request={"parent": secret.name, "payload": {"data": payload}}).name
    text = f"""
connectors:
  - name: {connector}
    connector_type: google_sheets
    spreadsheet_id: {cloud.accounts.google.spreadsheet_id}
    credentials_secret: {version}
tables:
  - name: {table}
    source: {{bigquery: {{table: demo.volunteers}}}}
    defaults: {{target: {{google_sheets: {{worksheet: Applied {table}}}}}}}
schedules:
  - name: {table}
    connector_name: {connector}
    cron_expression: 0 0 1 1 *
    action: export_and_refresh
    export: {{connector_name: {connector}, table_name: {table}}}
"""

    def apply(query: str = "") -> list[tuple[str, str]]:
        url = f"{cloud.endpoints['gateway']}/api/bi-connectors/apply{query}"
        answer = requests.post(url, data=text.encode(), headers={"Content-Type": "application/yaml"}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["ok"], answer.text
        return [(item["action"], item["outcome"]) for item in answer.json()["items"]]

    assert apply("?dry_run=true") == [("create", "planned")] * 3
    assert apply() == [("create", "done")] * 3
    assert apply() == [("unchanged", "done")] * 3
    job = ways.export(connector_name=connector, table_name=table)
    assert job["status"] == "success", job
    kinds = {"id": "number", "name": "text", "joined": "date", "hours": "number"}
    assert len(list(vendors.google_sheets(f"Applied {table}", kinds))) == 3
