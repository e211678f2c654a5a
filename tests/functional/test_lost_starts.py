"""A refresh whose start was answered with a fault: the vendor is asked what became of it before it is called again. On fakes."""

from __future__ import annotations

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import ConflictError, VendorUnavailableError
from shared.ports import Query
from tests.functional.conftest import World
from tests.functional.scheduling import API, DONE, create, get

RUNS = ConflictError("Another refresh request is already executing", code="refresh_running")


def fault(status: int) -> VendorUnavailableError:
    return VendorUnavailableError(str(status), vendor_status=status)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_start_answered_as_a_fault_is_looked_for_before_a_second_start(registered: World, status: int) -> None:
    registered.vendor.errors = [("start_refresh", fault(status))]
    registered.vendor.refreshes = [DONE]
    registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh")
    registered.work()
    assert registered.vendor.calls == ["start_refresh", "find_refresh", "start_refresh", "poll_refresh"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_start_that_was_put_off_is_made_again(registered: World, status: int) -> None:
    registered.vendor.errors = [("start_refresh", fault(status))]
    registered.vendor.refreshes = [DONE]
    registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh")
    registered.work()
    assert registered.vendor.calls == ["start_refresh", "start_refresh", "poll_refresh"]


def test_a_schedule_whose_own_refresh_was_answered_as_a_fault_is_well_and_nobody_is_alarmed(schedules: World) -> None:
    schedule_id = create(schedules)
    schedules.vendor.errors = [("start_refresh", fault(504)), ("start_refresh", RUNS)]
    schedules.vendor.found = VendorRefresh("v", RefreshStatus.RUNNING, "Unknown")
    schedules.vendor.refreshes = [DONE]
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    schedules.work()
    schedules.minute()
    notices = schedules.fakes.documents.query(Query("notices"))
    assert (get(schedules, schedule_id).body["health"], notices) == ("ok", [])
