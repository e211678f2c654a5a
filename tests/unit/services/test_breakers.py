"""The circuit breaker of a connector, seen from two instances over one store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from shared.connectors._base import DeliveryPlan, Mode
from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError
from shared.services.breakers import Breakers
from tests.fakes.connector import InMemoryConnector, InMemoryVendor
from tests.fakes.stores import FakeClock
from tests.unit.services.vendor_count import CountingDocuments

PLAN = DeliveryPlan("job-1", "orders", Mode.REPLACE, pa.schema([("n", pa.int64())]), 0)
DOWN = VendorUnavailableError("the vendor answered 503", vendor_status=503)


@dataclass
class Vendor:
    """Answers, or raises what it is told to; counts the calls that reach it."""

    error: BIConnectorsError | None = None
    calls: int = 0
    during: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self) -> str:
        self.calls += 1
        if self.during:
            self.during.pop()()
        if self.error is not None:
            raise self.error
        return "answer"


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    documents: CountingDocuments = field(default_factory=CountingDocuments)
    vendor: Vendor = field(default_factory=Vendor)

    def __post_init__(self) -> None:
        self.one, self.other = (Breakers(self.documents, self.clock) for _ in range(2))

    def call(self, breakers: Breakers, times: int = 1, seconds: float = 1.0) -> list[str]:
        """Codes of the calls' outcomes; "" for an answer."""
        seen = []
        for _ in range(times):
            try:
                breakers.run("orders", self.vendor)
                seen.append("")
            except BIConnectorsError as error:
                seen.append(error.code)
            self.clock.sleep(seconds)
        return seen

    def opened(self) -> World:
        self.vendor.error = DOWN
        self.call(self.one, 5)
        self.vendor.calls = 0
        return self


def events(capsys: pytest.CaptureFixture[str], name: str) -> int:
    return capsys.readouterr().out.count(f'"message":"{name}"')


def test_five_failures_in_a_row_open_it_for_every_instance(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.vendor.error = DOWN
    assert world.call(world.one, 4) == ["vendor_unavailable"] * 4
    assert world.call(world.other) == ["vendor_unavailable"]
    world.clock.sleep(5)
    assert world.call(world.one) == ["breaker_open"]
    assert world.call(world.other) == ["breaker_open"]
    assert world.vendor.calls == 5
    assert events(capsys, "breaker_opened") == 1


def test_an_open_breaker_says_when_to_come_back() -> None:
    world = World().opened()
    with pytest.raises(VendorUnavailableError) as caught:
        world.one.run("orders", world.vendor)
    assert caught.value.retry_after_s == 29.0
    assert "'orders' failed too often" in caught.value.message
    assert world.vendor.calls == 0


def test_ten_failures_of_the_last_twenty_calls_open_it() -> None:
    world = World()
    for _ in range(9):
        world.vendor.error = None
        assert world.call(world.one) == [""]
        world.vendor.error = DOWN
        assert world.call(world.one) == ["vendor_unavailable"]
    world.vendor.error = None
    assert world.call(world.one) == [""]
    world.vendor.error = DOWN
    assert world.call(world.one, 2) == ["vendor_unavailable", "breaker_open"]


def test_a_failure_now_and_then_does_not_open_it() -> None:
    world = World()
    for _ in range(40):
        world.vendor.error = None
        world.call(world.one, 2)
        world.vendor.error = DOWN
        assert world.call(world.one) == ["vendor_unavailable"]


def test_failures_long_apart_do_not_add_up() -> None:
    world = World()
    world.vendor.error = DOWN
    assert world.call(world.one, 20, seconds=601) == ["vendor_unavailable"] * 20


@pytest.mark.parametrize(
    "answer",
    [
        TargetError("no such table"),
        CredentialError("refused"),
        VendorUnavailableError("too many calls", vendor_status=429, retry_after_s=1.0),
        VendorUnavailableError("waiting for quota", code="quota_wait", retry_after_s=30.0),
    ],
)
def test_answers_and_our_own_waiting_do_not_open_it(answer: BIConnectorsError) -> None:
    world = World()
    world.vendor.error = answer
    assert world.call(world.one, 10) == [answer.code] * 10


def test_calls_that_are_answered_write_nothing() -> None:
    world = World()
    world.call(world.one, 100)
    assert world.documents.transactions == 0


def test_one_probe_goes_through_and_closes_it(capsys: pytest.CaptureFixture[str]) -> None:
    world = World().opened()
    world.clock.sleep(27)
    world.call(world.other, seconds=3)  # it now believes for five seconds that it may probe after three
    world.vendor.error = None
    rivals: list[str] = []
    world.vendor.during.append(lambda: rivals.extend(world.call(world.other, seconds=0)))
    assert world.call(world.one) == [""]
    assert rivals == ["breaker_open"]
    assert world.vendor.calls == 1
    world.clock.sleep(5)
    assert world.call(world.other, 3) == ["", "", ""]
    assert events(capsys, "breaker_closed") == 1


def test_a_probe_that_fails_keeps_it_open_twice_as_long_and_is_no_second_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World().opened()
    world.clock.sleep(30)
    assert world.call(world.one, seconds=0) == ["vendor_unavailable"]
    world.clock.sleep(59)
    assert world.call(world.one, seconds=0) == ["breaker_open"]
    world.clock.sleep(1)
    assert world.call(world.one, seconds=0) == ["vendor_unavailable"]
    assert world.vendor.calls == 2
    assert events(capsys, "breaker_opened") == 1


def test_a_probe_that_died_is_followed_by_another() -> None:
    world = World().opened()
    world.clock.sleep(30)

    class Killed(BaseException):
        pass

    def die() -> None:
        world.one._documents = CountingDocuments()  # a dead process writes nothing any more
        raise Killed

    world.vendor.during.append(die)
    with pytest.raises(Killed):
        world.one.run("orders", world.vendor)
    world.vendor.error = None
    assert world.call(world.other, seconds=0) == ["breaker_open"]
    world.clock.sleep(300)
    assert world.call(world.other) == [""]


def test_a_probe_that_had_to_wait_for_quota_lets_the_next_call_probe() -> None:
    world = World().opened()
    world.clock.sleep(30)
    world.vendor.error = VendorUnavailableError("waiting", code="quota_wait", retry_after_s=30.0)
    assert world.call(world.one, seconds=0) == ["quota_wait"]
    world.vendor.error = None
    assert world.call(world.one, seconds=0) == [""]


def test_deliveries_and_refreshes_are_guarded_and_a_test_is_not() -> None:
    world, vendor = World().opened(), InMemoryVendor()
    connector = world.one.guard("orders", InMemoryConnector(vendor))
    assert connector.kind == "in_memory"
    with pytest.raises(VendorUnavailableError, match="failed too often"):
        connector.start_refresh("run", {})
    delivery = connector.open_delivery(PLAN)
    assert delivery.chunk_rows == 2
    assert delivery.fingerprint(PLAN.schema.empty_table()).rows == 0
    with pytest.raises(VendorUnavailableError, match="failed too often"):
        delivery.preflight()
    assert vendor.calls == []
    assert connector.test()[0].ok
