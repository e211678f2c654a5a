"""Quotas of vendors, shared by all instances: blocks taken from `quotas/{…}` in Firestore and used up here.

One transaction takes a block of calls; a call that the block covers costs nothing. See `quota_window` for the rules.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from shared.connectors._quota import Limit, Need
from shared.errors import InternalError, VendorUnavailableError
from shared.ports import Clock, Documents, Transaction
from shared.services.quota_window import LONGEST_CALL_S, UNKNOWN_BLOCK, Grant, Window

LONGEST_SLEEP_S = (
    20.0  # our choice, as in connectors/_retry.py: a longer wait is billed sleep; the job continues in another task
)
SHORTEST_SLEEP_S = (
    1.0  # one instance asks a full window at most once a second: Firestore sustains about one write a second a document
)
FIRST_BLOCK_CALLS = (
    4  # our choice: a small job's calls; a block that is used up in time is followed by one of twice the size
)
LARGEST_BLOCK_PART = 5  # our choice: one instance takes at most a fifth of a window at once


@dataclass
class _Block:
    """What this instance holds of one limit. `taken` units are used, or in flight where the limit counts those."""

    units: int
    usable_until: float
    taken: int = 0
    last_use: float = 0.0


class Quotas:
    """`shared.connectors._quota.Quota` on Firestore. `holder` names this instance: no two that live at one time share it."""

    def __init__(self, documents: Documents, clock: Clock, holder: str) -> None:
        self._documents = documents
        self._clock = clock
        self._holder = holder
        self._lock = threading.RLock()  # held during a transaction: threads that need the same block wait for it
        self._blocks: dict[Limit, _Block] = {}
        self._next_calls: dict[Limit, int] = {}
        self._ask_again_at: dict[Limit, float] = {}

    @contextmanager
    def hold(self, needs: Sequence[Need]) -> Iterator[None]:
        """See `Quota.hold`."""
        self._take(needs)
        try:
            yield
        finally:
            self._call_ended(needs)

    def refused(self, needs: Sequence[Need], retry_after_s: float | None) -> None:
        """See `Quota.refused`. One transaction."""
        if not needs:
            return
        limit = needs[0].limit

        def work(tx: Transaction) -> None:
            now = self._now()
            window = self._settled(tx, limit, now)
            window.refuse(retry_after_s, now)
            tx.set(path_of(limit), window.to_record(now))

        with self._lock:
            self._documents.transact(work)
            self._drop(limit)

    def give_back(self) -> None:
        """See `Quota.give_back`. One transaction if there is anything to return."""
        with self._lock:
            limits = [limit for limit, block in self._blocks.items() if limit.window_s or block.units > block.taken]

            def work(tx: Transaction) -> None:
                now = self._now()
                windows = [self._settled(tx, limit, now) for limit in limits]
                for window in windows:
                    tx.set(path_of(window.limit), window.to_record(now))

            if limits:
                self._documents.transact(work)
            for limit in limits:
                self._drop(limit)

    def _take(self, needs: Sequence[Need]) -> None:
        for need in needs:
            if need.is_binding and need.limit.ours is not None and need.cost > need.limit.ours:
                raise InternalError(f"one call needs {need.cost} of {need.limit}; at most {need.limit.ours} can be had")
        slept_s = 0.0
        while True:
            with self._lock:
                lacking = self._try(needs)
            if lacking is None:
                return
            limit, due = lacking
            wait_s = max(due - self._now(), SHORTEST_SLEEP_S)
            if slept_s + wait_s > LONGEST_SLEEP_S:
                raise _must_wait(limit, due, wait_s)
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
                if now < self._ask_again_at.get(need.limit, 0.0):
                    return need.limit, self._ask_again_at[need.limit]
            waits = self._ask(lacking)
            if waits:
                limit, due = max(waits, key=lambda item: item[1])
                self._ask_again_at[limit] = min(due, now + SHORTEST_SLEEP_S)
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
        if block is None or self._now() > block.usable_until:
            return False
        return block.units - block.taken >= need.cost

    def _ask(self, lacking: Sequence[Need]) -> list[tuple[Limit, float]]:
        """Settle the blocks of these needs, then take new ones for all of them, or a place in line. Returns the waits."""
        calls = {need.limit: self._calls_of_next_block(need) for need in lacking}

        def work(tx: Transaction) -> tuple[list[tuple[Limit, float]], dict[Limit, Grant]]:
            now = self._now()
            windows = [(need, self._settled(tx, need.limit, now)) for need in lacking]
            waits, given = _places_in_line(windows, calls, self._holder, now), {}
            for need, window in windows:
                if not waits:
                    give = window.grant if need.is_binding else window.count
                    given[need.limit] = give(self._holder, need.cost, need.cost * calls[need.limit], now)
                tx.set(path_of(need.limit), window.to_record(now))
            return waits, given

        waits, given = self._documents.transact(work)
        for need in lacking:
            self._next_calls[need.limit] = calls[need.limit]
            self._drop(need.limit)
        for limit, grant in given.items():
            in_flight = self._blocks[limit].taken if limit in self._blocks else 0
            usable_until = grant.until if limit.window_s else grant.until - LONGEST_CALL_S
            self._blocks[limit] = _Block(grant.units, usable_until, in_flight)
        return waits

    def _calls_of_next_block(self, need: Need) -> int:
        """Calls that the next block should cover: twice the last ones if those were used up in time, else what was used."""
        limit, block = need.limit, self._blocks.get(need.limit)
        calls = self._next_calls.get(limit, FIRST_BLOCK_CALLS)
        if not limit.window_s:
            return 1
        if block is not None:
            calls = calls * 2 if self._now() <= block.usable_until else block.taken // need.cost
        most = UNKNOWN_BLOCK if limit.ours is None else limit.ours // LARGEST_BLOCK_PART // need.cost
        return max(1, min(calls, most))

    def _settled(self, tx: Transaction, limit: Limit, now: float) -> Window:
        """Read a window, with what this instance holds of it replaced by what it used."""
        found = tx.get(path_of(limit))
        window = Window.parse(limit, None if found is None else found.data, now)
        block = self._blocks.get(limit)
        window.settle(self._holder, block.taken if block else 0, block.last_use if block else now)
        return window

    def _drop(self, limit: Limit) -> None:
        """Forget a block that was settled, but for its calls in flight."""
        block = self._blocks.get(limit)
        if block is not None and not limit.window_s and block.taken:
            block.units = block.taken
        else:
            self._blocks.pop(limit, None)

    def _call_ended(self, needs: Sequence[Need]) -> None:
        with self._lock:
            for need in needs:
                block = self._blocks.get(need.limit)
                if block is not None and not need.limit.window_s:
                    block.taken -= need.cost

    def _now(self) -> float:
        return self._clock.now().timestamp()


def path_of(limit: Limit) -> str:
    """Return the document of a limit."""
    return "quotas/" + ".".join(
        quote(part, safe="@") for part in (limit.vendor, limit.unit, limit.scope, limit.scope_id)
    )


def _places_in_line(
    windows: Sequence[tuple[Need, Window]], calls: Mapping[Limit, int], holder: str, now: float
) -> list[tuple[Limit, float]]:
    """Put the holder in line at every window that cannot serve it now; return those limits with the times to come back."""
    return [
        (need.limit, window.wait(holder, need.cost, calls[need.limit], now))
        for need, window in windows
        if need.is_binding and window.due(holder, need.cost, calls[need.limit], now) > now
    ]


def _must_wait(limit: Limit, due: float, wait_s: float) -> VendorUnavailableError:
    at = datetime.fromtimestamp(due, UTC)
    share = "" if limit.calls is None else f", of which {limit.ours:,} of {limit.calls:,} are used here"
    return VendorUnavailableError(
        f"waiting for quota until {at:%Y-%m-%dT%H:%M:%SZ}: {limit}{share}",
        code="quota_wait",
        retry_after_s=wait_s,
        vendor=limit.vendor,
    )
