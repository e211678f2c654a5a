"""What Cloud Tasks and Cloud Scheduler share: sending one HTTP attempt, and a loop that wakes when work is due.

Times are those of the emulators' `Clock`: a deadline passes when that clock passes it, so advancing it by an hour ends
every attempt in flight as DEADLINE_EXCEEDED, just as an hour would. Nothing leaves loopback and no redirect is followed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from infra.local.emulators.clock import Clock

SENDERS = 64  # our choice: attempts in flight per service; more than local functions have threads for
ANSWER_READ_BYTES = 64 * 1024  # our choice: the answer's body is not used, only its status
REMEMBERED_ATTEMPTS = 2000  # our choice: what `GET /attempts` shows

# google.rpc codes: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 2, 3, 4, 5
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, ABORTED = 6, 7, 8, 10
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16
CODE_NAMES = {
    UNKNOWN: "UNKNOWN",
    INVALID_ARGUMENT: "INVALID_ARGUMENT",
    DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    NOT_FOUND: "NOT_FOUND",
    PERMISSION_DENIED: "PERMISSION_DENIED",
    RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
    ABORTED: "ABORTED",
    UNIMPLEMENTED: "UNIMPLEMENTED",
    INTERNAL: "INTERNAL",
    UNAVAILABLE: "UNAVAILABLE",
    UNAUTHENTICATED: "UNAUTHENTICATED",
}
# The mapping that code.proto gives beside each code.
_CODE_OF_STATUS = {
    400: INVALID_ARGUMENT,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    409: ABORTED,
    429: RESOURCE_EXHAUSTED,
    500: INTERNAL,
    501: UNIMPLEMENTED,
    503: UNAVAILABLE,
    504: DEADLINE_EXCEEDED,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """One HTTP attempt; `deadline` is on the emulators' clock, `label` names the task or job in logs."""

    label: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    deadline: datetime


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: a google.rpc code (0 = 2xx), its message, and the HTTP status if there was an answer."""

    code: int
    message: str
    http_status: int | None

    @property
    def is_success(self) -> bool:
        """Whether the handler acknowledged with 200-299."""
        return self.code == OK


@dataclass
class Delivery:
    """Knobs of one service, changed live by the admin port.

    `copies`: every attempt is sent that many times at once, as the vendor may (at-least-once delivery); the first
    copy's answer counts. `hold`: nothing new is sent; what is due goes out when it is released.
    """

    copies: int = 1
    hold: bool = False


@dataclass(eq=False)
class _Flight:
    deadline: datetime
    socket: socket.socket | None = None
    is_late: bool = False


@dataclass
class Sender:
    """Sends attempts from worker threads and remembers how they ended."""

    clock: Clock
    landed: Callable[[], None] = lambda: None  # called when a copy has ended, as there is room for another attempt
    attempts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_ATTEMPTS))

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="attempt")
        self._lock = threading.Lock()
        self._flights: set[_Flight] = set()
        self._closed = False

    def send(self, outgoing: Outgoing, copies: int, done: Callable[[Outcome], None]) -> None:
        """Send `copies` of the attempt from other threads; `done` gets the first copy's outcome, in its thread."""
        self._submit(outgoing, done)
        for _ in range(copies - 1):
            self._submit(outgoing, None)

    def room(self) -> int:
        """How many more attempts can be under way now."""
        with self._lock:
            return max(0, SENDERS - len(self._flights))

    def expire(self, now: datetime) -> None:
        """End the attempts whose deadline has passed."""
        with self._lock:
            for flight in [f for f in self._flights if f.deadline <= now]:
                _cut(flight)

    def next_deadline(self) -> datetime | None:
        """The earliest deadline of an attempt under way that has not passed yet."""
        with self._lock:
            return min((f.deadline for f in self._flights if not f.is_late), default=None)

    def close(self) -> None:
        """Cut every attempt under way; their outcomes are not reported (the work is still stored as pending)."""
        with self._lock:
            self._closed = True
            for flight in self._flights:
                _cut(flight)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, outgoing: Outgoing, done: Callable[[Outcome], None] | None) -> None:
        flight = _Flight(outgoing.deadline)
        with self._lock:
            if self._closed:
                return
            self._flights.add(flight)
        self._pool.submit(self._fly, outgoing, flight, done)

    def _fly(self, outgoing: Outgoing, flight: _Flight, done: Callable[[Outcome], None] | None) -> None:
        try:
            outcome = self._attempt(outgoing, flight)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            if flight.is_late:
                outcome = Outcome(DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED(4): no answer before the deadline", None)
            else:
                outcome = Outcome(UNAVAILABLE, f"UNAVAILABLE(14): {type(exc).__name__}: {exc}", None)
        with self._lock:
            self._flights.discard(flight)
            if self._closed:
                return
        self._remember(outgoing, outcome, is_copy=done is None)
        if done is None:
            self.landed()
            return
        try:
            done(outcome)
        except Exception:
            log.exception("%s: the end of an attempt could not be stored", outgoing.label)

    def _attempt(self, outgoing: Outgoing, flight: _Flight) -> Outcome:
        parts = urlsplit(outgoing.url)
        host = parts.hostname or ""
        if not is_loopback(host):
            message = f"refused: {host!r} is not loopback, and nothing of the local cloud may leave this machine"
            return Outcome(PERMISSION_DENIED, f"PERMISSION_DENIED(7): {message}", None)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind("127.0.0.1" if host == "localhost" else host, parts.port)
        try:
            connection.connect()
            with self._lock:
                flight.socket = connection.sock
                if flight.is_late or self._closed:
                    raise TimeoutError("cut before it was sent")
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {**outgoing.headers, "Host": parts.netloc.rpartition("@")[2]}
            connection.request(outgoing.method, path, outgoing.body or None, headers)
            response = connection.getresponse()
            response.read(ANSWER_READ_BYTES)
            return outcome_of(response.status)
        finally:
            with self._lock:
                flight.socket = None
            connection.close()

    def _remember(self, outgoing: Outgoing, outcome: Outcome, *, is_copy: bool) -> None:
        entry = {
            "at": self.clock.now().isoformat(),
            "name": outgoing.label,
            "method": outgoing.method,
            "url": outgoing.url,
            "status": outcome.http_status,
            "code": outcome.code,
            "message": outcome.message,
            "copy": is_copy,
        }
        self.attempts.append(entry)
        level = logging.INFO if outcome.is_success else logging.WARNING
        log.log(level, "%s %s %s: %s", outgoing.label, outgoing.method, outgoing.url, outcome.message or "done")


def _cut(flight: _Flight) -> None:
    """Wake the thread that waits for the answer; the caller holds the sender's lock."""
    flight.is_late = True
    if flight.socket is not None:
        with contextlib.suppress(OSError):  # the other side may have closed it first
            flight.socket.shutdown(socket.SHUT_RDWR)


class Loop:
    """A thread that calls `step(now)` when poked, when the clock moves, and at the time that `step` answered."""

    def __init__(self, clock: Clock, step: Callable[[datetime], datetime | None], name: str) -> None:
        self._clock = clock
        self._step = step
        self._wake = clock.event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Have `step` called soon: something changed."""
        self._wake.set()

    def close(self) -> None:
        """End the thread; `step` is not called again after this returns."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()  # before the step: a poke during it is then not lost
            try:
                due = self._step(self._clock.now())
            except Exception:
                log.exception("%s: a step failed; the next one follows in a second", self._thread.name)
                due = self._clock.now() + timedelta(seconds=1)
            if due is None:
                self._clock.wait(self._wake)
            else:  # a moment, not a duration: the clock may have been moved since the step began
                self._clock.sleep_until(due, self._wake)


def backoff_s(retry: int, min_s: float, max_s: float, doublings: int) -> float:
    """Seconds before retry number `retry` (0 = the first): doubles `doublings` times, then grows linearly, then stays.

    With 10, 300 and 3: 10, 20, 40, 80, 160, 240, 300, 300 (the example in both vendors' reference).
    """
    if retry <= doublings:
        steps = 2.0 ** min(retry, 62)
    else:
        steps = 2.0 ** min(doublings, 62) * (retry - doublings + 1)
    return min(min_s * steps, max_s)


def outcome_of(status: int) -> Outcome:
    """The outcome of an answer with HTTP `status`: 200-299 is success, a redirect is a failure like any other."""
    if 200 <= status <= 299:
        return Outcome(OK, "", status)
    code = _CODE_OF_STATUS.get(status, UNKNOWN)
    return Outcome(code, f"{CODE_NAMES[code]}({code}): HTTP status code {status}", status)


def http_host(url: str) -> str:
    """The host of an http:// or https:// URL; empty if `url` is none."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and parts.port != 0
        return (parts.hostname or "") if is_http else ""
    except ValueError:  # of a bad port or a bad IPv6 address
        return ""


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address; other names are never looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments that are given; None if none is."""
    return min((moment for moment in moments if moment is not None), default=None)


def to_us(moment: datetime) -> int:
    """Whole microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_us(moment_us: int) -> datetime:
    """The aware UTC moment of microseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
