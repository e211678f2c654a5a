"""Vendors' quotas, as connectors see them: what one call needs, asked for before it is made.

The service behind it (`shared.services.quotas`) shares the windows between all instances; a connector only names its limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

PARTS = 6  # our choice: a sixth of every limit stays free, for calls of other programs and for clocks that differ


@dataclass(frozen=True)
class Limit:
    """One number that a vendor counts by.

    Attributes:
        vendor, scope, scope_id: whose count it is, e.g. ("power_bi", "dataset", its id).
        calls: the vendor's number, in `unit`s a window; None where the vendor refuses too many calls but publishes no number.
        window_s: length of the vendor's window; 0 for a number of calls that may be in flight at the same time.
        unit: what is counted, e.g. "posts" or "rows"; part of the key, so that one scope can have several counts.
    """

    vendor: str
    scope: str
    scope_id: str
    calls: int | None
    window_s: float
    unit: str = "calls"

    @property
    def ours(self) -> int | None:
        """What we use of it: 5/6, rounded down."""
        return None if self.calls is None else self.calls * (PARTS - 1) // PARTS

    def __str__(self) -> str:
        return f"{self.vendor} {self.unit} of {self.scope} {self.scope_id}"


@dataclass(frozen=True)
class Need:
    """What one call takes of a limit.

    `is_binding` False: the call is counted and never held back, for a limit that binds later calls only.
    """

    limit: Limit
    cost: int = 1
    is_binding: bool = True


class Quota(Protocol):
    """All limits of all vendors, shared by all instances. Thread-safe."""

    def hold(self, needs: Sequence[Need]) -> AbstractContextManager[None]:
        """Wait until one call with these needs may be made; make it inside the block. No needs: no wait and no cost.

        Raises:
            VendorUnavailableError: code `quota_wait`, when that is more than 20 s away; nothing was taken.
        """

    def refused(self, needs: Sequence[Need], retry_after_s: float | None) -> None:
        """Tell that the vendor answered 429 to such a call: the first need's window counts as full for that long, for everybody.

        None (the vendor named no time) is a sixth of the window, and twice as long each time it happens again.
        """

    def give_back(self) -> None:
        """Return what this instance holds and has not used, when it has no further calls in sight."""


class NoQuota:
    """`Quota` without limits, for a connector that runs alone."""

    def hold(self, needs: Sequence[Need]) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol's signature
        return nullcontext()

    def refused(self, needs: Sequence[Need], retry_after_s: float | None) -> None:
        """No effect."""

    def give_back(self) -> None:
        """No effect."""
