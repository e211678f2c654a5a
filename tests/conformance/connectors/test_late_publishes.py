"""A publish that takes effect while its job gives it up: between the question whether it did and the end of its staging."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests

from infra.local.sandboxes.server import SandboxServer
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.delivery import SheetsDelivery
from shared.connectors.looker import publish, staging, warehouse
from shared.connectors.looker.delivery import PostgresDelivery
from tests.conformance.connectors.linked_world import API, LinkedWorld
from tests.conformance.sandboxes.conftest import sandboxes, vendors  # noqa: F401
from tests.conformance.sandboxes.looker_support import Cloud, looker_cloud, looker_parts  # noqa: F401
from tests.functional.test_exports import job
from tests.functional.test_job_operations import do

OLD = [{"id": number, "v": 1} for number in range(3)]
NEW = [{"id": number, "v": 2} for number in range(3, 5)]
GIVES_UP = 8
"""Boxes of work in which a job waits for a vendor in trouble, before it gives up."""


def export(world: LinkedWorld, rows: list[dict[str, int]], mode: str) -> str:
    body = {"connector_name": world.connector, "table_name": "people", "rows": rows, "mode": mode}
    answer = world.call("export", "POST", f"{API}/export", body)
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


class Sleeper:
    """A worker that stops in the middle of its publish, loses its lease, and goes on when `go` is set."""

    def __init__(self, world: LinkedWorld, job_id: str) -> None:
        self.inside, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: world.services.exports.run(job_id, None), name="sleeper")

    def stop(self) -> None:
        """Called from its own thread, where it stops."""
        self.inside.set()
        self.go.wait(120)

    def fall_asleep(self, world: LinkedWorld) -> None:
        world.fakes.tasks.pending.clear()
        self._thread.start()
        assert self.inside.wait(60)
        world.fakes.clock.sleep(100)

    def join(self) -> None:
        self._thread.join(60)

    @staticmethod
    def is_here() -> bool:
        return threading.current_thread().name == "sleeper"


def appending(world: LinkedWorld) -> tuple[str, Sleeper]:
    """Return a job that is to append to a table which is there, and the worker that will fall asleep over it."""
    export(world, OLD, "replace")
    world.work()
    late = export(world, NEW, "append")
    return late, Sleeper(world, late)


def box(world: LinkedWorld, job_id: str) -> str:
    """Let the job's rival work for one box, at the time that it asked for; return the job's status."""
    world.services.exports.run(job_id, None)
    times = [task.at for task in world.fakes.tasks.pending if task.at]
    world.fakes.tasks.pending.clear()
    if times:
        world.fakes.clock.sleep((max(times) - world.fakes.clock.now()).total_seconds())
    return str(job(world, job_id)["status"])


def ends(world: LinkedWorld, job_id: str, after: Callable[[int], None] = lambda _: None) -> None:
    """Work on the job until it ends, and require that it is a success that cannot be tried again."""
    for number in range(30):
        after(number)
        if box(world, job_id) in ("failed", "success"):
            break
    assert number >= GIVES_UP, "it waited, gave up and met the publish only then"
    assert job(world, job_id)["status"] == "success"
    assert do(world, job_id, "retry").status == 409


def test_a_transaction_that_commits_while_its_staging_is_to_be_dropped_is_a_success(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        warehouse, "_SESSION", warehouse._SESSION.replace("lock_timeout = '10s'", "lock_timeout = '1s'")
    )
    world = LinkedWorld(cloud.server, "looker")
    late, sleeper = appending(world)
    forget, abandon = staging.forget, PostgresDelivery.abandon

    def before_commit(connection: Any, schema: str, job_id: str) -> None:
        forget(connection, schema, job_id)
        if sleeper.is_here() and sys._getframe(1).f_code.co_name == "publish":
            sleeper.stop()

    def wakes(delivery: PostgresDelivery) -> None:
        threading.Timer(0.4, sleeper.go.set).start()  # this one waits for its lock by then
        abandon(delivery)

    monkeypatch.setattr(publish.staging, "forget", before_commit)
    monkeypatch.setattr(PostgresDelivery, "abandon", wakes)
    sleeper.fall_asleep(world)
    ends(world, late)
    sleeper.join()
    assert cloud.sql("SELECT id FROM bi.people ORDER BY id") == [(number,) for number in range(5)]


def test_a_batch_that_arrives_while_its_staging_is_to_be_deleted_is_a_success(
    vendors: SandboxServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = LinkedWorld(vendors, "google_sheets")
    late, sleeper = appending(world)
    batch_update, abandon = SheetsClient.batch_update, SheetsDelivery.abandon

    def on_its_way(client: SheetsClient, requested: Any, doing: str) -> Any:
        if not (sleeper.is_here() and doing.startswith("publishing")):
            return batch_update(client, requested, doing)
        sleeper.stop()
        try:
            return batch_update(client, requested, doing)
        finally:
            sleeper.done.set()

    def arrives(delivery: SheetsDelivery) -> None:
        sleeper.go.set()
        sleeper.done.wait(60)
        abandon(delivery)

    def well_again(boxes: int) -> None:
        if boxes == GIVES_UP:
            vendors.clear_faults()

    monkeypatch.setattr(SheetsClient, "batch_update", on_its_way)
    monkeypatch.setattr(SheetsDelivery, "abandon", arrives)
    sleeper.fall_asleep(world)
    vendors.fault(vendor="google_sheets", kind="status", status=503, headers={"Retry-After": "60"}, times=-1)
    ends(world, late, well_again)
    sleeper.join()
    sheet = f"{vendors.admin_url}/google_sheets/spreadsheets/{vendors.accounts.google.spreadsheet_id}/tabs/people"
    found = Counter(int(row[0]) for row in requests.get(sheet, timeout=30).json()["values"][1:])
    assert found == Counter(range(5))
