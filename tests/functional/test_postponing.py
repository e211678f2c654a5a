"""What is due after a job and cannot be seen to: it is tried again later and later, given up in the end, and in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import CredentialError, VendorUnavailableError
from shared.services import sweeper
from tests.functional.conftest import World
from tests.functional.test_exports import API, job, start

POWER_BI = "ymca_powerbi"
DOWN = VendorUnavailableError("down")


@pytest.fixture
def succeeded(registered: World) -> str:
    """A job that is to be looked at a lease after its success."""
    registered.vendor.is_staged = False
    job_id = start(registered, connector_name=POWER_BI)
    registered.work()
    registered.fakes.clock.sleep(91)
    return job_id


def record(world: World, job_id: str) -> Mapping[str, Any]:
    found = world.fakes.documents.get(f"export_jobs/{job_id}")
    assert found is not None
    return found.data


def refuse(error: Exception) -> Any:
    def see_to(_job: Mapping[str, Any]) -> bool:
        raise error

    return see_to


def pauses(world: World, job_id: str, due: str) -> list[timedelta]:
    """Sweep whenever it is due until it is not any more; return how long it waited each time."""
    found: list[timedelta] = []
    while len(found) < 100:
        world.sweep()
        at = record(world, job_id)[due]
        if at is None:
            return found
        found.append(at - world.fakes.clock.now())
        world.fakes.clock.sleep(max(found[-1].total_seconds(), 300.0) + 0.001)
    return found


def test_a_look_through_a_connector_that_is_gone_is_given_up_at_once(registered: World, succeeded: str) -> None:
    assert registered.call("register", "DELETE", f"{API}/{POWER_BI}?force=true").status == 204
    registered.sweep()
    assert record(registered, succeeded)["recheck_at"] is None
    told = record(registered, succeeded)["repair_error"]
    assert (told["code"], told["message"].partition(":")[0]) == ("not_found", "the table could not be read once more")
    assert (job(registered, succeeded)["status"], job(registered, succeeded)["repair_error"]) == ("success", told)


@pytest.mark.parametrize("error", [DOWN, RuntimeError("a fault of ours")])
def test_what_may_pass_is_tried_later_and_later_for_a_week(registered: World, succeeded: str, error: Exception) -> None:
    registered.services.exports.repairs.recheck = refuse(error)  # type: ignore[method-assign]
    found = pauses(registered, succeeded, "recheck_at")
    minutes = [round(pause.total_seconds() / 60) for pause in found]
    assert minutes[:9] == [0, 5, 10, 20, 40, 80, 160, 320, 360]
    assert (set(minutes[9:]), len(minutes)) == ({360}, 35)
    assert timedelta(days=7) <= sum(found, timedelta()) <= timedelta(days=7, hours=6)
    code = "vendor_unavailable" if error is DOWN else "internal"
    assert record(registered, succeeded)["repair_error"]["code"] == code


def test_trouble_that_passed_is_forgotten(registered: World, succeeded: str) -> None:
    repairs = registered.services.exports.repairs
    repairs.recheck = refuse(DOWN)  # type: ignore[method-assign]
    registered.sweep()
    assert record(registered, succeeded)["recheck_at_trouble_since"] is not None
    del repairs.recheck
    registered.fakes.clock.sleep(301)
    registered.sweep()
    after = record(registered, succeeded)
    assert (after["recheck_at"], after["recheck_at_trouble_since"], after.get("repair_error")) == (None, None, None)


def test_those_that_cannot_be_seen_to_keep_nobody_waiting(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "MOST", 2)
    registered.vendor.is_staged = False
    ids = []
    for number in range(3):
        ids.append(start(registered, connector_name=POWER_BI, table_name=f"t{number}"))
        registered.work()
        registered.fakes.clock.sleep(91)
    look = registered.services.exports.repairs.recheck

    def recheck(job: Mapping[str, Any]) -> bool:
        if job["id"] != ids[-1]:
            raise DOWN
        return look(job)

    registered.services.exports.repairs.recheck = recheck  # type: ignore[method-assign]
    for _ in range(2):
        registered.sweep()
    assert [record(registered, job_id)["recheck_at"] is None for job_id in ids] == [False, False, True]


def test_a_job_that_is_erased_meanwhile_keeps_the_sweep_from_nothing(registered: World, succeeded: str) -> None:
    def erase_it(job: Mapping[str, Any]) -> bool:
        registered.fakes.documents.delete(f"export_jobs/{job['id']}")
        raise DOWN

    registered.services.exports.repairs.recheck = erase_it  # type: ignore[method-assign]
    registered.sweep()
    assert registered.fakes.documents.get(f"export_jobs/{succeeded}") is None


def test_a_look_that_somebody_called_off_meanwhile_stays_called_off(registered: World, succeeded: str) -> None:
    def call_off(job: Mapping[str, Any]) -> bool:
        registered.fakes.documents.update(f"export_jobs/{job['id']}", {"recheck_at": None})
        raise DOWN

    registered.services.exports.repairs.recheck = call_off  # type: ignore[method-assign]
    registered.sweep()
    assert record(registered, succeeded)["recheck_at"] is None


def test_a_repair_that_cannot_be_started_for_good_is_given_up_and_said(registered: World, succeeded: str) -> None:
    registered.fakes.documents.update(f"export_jobs/{succeeded}", {"repair_at": registered.fakes.clock.now()})
    registered.fakes.clock.sleep(1)
    registered.services.exports.repairs.repair_again = refuse(CredentialError("no right"))  # type: ignore[method-assign]
    registered.sweep()
    after = record(registered, succeeded)
    message = "the repair could not be started: no right"
    assert (after["repair_at"], after["repair_error"]["message"]) == (None, message)


def test_a_refresh_that_cannot_be_started_for_a_week_is_given_up_and_said(registered: World) -> None:
    exports = registered.services.exports
    exports.refresh_after = lambda job: False  # type: ignore[method-assign]
    job_id = start(registered, connector_name=POWER_BI, refresh_after=True)
    registered.work()
    del exports.refresh_after
    exports._after_success = refuse(DOWN)
    registered.fakes.clock.sleep(91)
    assert len(pauses(registered, job_id, "refresh_due_at")) == 35
    assert job(registered, job_id)["refresh_error"]["code"] == "vendor_unavailable"  # type: ignore[index]
