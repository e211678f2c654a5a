"""A refresh is followed where it was started, though its connector leads to another model since. Over the wire."""

from __future__ import annotations

import json
import uuid

import pytest

from infra.local.sandboxes.power_bi import PowerBISandbox
from infra.local.sandboxes.server import SandboxServer
from tests.conformance.connectors.linked_world import API, LinkedWorld, end
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures


@pytest.fixture
def world(vendors: SandboxServer) -> LinkedWorld:
    """No refresh of an earlier test runs any more; one takes ten minutes and shows at once."""
    vendors.clock.advance(2 * 86_400)
    vendors.settings("power_bi", refresh_seconds=600, history_delay_seconds=0)
    return LinkedWorld(vendors, "power_bi")


def move(world: LinkedWorld, server: SandboxServer, *, exists: bool = True) -> None:
    """Lead the connector to another model, which is there if it `exists`."""
    sandbox, model, path = server.sandbox("power_bi"), str(uuid.uuid4()), f"{API}/{world.connector}"
    assert isinstance(sandbox, PowerBISandbox)
    found = world.call("register", "GET", path)
    if exists:
        with sandbox.transaction() as db:
            here = db.execute("SELECT * FROM datasets WHERE id = ?", (found.body["config"]["refresh_dataset_id"],))
            row = {**dict(here.fetchone()), "id": model, "name": f"other {model}"}
            columns, values = ",".join(row), ",".join("?" * len(row))
            db.execute(f"INSERT INTO datasets ({columns}) VALUES ({values})", tuple(row.values()))
    answer = world.call("register", "PATCH", path, {"refresh_dataset_id": model}, If_Match=found.headers["ETag"])
    assert answer.status == 200, answer.body


def running(world: LinkedWorld, options: dict[str, str] | None = None, timeout: str | None = None) -> str:
    run_id = world.start(options, timeout)
    for _ in range(4):
        world.work_once()
    assert world.run(run_id)["status"] == "running"
    return run_id


@pytest.mark.parametrize(
    ("outcome", "told"), [("Completed", ("success", None)), ("Failed", ("failed", "refresh_failed"))]
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_refresh_is_followed_where_it_was_started(
    world: LinkedWorld, vendors: SandboxServer, outcome: str, told: tuple[str, str | None], *, exists: bool
) -> None:
    vendors.settings("power_bi", refresh_outcome=outcome, refresh_exception=json.dumps({"errorCode": "OurOwn"}))
    run_id = running(world)
    move(world, vendors, exists=exists)
    world.work()
    assert end(world.run(run_id)) == told


def test_one_that_the_vendor_failed_with_a_reason_is_not_told_as_timed_out(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    exception = json.dumps({"errorCode": "OurOwn"})
    vendors.settings("power_bi", refresh_seconds=300, refresh_outcome="Failed", refresh_exception=exception)
    run_id = running(world, timeout="15m")
    move(world, vendors)
    world.work()
    run = world.run(run_id)
    assert (end(run), run["error_message"]) == (("failed", "refresh_failed"), "OurOwn")


def test_one_is_cancelled_where_it_was_started(world: LinkedWorld, vendors: SandboxServer) -> None:
    run_id = running(world, {"type": "Full"})
    move(world, vendors)
    assert world.call("refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel").status == 200
    world.work()
    run = world.run(run_id)
    assert (end(run), run["vendor_status"]) == (("cancelled", "refresh_cancelled"), "Cancelled")


def test_one_whose_start_got_no_answer_is_found_where_it_was_started(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    vendors.settings("power_bi", history_delay_seconds=90)
    vendors.fault(vendor="power_bi", method="POST", path="/refreshes$", kind="lost_reply", times=1)
    run_id = world.start()
    world.work_once()
    move(world, vendors)
    world.work()
    assert end(world.run(run_id)) == ("success", None)
