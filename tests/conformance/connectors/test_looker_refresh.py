"""Connection tests and refreshes of the Looker connector against the sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.connectors._base import Check, RefreshStatus
from shared.connectors.looker.connector import LookerConnector
from shared.errors import (
    UnsupportedError,
    VendorUnavailableError,
)
from tests.conformance.connectors.looker_support import (
    connector,
    deliver,
    plan_of,
    planes,
)
from tests.conformance.sandboxes.looker_support import Cloud, LossyLink, QuickClock, looker_cloud, looker_parts  # noqa: F401


def checks(looker: LookerConnector) -> dict[str, Check]:
    return {check.name: check for check in looker.test()}


def test_connection_test_names_every_step(cloud: Cloud) -> None:
    found = checks(connector(cloud))
    assert {name: check.message for name, check in found.items() if not check.ok} == {}
    assert list(found) == [
        "looker_sign_in",
        "looker_connection",
        "looker_connection_test",
        "warehouse_login",
        "warehouse_write",
        "same_database",
        "looker_can_read",
        "looker_datagroup",
        "looker_pdt",
    ]
    assert found["looker_connection_test"].message == "connect: Can connect; query: Can run simple select query"
    assert cloud.sql("SELECT count(*) FROM pg_class WHERE relname LIKE '_bi_probe%'") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "failed", "words"),
    [
        ({"client_secret": "wrong"}, "looker_sign_in", "Looker refused client id"),
        ({"connection": "missing"}, "looker_connection", "Looker answers the same to both"),
        ({"warehouse_password": "wrong"}, "warehouse_login", "refused the login"),
        ({"hosts": "10.1.1.1"}, "warehouse_login", "WAREHOUSE_HOSTS"),
        ({"datagroup_id": "missing"}, "looker_datagroup", "see_datagroups"),
        ({"view": "missing"}, "looker_pdt", "permission develop"),
    ],
)
def test_connection_test_fails_at_the_wrong_part(
    cloud: Cloud, changes: dict[str, Any], failed: str, words: str
) -> None:
    found = checks(connector(cloud, **changes))
    assert next(name for name, check in found.items() if not check.ok) == failed
    assert words in found[failed].message
    assert "wrong" not in found[failed].message


def test_looker_on_another_database_is_noticed(cloud: Cloud) -> None:
    cloud.server.settings("looker", connection_database="staging")
    found = checks(connector(cloud))["same_database"]
    assert not found.ok
    assert "database 'staging' in Looker, 'analytics' in warehouse" in found.message


def test_looker_user_without_read_right_is_noticed(cloud: Cloud) -> None:
    change = "ALTER DEFAULT PRIVILEGES IN SCHEMA bi {} SELECT ON TABLES {} looker_reader"
    cloud.sql(change.format("REVOKE", "FROM"))
    try:
        found = checks(connector(cloud))["looker_can_read"]
    finally:
        cloud.sql(change.format("GRANT", "TO"))
    assert not found.ok
    assert "GRANT SELECT ON TABLES TO looker_reader" in found.message


def test_datagroup_is_triggered_and_followed_to_the_check_after_it(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-1", {})
    assert started.status is RefreshStatus.RUNNING
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING
    cloud.server.clock.advance(2)
    assert connector(cloud).poll_refresh(started.vendor_id).status is RefreshStatus.SUCCEEDED
    with pytest.raises(UnsupportedError):
        looker.cancel_refresh(started.vendor_id)


def test_datagroup_with_a_failing_check_is_a_failed_refresh(cloud: Cloud) -> None:
    cloud.server.settings("looker", trigger_error="relation does not exist")
    looker = connector(cloud)
    started = looker.start_refresh("run-2", {"trigger": "datagroup"})
    cloud.server.clock.advance(2)
    found = looker.poll_refresh(started.vendor_id)
    assert found.status is RefreshStatus.FAILED
    assert "relation does not exist" in str(found.reason)


def test_pdt_build_is_followed_to_its_end(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(planes(), "planes"), planes())
    looker = connector(cloud)
    started = looker.start_refresh("run-3", {"trigger": "pdt"})
    assert looker.poll_refresh(started.vendor_id).vendor_status == "running"
    cloud.server.clock.advance(3)
    found = looker.poll_refresh(started.vendor_id)
    assert (found.status, found.vendor_status) == (RefreshStatus.SUCCEEDED, "complete")


def test_pdt_build_that_fails_says_why(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-4", {"trigger": "pdt"})
    cloud.server.clock.advance(3)
    found = looker.poll_refresh(started.vendor_id)
    assert found.status is RefreshStatus.FAILED
    assert 'relation "bi.planes" does not exist' in str(found.reason)


def test_pdt_build_can_be_stopped(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-5", {"trigger": "pdt"})
    looker.cancel_refresh(started.vendor_id)
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.CANCELLED


@pytest.mark.parametrize(("message", "reason"), [("", None), ("killed by query timeout", "killed by query timeout")])
def test_a_killed_pdt_build_has_the_reason_that_looker_gives_and_no_other(
    cloud: Cloud, message: str, reason: str | None
) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-5b", {"trigger": "pdt"})
    text = json.dumps({"status": "killed", "message": message})
    body = {"materialization_id": started.vendor_id, "resp_text": text}
    cloud.server.fault(vendor="looker", kind="status", status=200, path="/status$", times=1, body=body)
    found = looker.poll_refresh(started.vendor_id)
    assert (found.status, found.reason) == (RefreshStatus.CANCELLED, reason)


def test_nothing_to_refresh_says_what_to_configure(cloud: Cloud) -> None:
    with pytest.raises(UnsupportedError, match="datagroup_id, or model and view"):
        connector(cloud, datagroup_id=None, model=None).start_refresh("run-6", {})


def test_expired_token_in_mid_flight_is_renewed(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-7", {})
    cloud.server.tokens.expire_all("looker")
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING


def test_throttling_is_waited_out_as_long_as_looker_says(cloud: Cloud) -> None:
    clock = QuickClock()
    body = {"message": "Too many requests", "documentation_url": "https://docs.cloud.google.com/looker/"}
    cloud.server.fault(
        vendor="looker", kind="status", status=429, path="/datagroups/", headers={"Retry-After": "7"}, body=body
    )
    connector(cloud, clock=clock).start_refresh("run-8", {})
    assert clock.slept == [7.0]


def test_html_page_of_a_broken_front_is_not_quoted(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="html_5xx", times=-1, path="/datagroups/")
    with pytest.raises(VendorUnavailableError, match=r"502 while reading datagroup .* a page of HTML"):
        connector(cloud).start_refresh("run-9", {})


def test_lost_reply_to_a_build_start_is_not_repeated(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="lost_reply", path="/start$")
    before = cloud.server.calls("looker")["total"]
    with pytest.raises(VendorUnavailableError, match="gave no answer"):
        connector(cloud).start_refresh("run-10", {"trigger": "pdt"})
    assert cloud.server.calls("looker")["total"] - before == 2  # login, start
