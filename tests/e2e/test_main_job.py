"""Register, test, export, refresh and schedule over HTTP, as a user does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from infra.local.demo.api import Api, ApiError
from infra.local.demo.comparison import Row
from infra.local.supervisor import LocalCloud

from .conftest import HELD, ROWS, fetch, finish, finish_refresh

KINDS = ["google_sheets", "power_bi", "looker"]
API = "/api/bi-connectors"


def test_registering_answers_201_then_200_then_409_and_never_the_secret(
    cloud: LocalCloud, bodies: dict[str, dict[str, Any]]
) -> None:
    body = bodies["power_bi"] | {"name": "registered-twice"}

    first = fetch(cloud, "POST", f"{API}/register", body)
    again = fetch(cloud, "POST", f"{API}/register", body)
    other = fetch(cloud, "POST", f"{API}/register", body | {"workspace_id": "00000000-0000-0000-0000-000000000000"})

    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 409]
    assert first.headers["Location"] == f"{API}/registered-twice"
    assert first.headers["ETag"]
    assert other.headers["Content-Type"] == "application/problem+json"
    for answer in (first, again, other):
        assert body["client_secret"] not in answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_connector_passes_every_check(api: Api, connectors: dict[str, str], kind: str) -> None:
    result = api.test(connectors[kind])

    assert [check for check in result["checks"] if not check["ok"]] == []
    assert result["ok"] is True
    assert len(result["checks"]) >= 2


def test_all_connectors_are_listed_and_tested_together(cloud: LocalCloud, connectors: dict[str, str]) -> None:
    listed = fetch(cloud, "GET", API).json()["connectors"]
    tested = fetch(cloud, "POST", f"{API}/test-all").json()

    assert {"looker", "powerbi", "sheets"} <= {connector["name"] for connector in listed}
    assert {"looker", "powerbi", "sheets"} <= {result["connector_name"] for result in tested["results"]}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_a_request_arrive_unchanged(
    api: Api, connectors: dict[str, str], held: Callable[[str, str], list[Row]], kind: str
) -> None:
    job = finish(api, api.export(connector_name=connectors[kind], table_name=f"rows_{kind}", rows=ROWS))

    assert (job["status"], job["error_message"]) == ("success", None)
    assert job["record_count"] == 3
    assert job["progress"]["rows_done"] == job["progress"]["rows_total"] == 3
    assert held(kind, f"rows_{kind}") == HELD


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_export_replaces_the_first(
    api: Api, connectors: dict[str, str], held: Callable[[str, str], list[Row]], kind: str
) -> None:
    table = f"replaced_{kind}"
    finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS))
    job = finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS[:2]))

    assert job["status"] == "success"
    assert held(kind, table) == HELD[:2]


@pytest.mark.parametrize("kind", ["google_sheets", "looker"])
def test_append_adds_to_what_is_there(
    api: Api, connectors: dict[str, str], held: Callable[[str, str], list[Row]], kind: str
) -> None:
    table = f"appended_{kind}"
    finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS[:2]))
    job = finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS[2:], mode="append"))

    assert (job["status"], job["error_message"]) == ("success", None)
    assert held(kind, table) == HELD


def test_a_csv_file_is_found_by_its_table_name(
    api: Api,
    connectors: dict[str, str],
    upload: Callable[[str, bytes], None],
    held: Callable[[str, str], list[Row]],
) -> None:
    upload("by_name.csv", 'id,name,hours,note\n1,Ada,1.5,\n2,=1+1,,"quoted ""text"", comma"\n3,Zoë,0,x\n'.encode())

    job = finish(api, api.export(connector_name=connectors["google_sheets"], table_name="by_name"))

    assert (job["status"], job["error_message"]) == ("success", None)
    assert held("google_sheets", "by_name") == HELD


def test_a_repeated_idempotency_key_gives_the_first_job(cloud: LocalCloud, connectors: dict[str, str]) -> None:
    body = {"connector_name": connectors["google_sheets"], "table_name": "once", "rows": ROWS}
    key = {"Idempotency-Key": "the-same-key"}

    first = fetch(cloud, "POST", f"{API}/export", body, **key)
    again = fetch(cloud, "POST", f"{API}/export", body, **key)
    other = fetch(cloud, "POST", f"{API}/export", body | {"table_name": "twice"}, **key)

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.parametrize("kind", ["power_bi", "looker"])
def test_a_refresh_is_followed_to_its_end(api: Api, connectors: dict[str, str], kind: str) -> None:
    run = finish_refresh(api, api.refresh(connectors[kind]))

    assert (run["status"], run["trigger"], run["error_message"]) == ("success", "manual", None)
    assert run["vendor_id"]


def test_refreshing_a_sheet_is_refused_with_what_to_do_instead(cloud: LocalCloud, connectors: dict[str, str]) -> None:
    answer = fetch(cloud, "POST", f"{API}/{connectors['google_sheets']}/refresh", {})

    assert answer.status_code == 422
    assert "export_and_refresh" in answer.text


def test_cloud_scheduler_fires_a_schedule(cloud: LocalCloud, api: Api, connectors: dict[str, str]) -> None:
    schedule = api.schedule(connectors["looker"], "* * * * *")
    deadline = time.monotonic() + 180  # on the real clock: the others of this cloud read it too

    runs: list[dict[str, Any]] = []
    while not runs and time.monotonic() < deadline:
        time.sleep(0.2)
        runs = [run for run in api.refresh_runs() if run["schedule_id"] == schedule["id"]]

    api.delete_schedule(schedule["id"])
    assert finish_refresh(api, runs[-1])["status"] == "success"
    assert runs[-1]["trigger"] == "schedule"


def test_a_connector_with_a_schedule_is_deleted_only_by_force(
    cloud: LocalCloud, api: Api, bodies: dict[str, dict[str, Any]]
) -> None:
    api.register(bodies["looker"] | {"name": "scheduled"})
    api.schedule("scheduled", "0 6 * * 1")

    assert fetch(cloud, "DELETE", f"{API}/scheduled").status_code == 409
    assert fetch(cloud, "DELETE", f"{API}/scheduled?force=true").status_code == 204
    assert fetch(cloud, "GET", f"{API}/scheduled").status_code == 404


def test_the_merged_openapi_document_has_the_ten_paths_of_the_brief(cloud: LocalCloud) -> None:
    document = fetch(cloud, "GET", "/openapi.json").json()
    operations = {(method.upper(), path) for path, item in document["paths"].items() for method in item}

    assert {
        ("POST", f"{API}/register"),
        ("GET", API),
        ("POST", f"{API}/{{name}}/test"),
        ("POST", f"{API}/test-all"),
        ("POST", f"{API}/export"),
        ("GET", f"{API}/export-jobs/{{id}}"),
        ("POST", f"{API}/{{name}}/refresh"),
        ("POST", f"{API}/schedules"),
        ("GET", f"{API}/schedules"),
        ("DELETE", f"{API}/{{name}}"),
    } <= operations
    assert not [path for path in document["paths"] if path.startswith("/internal")]


def test_internal_routes_are_closed_from_outside(cloud: LocalCloud) -> None:
    assert fetch(cloud, "POST", "/internal/export-jobs/x:run").status_code == 404
    worker = cloud.endpoints["functions"]["export_worker"]
    assert requests.post(f"{worker}/internal/export-jobs/x:run", json={}, timeout=30).status_code == 401


def test_the_worker_does_not_answer_the_public_api_and_the_api_not_the_workers(cloud: LocalCloud) -> None:
    functions = cloud.endpoints["functions"]

    assert requests.get(f"{functions['export_worker']}{API}/export-jobs", timeout=30).status_code in {404, 421}
    assert requests.post(f"{functions['export']}/internal/export-jobs/x:run", json={}, timeout=30).status_code in {
        401,
        404,
        421,
    }


def test_an_unknown_connector_or_table_is_a_404(api: Api, connectors: dict[str, str]) -> None:
    with pytest.raises(ApiError, match="404"):
        api.export(connector_name="nobody", table_name="x", rows=ROWS)
    with pytest.raises(ApiError, match=r"404.*no_such_table"):
        api.export(connector_name=connectors["google_sheets"], table_name="no_such_table")
