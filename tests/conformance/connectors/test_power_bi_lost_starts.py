"""A start whose outcome nobody told: ours is found and followed, and nobody else's refresh is taken for it. Over the wire."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from infra.local.sandboxes.power_bi import PowerBISandbox, refreshes
from infra.local.sandboxes.server import SandboxServer
from shared.connectors.power_bi import client
from tests.conformance.connectors.linked_world import API, LinkedWorld, end
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures

BOTH = pytest.mark.parametrize("options", [{}, {"type": "Full"}], ids=["standard", "enhanced"])
OURS = {"errorCode": "OurOwnFailure"}


@pytest.fixture
def world(vendors: SandboxServer) -> LinkedWorld:
    """No refresh of an earlier test runs any more; one takes ten minutes and shows at once."""
    vendors.clock.advance(2 * 86_400)
    vendors.settings("power_bi", refresh_seconds=600, history_delay_seconds=0)
    return LinkedWorld(vendors, "power_bi")


def power_bi(server: SandboxServer) -> PowerBISandbox:
    sandbox = server.sandbox("power_bi")
    assert isinstance(sandbox, PowerBISandbox)
    return sandbox


def began(server: SandboxServer) -> int:
    """Return how many refreshes Power BI began, since the first test."""
    sandbox = power_bi(server)
    with sandbox.lock:
        return int(sandbox.db.execute("SELECT count(*) FROM refreshes").fetchone()[0])


def others(world: LinkedWorld, server: SandboxServer, lasts_s: float, *, is_enhanced: bool = False) -> str:
    """Let somebody else have begun a refresh of our model 20 s ago, and return its id."""
    config = world.call("register", "GET", f"{API}/{world.connector}").body["config"]
    sandbox, key = power_bi(server), str(uuid.uuid4())
    at = sandbox.clock.time() - 20
    row = (key, config["refresh_dataset_id"], is_enhanced, "Full", "Transactional", at, at + lasts_s, at, "Completed")
    with sandbox.transaction() as db:
        db.execute("INSERT INTO refreshes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)
    return key


def fault_at_start(server: SandboxServer, kind: str) -> None:
    server.fault(vendor="power_bi", method="POST", path="/refreshes$", kind=kind, times=1)


@BOTH
@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("delay_s", [0, 90])
def test_a_start_that_was_applied_and_answered_as_a_fault_is_followed(  # what there is to be told apart
    world: LinkedWorld,
    vendors: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    status: int,
    delay_s: int,
) -> None:
    real, answered = client.Session._send, list[int]()

    def send(session: client.Session, method: str, path: str, *rest: Any) -> Any:
        answer = real(session, method, path, *rest)
        if method == "POST" and path.endswith("/refreshes") and not answered:
            answered.append(answer.status_code)
            answer.status_code, answer._content = status, b"<html>Gateway Timeout</html>"
        return answer

    vendors.settings("power_bi", history_delay_seconds=delay_s)
    monkeypatch.setattr(client.Session, "_send", send)
    before = began(vendors)
    run = world.ended(options)
    assert (answered, began(vendors) - before, end(run)) == ([202], 1, ("success", None))


@pytest.mark.parametrize("status", [429, 503])
def test_a_start_that_was_put_off_is_begun_again_without_a_search(
    world: LinkedWorld, vendors: SandboxServer, status: int
) -> None:
    """So nobody else's of the same kind, which ran meanwhile, is taken for it."""
    vendors.fault(vendor="power_bi", method="POST", path="/refreshes$", kind="status", status=status, times=1)
    others(world, vendors, lasts_s=21)
    before = began(vendors)
    run = world.ended()
    assert (end(run), began(vendors) - before) == (("success", None), 1)
    assert run["started_at"] > run["created_at"]


def test_one_whose_sign_in_failed_was_not_started_and_nobody_elses_is_taken_for_it(
    world: LinkedWorld, vendors: SandboxServer
) -> None:
    others(world, vendors, lasts_s=21)
    vendors.fault(vendor="entra_id", method="POST", path="/token$", kind="status", status=504, times=1)
    before = began(vendors)
    run = world.ended()
    assert (end(run), began(vendors) - before) == (("success", None), 1)
    assert run["started_at"] > run["created_at"]


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_start_that_got_no_answer_is_found_though_the_history_could_not_be_read_at_once(
    world: LinkedWorld, vendors: SandboxServer, status: int
) -> None:
    fault_at_start(vendors, "lost_reply")
    vendors.fault(
        vendor="power_bi",
        method="GET",
        path="/refreshes$",
        kind="status",
        status=status,
        times=4 if status > 403 else 1,
    )
    before = began(vendors)
    run = world.ended()
    assert (end(run), began(vendors) - before) == (("success", None), 1)


def test_a_start_that_never_arrived_does_not_take_the_refresh_that_the_models_own_schedule_began(
    world: LinkedWorld, vendors: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, theirs = refreshes._entry, others(world, vendors, lasts_s=300)

    def entry(row: Any, now: float) -> dict[str, Any]:
        return {**real(row, now), **({"refreshType": "Scheduled"} if row["id"] == theirs else {})}

    monkeypatch.setattr(refreshes, "_entry", entry)
    fault_at_start(vendors, "reset_before")
    run = world.ended()
    assert (end(run), run["vendor_id"] != theirs) == (("success", None), True)
    assert run["started_at"] > run["created_at"]


@BOTH
def test_a_start_that_never_arrived_does_not_take_one_of_the_other_kind(
    world: LinkedWorld, vendors: SandboxServer, options: dict[str, str]
) -> None:
    theirs = others(world, vendors, lasts_s=300, is_enhanced=not options)
    fault_at_start(vendors, "reset_before")
    run = world.ended(options)
    assert (end(run), run["vendor_id"] != theirs) == (("success", None), True)
    assert run["started_at"] > run["created_at"]


@BOTH
def test_ours_that_fails_is_not_told_as_another_that_had_ended_before(
    world: LinkedWorld, vendors: SandboxServer, options: dict[str, str]
) -> None:
    """Another's of the same kind ended 5 s before ours began, and the history shows ours 30 s late."""
    others(world, vendors, lasts_s=15, is_enhanced=bool(options))
    vendors.settings("power_bi", history_delay_seconds=30, refresh_outcome="Failed", refresh_exception=json.dumps(OURS))
    fault_at_start(vendors, "lost_reply")
    run = world.ended(options)
    assert end(run) == ("failed", "refresh_failed")
    assert "OurOwnFailure" in run["error_message"]
