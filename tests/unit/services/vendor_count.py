"""A vendor that counts its calls, and workers that call it, on virtual time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.connectors._quota import Need, Quota
from shared.errors import VendorUnavailableError
from shared.ports import Transaction
from tests.fakes.stores import InMemoryDocuments, T
from tests.unit.services.virtual_time import ActorClock


class CountingDocuments(InMemoryDocuments):
    """Documents that count transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions = 0

    def transact(self, work: Callable[[Transaction], T]) -> T:
        self.transactions += 1
        return super().transact(work)


@dataclass
class VendorCount:
    """Arrivals (true seconds, cost) at the vendor, and the longest time that a worker went without a call."""

    arrivals: list[tuple[float, int]] = field(default_factory=list)
    by_worker: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    longest_gap_s: float = 0.0

    def most_in(self, window_s: float) -> int:
        """The largest sum of costs in any window (t - window_s, t]."""
        arrivals, first, held, most = sorted(self.arrivals), 0, 0, 0
        for at, cost in arrivals:
            held += cost
            while arrivals[first][0] <= at - window_s:
                held -= arrivals[first][1]
                first += 1
            most = max(most, held)
        return most

    def total(self, from_s: float, to_s: float) -> int:
        return sum(cost for at, cost in self.arrivals if from_s < at <= to_s)


@dataclass(frozen=True)
class Worker:
    """Makes calls one after another until `until_s`; a wait that is too long to sleep is a task that comes back later."""

    name: str
    vendor: VendorCount
    make_quota: Callable[[ActorClock, str], Quota]
    needs: Callable[[random.Random], Sequence[Need]]
    until_s: float
    seed: int
    call_s: tuple[float, float] = (0.05, 1.0)
    idle: float = 0.0
    """Probability of a pause of up to 90 s after a call."""
    crash: float = 0.0
    """Probability of a crash after a call: what the worker holds is never settled, and another takes its place."""

    def __call__(self, clock: ActorClock) -> None:
        rng = random.Random(self.seed)
        quota, lives = self.make_quota(clock, self.name), 1
        last = clock.true
        while clock.true < self.until_s:
            needs = self.needs(rng)
            try:
                with quota.hold(needs):
                    self._call(clock, rng, needs)
            except VendorUnavailableError as error:
                if error.code != "quota_wait" or error.retry_after_s is None:
                    raise
                clock.sleep(error.retry_after_s + rng.uniform(0, 3))  # Cloud Tasks is seldom punctual
                continue
            self.vendor.longest_gap_s = max(self.vendor.longest_gap_s, clock.true - last)
            if rng.random() < self.crash:
                lives += 1
                quota = self.make_quota(clock, f"{self.name}-life-{lives}")
            if rng.random() < self.idle:
                clock.sleep(rng.uniform(0, 90))
            last = clock.true

    def _call(self, clock: ActorClock, rng: random.Random, needs: Sequence[Need]) -> None:
        takes = rng.uniform(*self.call_s)
        way = rng.uniform(0, min(takes, 2.0))
        self.vendor.in_flight += 1
        self.vendor.most_in_flight = max(self.vendor.most_in_flight, self.vendor.in_flight)
        self.vendor.arrivals.append((clock.true + way, needs[0].cost))
        self.vendor.by_worker[self.name] += needs[0].cost
        clock.sleep(takes)
        self.vendor.in_flight -= 1
