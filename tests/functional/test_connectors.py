"""Registering, reading, changing, deleting and testing connectors, over HTTP on fakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import models
from shared.connectors._base import Check
from tests.functional.conftest import POWER_BI, SHEETS, World

API = "/api/bi-connectors"


def everything_stored(world: World) -> str:
    return json.dumps({path: data for path, (data, _) in world.fakes.documents._documents.items()}, default=str)


def test_register_keeps_the_secret_in_secret_manager_only(world: World) -> None:
    answer = world.call("register", "POST", f"{API}/register", POWER_BI)
    assert answer.status == 201
    assert answer.headers["Location"] == "/api/bi-connectors/ymca_powerbi"
    assert answer.headers["ETag"]
    assert answer.body["credentials"] == "projects/fake/secrets/bi-connector-ymca_powerbi/versions/1"
    assert "client_secret" not in answer.body["config"]
    assert "s3cret" not in json.dumps(answer.body)
    assert "s3cret" not in everything_stored(world)
    assert json.loads(world.fakes.secrets.read(answer.body["credentials"])) == {
        "client_secret": "s3cret-value-of-the-app"
    }


def test_register_again_with_the_same_body_is_200_and_adds_no_secret(registered: World) -> None:
    again = registered.call("register", "POST", f"{API}/register", POWER_BI)
    assert again.status == 200
    assert len(registered.fakes.secrets.payloads) == 2


def test_register_again_with_another_secret_is_409(registered: World) -> None:
    other = registered.call("register", "POST", f"{API}/register", {**POWER_BI, "client_secret": "another-secret"})
    assert (other.status, other.body["code"]) == (409, "name_taken")
    assert len(registered.fakes.secrets.payloads) == 2


def test_register_a_key_sent_as_text_is_the_same_as_the_object(registered: World) -> None:
    as_text = {**SHEETS, "service_account_key": json.dumps(SHEETS["service_account_key"])}
    assert registered.call("register", "POST", f"{API}/register", as_text).status == 200


def test_register_names_the_missing_credential(world: World) -> None:
    body = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    answer = world.call("register", "POST", f"{API}/register", body)
    assert (answer.status, answer.body["field"]) == (400, "client_secret")
    assert world.fakes.documents._documents == {}


def test_register_takes_a_reference_to_an_existing_secret(world: World) -> None:
    version = world.fakes.secrets.add("own", b'{"client_secret": "kept elsewhere"}')
    body = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    answer = world.call("register", "POST", f"{API}/register", {**body, "credentials_secret": version})
    assert (answer.status, answer.body["credentials"]) == (201, version)
    assert world.call("register", "DELETE", f"{API}/ymca_powerbi").status == 204
    assert world.fakes.secrets.read(version) == b'{"client_secret": "kept elsewhere"}'


@pytest.mark.parametrize(
    "reference",
    [
        "A",
        "projects/p/secrets/s",
        "projects/p/secrets/s/versions/latest",
        "projects/p/secrets/s/versions/1/../2",
        "projects/p/secrets/s/versions/1\n",
        "the-very-Secret~of.the-app",
    ],
)
def test_register_refuses_a_reference_that_is_no_pinned_version(world: World, reference: str) -> None:
    body = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    answer = world.call("register", "POST", f"{API}/register", {**body, "credentials_secret": reference})
    assert (answer.status, answer.body["field"]) == (400, "credentials_secret")
    assert len(reference) == 1 or reference not in answer.body["detail"]  # people paste the secret itself there


def test_credentials_that_secret_manager_does_not_keep_are_refused(registered: World) -> None:
    large = "x" * 65_536
    answer = registered.call("register", "POST", f"{API}/register", {**POWER_BI, "name": "b", "client_secret": large})
    assert (answer.status, answer.body["field"]) == (400, "client_secret")
    assert large not in answer.body["detail"]
    etag = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    change = {"client_secret": large}
    assert registered.call("register", "PATCH", f"{API}/ymca_powerbi", change, If_Match=etag).status == 400


def test_register_takes_credentials_in_one_way_only(world: World) -> None:
    """Which of the two were meant nobody could say afterwards."""
    version = world.fakes.secrets.add("own", b'{"client_secret": "kept elsewhere"}')
    answer = world.call("register", "POST", f"{API}/register", {**POWER_BI, "credentials_secret": version})
    assert (answer.status, answer.body["field"]) == (400, "credentials_secret")
    assert world.fakes.documents._documents == {}
    assert list(world.fakes.secrets.payloads) == [version]


def test_deleting_a_connector_leaves_a_secret_that_its_owner_named(world: World) -> None:
    """Even one that is called as we call ours."""
    version = world.fakes.secrets.add("bi-connector-ymca_powerbi", b'{"client_secret": "kept elsewhere"}')
    body = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    assert world.call("register", "POST", f"{API}/register", {**body, "credentials_secret": version}).status == 201
    assert world.call("register", "DELETE", f"{API}/ymca_powerbi").status == 204
    assert world.fakes.secrets.read(version) == b'{"client_secret": "kept elsewhere"}'


def test_register_takes_a_key_of_any_depth_for_text(world: World) -> None:
    deep = {**SHEETS, "service_account_key": '{"a":' * 8_000}
    assert world.call("register", "POST", f"{API}/register", deep).status == 201


def test_register_refuses_words_of_the_paths_and_bad_names(world: World) -> None:
    for name in ("schedules", "test-all", "Upper", "9lives", "a/b", "x" * 64, "ymca\n"):
        answer = world.call("register", "POST", f"{API}/register", {**POWER_BI, "name": name})
        assert answer.status == 400, name


def test_register_refuses_unknown_fields_and_kinds(world: World) -> None:
    assert world.call("register", "POST", f"{API}/register", {**POWER_BI, "pasword": "x"}).status == 400
    assert world.call("register", "POST", f"{API}/register", {**POWER_BI, "connector_type": "tableau"}).status == 400


def test_list_pages_through_connectors_in_order_of_name(registered: World) -> None:
    first = registered.call("register", "GET", f"{API}?page_size=1")
    assert [c["name"] for c in first.body["connectors"]] == ["ymca_powerbi"]
    second = registered.call("register", "GET", f"{API}?page_size=1&page_token={first.body['next_page_token']}")
    assert [c["name"] for c in second.body["connectors"]] == ["ymca_sheets"]
    assert second.body["next_page_token"] is None


def test_change_needs_if_match_and_refuses_a_stale_one(registered: World) -> None:
    read = registered.call("register", "GET", f"{API}/ymca_powerbi")
    path, change = f"{API}/ymca_powerbi", {"client_secret": "rotated-secret-1"}
    assert registered.call("register", "PATCH", path, change).status == 428
    done = registered.call("register", "PATCH", path, change, If_Match=read.headers["ETag"])
    assert done.status == 200
    assert done.body["credentials"].endswith("/versions/2")
    stale = registered.call("register", "PATCH", path, {"client_id": "other"}, If_Match=read.headers["ETag"])
    assert (stale.status, stale.body["code"]) == (412, "precondition_failed")


def test_delete_removes_the_connector_and_its_secret(registered: World) -> None:
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi").status == 204
    assert registered.call("register", "GET", f"{API}/ymca_powerbi").status == 404
    assert [name for name in registered.fakes.secrets.payloads if "powerbi" in name] == []


def test_delete_is_refused_while_a_job_runs_unless_forced(registered: World) -> None:
    body = {"connector_name": "ymca_powerbi", "table_name": "t", "rows": [{"a": 1}]}
    assert registered.call("export", "POST", f"{API}/export", body).status == 202
    refused = registered.call("register", "DELETE", f"{API}/ymca_powerbi")
    assert refused.status == 409
    assert refused.body["code"] == "in_use"
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi?force=true").status == 204


def test_a_failed_check_is_an_answer_and_not_an_error(registered: World) -> None:
    registered.vendor.checks = [
        Check("sign in", True, 3.0, "signed in"),
        Check("workspace", False, 5.0, "no such workspace"),
    ]
    answer = registered.call("register", "POST", f"{API}/ymca_powerbi/test")
    assert (answer.status, answer.body["ok"]) == (200, False)
    assert [check["name"] for check in answer.body["checks"]] == ["sign in", "workspace"]
    both = registered.call("register", "POST", f"{API}/test-all")
    assert [(r["connector_name"], r["ok"]) for r in both.body["results"]] == [
        ("ymca_powerbi", False),
        ("ymca_sheets", False),
    ]
    assert registered.call("register", "GET", f"{API}/ymca_powerbi").body["last_test"]["ok"] is False


def test_a_connector_deleted_before_its_turn_takes_no_result_of_the_others_away(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = registered.services.connectors.test

    def after_a_deletion(name: str) -> models.TestResult:
        if name == "ymca_powerbi":
            registered.fakes.documents.delete("connectors/ymca_powerbi")
        return test(name)

    monkeypatch.setattr(registered.services.connectors, "test", after_a_deletion)
    answer = registered.call("register", "POST", f"{API}/test-all")
    assert (answer.status, answer.body["ok"]) == (200, False)
    gone, other = answer.body["results"]
    assert (gone["connector_name"], gone["ok"], gone["checks"][0]["message"]) == (
        "ymca_powerbi",
        False,
        "it was deleted before its turn came",
    )
    assert (other["connector_name"], other["ok"]) == ("ymca_sheets", True)


LOOKER: dict[str, Any] = {
    "name": "ymca_looker",
    "connector_type": "looker",
    "base_url": "https://acme.cloud.looker.com",
    "client_id": "id",
    "client_secret": "canary-of-looker",
    "warehouse_password": "canary-of-the-warehouse",
    "connection": "warehouse",
    "warehouse": {"host": "10.0.0.5", "database": "analytics", "user": "loader"},
}


@pytest.mark.parametrize(
    "base_url",
    [
        "http://acme.cloud.looker.com",
        "https://169.254.169.254/",
        "https://127.0.0.1:19999",
        "https://2130706433",
        "https://localhost",
        "https://metadata",
        "https://acme.cloud.looker.com/api",
        "https://user:pw@acme.cloud.looker.com",
        "https://[::1]",
        "https://acme.cloud.looker.com:8080",
        "ftp://acme.cloud.looker.com",
    ],
)
def test_looker_key_is_sent_to_nothing_but_an_instance(world: World, base_url: str) -> None:
    answer = world.call("register", "POST", f"{API}/register", {**LOOKER, "base_url": base_url})
    assert answer.status == 400
    assert "base_url must be https" in answer.body["detail"]
    assert world.fakes.secrets.payloads == {}


@pytest.mark.parametrize("port", [-1, 0, 65_536, 2**63, 2**64])
def test_a_port_of_the_warehouse_is_one(world: World, port: int) -> None:
    answer = world.call(
        "register", "POST", f"{API}/register", {**LOOKER, "warehouse": {**LOOKER["warehouse"], "port": port}}
    )
    assert (answer.status, answer.body["field"]) == (400, "$.warehouse.port")


def test_a_looker_instance_is_accepted(world: World) -> None:
    for name, base_url in (("a", "https://acme.cloud.looker.com"), ("b", "https://looker.acme.org:19999/")):
        assert (
            world.call("register", "POST", f"{API}/register", {**LOOKER, "name": name, "base_url": base_url}).status
            == 201
        )


def test_delete_with_a_stale_if_match_deletes_nothing(registered: World) -> None:
    schedule = {"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *"}
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", schedule).body["id"]
    path = f"{API}/ymca_powerbi?force=true"
    for stale in ('"1.000000001"', '"x"'):
        refused = registered.call("register", "DELETE", path, If_Match=stale)
        assert (refused.status, refused.body["code"]) == (412, "precondition_failed")
    assert registered.call("refresh", "GET", f"{API}/schedules/{schedule_id}").status == 200
    etag = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    assert registered.call("register", "DELETE", path, If_Match=etag).status == 204


def test_a_connector_that_changed_while_it_was_deleted_is_kept(registered: World) -> None:
    etag = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    documents = registered.fakes.documents
    inner = documents.transact

    def late(work: Any) -> Any:
        """Somebody else changes it between this request's look and its write."""
        documents.update("connectors/ymca_powerbi", {"updated_at": registered.fakes.clock.now()})
        return inner(work)

    documents.transact = late  # type: ignore[method-assign]
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi", If_Match=etag).status == 412
    assert registered.call("register", "GET", f"{API}/ymca_powerbi").status == 200
