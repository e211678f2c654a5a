"""Restarts in the middle of a job, of the functions and of everything, lose nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.demo.api import Api
from infra.local.demo.comparison import Row
from infra.local.settings import FUNCTIONS
from infra.local.supervisor import LocalCloud

from .conftest import Sandbox, finish

ROW_COUNT = 30_000
BIG = "id,name,hours,note\n" + "".join(f"{n},name {n},{n % 7}.5,note {n % 13}\n" for n in range(ROW_COUNT))


@pytest.fixture
def big_table(upload: Callable[[str, bytes], None]) -> str:
    upload("big.csv", BIG.encode())
    return "big"


def wait_for_progress(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until some rows, but not all, are at the vendor."""
    deadline = time.monotonic() + 60
    while job["status"] in {"pending", "running"} and not job["progress"]["rows_done"]:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
        job = api.job(job["id"])
    return job


def check_big(held: Callable[[str, str], list[Row]], kind: str, table: str) -> None:
    rows = held(kind, table)
    assert len(rows) == ROW_COUNT
    assert rows[0] == (0, "name 0", 0.5, "note 0")
    assert [row[0] for row in rows] == list(range(ROW_COUNT))


def test_functions_killed_in_the_middle_of_their_jobs_finish_them_after_a_restart(
    cloud: LocalCloud,
    api: Api,
    connectors: dict[str, str],
    sandbox: Sandbox,
    big_table: str,
    held: Callable[[str, str], list[Row]],
) -> None:
    kinds = ("google_sheets", "power_bi")
    for kind in kinds:
        sandbox.set(kind, latency_ms=300)
    jobs = [api.export(connector_name=connectors[kind], table_name=big_table) for kind in kinds]
    jobs = [wait_for_progress(api, job) for job in jobs]
    for name in FUNCTIONS:
        cloud.kill(name)
    for kind in kinds:
        sandbox.set(kind, latency_ms=0)
    assert [job["status"] for job in jobs] == ["running", "running"]

    cloud.restart(*FUNCTIONS)
    jobs = [finish(api, api.job(job["id"]), timeout_s=240) for job in jobs]

    assert [(job["status"], job["error_message"]) for job in jobs] == [("success", None)] * 2
    for kind in kinds:
        check_big(held, kind, big_table)


def test_a_restart_of_everything_loses_no_connector_and_no_job(
    cloud: LocalCloud,
    api: Api,
    connectors: dict[str, str],
    sandbox: Sandbox,
    big_table: str,
    held: Callable[[str, str], list[Row]],
) -> None:
    before = api.test(connectors["looker"])
    done = finish(api, api.export(connector_name=connectors["looker"], table_name="before", rows=[{"id": 1}]))
    sandbox.set("google_sheets", latency_ms=200)
    running = wait_for_progress(api, api.export(connector_name=connectors["google_sheets"], table_name=big_table))

    cloud.stop()
    cloud.start()

    assert before["ok"]
    assert api.test(connectors["looker"])["ok"]
    assert api.job(done["id"]) == done
    job = finish(api, api.job(running["id"]), timeout_s=240)
    assert (job["status"], job["error_message"]) == ("success", None)
    check_big(held, "google_sheets", big_table)
