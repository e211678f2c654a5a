"""What the sweep finds, however much else there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import VendorUnavailableError
from shared.ports import CronJob, Query
from shared.services.sweeper import MOST
from tests.functional.conftest import World
from tests.functional.test_exports import API, job, start

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_a_lost_job_is_found_behind_many_that_wait(registered: World) -> None:
    later = registered.fakes.clock.now() + timedelta(hours=20)
    for number in range(MOST):
        waiting = start(registered, table_name=f"wait{number}")
        registered.fakes.documents.update(f"export_jobs/{waiting}", {"next_task_at": later})
    lost = start(registered, table_name="lost")
    registered.fakes.tasks.pending.clear()
    registered.fakes.clock.sleep(300)
    registered.sweep()
    registered.work()
    assert job(registered, lost)["status"] == "success"


def test_a_vendor_that_asks_for_longer_than_a_task_can_wait_is_asked_again_in_time(registered: World) -> None:
    registered.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=7 * 86_400.0))]
    job_id = start(registered)
    registered.work_once()
    (task,) = registered.fakes.tasks.pending
    assert task.at is not None
    assert task.at - registered.fakes.clock.now() == timedelta(days=7)
    registered.work()
    assert job(registered, job_id)["status"] == "success"


def test_the_refresh_after_an_export_whose_task_was_lost_is_started_by_the_sweep(registered: World) -> None:
    class DiedError(BaseException):
        pass

    def die() -> None:
        raise DiedError

    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    job_id = start(registered, connector_name="ymca_powerbi", refresh_after=True)
    registered.services.exports.repairs.see_to = lambda job: die()  # type: ignore[method-assign]
    with pytest.raises(DiedError):
        registered.work()
    del registered.services.exports.repairs.see_to
    assert (job(registered, job_id)["status"], job(registered, job_id)["refresh_run_id"]) == ("success", None)
    registered.fakes.tasks.pending.clear()
    registered.fakes.clock.sleep(300)
    registered.sweep()
    registered.work()
    run_id = job(registered, job_id)["refresh_run_id"]
    assert registered.call("refresh", "GET", f"/api/bi-connectors/refresh-runs/{run_id}").body["status"] == "success"
    assert registered.fakes.documents.query(Query("export_jobs", (("refresh_due_at", ">", EPOCH),))) == []


@pytest.mark.parametrize("error", [VendorUnavailableError("no grant"), RuntimeError("a fault of ours")])
def test_one_job_that_cannot_be_put_keeps_neither_other_schedules_nor_the_sweep(
    registered: World, error: Exception
) -> None:
    body = {"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *"}
    ids = [registered.call("refresh", "POST", f"{API}/schedules", body).body["id"] for _ in range(3)]
    cron_jobs = registered.fakes.cron_jobs
    cron_jobs.jobs.clear()
    put = cron_jobs.put

    def refuse(job: CronJob) -> None:
        if job.id == ids[0]:
            raise error
        put(job)

    cron_jobs.__dict__["put"] = refuse
    for _ in range(3):
        registered.sweep()
    assert set(cron_jobs.jobs) == set(ids[1:])
    (drift,) = registered.services.reconciler.reconcile(dry_run=False).drifts
    assert drift.schedule_id == ids[0]
    assert drift.error is not None
    assert str(error) in drift.error


def test_a_fault_of_the_reconciliation_keeps_the_sweep_from_nothing(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, dry_run: bool) -> None:
        raise RuntimeError(f"a fault of ours, dry run {dry_run}")

    monkeypatch.setattr(registered.services.reconciler, "reconcile", fail)
    done = registered.services.sweeper.sweep()
    assert (done["schedules_mended"], done["rows_forgotten"]) == (0, 0)
