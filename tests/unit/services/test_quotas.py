"""The shared quotas on virtual time: the vendor's own count, fairness, throughput, crashes, and what they cost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from shared.connectors._quota import Limit, Need, NoQuota, Quota
from shared.errors import InternalError, VendorUnavailableError
from shared.services.quota_window import Window
from shared.services.quotas import Quotas, path_of
from tests.fakes.stores import FakeClock, InMemoryDocuments
from tests.unit.services.vendor_count import CountingDocuments, VendorCount, Worker
from tests.unit.services.virtual_time import ActorClock, VirtualTime

WRITES = Limit("google_sheets", "user", "loader@project.iam.gserviceaccount.com", 60, 60.0, "writes")
PROJECT = Limit("google_sheets", "project", "project", 300, 60.0, "writes")
ROWS = Limit("power_bi", "dataset", "d1", 1_000_000, 3_600.0, "rows")
POSTS = Limit("power_bi", "dataset", "d1", 120, 60.0, "posts")
HOURLY = Limit("power_bi", "dataset", "d1", 120, 3_600.0, "posts an hour")
PENDING = Limit("power_bi", "dataset", "d1", 5, 0.0, "pending")
HALF_AN_HOUR_S = 1_800.0


def simulate(
    seed: int,
    workers: int,
    needs: Callable[[random.Random], Sequence[Need]],
    documents: CountingDocuments | None = None,
    *,
    minutes: int = 10,
    **habits: float | tuple[float, float],
) -> VendorCount:
    """Workers with wrong clocks call the vendor as often as they may."""
    rng, world, vendor = random.Random(seed), VirtualTime(), VendorCount()
    shared = documents or CountingDocuments()

    def make(clock: ActorClock, name: str) -> Quota:
        return Quotas(shared, clock, name)

    for number in range(workers):
        worker = Worker(f"worker-{number}", vendor, make, needs, minutes * 60.0, seed * 100 + number, **habits)  # type: ignore[arg-type]
        world.start(worker, at_s=rng.uniform(0, 20), wrong_by_s=rng.uniform(-1.5, 1.5))
    world.run()
    return vendor


def sheets(_: random.Random) -> list[Need]:
    return [Need(WRITES), Need(PROJECT)]


def use(quota: Quota, *needs: Need, times: int = 1) -> None:
    for _ in range(times):
        with quota.hold(needs):
            pass


def wait_of(quota: Quota, *needs: Need) -> VendorUnavailableError:
    with pytest.raises(VendorUnavailableError) as caught:
        use(quota, *needs)
    assert caught.value.code == "quota_wait"
    return caught.value


@pytest.mark.parametrize("seed", range(30))
def test_no_window_ever_holds_more_than_five_sixths_of_the_limit(seed: int) -> None:
    vendor = simulate(seed, 1 + seed % 7, sheets, idle=(seed % 3) * 0.03, crash=(seed % 5) * 0.01)
    assert 40 <= vendor.most_in(60.0) <= 50


@pytest.mark.parametrize("seed", range(5))
def test_windows_of_posts_and_of_rows_hold_at_the_same_time(seed: int) -> None:
    vendor = simulate(
        seed,
        1 + seed,
        lambda rng: [Need(ROWS, rng.choice([10_000, 9_999, 700, 1])), Need(POSTS)],
        minutes=150,
        call_s=(0.5, 5.0),
        crash=0.005,
    )
    assert 700_000 <= vendor.most_in(3_600.0) <= 833_333
    posts = VendorCount([(at, 1) for at, _ in vendor.arrivals])
    assert posts.most_in(60.0) <= 100


def test_without_the_quota_the_vendor_counts_more_than_its_limit() -> None:
    vendor, world = VendorCount(), VirtualTime()
    for number in range(3):
        world.start(Worker(f"w{number}", vendor, lambda clock, name: NoQuota(), sheets, 300.0, number))
    world.run()
    assert vendor.most_in(60.0) > 60


@pytest.mark.parametrize("workers", [1, 2, 5, 10, 20])
def test_busy_workers_get_what_is_allowed_and_each_its_share(workers: int) -> None:
    documents = CountingDocuments()
    vendor = simulate(7, workers, sheets, documents, minutes=30)
    allowed = 50 * 28
    delivered = vendor.total(120, HALF_AN_HOUR_S)
    shares = sorted(vendor.by_worker.values())
    print(
        f"\n{workers} workers: {delivered / allowed:.0%} of the allowed, {documents.transactions} transactions for "
        f"{sum(shares)} calls, shares {shares[0]}..{shares[-1]}, longest wait {vendor.longest_gap_s:.0f} s"
    )
    assert delivered >= 0.7 * allowed
    assert shares[0] >= shares[-1] / 2
    assert vendor.longest_gap_s < 240
    assert documents.transactions < HALF_AN_HOUR_S  # one a second


def test_the_document_stays_small_whatever_the_traffic() -> None:
    documents = CountingDocuments()
    simulate(3, 20, lambda rng: [Need(ROWS, rng.randint(1, 500)), Need(POSTS)], documents, minutes=90, crash=0.05)
    for limit in (ROWS, POSTS):
        found = documents.get(path_of(limit))
        assert found is not None
        assert found.data["schema"] == 2
        assert len(found.data["grants"]) < 150
        assert len(json.dumps(found.data, default=str)) < 20_000


def test_a_crashed_workers_block_is_free_again_a_window_after_it_ended() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    use(Quotas(documents, clock, "crashed"), Need(WRITES, 50))
    other = Quotas(documents, clock, "other")
    error = wait_of(other, Need(WRITES, 10))
    assert error.retry_after_s == 75.0  # the block lives 10 s, then the window of 60 s and the margin of 5 s
    assert error.message == (
        "waiting for quota until 2026-01-05T12:01:15Z: google_sheets writes of user loader@project.iam.gserviceaccount.com, "
        "of which 50 of 60 are used here"
    )
    clock.sleep(75.0)
    use(other, Need(WRITES, 10))


def test_a_wait_of_twenty_seconds_is_slept_and_a_longer_one_is_not() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    one = Quotas(documents, clock, "one")
    use(one, Need(WRITES, 50))
    started = clock.now()
    clock.sleep(44.0)
    assert wait_of(one, Need(WRITES, 10)).retry_after_s == 21.0
    clock.sleep(1.0)
    use(one, Need(WRITES, 10))
    assert clock.now() == started + timedelta(seconds=65)


def test_calls_within_a_block_cost_no_transaction() -> None:
    documents, clock = CountingDocuments(), FakeClock()
    quota = Quotas(documents, clock, "one")
    use(quota, Need(WRITES), Need(PROJECT), times=4)
    assert documents.transactions == 1
    use(quota, Need(WRITES), Need(PROJECT), times=8)
    assert documents.transactions == 2
    with quota.hold([]):
        pass
    assert documents.transactions == 2


def test_what_was_given_back_is_there_for_others_at_once() -> None:
    documents, clock = CountingDocuments(), FakeClock()
    one, other = Quotas(documents, clock, "one"), Quotas(documents, clock, "other")
    use(one, Need(WRITES, 10))  # its block is of 10 calls' worth at most: 10
    use(one, Need(WRITES, 1))
    assert wait_of(other, Need(WRITES, 39)).retry_after_s is not None
    one.give_back()
    before = documents.transactions
    one.give_back()
    assert documents.transactions == before
    clock.sleep(1.0)
    use(other, Need(WRITES, 39))
    wait_of(other, Need(WRITES, 1))


def test_a_refusal_of_the_vendor_holds_everybody_back_until_retry_after() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    one, other = Quotas(documents, clock, "one"), Quotas(documents, clock, "other")
    use(one, Need(WRITES), Need(PROJECT))
    one.refused([Need(WRITES), Need(PROJECT)], 3_392.0)
    assert wait_of(other, Need(WRITES), Need(PROJECT)).retry_after_s == 3_392.0
    assert wait_of(one, Need(WRITES), Need(PROJECT)).retry_after_s == 3_392.0
    use(other, Need(PROJECT))  # the first need alone was charged with it
    clock.sleep(3_392.0)
    use(other, Need(WRITES), Need(PROJECT))


def test_refusals_without_a_time_wait_longer_each_time() -> None:
    clock = FakeClock()
    quota, started = Quotas(InMemoryDocuments(), clock, "one"), clock.now()
    quota.refused([Need(WRITES)], None)
    use(quota, Need(WRITES))
    assert clock.now() == started + timedelta(seconds=10)
    quota.refused([Need(WRITES)], None)
    use(quota, Need(WRITES))
    assert clock.now() == started + timedelta(seconds=30)
    quota.refused([Need(WRITES)], None)
    assert wait_of(quota, Need(WRITES)).retry_after_s == 40.0
    clock.sleep(200)
    quota.refused([Need(WRITES)], None)
    before = clock.now()
    use(quota, Need(WRITES))
    assert clock.now() == before + timedelta(seconds=10)


def test_where_no_number_is_known_only_refusals_hold_back() -> None:
    looker = Limit("looker", "user", "id@https://demo", None, 60.0)
    documents, clock = CountingDocuments(), FakeClock()
    quota = Quotas(documents, clock, "one")
    use(quota, Need(looker), times=1_000)
    assert documents.transactions < 30
    quota.refused([Need(looker)], 30.0)
    assert wait_of(quota, Need(looker)).retry_after_s == 30.0


def test_calls_that_do_not_bind_yet_are_counted_for_those_that_do() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    quota = Quotas(documents, clock, "one")
    use(quota, Need(HOURLY, is_binding=False), times=150)
    quota.give_back()
    clock.sleep(600)
    assert wait_of(quota, Need(HOURLY)).retry_after_s == 3_005.0


def test_a_call_larger_than_its_window_is_a_fault() -> None:
    with pytest.raises(InternalError, match="needs 51 of google_sheets writes"):
        use(Quotas(InMemoryDocuments(), FakeClock(), "one"), Need(WRITES, 51))


@pytest.mark.parametrize("workers", [3, 6])
def test_never_more_than_four_calls_are_in_flight_and_every_worker_gets_its_turn(workers: int) -> None:
    vendor = simulate(11, workers, lambda _: [Need(PENDING)], minutes=60, call_s=(1.0, 12.0))
    assert vendor.most_in_flight == min(workers, 4)
    shares = sorted(vendor.by_worker.values())
    assert shares[0] >= shares[-1] / 2
    assert vendor.total(0, 3_600) >= 0.7 * min(workers, 4) * 3_600 / 6.5


def test_the_places_of_a_crashed_worker_are_free_once_its_call_must_have_ended() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    crashed, other = Quotas(documents, clock, "crashed"), Quotas(documents, clock, "other")
    crashed.hold([Need(PENDING, 4)]).__enter__()
    wait_of(other, Need(PENDING))
    clock.sleep(200)
    wait_of(other, Need(PENDING))
    clock.sleep(40)
    use(other, Need(PENDING))


def test_an_idle_workers_place_in_flight_is_free_when_it_gives_back() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    idle, other = Quotas(documents, clock, "idle"), Quotas(documents, clock, "other")
    use(idle, Need(PENDING, 4))
    wait_of(other, Need(PENDING))
    idle.give_back()
    clock.sleep(5)
    use(other, Need(PENDING, 4))


def test_giving_back_keeps_the_places_of_calls_in_flight() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    one, other = Quotas(documents, clock, "one"), Quotas(documents, clock, "other")
    with one.hold([Need(PENDING)]):
        use(one, Need(PENDING))
        one.give_back()
        use(other, Need(PENDING, 3))
        other.give_back()
        wait_of(other, Need(PENDING, 4))
    one.give_back()
    clock.sleep(5)
    use(other, Need(PENDING, 4))


def test_blocks_that_are_kept_as_one_count_as_long_as_the_later_of_them() -> None:
    window = Window(WRITES)
    for last_use in (100.1, 100.9):
        window.grant("one", 10, 10, 100.0)
        window.settle("one", 10, last_use)
    record = window.to_record(100.9)
    assert len(record["grants"]) == 1
    assert Window.parse(WRITES, record, 165.8).used == 20
    assert Window.parse(WRITES, record, 165.9).used == 0


def test_a_holder_that_does_not_come_back_loses_its_place_in_line() -> None:
    documents, clock = InMemoryDocuments(), FakeClock()
    one, gone, other = (Quotas(documents, clock, name) for name in ("one", "gone", "other"))
    use(one, Need(WRITES, 50))
    one.give_back()
    wait_of(gone, Need(WRITES, 50))
    clock.sleep(65)
    started = clock.now()
    use(other, Need(WRITES, 1))
    assert clock.now() == started + timedelta(seconds=15)
    found = documents.get(path_of(WRITES))
    assert found is not None
    assert found.data["tickets"] == []
