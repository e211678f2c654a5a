"""A lease lives as long as its worker's step, and no longer than the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.pipeline.heartbeat import MOST_BEATS, beating
from shared.pipeline.lease import LEASE, Lease, LostLeaseError
from tests.fakes.stores import FakeClock, InMemoryDocuments

PATH = "export_jobs/one"
WAIT_S = 30.0


class World:
    def __init__(self) -> None:
        self.documents, self.clock = InMemoryDocuments(), FakeClock()
        data = {"fence": 1, "status": "running", "lease_until": self.clock.now() + LEASE, "phase": "write"}
        self.documents.create(PATH, data)
        self.lease = Lease(self.documents, self.clock, PATH, data)

    @property
    def job(self) -> dict[str, Any]:
        return self.documents._documents[PATH][0]

    @property
    def writes(self) -> int:
        return self.documents._writes

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until the heartbeat has brought something about."""
        pause = threading.Event()
        for _ in range(int(WAIT_S / 0.005)):
            if is_so():
                return
            pause.wait(0.005)
        raise AssertionError("it never happened")


@pytest.fixture
def world() -> World:
    return World()


def test_a_step_that_outlives_the_lease_keeps_it(world: World) -> None:
    with beating(world.lease, every_s=0.005):
        for _ in range(5):
            world.clock.sleep(60)
            world.until(lambda: world.job["lease_until"] == world.clock.now() + LEASE)
    assert world.job["lease_until"] == world.clock.now() + LEASE


def test_nothing_is_written_while_checkpoints_renew_it(world: World) -> None:
    before = world.writes
    for _ in range(10):
        world.clock.sleep(29)
        world.lease.renew()
        world.lease.save({})
    assert world.writes == before + 10


def test_a_renewal_changes_the_lease_only(world: World) -> None:
    world.clock.sleep(31)
    before = dict(world.job)
    world.lease.renew()
    assert world.job == {**before, "lease_until": world.clock.now() + LEASE}


def test_what_was_given_back_stays_given_back(world: World) -> None:
    world.lease.save({}, release=True)
    world.clock.sleep(60)
    world.lease.renew()
    assert world.job["lease_until"] == world.clock.now() - timedelta(seconds=60)


def test_a_worker_that_was_overtaken_renews_nothing(world: World) -> None:
    world.documents.update(PATH, {"fence": 2})
    world.clock.sleep(60)
    before = world.writes
    with pytest.raises(LostLeaseError):
        world.lease.renew()
    assert world.writes == before


def test_trouble_with_the_store_is_survived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = world.documents.transact, []

    def transact(work: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("no route")
        return original(work)

    monkeypatch.setattr(world.documents, "transact", transact)
    world.clock.sleep(60)
    with beating(world.lease, every_s=0.005):
        world.until(lambda: world.job["lease_until"] == world.clock.now() + LEASE)


def test_the_heartbeat_of_a_step_that_never_ends_stops(world: World) -> None:
    with beating(world.lease, every_s=0.001):
        world.until(lambda: not any(thread.name == "lease" for thread in threading.enumerate()))
    assert timedelta(minutes=15) >= MOST_BEATS * LEASE / 3


def test_no_thread_is_left(world: World) -> None:
    with beating(world.lease):
        pass
    assert not any(thread.name == "lease" for thread in threading.enumerate())
