"""The Power BI sandbox refuses members and types that the contract does not have."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.sandboxes.server import SandboxServer

from .power_bi_client import Client

pytestmark = pytest.mark.usefixtures("vendors")
COLUMN = {"name": "n", "dataType": "Int64"}
TABLE = {"name": "T", "columns": [COLUMN]}
DATASET = {"name": "d", "tables": [TABLE]}


@pytest.fixture
def client(vendors: SandboxServer) -> Client:
    vendors.clock.advance(61)
    return Client(vendors)


def told(client: Client, url: str, body: Any) -> tuple[int, str]:
    answer = client.call("POST", url, body)
    return answer.status_code, answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({**DATASET, "oops": 1}, 400, 'Unknown member "oops"'),
        ({"name": "d", "tables": [{**TABLE, "oops": 1}]}, 400, 'Unknown member "tables[0].oops"'),
        (
            {"name": "d", "tables": [{"name": "T", "columns": [{**COLUMN, "x": 1}]}]},
            400,
            'Unknown member "tables[0].columns[0].x"',
        ),
        ({"name": "d"}, 400, "tables is required"),
        ({**DATASET, "name": 5}, 400, "name is not of type str: 5"),
        ({**DATASET, "relationships": [{"name": "r"}]}, 400, "relationships[0].fromTable is required"),
        ({**DATASET, "defaultMode": "Streaming"}, 501, "The sandbox does not imitate defaultMode Streaming."),
        ({**DATASET, "datasources": [{}]}, 501, "The sandbox does not imitate datasources."),
        (
            {"name": "d", "tables": [{**TABLE, "measures": [{"name": "m", "expression": "1"}]}]},
            501,
            "The sandbox does not imitate tables[0].measures.",
        ),
    ],
)
def test_datasets_are_read_strictly(client: Client, body: Any, status: int, text: str) -> None:
    assert told(client, f"{client.group}/datasets", body) == (status, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"maxParallelism": "x"}, 'maxParallelism is not of type int: "x"'),
        ({"maxParallelism": True}, "maxParallelism is not of type int: true"),
        ({"retryCount": -1}, "Invalid dataset refresh request. retryCount -1 is out of range"),
        ({"applyRefreshPolicy": 1}, "applyRefreshPolicy is not of type bool: 1"),
        ({"effectiveDate": "soon"}, 'effectiveDate is not a date-time: "soon"'),
        ({"objects": [{"table": 1}]}, "objects[0].table is not of type str: 1"),
        ({"objects": [{"oops": 1}]}, 'Unknown member "objects[0].oops"'),
        ({"type": 3}, "type is not of type str: 3"),
        ({"timeout": 5}, "timeout is not of type str: 5"),
        ({"oops": 1}, 'Unknown member "oops"'),
        ([], "The request is not an object"),
    ],
)
def test_refreshes_are_read_strictly(client: Client, body: Any, text: str) -> None:
    assert told(client, f"{client.model}/refreshes", body) == (400, text)


def test_rows_queries_and_paging_are_read_strictly(client: Client) -> None:
    dataset = client.create()
    assert told(client, f"{dataset}/tables/T/rows", {"rows": [], "oops": 1}) == (400, 'Unknown member "oops"')
    query = {"query": "EVALUATE ROW(\"n\", COUNTROWS('T'))"}
    assert told(client, f"{dataset}/executeQueries", {"queries": [{**query, "x": 1}]}) == (
        400,
        'Unknown member "queries[0].x"',
    )
    settings = {"queries": [query], "serializerSettings": {"includeNulls": "yes"}}
    text = 'serializerSettings.includeNulls is not of type bool: "yes"'
    assert told(client, f"{dataset}/executeQueries", settings) == (400, text)
    groups = client.group.rpartition("/")[0]
    assert client.call("GET", groups, params={"$skip": "x"}).status_code == 400
