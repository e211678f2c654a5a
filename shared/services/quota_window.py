"""The rules of one shared quota window: what may be granted when, to whom, and what is remembered. Pure; times are epoch seconds.

A *grant* is a block of units that one holder may use until `until`. It counts against the window until the last moment at which
a unit of it can have been used is a window (and a margin) ago; so whatever the holders do with their blocks, no window of the
vendor's length holds more than `Limit.ours`. A holder that settles says how many units it used and when it stopped, so that the
rest is free at once. A holder that died is not asked: its block counts as used when it ended.

A *ticket* is a holder's place in the line of a full window: units that fall free go to the ticket ahead first, and one ticket
reserves one call. So nobody starves, and a ticket that is not used in time is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.connectors._quota import Limit
from shared.models import SCHEMA

MARGIN_S = 5.0  # our choice: clocks of two instances, and the way of a request to the vendor, together differ by less
PARTS_OF_BLOCK = 6  # our choice: a block lives a sixth of the window (see tests/benchmarks/quotas.py for what it costs)
LONGEST_BLOCK_S = 30.0
LONGEST_CALL_S = 200.0  # the longest time-out of a vendor call (connectors/_http.py): 10 s to connect, 190 s to answer
IN_FLIGHT_BLOCK_S = 40.0  # our choice: an instance asks this often for its place among the calls in flight
IN_FLIGHT_WAIT_S = 5.0  # our choice: a call in flight can end at any time, so a look now and then beats a forecast
BLOCKS_IN_LINE = (
    10  # our choice: who waits, waits for a tenth of the window at most, so that one transaction serves several calls
)
TICKET_GRACE_S = 15.0  # our choice: a task that was scheduled for that moment is there by then
UNSETTLED_S = 60.0  # our choice: after that a holder's block is taken as used, and merged with its neighbours
BUCKETS = 60  # grants that ended in the same sixtieth of a window are kept as one: the document stays small
MAX_TICKETS = 100
UNKNOWN_BLOCK = 100  # units of a block where the vendor publishes no number


@dataclass
class Grant:
    """`units` used, or usable, until `until`. `holder` is None once nobody can use or return them any more."""

    until: float
    units: int
    holder: str | None = None


@dataclass
class Ticket:
    """`holder` waits for `units` and was told to come back at `due`."""

    holder: str
    units: int
    due: float


@dataclass
class Window:
    """One limit's window, as its document holds it."""

    limit: Limit
    grants: list[Grant] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    full_until: float = 0.0
    strikes: int = 0

    @classmethod
    def parse(cls, limit: Limit, record: Mapping[str, Any] | None, now: float) -> Window:
        """Return the window of a document (None: there is none yet), without what has aged out of it."""
        if record is None:
            return cls(limit)
        window = cls(
            limit,
            [Grant(**grant) for grant in record["grants"]],
            [Ticket(**ticket) for ticket in record["tickets"]],
            record["full_until"],
            record["strikes"],
        )
        window._prune(now)
        return window

    def to_record(self, now: float) -> dict[str, Any]:
        """Return the document: a few kilobytes at most, whatever the traffic."""
        limit = self.limit
        ends = max([now, self.full_until, *(self._counts_until(grant) for grant in self.grants)])
        return {
            "schema": SCHEMA,
            "vendor": limit.vendor,
            "scope": limit.scope,
            "scope_id": limit.scope_id,
            "unit": limit.unit,
            "limit": limit.calls,
            "window_s": limit.window_s,
            "grants": [asdict(grant) for grant in self.grants],
            "tickets": [asdict(ticket) for ticket in self.tickets],
            "full_until": self.full_until,
            "strikes": self.strikes,
            "updated_at": datetime.fromtimestamp(now, UTC),
            "expire_at": datetime.fromtimestamp(ends + limit.window_s, UTC),
        }

    @property
    def used(self) -> int:
        """Units that count now."""
        return sum(grant.units for grant in self.grants)

    def settle(self, holder: str, used: int, last_use: float) -> None:
        """Replace a holder's block by what it used of it, or has in flight; the rest is free again."""
        mine = [grant for grant in self.grants if grant.holder == holder]
        self.grants = [grant for grant in self.grants if grant.holder != holder]
        if not mine or not used:
            return
        if not self.limit.window_s:
            self.grants.append(Grant(max(grant.until for grant in mine), used, holder))
        else:
            self._close(Grant(last_use, used))

    def due(self, holder: str, cost: int, calls: int, now: float) -> float:
        """Return when this holder may have a block: `now`, or a later moment, behind the tickets ahead of it.

        One call's `cost` is enough for a block while nobody waits; else it must be worth a place in the line.
        """
        ours = self.limit.ours
        ahead, is_in_line = self._ahead(holder), self._ticket(holder) is not None
        needed = cost if is_in_line or not self.tickets else self._units_in_line(holder, cost, calls)
        if ours is not None and self.used + ahead + needed > ours:
            return max(self._free_at(ahead + needed, now), self.full_until)
        return max(now, self.full_until)

    def wait(self, holder: str, cost: int, calls: int, now: float) -> float:
        """Put `holder` in line, or keep its place; return when to come back: when a block worth coming for is free.

        That is at most `calls` calls, and less the more holders wait.
        """
        units = self._units_in_line(holder, cost, calls)
        due = max(self._free_at(self._ahead(holder) + units, now), self.full_until)
        if not self.limit.window_s:
            due = min(due, now + IN_FLIGHT_WAIT_S)
        mine = self._ticket(holder)
        if mine is not None:
            mine.units, mine.due = units, due
        elif len(self.tickets) < MAX_TICKETS:
            self.tickets.append(Ticket(holder, units, due))
        return due

    def grant(self, holder: str, cost: int, wanted: int, now: float) -> Grant:
        """Give `holder` a block: `wanted` units where nobody waits, else its share, and `cost` at least. `due` must be now."""
        ahead = self._ahead(holder)
        mine = self._ticket(holder)
        self.tickets = [ticket for ticket in self.tickets if ticket.holder != holder]
        if self.limit.ours is not None and self.limit.window_s:
            free = self.limit.ours - self.used
            share = min(free // (1 + len(self.tickets)), free - sum(ticket.units for ticket in self.tickets))
            wanted = min(wanted, max(share, min(mine.units if mine else 0, free - ahead)))
        return self.count(holder, cost, wanted, now)

    def count(self, holder: str, cost: int, wanted: int, now: float) -> Grant:
        """Record a block without asking whether it fits: a multiple of `cost` up to `wanted`, at least `cost`."""
        given = Grant(now + self.block_s, max(cost, wanted - wanted % cost), holder)
        if not self.limit.window_s:
            given.units += sum(grant.units for grant in self.grants if grant.holder == holder)
            given.until += LONGEST_CALL_S
            self.grants = [grant for grant in self.grants if grant.holder != holder]
        self.grants.append(given)
        return given

    def refuse(self, retry_after_s: float | None, now: float) -> None:
        """Take the window as full for that long; without a time for a sixth of it, doubled while it goes on."""
        again = now < self.full_until + self._quiet_s
        self.strikes = self.strikes + 1 if again else 1
        if retry_after_s is None:
            retry_after_s = min(self._quiet_s, self._quiet_s / 6 * 2 ** (self.strikes - 1))
        self.full_until = max(self.full_until, now + retry_after_s)

    @property
    def block_s(self) -> float:
        """How long a block may be used, in seconds."""
        if not self.limit.window_s:
            return IN_FLIGHT_BLOCK_S
        return min(self.limit.window_s / PARTS_OF_BLOCK, LONGEST_BLOCK_S)

    @property
    def _quiet_s(self) -> float:
        return self.limit.window_s or 60.0

    def _counts_until(self, grant: Grant) -> float:
        return grant.until + self.limit.window_s + MARGIN_S

    def _ticket(self, holder: str) -> Ticket | None:
        return next((ticket for ticket in self.tickets if ticket.holder == holder), None)

    def _units_in_line(self, holder: str, cost: int, calls: int) -> int:
        line = len(self.tickets) + (self._ticket(holder) is None)
        most = (self.limit.ours or UNKNOWN_BLOCK) // cost // max(BLOCKS_IN_LINE, line)
        return cost * max(1, min(calls, most))

    def _ahead(self, holder: str) -> int:
        """Units of the tickets before this holder's; of all, if it has none."""
        units = 0
        for ticket in self.tickets:
            if ticket.holder == holder:
                break
            units += ticket.units
        return units

    def _free_at(self, units: int, now: float) -> float:
        """When that many units no longer count, if nobody settles earlier and nobody else is granted any."""
        if self.limit.ours is None:
            return now
        lacking, at = self.used + units - self.limit.ours, now
        for grant in sorted(self.grants, key=self._counts_until):
            if lacking <= 0:
                break
            lacking -= grant.units
            at = self._counts_until(grant)
        if lacking > 0:  # the line is longer than the window: look again once its first has come, or has not
            at = max(at, min(ticket.due for ticket in self.tickets) + TICKET_GRACE_S)
        return max(at, now)

    def _prune(self, now: float) -> None:
        self.grants = [grant for grant in self.grants if self._counts_until(grant) > now]
        self.tickets = [ticket for ticket in self.tickets if ticket.due + TICKET_GRACE_S > now]
        if self.limit.window_s:
            late = [grant for grant in self.grants if grant.holder and grant.until + UNSETTLED_S < now]
            self.grants = [grant for grant in self.grants if grant not in late]
            for grant in late:
                self._close(Grant(grant.until, grant.units))

    def _close(self, grant: Grant) -> None:
        bucket_s = self.limit.window_s / BUCKETS
        for other in self.grants:
            if other.holder is None and math.floor(other.until / bucket_s) == math.floor(grant.until / bucket_s):
                other.units += grant.units
                other.until = max(other.until, grant.until)
                return
        self.grants.append(grant)
