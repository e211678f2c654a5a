"""Power BI's windows: calls and rows per minute and hour, on the sandbox clock, and POSTs that are really in flight."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import rows_throttled, throttled

PENDING_POSTS = 5
POSTS_A_MINUTE = 120
POSTS_AN_HOUR_LARGE = 120  # once a table of the dataset holds LARGE_TABLE rows
LARGE_TABLE = 250_000
ROWS_AN_HOUR = 1_000_000
QUERIES_A_MINUTE = 120
_MINUTE, _HOUR = 60.0, 3_600.0


class Quota:
    """Sliding windows kept in SQLite. Callers of the `check_…` methods hold the sandbox's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._pending: Counter[str] = Counter()
        self._guard = threading.Lock()

    @contextmanager
    def pending(self, dataset_id: str) -> Iterator[None]:
        """Hold one of a dataset's places for POSTs in flight.

        Raises:
            VendorError: 429, all five are taken.
        """
        with self._guard:
            if self._pending[dataset_id] >= PENDING_POSTS:
                raise throttled(1)
            self._pending[dataset_id] += 1
        try:
            yield
        finally:
            with self._guard:
                self._pending[dataset_id] -= 1

    def check_post(self, dataset_id: str, now: float, rows: int, *, is_large: bool) -> None:
        """Count one POST of rows.

        Raises:
            VendorError: 429 with the seconds until it would pass.
        """
        key = f"post:{dataset_id}"
        self._check_calls(key, now, _MINUTE, POSTS_A_MINUTE)
        if is_large:
            self._check_calls(key, now, _HOUR, POSTS_AN_HOUR_LARGE)
        self._check_rows(key, now, rows)
        self._count(key, now, rows)

    def check_query(self, client_id: str, now: float) -> None:
        """Count one executeQueries.

        Raises:
            VendorError: 429.
        """
        key = f"query:{client_id}"
        self._check_calls(key, now, _MINUTE, QUERIES_A_MINUTE)
        self._count(key, now, 0)

    def _check_calls(self, key: str, now: float, window_s: float, limit: int) -> None:
        rows = self._db.execute(
            "SELECT at FROM calls WHERE key = ? AND at > ? ORDER BY at DESC LIMIT ?", (key, now - window_s, limit)
        ).fetchall()
        if len(rows) >= limit:
            raise throttled(_seconds(rows[-1][0] + window_s - now))

    def _check_rows(self, key: str, now: float, rows: int) -> None:
        recent = self._db.execute(
            "SELECT at, rows FROM calls WHERE key = ? AND at > ? AND rows > 0 ORDER BY at", (key, now - _HOUR)
        ).fetchall()
        over = sum(row["rows"] for row in recent) + rows - ROWS_AN_HOUR
        if over <= 0 or not rows:
            return
        for row in recent:
            over -= row["rows"]
            if over <= 0:
                raise rows_throttled(_seconds(row["at"] + _HOUR - now))

    def _count(self, key: str, now: float, rows: int) -> None:
        self._db.execute("DELETE FROM calls WHERE at < ?", (now - 2 * _HOUR,))
        self._db.execute("INSERT INTO calls (key, at, rows) VALUES (?, ?, ?)", (key, now, rows))


def _seconds(left: float) -> int:
    return max(1, math.ceil(left))
