"""A connector in memory: a target that holds rows, with staging, a guarded publish and a switchable vendor mood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from shared.connectors._base import (
    Begun,
    Check,
    Chunk,
    DeliveryPlan,
    Published,
    RefreshStatus,
    VendorRefresh,
    Written,
)
from shared.connectors._fingerprint import Fingerprint, row_fingerprint
from shared.errors import BIConnectorsError, TargetError


@dataclass
class InMemoryVendor:
    """What the vendor holds. `errors` are raised one a call, at the named step; `corrupt` spoils what is read back."""

    live: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    staging: dict[str, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    before: dict[str, int] = field(default_factory=dict)
    """How many rows a published job found."""
    errors: list[tuple[str, BIConnectorsError]] = field(default_factory=list)
    corrupt: bool = False
    is_staged: bool = True
    refused: str | None = None
    """A value that the target cannot hold, in any column."""
    checks: list[Check] = field(default_factory=lambda: [Check("sign in", True, 1.0, "signed in")])
    found: VendorRefresh | None = None
    refreshes: list[VendorRefresh] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    intents: list[Mapping[str, Any]] = field(default_factory=list)
    """What every `begin` was to ask for."""
    during: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What happens elsewhere, once, while the vendor works on a step."""

    def step(self, name: str) -> None:
        self.calls.append(name)
        self.during.pop(name, lambda: None)()
        if self.errors and self.errors[0][0] == name:
            raise self.errors.pop(0)[1]


class InMemoryConnector:
    """`Connector` on an `InMemoryVendor`."""

    kind = "in_memory"

    def __init__(self, vendor: InMemoryVendor) -> None:
        self._vendor = vendor

    def test(self) -> list[Check]:
        return self._vendor.checks

    def open_delivery(self, plan: DeliveryPlan) -> InMemoryDelivery:
        return InMemoryDelivery(self._vendor, plan)

    def start_refresh(self, run_id: str, options: Mapping[str, Any]) -> VendorRefresh:
        self._vendor.step("start_refresh")
        return VendorRefresh(f"vendor-{run_id}", RefreshStatus.RUNNING, "Unknown")

    def find_refresh(self, run_id: str, options: Mapping[str, Any], since: datetime) -> VendorRefresh | None:
        self._vendor.step("find_refresh")
        return self._vendor.found

    def poll_refresh(self, vendor_id: str) -> VendorRefresh:
        self._vendor.step("poll_refresh")
        return self._vendor.refreshes.pop(0)

    def cancel_refresh(self, vendor_id: str) -> None:
        self._vendor.step("cancel_refresh")


class InMemoryDelivery:
    """`Delivery` with chunks of two rows."""

    chunk_rows = 2

    def __init__(self, vendor: InMemoryVendor, plan: DeliveryPlan) -> None:
        self._vendor = vendor
        self._plan = plan

    @property
    def is_staged(self) -> bool:
        return self._vendor.is_staged

    def preflight(self) -> dict[str, Any]:
        self._vendor.step("preflight")
        return {"asked": len(self._vendor.calls)}

    def begin(self) -> Begun:
        self._vendor.staging[self._plan.job_id] = {}
        self._vendor.intents.append(self._plan.intent)
        self._vendor.step("begin")
        return Begun({"staging": self._plan.job_id}, {"remembered": self._plan.table_name})

    def write(self, chunk: Chunk) -> Written:
        self._vendor.step("write")
        self._vendor.staging[self._plan.job_id][chunk.index] = chunk.table.to_pylist()
        return Written(100)

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        for number, row in enumerate(table.to_pylist(), first_row + 1):
            if self._vendor.refused is not None and self._vendor.refused in row.values():
                raise TargetError(f"row {number} holds what the target cannot")
        return _fingerprint(table.to_pylist())

    def live_rows(self) -> int | None:
        return len(self._vendor.live.get(self._plan.table_name, []))

    def read_back(self) -> Fingerprint:
        self._vendor.step("read_back")
        rows = self._staged()
        return _fingerprint(rows[:-1] if self._vendor.corrupt else rows)

    def is_published(self) -> bool:
        self._vendor.step("is_published")
        return self._plan.job_id in self._vendor.published

    def publish(self) -> Published:
        self._vendor.step("publish")
        if self._plan.job_id not in self._vendor.published:
            old = self._vendor.live.get(self._plan.table_name, []) if self._plan.mode == "append" else []
            self._vendor.before[self._plan.job_id] = len(old)
            self._vendor.live[self._plan.table_name] = old + self._staged()
            self._vendor.published.add(self._plan.job_id)
            self._vendor.staging.pop(self._plan.job_id, None)
        return Published(f"memory://{self._plan.table_name}")

    def abandon(self) -> None:
        self._vendor.step("abandon")
        self._vendor.staging.pop(self._plan.job_id, None)

    def _staged(self) -> list[dict[str, Any]]:
        if self._plan.job_id in self._vendor.published and self._plan.job_id not in self._vendor.staging:
            return self._vendor.live[self._plan.table_name][self._vendor.before.get(self._plan.job_id, 0) :]
        chunks = self._vendor.staging[self._plan.job_id]
        return [row for index in sorted(chunks) for row in chunks[index]]


def _fingerprint(rows: list[dict[str, Any]]) -> Fingerprint:
    return row_fingerprint(tuple(None if v is None else repr(v) for v in row.values()) for row in rows)
