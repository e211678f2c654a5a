"""The contract of a connector: what it declares, how it is tested, how a table is delivered, how a refresh is followed.

A connector is one package `shared/connectors/<kind>/`: `__init__.py` is light (config model, capabilities, no SDK) and
`connector.py` is heavy (the vendor's SDK), loaded on first use through `shared.connectors.load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from shared.connectors._guard import unguarded
from shared.connectors._outgoing import NOWHERE, Outgoing
from shared.connectors._quota import NoQuota, Quota
from shared.models import Mode as Mode  # re-exported: part of the contract

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.connectors._fingerprint import Fingerprint
    from shared.ports import Clock

Json = Any


class Verification(StrEnum):
    """How a delivery is read back: every row, or aggregates per column where a vendor cannot hand rows out in bulk."""

    ROWS = "rows"
    AGGREGATES = "aggregates"


@dataclass(frozen=True)
class Capabilities:
    """What a kind can do. Asking for more is an `UnsupportedError` before anything is touched."""

    modes: frozenset[Mode]
    atomic_replace: bool
    refresh: bool
    verification: Verification
    note: str = ""
    """One sentence that a job of this kind carries where the promise is limited; empty where it is kept in full."""


@dataclass(frozen=True)
class Check:
    """One named step of a connection test. `message` says what was found, or what to do; it never holds a secret."""

    name: str
    ok: bool
    latency_ms: float
    message: str


@dataclass(frozen=True)
class DeliveryPlan:
    """One job's table, as the target will get it.

    Attributes:
        job_id: stable over retries and continuations; every name at the target that must be unique derives from it.
        schema: columns after mapping, in order.
        rows: rows of the frozen source.
        key: for `Mode.UPSERT`, the columns that tell rows apart, not empty; else empty.
        options: the kind's `TargetOptions`, validated, as builtins.
        target: what an earlier job on this target remembered (`Begun.target`), empty the first time.
        intent: what this job's first `preflight` returned, recorded before `begin` of a target without staging.
        state: what this job's `begin` returned, empty before it ran.
        checkpoint: how far a step came that had to wait (`VendorUnavailableError.checkpoint`), empty if none did.
    """

    job_id: str
    table_name: str
    mode: Mode
    schema: pa.Schema
    rows: int
    key: tuple[str, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    target: Mapping[str, Json] = field(default_factory=dict)
    intent: Mapping[str, Json] = field(default_factory=dict)
    state: Mapping[str, Json] = field(default_factory=dict)
    checkpoint: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of the frozen source. `index` and `first_row` are zero-based and the same on every attempt."""

    index: int
    first_row: int
    table: pa.Table


@dataclass(frozen=True)
class Begun:
    """What must outlive the process before the first chunk is written. JSON values only.

    `state` belongs to the job; `target` is remembered for the next job on the same target, through whatever connector.
    """

    state: Mapping[str, Json] = field(default_factory=dict)
    target: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """One chunk is in staging (or, for targets without staging, in the target). `sent_bytes` counts request bodies."""

    sent_bytes: int


@dataclass(frozen=True)
class Published:
    """The table is live. `location` is a URL or name that a person can open or query; `details` are JSON values."""

    location: str
    details: Mapping[str, Json] = field(default_factory=dict)


class Delivery(Protocol):
    """One job's way to one target. Every call may be repeated, in this or another process, without harm.

    Order: `preflight`, `begin`, `write` for every chunk, `read_back`, `publish`; or `abandon` at any point before `publish`.
    Any of them may raise `TargetError`, `CredentialError` or `VendorUnavailableError`; after the last of these the same call
    is made again later.
    """

    chunk_rows: int
    """Rows of every chunk but the last; decided from schema and limits, the same on every attempt."""

    is_staged: bool
    """Whether rows wait outside the live target until `publish`. If not, all rows are checked before `begin`."""

    def preflight(self) -> Mapping[str, Json] | None:
        """Check the vendor's limits and the target's shape; touch nothing. Raises `TargetError` naming limit and figure.

        May return what `begin` is to ask for: where there is no staging that is recorded first, so that every `begin` of the job
        asks for the same, also one of a worker that was overtaken and wakes.
        """

    def begin(self) -> Begun:
        """Make staging ready (or the target, where there is no staging)."""

    def write(self, chunk: Chunk) -> Written:
        """Put one chunk in, by position: the same chunk again overwrites itself."""

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        """Return what these source rows look like once the target holds them. Pure; adds up over chunks.

        Raises:
            TargetError: the target cannot hold a value; names the column and the one-based row, counted from `first_row`.
        """

    def live_rows(self) -> int | None:
        """Return the rows that a replace would take away now, whoever wrote them; None if the target does not tell.

        Asked after `preflight`, on the same instance.
        """

    def read_back(self) -> Fingerprint:
        """Return what the vendor holds of this job: in staging, or of the target since `begin`."""

    def is_published(self) -> bool:
        """Ask the target whether this job's `publish` took effect."""

    def publish(self) -> Published:
        """Make it live in one guarded call: once it has been applied, the same call changes nothing."""

    def abandon(self) -> None:
        """Remove what `begin` and `write` made outside the live target; no effect if nothing is there."""


class RefreshStatus(StrEnum):
    """Where a vendor's refresh stands."""

    RUNNING = "running"
    SUCCEEDED = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RefreshEffect(StrEnum):
    """What readers see after a refresh that succeeded: the source as it was when it began, no data at all, or what they saw before.

    `LOADS` brings new data that can be seen once a refresh that `CALCULATES` has succeeded, too.
    """

    RENEWS = "renews"
    EMPTIES = "empties"
    KEEPS = "keeps"
    LOADS = "loads"
    CALCULATES = "calculates"


@dataclass(frozen=True)
class VendorRefresh:
    """One refresh as the vendor reports it.

    `vendor_id` finds it again; `vendor_status` is the vendor's own word; `is_seen` is false for one that the vendor accepted and
    does not show yet; `is_timeout` is true for one that failed because the vendor's own limit of time was over.
    """

    vendor_id: str
    status: RefreshStatus
    vendor_status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    attempts: int | None = None
    is_seen: bool = True
    is_timeout: bool = False


@dataclass(frozen=True)
class Runtime:
    """What a connector gets besides its own config: time, limits that an administrator sets, and the vendors' limits.

    Attributes:
        quota: asked before each vendor call, by the connector's own client module, which knows what the call counts against.
        guard: puts a connector of that name, opened by `services.connectors`, under its circuit breaker.
        looker: where `base_url` of a Looker connector may lead.
    """

    clock: Clock
    warehouse_hosts: tuple[str, ...] = ()
    quota: Quota = field(default_factory=NoQuota)
    guard: Callable[[str, Any], Any] = unguarded
    looker: Outgoing = NOWHERE


class Connector(Protocol):
    """A live connector: config and credentials in hand, no call made yet."""

    kind: ClassVar[str]

    def test(self) -> list[Check]:
        """Try what an export and a refresh would need, read-only; a failed step is a failed `Check`, not an exception."""

    def open_delivery(self, plan: DeliveryPlan) -> Delivery: ...

    def start_refresh(self, run_id: str, options: Mapping[str, Json]) -> VendorRefresh:
        """Trigger one refresh and return what identifies it.

        Raises:
            UnsupportedError: the kind, or this connector's configuration, has nothing to refresh.
            ConflictError: code `refresh_running`, another refresh is running at the vendor.
            TargetError: code `refresh_quota`, the vendor's daily number is used up.
        """

    def find_refresh(self, run_id: str, options: Mapping[str, Json], since: datetime) -> VendorRefresh | None:
        """Return the refresh that a `start_refresh` whose answer was lost began after `since`; None if the vendor shows none,
        or if starting again does no harm."""

    def poll_refresh(self, vendor_id: str) -> VendorRefresh:
        """Ask how that very refresh stands; one or two calls, no waiting."""

    def cancel_refresh(self, vendor_id: str) -> None:
        """Ask the vendor to stop it. Raises `UnsupportedError` where it cannot be stopped."""
