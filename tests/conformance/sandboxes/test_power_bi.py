"""Power BI's datasets, rows and limits in the sandbox, as a stranger's client sees them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local.sandboxes.power_bi import PowerBISandbox
from infra.local.sandboxes.server import SandboxServer

from .power_bi_client import API, COLUMNS, Client

pytestmark = pytest.mark.usefixtures("vendors")


@pytest.fixture
def client(vendors: SandboxServer) -> Client:
    vendors.clock.advance(61)  # past the queries a minute of the tests before
    return Client(vendors)


def test_a_call_without_a_token_is_401_and_with_an_expired_one_403(client: Client, vendors: SandboxServer) -> None:
    bare = requests.get(f"{client.group}/datasets", timeout=10)
    assert (bare.status_code, bare.json()["error"]["code"]) == (401, "PowerBINotAuthorizedException")
    assert "pbi.error" in bare.json()["error"]
    vendors.tokens.expire_all("entra")
    expired = client.call("GET", f"{client.group}/datasets")
    assert (expired.status_code, expired.json()["error"]["code"]) == (403, "TokenExpired")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/datasets"), ("POST", "/datasets/x/tables/T/rows"), ("POST", "/datasets/x/refreshes")]
)
def test_a_url_without_group_is_refused_to_a_service_principal(client: Client, method: str, path: str) -> None:
    answer = client.call(method, f"{API}{path}")
    assert (answer.status_code, answer.json()) == (403, {"Message": "API is not accessible for application"})


def test_a_principal_that_is_no_member_is_not_authorised(client: Client, vendors: SandboxServer) -> None:
    token = vendors.tokens.issue("entra", "stranger", "https://analysis.windows.net/powerbi/api/.default", 60)
    answer = requests.get(f"{client.group}/datasets", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "PowerBINotAuthorizedException")


def test_groups_are_listed_and_filtered(client: Client) -> None:
    names = [group["name"] for group in client.call("GET", f"{API}/groups").json()["value"]]
    assert names == ["BI connectors demo"]
    other = client.call("GET", f"{API}/groups", params={"$filter": "name eq 'other'"})
    assert other.json()["value"] == []
    assert client.call("GET", client.group).json()["isOnDedicatedCapacity"] is True
    assert "RequestId" in other.headers


def test_values_are_held_as_documented(client: Client) -> None:
    dataset = client.create()
    body = b'{"rows":[{"n":9007199254740993,"x":0.1,"ok":true,"text":"","at":"2024-07-30T01:02:03.002Z","money":12345678901234567890.12345}'
    assert client.call("POST", f"{dataset}/tables/T/rows", body + b',{"n":1,"at":"07/30/2014"}]}').status_code == 200
    first, second = client.rows(dataset)
    assert first == {
        "T[n]": 1,
        "T[x]": None,
        "T[ok]": None,
        "T[text]": None,
        "T[at]": "2014-07-30T00:00:00",
        "T[money]": None,
    }
    assert second["T[n]"] == 9007199254740993
    assert (second["T[text]"], second["T[at]"]) == ("", "2024-07-30T01:02:03.003")
    assert b'"T[money]":12345678901234567890.1235' in client.query(dataset, "EVALUATE TOPNSKIP(9, 0, 'T')").content


@pytest.mark.parametrize(
    "row",
    [
        {"n": 1.5},
        {"n": "1"},
        {"n": 2**63 - 1},
        {"n": -(2**63)},
        {"n": True},
        {"x": "0.1"},
        {"x": 1.7976931348623157e308},
        {"ok": 1},
        {"text": 1},
        {"text": "x" * 4001},
        {"at": "yesterday"},
        {"at": 1},
        {"money": "1.5"},
        {"money": 10**24},
        {"unknown": 1},
    ],
)
def test_a_value_that_does_not_fit_refuses_the_whole_request(client: Client, row: dict[str, Any]) -> None:
    dataset = client.create()
    answer = client.push(dataset, [{"n": 1}, row])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequest")
    assert client.count(dataset) == 0


@pytest.mark.parametrize("body", [b'{"rows":[{"x":NaN}]}', b'{"rows":[{"x":Infinity}]}', b"{", b"[]", b'{"rows":[1]}'])
def test_a_body_that_is_no_list_of_rows_is_400(client: Client, body: bytes) -> None:
    assert client.call("POST", f"{client.create()}/tables/T/rows", body).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"tables": []},
        {"tables": [{"name": f"T{i}", "columns": COLUMNS[:1]} for i in range(76)]},
        {"tables": [{"name": "T", "columns": []}]},
        {"tables": [{"name": "T", "columns": [{"name": f"c{i}", "dataType": "Int64"} for i in range(76)]}]},
        {"tables": [{"name": "a[b", "columns": COLUMNS}]},
        {"tables": [{"name": "x" * 101, "columns": COLUMNS}]},
        {"tables": [{"name": "T", "columns": [{"name": "a\x01", "dataType": "Int64"}]}]},
        {"tables": [{"name": "T", "columns": [{"name": "a", "dataType": "Int32"}]}]},
        {
            "tables": [
                {"name": "T", "columns": [{"name": "a", "dataType": "Int64"}, {"name": "A", "dataType": "Int64"}]}
            ]
        },
        {"relationships": [{}] * 76},
    ],
)
def test_a_schema_beyond_the_rules_is_400(client: Client, change: dict[str, Any]) -> None:
    body = {"name": "d", "defaultMode": "Push", "tables": [{"name": "T", "columns": COLUMNS}], **change}
    assert client.call("POST", f"{client.group}/datasets", body).status_code == 400


def test_rows_for_another_kind_of_dataset_are_refused(client: Client) -> None:
    answer = client.call("POST", f"{client.model}/tables/T/rows", {"rows": []})
    assert answer.status_code == 404
    assert "is not Push API dataset" in answer.json()["error"]["message"]


def test_unknown_things_are_404_and_routes_501(client: Client) -> None:
    assert client.call("GET", f"{client.group}/datasets/none").status_code == 404
    assert client.call("POST", f"{client.create()}/tables/U/rows", {"rows": []}).status_code == 404
    assert client.call("GET", f"{client.group}/dashboards").status_code == 501


def test_a_dataset_is_deleted_with_its_rows(client: Client) -> None:
    dataset = client.create()
    client.push(dataset, [{"n": 1}])
    assert client.call("DELETE", dataset).status_code == 200
    assert client.call("GET", dataset).status_code == 404


def test_a_new_dataset_shows_nothing_of_a_deleted_one(client: Client) -> None:
    old = client.create(COLUMNS[:1])
    assert client.rows(old) == []
    client.call("DELETE", old)
    new = client.create(COLUMNS[:2])
    assert client.query(new, "EVALUATE ROW(\"a\", MIN('T'[x]))").status_code == 200


def test_columns_are_replaced_and_a_column_with_rows_keeps_its_type(client: Client) -> None:
    dataset = client.create(COLUMNS[:2])
    client.push(dataset, [{"n": 1, "x": 0.5}])
    more = {"name": "T", "columns": [COLUMNS[3], COLUMNS[0]]}
    assert client.call("PUT", f"{dataset}/tables/T", more).json()["name"] == "T"
    assert client.rows(dataset) == [{"T[text]": None, "T[n]": 1}]
    retyped = {"name": "T", "columns": [{"name": "n", "dataType": "string"}]}
    assert client.call("PUT", f"{dataset}/tables/T", retyped).status_code == 400
    client.call("DELETE", f"{dataset}/tables/T/rows")
    assert client.call("PUT", f"{dataset}/tables/T", retyped).status_code == 200


@pytest.mark.parametrize(
    ("mode", "status", "held", "numbers"),
    [("enforce", 200, 2, [7]), ("reject", 400, 2, [7]), ("ignore", 200, 4, []), ("absent", 200, 4, None)],
)
def test_a_repeated_sequence_number(
    client: Client, vendors: SandboxServer, mode: str, status: int, held: int, numbers: list[int] | None
) -> None:
    vendors.settings("power_bi", sequence_numbers=mode)
    dataset = client.create()
    assert client.push(dataset, [{"n": 1}], 3).status_code == 200
    assert client.push(dataset, [{"n": 2}], 7).status_code == 200
    assert client.push(dataset, [{"n": 3}], 7).status_code == status
    assert client.push(dataset, [{"n": 3}], 2).status_code == status
    assert client.count(dataset) == held
    answer = client.call("GET", f"{dataset}/tables/T/sequenceNumbers")
    if numbers is None:
        assert answer.status_code == 404
    else:
        assert [entry["sequenceNumber"] for entry in answer.json()["value"]] == numbers
        assert all(entry["clientId"] == vendors.accounts.entra.client_id for entry in answer.json()["value"])


def test_10001_rows_in_one_request_are_refused(client: Client) -> None:
    dataset = client.create(COLUMNS[:1])
    assert client.push(dataset, [{"n": 1}] * 10_001).status_code == 400
    assert client.push(dataset, [{"n": 1}] * 10_000).status_code == 200


def test_the_121st_request_of_a_minute_is_throttled_until_the_first_is_a_minute_old(
    client: Client, vendors: SandboxServer
) -> None:
    dataset = client.create(COLUMNS[:1])
    for _ in range(120):
        assert client.push(dataset, [{"n": 1}]).status_code == 200
    refused = client.push(dataset, [{"n": 1}])
    assert refused.status_code == 429
    wait_s = int(refused.headers["Retry-After"])
    assert refused.json() == {
        "message": "You have exceeded the amount of requests allowed in the current time frame and further requests will fail. "
        f"Retry in {wait_s} seconds."
    }
    assert 1 <= wait_s <= 60
    vendors.clock.advance(wait_s)
    assert client.push(dataset, [{"n": 1}]).status_code == 200


def test_rows_an_hour_and_requests_an_hour_of_a_large_table_are_limited(client: Client, vendors: SandboxServer) -> None:
    dataset = client.create(COLUMNS[:1])
    full = json.dumps({"rows": [{"n": 1}] * 10_000}).encode()
    for _ in range(100):
        assert client.call("POST", f"{dataset}/tables/T/rows", full).status_code == 200
    refused = client.push(dataset, [{"n": 1}])
    assert (refused.status_code, "rows per hour" in refused.json()["error"]["message"]) == (429, True)
    assert 3_000 < int(refused.headers["Retry-After"]) <= 3_600
    vendors.clock.advance(3_601)
    client = Client(vendors)  # tokens live an hour
    for _ in range(120):
        assert client.push(dataset, [{"n": 1}]).status_code == 200
    vendors.clock.advance(120)
    refused = client.push(dataset, [{"n": 1}])
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 3_000
    vendors.settings("power_bi", quotas=False)
    assert client.push(dataset, [{"n": 1}]).status_code == 200


def test_a_sixth_request_in_flight_is_refused(client: Client, vendors: SandboxServer) -> None:
    dataset = client.create(COLUMNS[:1])
    sandbox = vendors.sandbox("power_bi")
    assert isinstance(sandbox, PowerBISandbox)
    with contextlib.ExitStack() as in_flight:
        for _ in range(5):
            in_flight.enter_context(sandbox.quota.pending(dataset.rsplit("/", 1)[1]))
        assert client.push(dataset, [{"n": 1}]).status_code == 429
    assert client.push(dataset, [{"n": 1}]).status_code == 200


def test_fifo_keeps_the_newest_200000_rows(client: Client) -> None:
    dataset = client.create(COLUMNS[:1], retention="basicFIFO")
    for start in range(0, 210_000, 10_000):
        rows = b",".join(b'{"n":%d}' % n for n in range(start, start + 10_000))
        assert client.call("POST", f"{dataset}/tables/T/rows", b'{"rows":[' + rows + b"]}").status_code == 200
    assert client.count(dataset) == 200_000
    answer = client.query(dataset, "EVALUATE ROW(\"low\", MIN('T'[n]), \"high\", MAX('T'[n]), \"sum\", SUM('T'[n]))")
    assert answer.json()["results"][0]["tables"][0]["rows"] == [
        {"[low]": 10_000, "[high]": 209_999, "[sum]": 21_999_900_000}
    ]


def test_admin_shows_datasets_and_rows(client: Client, vendors: SandboxServer) -> None:
    dataset = client.create().rsplit("/", 1)[1]
    client.push(f"{client.group}/datasets/{dataset}", [{"n": i, "at": "2024-07-30T00:00:00Z"} for i in range(5)])
    listed = requests.get(f"{vendors.admin_url}/power_bi/datasets", timeout=10).json()["datasets"]
    [mine] = [entry for entry in listed if entry["id"] == dataset]
    assert mine["tables"][0]["rows"] == 5
    url = f"{vendors.admin_url}/power_bi/datasets/{dataset}/tables/T/rows"
    answer = requests.get(url, params={"offset": 1, "limit": 2}, timeout=10).json()
    assert ([row["n"] for row in answer["rows"]], answer["total"]) == ([1, 2], 5)
    assert answer["rows"][0]["at"] == "2024-07-30T00:00:00"


def test_rows_and_sequence_numbers_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ""
    for numbers in ([], [5]):
        with SandboxServer(tmp_path) as server:
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            client = Client(server)
            dataset = dataset or client.create()
            answer = client.call("GET", f"{dataset}/tables/T/sequenceNumbers").json()["value"]
            assert [entry["sequenceNumber"] for entry in answer] == numbers
            client.push(dataset, [{"n": 1}], 5)
            assert client.count(dataset) == 1


def test_push_datasets_cannot_be_created_after_october_2027(client: Client, vendors: SandboxServer) -> None:
    dataset = client.create()
    left_s = 1_825_027_200 - vendors.clock.time()  # 2027-11-01T00:00:00Z
    vendors.clock.advance(max(0.0, left_s))
    client = Client(vendors)
    body = {"name": "late", "defaultMode": "Push", "tables": [{"name": "T", "columns": COLUMNS}]}
    assert client.call("POST", f"{client.group}/datasets", body).status_code == 400
    assert client.push(dataset, [{"n": 1}]).status_code == 200
