"""Power BI refreshes against the sandbox: started, followed to each of their ends, cancelled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import RefreshStatus
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    TargetError,
    UnsupportedError,
    VendorUnavailableError,
)
from tests.conformance.sandboxes.conftest import sandboxes, vendors

from .power_bi_account import Account

__all__ = ["sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


@pytest.fixture
def account(vendors: SandboxServer) -> Account:
    vendors.clock.advance(61)  # past the 120 queries a minute of the tests before
    return Account(vendors)


@pytest.fixture
def idle(vendors: SandboxServer) -> SandboxServer:
    """No refresh of an earlier test runs any more, and none counts for today."""
    vendors.clock.advance(timedelta(days=2).total_seconds())
    vendors.settings("power_bi", refresh_seconds=60, history_delay_seconds=10)
    return vendors


@pytest.mark.parametrize("options", [{}, {"type": "full"}, {"type": "Full", "timeout": "02:00:00"}])
def test_a_refresh_is_followed_by_its_own_id_to_its_end(
    account: Account, idle: SandboxServer, options: dict[str, str]
) -> None:
    connector = account.connect()
    started = connector.start_refresh("run", options)
    assert (connector.poll_refresh(started.vendor_id).status, started.status) == (
        RefreshStatus.RUNNING,
        RefreshStatus.RUNNING,
    )
    assert connector.poll_refresh(started.vendor_id).vendor_status == "NotInHistory"
    idle.clock.advance(15)
    assert connector.poll_refresh(started.vendor_id).vendor_status in ("Unknown", "InProgress")
    idle.clock.advance(60)
    ended = connector.poll_refresh(started.vendor_id)
    assert (ended.status, ended.vendor_status, ended.reason) == (RefreshStatus.SUCCEEDED, "Completed", None)
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert (ended.ended_at - ended.started_at).total_seconds() == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize("options", [{}, {"type": "Full"}])
@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("Failed", RefreshStatus.FAILED),
        ("Disabled", RefreshStatus.FAILED),
        ("TimedOut", RefreshStatus.FAILED),
        ("Cancelled", RefreshStatus.CANCELLED),
    ],
)
def test_every_other_end_is_an_end_and_a_failure_has_its_reason(
    account: Account, idle: SandboxServer, options: dict[str, str], outcome: str, status: RefreshStatus
) -> None:
    idle.settings("power_bi", refresh_outcome=outcome)
    connector = account.connect()
    started = connector.start_refresh("run", options)
    idle.clock.advance(61)
    ended = connector.poll_refresh(started.vendor_id)
    assert (ended.status, ended.is_timeout) == (status, outcome == "TimedOut" and bool(options))
    if status is RefreshStatus.FAILED:
        assert "ModelRefreshFailed_CredentialsNotSpecified" in str(ended.reason)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, None),
        (
            {"serviceExceptionJson": '{"errorCode":"CapacityPaused","errorDescription":"it was paused"}'},
            "CapacityPaused: it was paused",
        ),
    ],
)
def test_a_cancelled_refresh_has_the_reason_that_power_bi_gives_and_no_other(
    account: Account, idle: SandboxServer, told: dict[str, str], reason: str | None
) -> None:
    connector = account.connect()
    started = connector.start_refresh("run", {})
    entry = {"requestId": started.vendor_id, "refreshType": "ViaApi", "status": "Cancelled", **told}
    body = {"value": [entry]}
    idle.fault(vendor="power_bi", kind="status", status=200, path="/refreshes$", method="GET", body=body, times=1)
    ended = connector.poll_refresh(started.vendor_id)
    assert (ended.status, ended.reason) == (RefreshStatus.CANCELLED, reason)


@pytest.mark.parametrize("options", [{}, {"type": "Full"}])
def test_a_second_refresh_is_refused_as_running(account: Account, idle: SandboxServer, options: dict[str, str]) -> None:
    account.connect().start_refresh("run", {})
    with pytest.raises(ConflictError) as caught:
        account.connect().start_refresh("run", options)
    assert caught.value.code == "refresh_running"


def test_the_ninth_refresh_of_a_day_on_shared_capacity_is_a_quota_error(account: Account, idle: SandboxServer) -> None:
    idle.settings("power_bi", capacity="shared", refresh_seconds=1)
    connector = account.connect()
    for _ in range(8):
        connector.start_refresh("run", {})
        idle.clock.advance(2)
    with pytest.raises(TargetError) as caught:
        connector.start_refresh("run", {})
    assert caught.value.code == "refresh_quota"
    with pytest.raises(TargetError, match="shared capacity"):
        connector.start_refresh("run", {"type": "Full"})


def test_an_enhanced_refresh_is_cancelled_and_a_standard_one_is_not(account: Account, idle: SandboxServer) -> None:
    idle.settings("power_bi", history_delay_seconds=0)
    connector = account.connect()
    enhanced = connector.start_refresh("run", {"type": "Full"})
    connector.cancel_refresh(enhanced.vendor_id)
    assert connector.poll_refresh(enhanced.vendor_id).status is RefreshStatus.CANCELLED
    standard = connector.start_refresh("run", {})
    with pytest.raises(UnsupportedError, match="standard refresh"):
        connector.cancel_refresh(standard.vendor_id)


@pytest.mark.parametrize("options", [{}, {"type": "Full"}])
def test_a_refresh_whose_answer_was_lost_is_found_again(
    account: Account, idle: SandboxServer, options: dict[str, str]
) -> None:
    idle.settings("power_bi", history_delay_seconds=2)
    idle.fault(vendor="power_bi", method="POST", path="/refreshes$", kind="lost_reply")
    connector = account.connect()
    started = connector.start_refresh("run", options)
    assert connector.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING
    idle.clock.advance(61)
    assert connector.poll_refresh(started.vendor_id).status is RefreshStatus.SUCCEEDED


def test_a_refresh_that_never_arrived_is_not_found_but_may_be_tried_again(
    account: Account, idle: SandboxServer
) -> None:
    idle.fault(vendor="power_bi", method="POST", path="/refreshes$", kind="reset_before")
    with pytest.raises(VendorUnavailableError) as caught:
        account.connect().start_refresh("run", {})
    assert caught.value.code == "vendor_unreachable"


def test_refresh_options_are_checked_before_a_call(account: Account) -> None:
    with pytest.raises(InvalidRequestError, match="type"):
        account.connect().start_refresh("run", {"type": "Fast"})
    with pytest.raises(InvalidRequestError, match="timeout"):
        account.connect().start_refresh("run", {"timeout": "2h"})


def test_without_a_model_there_is_nothing_to_refresh(account: Account) -> None:
    with pytest.raises(UnsupportedError, match="refresh_dataset_id"):
        account.connect(refresh_dataset_id=None).start_refresh("run", {})
