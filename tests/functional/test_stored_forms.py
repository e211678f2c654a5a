"""What is taken into a configuration is one line; what an earlier release took and this one cannot use fails in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.conftest import POWER_BI, SHEETS, World
from tests.functional.scheduling import SCHEDULE
from tests.functional.test_connectors import LOOKER

API = "/api/bi-connectors"
ENDS = ["\n", "\r\n", "\t", "\x00", "\x85", "\u2028"]


@pytest.mark.parametrize("end", ENDS)
def test_a_text_of_a_configuration_is_one_line(registered: World, end: str) -> None:
    def refused(field: str, method: str, path: str, body: Any, **headers: str) -> None:
        answer = registered.call("register", method, f"{API}{path}", body, **headers)
        assert (answer.status, answer.body["field"]) == (400, field)
        assert "line break or another control character" in answer.body["detail"]

    refused("tenant_id", "POST", "/register", {**POWER_BI, "name": "new", "tenant_id": POWER_BI["tenant_id"] + end})
    warehouse = {**LOOKER["warehouse"], "user": "loader" + end}
    refused("warehouse.user", "POST", "/register", {**LOOKER, "warehouse": warehouse})
    version = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    refused("tenant_id", "PATCH", "/ymca_powerbi", {"tenant_id": "contoso.com" + end}, If_Match=version)
    assert registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"] == version
    config = {name: value for name, value in POWER_BI.items() if name != "client_secret"}
    item = {**config, "tenant_id": "contoso.com" + end, "credentials_secret": "projects/p/secrets/s/versions/1"}
    (found,) = registered.call("refresh", "POST", f"{API}/apply", {"connectors": [item]}).body["items"]
    assert "line break or another control character" in found["error"]["message"]


def test_a_key_file_keeps_its_lines(world: World) -> None:
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    assert any(b"KEY-----" in (payload or b"") for payload in world.fakes.secrets.payloads.values())


@pytest.mark.parametrize("end", ENDS)
def test_an_expression_is_one_line(registered: World, end: str) -> None:
    changed = {"cron_expression": SCHEDULE["cron_expression"] + end}
    refused = registered.call("refresh", "POST", f"{API}/schedules", {**SCHEDULE, **changed})
    assert (refused.status, refused.body["field"]) == (400, "cron_expression")
    made = registered.call("refresh", "POST", f"{API}/schedules", SCHEDULE)
    path, version = f"{API}/schedules/{made.body['id']}", made.headers["ETag"]
    assert registered.call("refresh", "PATCH", path, changed, If_Match=version).status == 400
    assert registered.call("refresh", "GET", path).body["cron_expression"] == SCHEDULE["cron_expression"]


def test_a_job_through_a_connector_that_is_stored_in_no_valid_form_fails_in_words(world: World) -> None:
    assert world.call("register", "POST", f"{API}/register", LOOKER).status == 201
    body = {"connector_name": LOOKER["name"], "table_name": "people", "rows": [{"id": 1}]}
    stored = {**LOOKER["warehouse"], "port": 0}
    document = world.fakes.documents.get(f"connectors/{LOOKER['name']}")
    assert document is not None
    world.fakes.documents.update(document.path, {"config": {**document.data["config"], "warehouse": stored}})
    job_id = world.call("export", "POST", f"{API}/export", body).body["id"]
    world.work()
    job = world.call("export", "GET", f"{API}/export-jobs/{job_id}").body
    assert (job["status"], job["error"]["code"]) == ("failed", "target_refused")
    assert "is stored with a configuration that cannot be used, change it" in job["error_message"]
    assert "$.warehouse.port" in job["error_message"]
    tested = world.call("register", "POST", f"{API}/{LOOKER['name']}/test").body
    assert (tested["ok"], "$.warehouse.port" in tested["checks"][0]["message"]) == (False, True)


@pytest.mark.parametrize(
    "uri",
    [
        "gs://[x/y.csv",
        "gs://x]/y.csv",
        "gs://a\u2100b/y.csv",
        "gs://tables/y\n.csv",
        "gs://tables/" + "y" * 1025 + ".csv",
    ],
)
def test_an_address_that_no_bucket_has_is_refused(registered: World, uri: str) -> None:
    table = registered.call("export", "PUT", f"{API}/tables/people", {"source": {"uri": uri}})
    assert (table.status, table.body["field"]) == (400, "source.uri")
    export = {"connector_name": "ymca_sheets", "table_name": "people", "source": {"uri": uri}}
    assert registered.call("export", "POST", f"{API}/export", export).status == 400


@pytest.mark.parametrize("origin", ["http://[x", "http://x]", "null", ""])
def test_an_origin_that_is_no_address_is_not_this_machine(registered: World, origin: str) -> None:
    answer = registered.call("register", "GET", API, Host="localhost", Origin=origin)
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
