"""A target in memory with the guards that the real ones have: staging by position, one atomic publish, a token in the target.

Each guard is a method of its own, so that a test can hand in a subclass without it (`teeth`).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from shared.connectors._base import Begun, Check, Chunk, DeliveryPlan, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint, row_fingerprint
from shared.errors import TargetError
from tests.campaigns.points import Points

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Publication:
    """One applied publish: what was live before, and after."""

    job_id: str
    mode: Mode
    before: tuple[Row, ...]
    after: tuple[Row, ...]


@dataclass
class SimulatedVendor:
    """What the vendor holds. `drops` silently loses the first row of that many writes.

    While it `is_slow` a publish takes effect later: `on_its_way` has those that were sent, until `arrive` is called.
    """

    live: tuple[Row, ...] = ()
    staging: dict[str, list[tuple[int, Row]]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    publications: list[Publication] = field(default_factory=list)
    drops: int = 0
    is_slow: bool = False
    on_its_way: list[Callable[[], None]] = field(default_factory=list)
    abandoned: set[str] = field(default_factory=set)
    """Jobs whose staging was removed without a publish; known to teeth alone."""

    def arrive(self) -> None:
        """Let what is on its way take effect; what has no staging any more is refused, and nobody hears of that."""
        while self.on_its_way:
            with contextlib.suppress(TargetError):
                self.on_its_way.pop(0)()

    def is_whole(self) -> bool:
        """Whether a reader sees a table as some publish left it, and not a part or a mixture."""
        return not self.publications or self.live == self.publications[-1].after


class SimulatedDelivery:
    """`Delivery` with chunks of two rows; every call to the vendor is a point before and after."""

    chunk_rows = 2
    is_staged = True

    def __init__(self, vendor: SimulatedVendor, points: Points, plan: DeliveryPlan) -> None:
        self.vendor = vendor
        self.points = points
        self.plan = plan

    def preflight(self) -> None:
        self.points.reach("vendor.preflight:before")

    def begin(self) -> Begun:
        self.points.reach("vendor.begin:before")
        self.vendor.staging.setdefault(self.plan.job_id, [])
        self.points.reach("vendor.begin:after")
        return Begun({"staging": self.plan.job_id}, {"table": self.plan.table_name})

    def write(self, chunk: Chunk) -> Written:
        """Two requests a chunk, so that a chunk can be in by half."""
        rows = _rows(chunk.table)
        for start in range(len(rows)):
            self.points.reach("vendor.write:before")
            staged = self._staged()
            if self.vendor.drops:
                self.vendor.drops -= 1
            else:
                self.put(staged, chunk.first_row + start, rows[start])
            self.points.reach("vendor.write:after")
        return Written(100)

    def put(self, staged: list[tuple[int, Row]], position: int, row: Row) -> None:
        """The guard of a chunk: its rows go to their positions, whatever was there."""
        staged[:] = [*((at, held) for at, held in staged if at != position), (position, row)]

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        return _fingerprint(_rows(table))

    def live_rows(self) -> int | None:
        return len(self.vendor.live)

    def read_back(self) -> Fingerprint:
        self.points.reach("vendor.read_back:before")
        return _fingerprint([row for _, row in sorted(self._staged())])

    def is_published(self) -> bool:
        self.points.reach("vendor.is_published:before")
        return self.has_token()

    def publish(self) -> Published:
        self.points.reach("vendor.publish:before")
        if self.vendor.is_slow:
            self.vendor.on_its_way.append(self.take_effect)
        else:
            self.take_effect()
        self.points.reach("vendor.publish:after")
        return Published("memory://table")

    def take_effect(self) -> None:
        """What the vendor does on a publish."""
        if not self.has_token():
            rows = tuple(row for _, row in sorted(self._staged()))
            before = self.vendor.live
            self.apply(before, rows)
            self.vendor.tokens.add(self.plan.job_id)
            self.vendor.publications.append(
                Publication(self.plan.job_id, self.plan.mode, before, published(before, self.plan.mode, rows))
            )
            self.drop_staging()

    def has_token(self) -> bool:
        """The guard of a publish: the job's mark, set in the same step as the rows."""
        return self.plan.job_id in self.vendor.tokens

    def apply(self, before: tuple[Row, ...], rows: tuple[Row, ...]) -> None:
        """Make it live in one step."""
        self.vendor.live = published(before, self.plan.mode, rows)

    def drop_staging(self) -> None:
        self.vendor.staging.pop(self.plan.job_id, None)

    def abandon(self) -> None:
        self.points.reach("vendor.abandon:before")
        self.vendor.staging.pop(self.plan.job_id, None)
        self.points.reach("vendor.abandon:after")

    def _staged(self) -> list[tuple[int, Row]]:
        if self.plan.job_id not in self.vendor.staging:
            raise TargetError("the staging tab is gone; start the export again", code="staging_gone")
        return self.vendor.staging[self.plan.job_id]


@dataclass(frozen=True)
class SimulatedConnector:
    """`Connector` whose deliveries are of class `delivery`."""

    kind: ClassVar[str] = "google_sheets"
    vendor: SimulatedVendor
    points: Points
    delivery: type[SimulatedDelivery] = SimulatedDelivery

    def test(self) -> list[Check]:
        return []

    def open_delivery(self, plan: DeliveryPlan) -> SimulatedDelivery:
        return self.delivery(self.vendor, self.points, plan)

    def start_refresh(self, run_id: str, options: Mapping[str, Any]) -> Any:
        raise NotImplementedError(f"nothing to refresh for {run_id} with {options}")

    def poll_refresh(self, vendor_id: str) -> Any:
        raise NotImplementedError(vendor_id)

    def cancel_refresh(self, vendor_id: str) -> None:
        raise NotImplementedError(vendor_id)


def published(before: Sequence[Row], mode: Mode, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return what a table holds after one publish; upsert has the first column as key."""
    match mode:
        case Mode.REPLACE:
            return tuple(rows)
        case Mode.APPEND:
            return (*before, *rows)
        case Mode.UPSERT:
            keys = {row[0] for row in rows}
            return (*(row for row in before if row[0] not in keys), *rows)


def differences(expected: Sequence[Row], found: Sequence[Row]) -> tuple[int, int]:
    """Return (rows lost, rows too many) of `found`, as multisets."""
    wanted, there = Counter(expected), Counter(found)
    return (wanted - there).total(), (there - wanted).total()


def _rows(table: pa.Table) -> list[Row]:
    return [tuple(row.values()) for row in table.to_pylist()]


def _fingerprint(rows: Sequence[Row]) -> Fingerprint:
    return row_fingerprint(tuple(None if value is None else repr(value) for value in row) for row in rows)
