"""Power BI's queries and refreshes in the sandbox, as a stranger's client sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.sandboxes.server import SandboxServer

from .power_bi_client import COLUMNS, Client

pytestmark = pytest.mark.usefixtures("vendors")


@pytest.fixture
def client(vendors: SandboxServer) -> Client:
    vendors.clock.advance(61)  # past the queries a minute of the tests before
    return Client(vendors)


def test_every_shape_of_dax_that_is_imitated(client: Client) -> None:
    dataset = client.create()
    rows = [
        {"n": 3, "x": 0.5, "ok": True, "text": "a😀", "at": "1900-01-01T06:00:00Z", "money": 1.25},
        {"n": -1, "x": 0.25, "ok": False, "text": "", "at": "1899-12-29T12:00:00Z", "money": 2},
        {},
    ]
    assert client.push(dataset, rows).status_code == 200
    expressions = {
        "COUNTROWS('T')": 3,
        "COUNTROWS(FILTER('T', NOT ISBLANK('T'[text])))": 2,
        "COUNTROWS ( filter('T', not isblank('T'[ok])) )": 2,
        "COUNTROWS(FILTER('T', 'T'[ok] = TRUE()))": 1,
        "SUM('T'[n])": 2,
        "SUM('T'[x])": 0.75,
        "SUM('T'[money])": 3.25,
        "SUMX('T', CONVERT('T'[n], DOUBLE))": 2.0,
        "MIN('T'[n])": -1,
        "MAX('T'[at])": "1900-01-01T06:00:00",
        "SUMX('T', LEN('T'[text]))": 3,
        "SUMX('T', INT('T'[at]))": 1,
        "SUMX('T', ROUND(('T'[at] - INT('T'[at])) * 25920000, 0))": 19_440_000,
    }
    query = "EVALUATE ROW(" + ", ".join(f'"{i}", {text}' for i, text in enumerate(expressions)) + ")"
    [row] = client.query(dataset, query).json()["results"][0]["tables"][0]["rows"]
    assert list(row.values()) == list(expressions.values())


def test_nothing_is_blank_and_blanks_are_left_out_unless_asked_for(client: Client) -> None:
    dataset = client.create()
    query = "EVALUATE ROW(\"a\", COUNTROWS('T'), \"b\", SUM('T'[n]), \"c\", MIN('T'[at]))"
    assert client.query(dataset, query).json()["results"][0]["tables"][0]["rows"] == [
        {"[a]": None, "[b]": None, "[c]": None}
    ]
    assert client.query(dataset, query, include_nulls=False).json()["results"][0]["tables"][0]["rows"] == [{}]


@pytest.mark.parametrize(
    "query",
    [
        "EVALUATE VALUES('T')",
        "EVALUATE ROW(\"n\", DISTINCTCOUNT('T'[n]))",
        "EVALUATE ROW(\"n\", COUNTROWS('U'))",
        "EVALUATE ROW(\"n\", SUM('T'[nope]))",
        "EVALUATE ROW(\"n\", SUM('T'[text]))",
        "EVALUATE ROW(\"n\", MIN('T'[ok]))",
        "EVALUATE ROW(\"n\", SUMX('T', LEN('T'[n])))",
        "EVALUATE ROW(SUM('T'[n]))",
        "EVALUATE ROW(\"n\", SUM('T'[n])",
        "EVALUATE TOPNSKIP(10, 0, 'T', 'T'[n], DESC)",
        "EVALUATE TOPNSKIP(10, 0, 'T', 'T'[nope], ASC)",
        'DEFINE MEASURE T[m] = 1 EVALUATE ROW("n", 1)',
        "select 1",
        ";",
    ],
)
def test_any_other_query_is_400_in_the_form_of_a_dax_error(client: Client, query: str) -> None:
    answer = client.query(client.create(), query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "DatasetExecuteQueriesError")
    assert answer.json()["error"]["pbi.error"]["details"][0]["code"] == "DetailsMessage"


def test_an_answer_over_its_limits_is_cut_off_with_status_200_and_an_error_inside(client: Client) -> None:
    dataset = client.create([COLUMNS[3]] + [{"name": f"c{i}", "dataType": "Int64"} for i in range(1, 20)])
    rows = json.dumps({"rows": [{"text": "x" * 200}] * 10_000}).encode()
    for _ in range(6):
        client.call("POST", f"{dataset}/tables/T/rows", rows)
    answer = client.query(dataset, "EVALUATE TOPNSKIP(60000, 0, 'T')")
    assert answer.status_code == 200
    result = answer.json()["results"][0]
    assert result["error"]["code"] == "ResultSetTruncated"
    assert 0 < len(result["tables"][0]["rows"]) < 50_000
    assert len(answer.content) < 15_001_000
    values = client.query(dataset, "EVALUATE TOPNSKIP(50001, 0, 'T')", include_nulls=False).json()["results"][0]
    assert "error" in values


def test_the_121st_query_of_a_minute_is_throttled(client: Client, vendors: SandboxServer) -> None:
    dataset = client.create()
    for _ in range(120):
        assert client.count(dataset) == 0
    assert client.query(dataset, "EVALUATE ROW(\"n\", COUNTROWS('T'))").status_code == 429


def test_a_push_dataset_cannot_be_refreshed(client: Client) -> None:
    answer = client.call("POST", f"{client.create()}/refreshes")
    assert (answer.status_code, "Model-based" in answer.json()["error"]["message"]) == (400, True)


def test_a_standard_refresh_shows_in_the_history_after_a_delay(client: Client, vendors: SandboxServer) -> None:
    vendors.clock.advance(86_401)
    client = Client(vendors)
    vendors.settings("power_bi", refresh_seconds=30, history_delay_seconds=5)
    started = client.call("POST", f"{client.model}/refreshes", {"notifyOption": "NoNotification"})
    assert (started.status_code, "x-ms-request-id" in started.headers, "Location" in started.headers) == (
        202,
        False,
        False,
    )

    def entry() -> dict[str, Any] | None:
        listed = client.call("GET", f"{client.model}/refreshes", params={"$top": 1}).json()["value"]
        return next((e for e in listed if e["requestId"] == started.headers["RequestId"]), None)

    assert entry() is None
    vendors.clock.advance(6)
    shown = entry()
    assert shown is not None
    assert (shown["status"], shown["refreshType"], "endTime" in shown) == ("Unknown", "ViaApi", False)
    vendors.clock.advance(30)
    ended = entry()
    assert ended is not None
    assert (ended["status"], "endTime" in ended) == ("Completed", True)
    assert client.call("GET", f"{client.model}/refreshes/{started.headers['RequestId']}").status_code == 404


def test_an_enhanced_refresh_has_details_and_must_not_notify(client: Client, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", refresh_seconds=30)
    both = client.call("POST", f"{client.model}/refreshes", {"type": "Full", "notifyOption": "NoNotification"})
    assert both.status_code == 400
    started = client.call("POST", f"{client.model}/refreshes", {"type": "Full"})
    assert started.headers["Location"].endswith(f"/refreshes/{started.headers['x-ms-request-id']}")
    details = client.call("GET", started.headers["Location"])
    assert (details.status_code, details.json()["status"], details.json()["extendedStatus"]) == (
        202,
        "Unknown",
        "InProgress",
    )
    assert client.call("POST", f"{client.model}/refreshes", {"type": "Full"}).status_code == 409
    assert client.call("POST", f"{client.model}/refreshes").status_code == 400
    assert client.call("DELETE", started.headers["Location"]).status_code == 200
    details = client.call("GET", started.headers["Location"])
    assert (details.status_code, details.json()["extendedStatus"]) == (200, "Cancelled")


def test_an_enhanced_refresh_over_its_timeout_has_failed(client: Client, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", refresh_seconds=30)
    started = client.call("POST", f"{client.model}/refreshes", {"type": "Full", "timeout": "00:00:10"})
    vendors.clock.advance(11)
    details = client.call("GET", started.headers["Location"]).json()
    assert (details["status"], details["extendedStatus"]) == ("Failed", "TimedOut")
