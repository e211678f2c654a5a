"""A circuit breaker per connector, shared by all instances through `breakers/{connector}`.

Closed: calls pass; a failure is written down, successes are only counted here and written with the next failure. Open: no call is
made until a time. Then one call goes through as a probe: it closes the breaker, or keeps it open for longer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared.connectors._guard import Guarded
from shared.errors import BIConnectorsError, VendorUnavailableError
from shared.models import SCHEMA
from shared.ports import Clock, Documents, Transaction
from shared.telemetry import log_event

T = TypeVar("T")

FAILURES_IN_A_ROW = 5
REMEMBERED = 20
FAILED_OF_REMEMBERED = REMEMBERED // 2
FIRST_PAUSE_S = 30.0  # our choice: a vendor's restart or a bad deployment is seldom over sooner
LONGEST_PAUSE_S = 300.0
PROBE_S = 300.0  # our choice: a probe that has not ended by then died; the next call probes
LOOK_AGAIN_S = 10.0  # our choice: how soon to come back while another call probes
SEEN_FOR_S = 5.0  # our choice: one read of the breaker serves the calls of five seconds
FORGOTTEN_AFTER = timedelta(minutes=10)  # our choice: failures further apart than that are not one trouble
LIFETIME = timedelta(days=1)
NOT_THE_VENDOR = frozenset({"quota_wait", "breaker_open"})


@dataclass(frozen=True)
class Breaker:
    """One connector's breaker. `outcomes` holds the last calls, oldest first: "s" answered, "f" failed."""

    outcomes: str = ""
    retry_at: datetime | None = None
    """None: closed. Later than now: open. Passed: the next call may probe."""
    is_probing: bool = False
    pause_s: float = FIRST_PAUSE_S

    @property
    def is_closed(self) -> bool:
        return self.retry_at is None

    def failed(self, successes: int, now: datetime) -> Breaker:
        """After a failure that came behind so many successes; open if that was one too many. Only a closed one changes."""
        if not self.is_closed:
            return self
        outcomes = (self.outcomes + "s" * min(successes, REMEMBERED) + "f")[-REMEMBERED:]
        in_a_row = outcomes.endswith("f" * FAILURES_IN_A_ROW)
        if in_a_row or (len(outcomes) == REMEMBERED and outcomes.count("f") >= FAILED_OF_REMEMBERED):
            return Breaker(outcomes, now + timedelta(seconds=FIRST_PAUSE_S))
        return replace(self, outcomes=outcomes)

    def probing(self, now: datetime) -> Breaker:
        """While one call probes."""
        return replace(self, retry_at=now + timedelta(seconds=PROBE_S), is_probing=True)

    def still_open(self, now: datetime) -> Breaker:
        """After a probe that failed: twice the pause."""
        pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)
        return replace(self, retry_at=now + timedelta(seconds=pause_s), is_probing=False, pause_s=pause_s)


class Breakers:
    """The breakers of all connectors."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[datetime, Breaker]] = {}
        self._successes: Counter[str] = Counter()

    def guard(self, name: str, connector: T) -> T:
        """Return the connector, every vendor call of it and of its deliveries under the breaker of that name.

        A guarded call raises `VendorUnavailableError`, code `breaker_open`, with `retry_after_s`, while the breaker is open.
        """
        guarded: Any = Guarded(connector, lambda work: self.run(name, work))
        return guarded  # type: ignore[no-any-return]  # it has every member that the connector has

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Do `work` unless the breaker is open, and record how it went; None means that the vendor was not asked.

        What counts is whether the vendor answers: a refusal is an answer, and so is 429, which the quotas deal with.
        """
        is_probe = self._admit(name)
        is_answered: bool | None = None
        try:
            result = work()
            is_answered = True
            return result
        except VendorUnavailableError as error:
            if error.code not in NOT_THE_VENDOR:
                is_answered = error.details.get("vendor_status") == 429
            raise
        except BIConnectorsError:
            is_answered = True
            raise
        finally:
            self._record(name, is_answered=is_answered, is_probe=is_probe)

    def _admit(self, name: str) -> bool:
        """Return whether this call is the probe. Raises `VendorUnavailableError` while the breaker is open."""
        now = self._clock.now()
        breaker = self._look(name, now)
        if breaker.is_closed:
            return False
        if breaker.retry_at is not None and breaker.retry_at > now:
            raise _open(name, breaker, now)

        def work(tx: Transaction) -> tuple[bool, Breaker]:
            present = _parse(tx.get(_path(name)), now)
            if present.retry_at is None or present.retry_at > now:
                return False, present
            probing = present.probing(now)
            tx.set(_path(name), _to_record(name, probing, now))
            return True, probing

        is_probe, breaker = self._documents.transact(work)
        self._seen[name] = (now, breaker)
        if not is_probe and not breaker.is_closed:
            raise _open(name, breaker, now)
        return is_probe

    def _look(self, name: str, now: datetime) -> Breaker:
        at, breaker = self._seen.get(name, (None, Breaker()))
        if at is None or now - at >= timedelta(seconds=SEEN_FOR_S):
            breaker = _parse(self._documents.get(_path(name)), now)
            self._seen[name] = (now, breaker)
        return breaker

    def _record(self, name: str, *, is_answered: bool | None, is_probe: bool) -> None:
        if is_probe:
            self._probed(name, is_answered=is_answered)
        elif is_answered:
            with self._lock:
                self._successes[name] += 1
        elif is_answered is False:
            self._failed(name)

    def _probed(self, name: str, *, is_answered: bool | None) -> None:
        now = self._clock.now()

        def work(tx: Transaction) -> Breaker:
            present = _parse(tx.get(_path(name)), now)
            if is_answered:
                after = Breaker()
            elif is_answered is None:  # it never came to the vendor: the next call probes
                after = replace(present, retry_at=now, is_probing=False)
            else:
                after = present.still_open(now)
            tx.set(_path(name), _to_record(name, after, now))
            return after

        after = self._documents.transact(work)
        self._seen[name] = (now, after)
        if after.is_closed:
            log_event("breaker_closed", connector=name)

    def _failed(self, name: str) -> None:
        now = self._clock.now()
        with self._lock:
            successes = self._successes.pop(name, 0)

        def work(tx: Transaction) -> tuple[Breaker, Breaker]:
            before = _parse(tx.get(_path(name)), now)
            after = before.failed(successes, now)
            if after != before:
                tx.set(_path(name), _to_record(name, after, now))
            return before, after

        before, after = self._documents.transact(work)
        self._seen[name] = (now, after)
        if before.is_closed and not after.is_closed:
            log_event(
                "breaker_opened",
                severity="WARNING",
                connector=name,
                failed=after.outcomes.count("f"),
                of=len(after.outcomes),
                retry_at=after.retry_at,
            )


def _path(name: str) -> str:
    return f"breakers/{name}"


def _parse(found: Any, now: datetime) -> Breaker:
    if found is None:
        return Breaker()
    record = found.data
    if record["retry_at"] is None and now - record["updated_at"] > FORGOTTEN_AFTER:
        return Breaker()
    return Breaker(record["outcomes"], record["retry_at"], record["is_probing"], record["pause_s"])


def _to_record(name: str, breaker: Breaker, now: datetime) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "connector": name,
        "state": "closed" if breaker.is_closed else "half_open" if breaker.is_probing else "open",
        "outcomes": breaker.outcomes,
        "retry_at": breaker.retry_at,
        "is_probing": breaker.is_probing,
        "pause_s": breaker.pause_s,
        "updated_at": now,
        "expire_at": now + LIFETIME,
    }


def _open(name: str, breaker: Breaker, now: datetime) -> VendorUnavailableError:
    left_s = (breaker.retry_at - now).total_seconds() if breaker.retry_at else 0.0
    wait_s = LOOK_AGAIN_S if breaker.is_probing else max(left_s, 1.0)
    return VendorUnavailableError(
        f"connector {name!r} failed too often in the last minutes, so nothing is sent to its vendor until "
        f"{now + timedelta(seconds=wait_s):%Y-%m-%dT%H:%M:%SZ}; then one call tries whether it answers again",
        code="breaker_open",
        retry_after_s=wait_s,
    )
