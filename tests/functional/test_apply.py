"""`apply`: a whole configuration, its plan, and one honest outcome an item."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import flask
import pytest
from werkzeug.test import create_environ

from tests.functional.conftest import POWER_BI, World

API = "/api/bi-connectors"
SECRET = "projects/fake/secrets/sheets/versions/1"
YAML = """
connectors:
  - name: ymca_sheets
    connector_type: google_sheets
    spreadsheet_id: 1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms
    credentials_secret: projects/fake/secrets/sheets/versions/1
tables:
  - name: volunteers
    source: {uri: gs://in/volunteers.csv}
    defaults: {mode: upsert, key: [id]}
schedules:
  - name: nightly
    connector_name: ymca_sheets
    cron_expression: 0 6 * * *
    timezone: Europe/Berlin
    action: export_and_refresh
    export: {connector_name: ymca_sheets, table_name: volunteers}
"""
CONFIGURATION: dict[str, Any] = {
    "connectors": [
        {
            "name": "ymca_sheets",
            "connector_type": "google_sheets",
            "spreadsheet_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms",
            "credentials_secret": SECRET,
        }
    ],
    "tables": [
        {
            "name": "volunteers",
            "source": {"uri": "gs://in/volunteers.csv"},
            "defaults": {"mode": "upsert", "key": ["id"]},
        }
    ],
    "schedules": [
        {
            "name": "nightly",
            "connector_name": "ymca_sheets",
            "cron_expression": "0 6 * * *",
            "timezone": "Europe/Berlin",
            "action": "export_and_refresh",
            "export": {"connector_name": "ymca_sheets", "table_name": "volunteers"},
        }
    ],
}


@pytest.fixture
def world(world: World) -> World:
    key = {"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nabc\n", "client_email": "a@b"}
    assert world.fakes.secrets.add("sheets", json.dumps({"service_account_key": key}).encode()) == SECRET
    return world


def apply(world: World, configuration: Any = None, query: str = "") -> Any:
    return world.call(
        "refresh", "POST", f"{API}/apply{query}", CONFIGURATION if configuration is None else configuration
    )


def apply_yaml(world: World, text: str, media: str = "application/yaml") -> tuple[int, Any]:
    environ = create_environ(f"{API}/apply", method="POST", data=text.encode(), content_type=media)
    response = world._functions["refresh"](flask.Request(environ))
    return response.status_code, json.loads(response.get_data())


def told(answer: Any) -> list[tuple[str, str, str | None, str]]:
    return [(item["kind"], item["name"], item["action"], item["outcome"]) for item in answer.body["items"]]


def changed(**parts: Any) -> dict[str, Any]:
    """The configuration with other fields in its first connector, table or schedule."""
    found = copy.deepcopy(CONFIGURATION)
    for section, fields in parts.items():
        found[section][0] |= fields
    return found


def everything(world: World) -> Any:
    documents = world.fakes.documents
    return {path: documents.get(path) for path in documents._documents}


def test_a_configuration_is_applied_once(world: World) -> None:
    first = apply(world)
    assert (first.status, first.body["ok"]) == (200, True)
    assert told(first) == [
        ("connector", "ymca_sheets", "create", "done"),
        ("table", "volunteers", "create", "done"),
        ("schedule", "nightly", "create", "done"),
    ]
    assert world.call("register", "GET", f"{API}/ymca_sheets").status == 200
    assert world.call("export", "GET", f"{API}/tables/volunteers").body["defaults"]["key"] == ["id"]
    before = everything(world)
    again = apply(world)
    assert [item["action"] for item in again.body["items"]] == ["unchanged"] * 3
    assert everything(world) == before
    assert len(world.fakes.cron_jobs.jobs) == 1


def test_a_dry_run_says_what_would_be_done_and_does_nothing(world: World) -> None:
    before = everything(world)
    plan = apply(world, query="?dry_run=true")
    assert plan.body["dry_run"] is True
    assert [item["action"] for item in plan.body["items"]] == ["create"] * 3
    assert {item["outcome"] for item in plan.body["items"]} == {"planned"}
    assert everything(world) == before
    assert world.fakes.cron_jobs.jobs == {}


def test_what_differs_is_named_and_changed(world: World) -> None:
    apply(world)
    wanted = changed(
        connectors={"spreadsheet_id": "1other"},
        tables={"description": "people"},
        schedules={"cron_expression": "0 7 * * *"},
    )
    plan = apply(world, wanted, "?dry_run=true").body["items"]
    assert [(item["action"], item["changes"]) for item in plan] == [
        ("change", ["spreadsheet_id"]), ("change", ["description"]), ("change", ["cron_expression"]),
    ]  # fmt: skip
    assert apply(world, wanted).body["ok"] is True
    assert [item["action"] for item in apply(world, wanted).body["items"]] == ["unchanged"] * 3
    assert world.call("register", "GET", f"{API}/ymca_sheets").body["config"]["spreadsheet_id"] == "1other"
    schedules = world.call("refresh", "GET", f"{API}/schedules").body["schedules"]
    assert [schedule["cron_expression"] for schedule in schedules] == ["0 7 * * *"]


def test_a_schedule_that_refreshes_after_its_export_is_unchanged_when_it_is(world: World) -> None:
    from tests.functional.conftest import POWER_BI

    assert world.call("register", "POST", f"{API}/register", POWER_BI).status == 201
    export = {"connector_name": "ymca_powerbi", "table_name": "volunteers", "target": {}}
    schedule = {**CONFIGURATION["schedules"][0], "connector_name": "ymca_powerbi", "export": export}
    assert told(apply(world, {"schedules": [schedule]})) == [("schedule", "nightly", "create", "done")]
    (path,) = [path for path in everything(world) if path.startswith("schedules/")]
    assert told(apply(world, {"schedules": [schedule]})) == [("schedule", "nightly", "unchanged", "done")]
    later = {**schedule, "cron_expression": "0 8 * * *"}
    assert told(apply(world, {"schedules": [later]})) == [("schedule", "nightly", "change", "done")]
    assert [path for path in everything(world) if path.startswith("schedules/")] == [path]
    wrong = apply(world, {"schedules": [{**schedule, "cron_expression": "61 * * * *"}]}, "?dry_run=true")
    assert told(wrong) == [("schedule", "nightly", None, "failed")]


def test_nothing_is_deleted_unless_prune_asks_for_it_and_only_in_sections_that_are_there(world: World) -> None:
    apply(world)
    assert told(apply(world, {"tables": []})) == []
    assert told(apply(world, {"tables": []}, "?prune=true")) == [("table", "volunteers", "delete", "done")]
    assert world.call("export", "GET", f"{API}/tables/volunteers").status == 404
    everything_else = apply(world, {"connectors": [], "schedules": []}, "?prune=true")
    assert told(everything_else) == [
        ("schedule", "nightly", "delete", "done"), ("connector", "ymca_sheets", "delete", "done"),
    ]  # fmt: skip
    assert world.fakes.cron_jobs.jobs == {}


def test_prune_leaves_schedules_that_people_made(world: World) -> None:
    apply(world)
    own = {key: value for key, value in CONFIGURATION["schedules"][0].items() if key != "name"}
    assert world.call("refresh", "POST", f"{API}/schedules", {**own, "cron_expression": "0 9 * * *"}).status == 201
    apply(world, {"schedules": []}, "?prune=true")
    left = world.call("refresh", "GET", f"{API}/schedules").body["schedules"]
    assert [schedule["cron_expression"] for schedule in left] == ["0 9 * * *"]


def test_one_wrong_item_keeps_all_from_being_done_and_each_says_so(world: World) -> None:
    before = everything(world)
    answer = apply(world, changed(tables={"source": {"uri": "http://x"}}))
    assert (answer.status, answer.body["ok"]) == (200, False)
    assert told(answer) == [
        ("connector", "ymca_sheets", "create", "skipped"),
        ("table", "volunteers", None, "failed"),
        ("schedule", "nightly", "create", "skipped"),
    ]
    assert answer.body["items"][1]["error"]["code"] == "invalid_request"
    assert everything(world) == before


def test_a_connector_of_another_type_is_not_replaced(world: World) -> None:
    """Its jobs and schedules are of what it was."""
    assert world.call("register", "POST", f"{API}/register", {**POWER_BI, "name": "ymca_sheets"}).status == 201
    item = apply(world, {"connectors": CONFIGURATION["connectors"]}).body["items"][0]
    assert item["outcome"] == "failed"
    assert item["error"]["code"] == "conflict"
    assert "is of the type power_bi; delete it first" in item["error"]["message"]
    assert world.call("register", "GET", f"{API}/ymca_sheets").body["connector_type"] == "power_bi"


def test_an_item_that_fails_when_it_is_tried_stops_no_other(world: World) -> None:
    missing = changed(connectors={"credentials_secret": "projects/fake/secrets/sheets/versions/9"})
    answer = apply(world, missing)
    assert [(item["outcome"], (item["error"] or {}).get("code")) for item in answer.body["items"]] == [
        ("failed", "credential_missing"), ("done", None), ("failed", "not_found"),
    ]  # fmt: skip
    assert apply(world).body["ok"] is True


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"connectors": [{"name": "a", "connector_type": "google_sheets", "spreadsheet_id": "1"}]}, "only by credentials_secret"),
        ({"connectors": [{**CONFIGURATION["connectors"][0], "service_account_key": {"a": 1}}]}, "only by credentials_secret"),
        ({"connectors": [{**CONFIGURATION["connectors"][0], "no_such": 1}]}, "unknown field `no… (7 characters)`"),
        ({"connectors": CONFIGURATION["connectors"] * 2}, "is there twice"),
        ({"tables": [{"source": {"uri": "gs://a/b.csv"}}]}, "table 1 has no name"),
        ({"schedules": [{"name": "s", "connector_name": "x"}]}, "cron_expression"),
    ],
)  # fmt: skip
def test_a_wrong_item_says_what_is_wrong(world: World, part: dict[str, Any], says: str) -> None:
    item = apply(world, part).body["items"][-1]
    assert item["outcome"] == "failed"
    assert says in item["error"]["message"]


def test_a_schedule_left_without_its_name_by_a_crash_is_taken_up(world: World) -> None:
    apply(world)
    (path,) = [path for path in everything(world) if path.startswith("schedules/")]
    record = world.fakes.documents.get(path)
    assert record is not None
    bare = {key: value for key, value in record.data.items() if key != "applied_as"}
    world.fakes.documents.transact(lambda tx: tx.set(path, bare))
    assert [item["action"] for item in apply(world).body["items"]] == ["unchanged"] * 3
    assert [path for path in everything(world) if path.startswith("schedules/")] == [path]


def test_one_that_refreshes_after_its_export_and_lost_its_name_is_taken_up(world: World) -> None:
    """What is stored of it says more than what was asked for."""
    from tests.functional.conftest import POWER_BI

    assert world.call("register", "POST", f"{API}/register", POWER_BI).status == 201
    export = {"connector_name": "ymca_powerbi", "table_name": "volunteers", "target": {}}
    schedule = {**CONFIGURATION["schedules"][0], "connector_name": "ymca_powerbi", "export": export}
    apply(world, {"schedules": [schedule]})
    (path,) = [path for path in everything(world) if path.startswith("schedules/")]
    record = world.fakes.documents.get(path)
    assert record is not None
    bare = {key: value for key, value in record.data.items() if key != "applied_as"}
    world.fakes.documents.transact(lambda tx: tx.set(path, bare))
    assert told(apply(world, {"schedules": [schedule]})) == [("schedule", "nightly", "unchanged", "done")]
    assert [path for path in everything(world) if path.startswith("schedules/")] == [path]


def test_yaml_is_the_same_configuration(world: World) -> None:
    status, body = apply_yaml(world, YAML)
    assert (status, body["ok"]) == (200, True)
    assert [item["action"] for item in apply(world).body["items"]] == ["unchanged"] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tables: &a [1]\nconnectors: *a\n", "aliases are not taken (line 2"),
        ("tables: [\n", "line 2"),
        ("tables: []\ntables: []\n", "is there twice (line 1"),
        ("tables: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("- 1\n", "Expected `object`"),
        ("tabels: []\n", "unknown field"),
        (
            'tables:\n- name: people\n  description: "a \\ud800 b"\n',
            "half a character (a lone surrogate) is no text (line 3",
        ),
        ('tables:\n- "na\\ud800me": people\n', "half a character (a lone surrogate) is no text (line 2"),
    ],
)
def test_other_yaml_is_refused_with_its_place(world: World, text: str, says: str) -> None:
    status, body = apply_yaml(world, text)
    assert status == 400
    assert says in body["detail"]


def test_yaml_words_are_text_unless_json_has_them(world: World) -> None:
    from shared.api.yaml_body import decode

    assert decode(b"[no, yes, on, 2024-01-01, 007, 1e3, 1.5, -3, true, null, ~, 0x1F, '5', 12:30]") == [
        "no", "yes", "on", "2024-01-01", "007", 1000.0, 1.5, -3, True, None, None, "0x1F", "5", "12:30",
    ]  # fmt: skip


def test_the_halves_of_a_character_that_json_spells_are_one_in_yaml_too(world: World) -> None:
    from shared.api.yaml_body import decode

    assert decode(b'{"a \\ud83d\\ude00": "\\ud83d\\ude00 b"}') == {"a \U0001f600": "\U0001f600 b"}


def test_yaml_keys_are_text_as_they_are_spelled() -> None:
    from shared.api.yaml_body import decode

    assert decode(b"{1.1: a, 1.10: b, 1: c, 1.0: d, 01: e, true: f, null: g}") == {
        "1.1": "a", "1.10": "b", "1": "c", "1.0": "d", "01": "e", "true": "f", "null": "g",
    }  # fmt: skip


def test_the_work_of_reading_yaml_grows_with_its_keys() -> None:
    """Counted in calls of Python's functions, which no busy machine changes."""
    from shared.api.yaml_body import decode

    def calls(keys: int) -> int:
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        body = b"".join(b"k%d:\n" % number for number in range(keys))
        sys.setprofile(count)
        try:
            decode(body)
        finally:
            sys.setprofile(None)
        return counted

    assert calls(2_400) < 12 * calls(300)  # 8 times as many in proportion, 64 times in the square


def test_other_routes_take_no_yaml(world: World) -> None:
    environ = create_environ(f"{API}/schedules", method="POST", data=b"a: 1", content_type="application/yaml")
    assert world._functions["refresh"](flask.Request(environ)).status_code == 415


def test_only_administrators_apply(world: World) -> None:
    from shared.api.routes import ROUTES, Permission

    (route,) = [route for route in ROUTES if route.path == f"{API}/apply"]
    assert (route.permission, route.function) == (Permission.ADMIN, "refresh")
