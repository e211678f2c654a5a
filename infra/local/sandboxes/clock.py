"""The clock of the sandboxes: the real clock plus an offset that only grows."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path


class SandboxClock:
    """Virtual time for expiry, quotas and refreshes. Thread-safe.

    The offset is kept in a file, so that a restart never moves time backwards.

    Args:
        path: Where the offset is kept; None keeps it in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._offset_s = 0.0
        if path is not None and path.exists():
            self._offset_s = float(json.loads(path.read_text(encoding="utf-8"))["offset_s"])

    @property
    def offset_s(self) -> float:
        """Seconds by which the sandboxes are ahead of the real clock; never negative."""
        return self._offset_s

    def time(self) -> float:
        """Virtual seconds since the epoch."""
        return time.time() + self._offset_s

    def real_time(self) -> float:
        """Real seconds since the epoch: what a client's own clock shows, which no test moves."""
        return time.time()

    def now(self) -> datetime:
        """Virtual time, aware, UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Move time forward and wake every sleeper.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"the sandbox clock cannot go back, got advance_s={seconds}; send a number >= 0")
        with self._changed:
            self._offset_s += seconds
            if self._path is not None:
                temporary = self._path.with_suffix(".tmp")
                temporary.write_text(json.dumps({"offset_s": self._offset_s}), encoding="utf-8")
                temporary.replace(self._path)
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Sleep for virtual seconds: returns early in real time when the clock is advanced."""
        deadline = self.time() + seconds
        with self._changed:
            while (left := deadline - self.time()) > 0:
                self._changed.wait(left)
