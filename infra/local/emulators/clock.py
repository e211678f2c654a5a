"""The emulators' clock: real time plus an offset that tests and the admin port may move forward."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

FOREIGN_EVENT_POLL_S = 0.05  # our choice: a plain threading.Event cannot wake the clock's waiters, so it is polled


class Clock:
    """Aware UTC time that only moves forward; safe for use by many threads."""

    def __init__(self) -> None:
        self._offset = timedelta(0)
        self._moved = threading.Condition()

    def now(self) -> datetime:
        """The present moment of the local cloud, aware, UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> datetime:
        """Move the clock forward and wake everybody who waits on it; answer the new time.

        Raises:
            ValueError: `seconds` is negative; emulated time never runs backwards.
        """
        if seconds < 0:
            raise ValueError(f"cannot move the clock by {seconds} s; expected zero or more")
        with self._moved:
            self._offset += timedelta(seconds=seconds)
            self._moved.notify_all()
        return self.now()

    def event(self) -> Signal:
        """An event whose `set()` wakes `wait` at once (a plain `threading.Event` is polled)."""
        return Signal(self._moved)

    def wait(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait until `event` is set or `timeout` seconds of this clock are over; answer whether it is set."""
        deadline = None if timeout is None else self.now() + timedelta(seconds=timeout)
        return self._wait(event, deadline)

    def sleep_until(self, moment: datetime, event: threading.Event | None = None) -> bool:
        """Sleep until this clock shows `moment`; answer False if `event` was set first, else True."""
        return not self._wait(event if event is not None else self.event(), moment)

    def _wait(self, event: threading.Event, deadline: datetime | None) -> bool:
        longest_s = None if isinstance(event, Signal) and event.wakes(self._moved) else FOREIGN_EVENT_POLL_S
        with self._moved:
            while not event.is_set():
                left_s = None if deadline is None else (deadline - self.now()).total_seconds()
                if left_s is not None and left_s <= 0:
                    return False
                pauses = [pause for pause in (left_s, longest_s) if pause is not None]
                self._moved.wait(min(pauses, default=None))
            return True


class Signal(threading.Event):
    """An event that tells the clock it was made by when it is set."""

    def __init__(self, moved: threading.Condition) -> None:
        super().__init__()
        self._moved = moved

    def wakes(self, moved: threading.Condition) -> bool:
        """Whether setting this event wakes waiters of `moved`."""
        return self._moved is moved

    def set(self) -> None:
        """Set the event and wake the clock's waiters."""
        super().set()
        with self._moved:
            self._moved.notify_all()
