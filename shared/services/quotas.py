"""Quotas of vendors, shared by all instances: blocks taken from `quotas/{…}` in Firestore and used up here.

One transaction takes a block of calls; a call that the block covers costs nothing. See `quota_window` for the rules.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from shared.connectors._quota import Limit, Need
from shared.errors import InternalError, VendorUnavailableError
from shared.ports import Clock, Documents, Transaction
from shared.services.quota_window import LONGEST_CALL_S, UNKNOWN_BLOCK, Grant, Window

LONGEST_SLEEP_S = 20.0  # our choice, as in connectors/_retry.py: a longer wait is billed sleep; the job continues in another task
SHORTEST_SLEEP_S = 1.0  # one instance asks a full window at most once a second: Firestore sustains about one write a second a document
FIRST_BLOCK_CALLS = 4  # our choice: a small job's calls; a block that is used up in time is followed by one of twice the size
LARGEST_BLOCK_PART = 5  # our choice: one instance takes at most a fifth of a window at once


@dataclass
class _Block:
    """What this instance holds of one limit. `taken` units are used, or in flight where the limit counts those."""

    units: int
    usable_until: float
    calls: int
    taken: int = 0
    last_use: float = 0.0
    is_used_up: bool = False


class Quotas:
    """`shared.connectors._quota.Quota` on Firestore. `holder` names this instance: no two that live at one time share it."""

    def __init__(self, documents: Documents, clock: Clock, holder: str) -> None:
        self._documents = documents
        self._clock = clock
        self._holder = holder
        self._lock = threading.RLock()  # held during a transaction: threads that need the same block wait for it, not for their own
        self._blocks: dict[Limit, _Block] = {}
        self._asked: dict[Limit, float] = {}
        self.transactions = 0

    @contextmanager
    def hold(self, needs: Sequence[Need]) -> Iterator[None]:
        """See `Quota.hold`."""
        self._take(needs)
        try:
            yield
        finally:
            self._release(needs)

    def refused(self, needs: Sequence[Need], retry_after_s: float | None) -> None:
        """See `Quota.refused`."""
        if not needs:
            return
        limit = needs[0].limit

        def work(tx: Transaction) -> None:
            now = self._now()
            window = self._open(tx, limit, now)
            window.refuse(retry_after_s, now)
            tx.set(path_of(limit), window.to_record(now))

        with self._lock:
            self._transact(work)
            self._forget(limit)

    def give_back(self) -> None:
        """See `Quota.give_back`. One transaction if there is anything to return."""
        with self._lock:
            limits = [limit for limit, block in self._blocks.items() if block.units > block.taken or not limit.window_s]

            def work(tx: Transaction) -> None:
                now = self._now()
                windows = [self._open(tx, limit, now) for limit in limits]
                for window in windows:
                    tx.set(path_of(window.limit), window.to_record(now))

            if limits:
                self._transact(work)
            for limit in limits:
                self._forget(limit)

    def _take(self, needs: Sequence[Need]) -> None:
        for need in needs:
            if need.is_binding and need.limit.ours is not None and need.cost > need.limit.ours:
                raise InternalError(f"one call needs {need.cost} of {need.limit}, of which we use {need.limit.ours} at most")
        slept_s = 0.0
        while True:
            with self._lock:
                lacking = self._try(needs)
            if lacking is None:
                return
            limit, due = lacking
            wait_s = max(due - self._now(), SHORTEST_SLEEP_S)
            if slept_s + wait_s > LONGEST_SLEEP_S:
                at = datetime.fromtimestamp(due, UTC)
                raise VendorUnavailableError(
                    f"waiting for quota until {at:%Y-%m-%dT%H:%M:%SZ}: {limit}, of which {limit.ours} "
                    f"of {limit.calls} are used here, are used up",
                    code="quota_wait",
                    retry_after_s=wait_s,
                    vendor=limit.vendor,
                )
            self._clock.sleep(wait_s)
            slept_s += wait_s

    def _try(self, needs: Sequence[Need]) -> tuple[Limit, float] | None:
        """Take what the needs name from the blocks held here, after a transaction if they do not suffice.

        Returns:
            None when taken; else the limit that has to be waited for, and until when.
        """
        lacking = [need for need in needs if not self._covers(need)]
        if lacking:
            now = self._now()
            for need in lacking:
                if now < self._asked.get(need.limit, 0.0):
                    return need.limit, self._asked[need.limit]
            waits = self._ask(lacking)
            if waits:
                limit, due = max(waits, key=lambda item: item[1])
                self._asked[limit] = min(due, now + SHORTEST_SLEEP_S)
                return limit, due
            late = [need for need in needs if not self._covers(need)]
            if late:  # the transaction took so long that a block ended meanwhile
                return late[0].limit, self._now()
        for need in needs:
            block = self._blocks[need.limit]
            block.taken += need.cost
            block.last_use = self._now()
        return None

    def _covers(self, need: Need) -> bool:
        block = self._blocks.get(need.limit)
        if block is None:
            return False
        is_live = self._now() <= block.usable_until
        block.is_used_up = is_live and block.units - block.taken < need.cost
        return is_live and not block.is_used_up

    def _ask(self, lacking: Sequence[Need]) -> list[tuple[Limit, float]]:
        """Settle the blocks of these needs, then take new ones for all of them, or a place in line. Returns the waits."""

        def work(tx: Transaction) -> tuple[list[tuple[Limit, float]], list[tuple[Need, Grant, int]]]:
            now = self._now()
            windows = [(need, self._open(tx, need.limit, now)) for need in lacking]
            waits, given = [], []
            for need, window in windows:
                due = window.due(self._holder, need.cost, now) if need.is_binding else now
                if due > now:
                    if not need.limit.window_s:
                        due = min(due, now + LONGEST_SLEEP_S / 4)  # a call in flight can end at any time
                    window.wait(self._holder, need.cost, due)
                    waits.append((need.limit, due))
            for need, window in windows:
                if not waits:
                    calls = self._next_calls(need)
                    give = window.grant if need.is_binding else window.count_wanted
                    given.append((need, give(self._holder, need.cost, calls * need.cost, now), calls))
                tx.set(path_of(need.limit), window.to_record(now))
            return waits, given

        waits, given = self._transact(work)
        for need in lacking:
            self._forget(need.limit)
        for need, grant, calls in given:
            in_flight = self._blocks[need.limit].taken if need.limit in self._blocks else 0
            ends = grant.until if need.limit.window_s else grant.until - LONGEST_CALL_S
            self._blocks[need.limit] = _Block(grant.units, ends, calls, taken=in_flight)
        return waits
