"""One trace joins the request, its Cloud Task and what the worker calls."""

from __future__ import annotations

import json

import requests

from infra.local.demo.api import Api
from infra.local.supervisor import LocalCloud
from tests.e2e.conftest import ROWS, finish


def traces(cloud: LocalCloud, part: str, job_id: str) -> set[str]:
    """Return the traces in a function's log lines about a job."""
    found = set()
    for line in cloud.layout.log(part).read_text(errors="replace").splitlines():
        if line.startswith("{") and job_id in line:
            found.add(json.loads(line).get("logging.googleapis.com/trace"))
    return found


def test_the_trace_of_a_request_goes_on_in_the_worker(cloud: LocalCloud, api: Api, connectors: dict[str, str]) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {"connector_name": connectors["google_sheets"], "table_name": "traced", "rows": ROWS}
    answer = requests.post(
        f"{cloud.endpoints['gateway']}/api/bi-connectors/export",
        json=body,
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        timeout=30,
    )
    job_id = answer.json()["id"]
    ended = finish(api, answer.json())
    assert ended["status"] == "success"
    assert ended["cost"]["usd"] > 0
    assert traces(cloud, "export_worker", job_id) == {f"projects/{cloud.endpoints['project']}/traces/{trace}"}
