"""A process that reads the live target all the time, and counts what it sees that is neither the old table nor the new one."""

from __future__ import annotations

import hashlib
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterable

from tests.campaigns.machine import Machine
from tests.campaigns.simulated_target import Row
from tests.campaigns.targets import Make

SHORTEST_PAUSE_S = 0.02
SHARE = 9
"""A pause is so many times as long as the read before it: a reader that never pauses would take a processor from the workers."""


MOST_EXPECTED = 1 << 16
DIGEST_BYTES = 8


class Expected:
    """What a table may hold, in the order in which it came to be expected; every process forked from this one sees the same.

    No table is an empty one: nobody may see either once there were rows.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, DIGEST_BYTES * (1 + MOST_EXPECTED))
        self.settle(())

    def __len__(self) -> int:
        return int(struct.unpack("q", self._memory[:8])[0])

    def add(self, rows: Iterable[Row]) -> None:
        """From now on these rows may be seen, too: a job was accepted."""
        count = len(self)
        start = DIGEST_BYTES * (1 + count)
        self._memory[start : start + DIGEST_BYTES] = _digest(rows)
        self._memory[:8] = struct.pack("q", count + 1)

    def settle(self, rows: Iterable[Row]) -> None:
        """From now on only these may be seen: no job runs."""
        rows = list(rows)
        self.add(rows)
        self.add(rows)

    def allows(self, rows: Iterable[Row], since: int) -> bool:
        """Whether these rows could be seen by a read that began when so many had been expected: the last two of those, or later."""
        start, end = DIGEST_BYTES * (since - 1), DIGEST_BYTES * (1 + len(self))
        seen = _digest(rows)
        known = self._memory[start:end]
        return any(known[at : at + DIGEST_BYTES] == seen for at in range(0, len(known), DIGEST_BYTES))


def _digest(rows: Iterable[Row]) -> bytes:
    return hashlib.blake2b(repr(sorted(rows)).encode(), digest_size=DIGEST_BYTES).digest()


class Reader:
    """Runs inside the `with` block. `quiet`: it makes no call of the vendor's API, of which faults are meant for others; where
    there is no other way to look it does not run, and counts nothing.
    """

    def __init__(self, machine: Machine, make: Make, table: str, expected: Expected, *, quiet: bool = False) -> None:
        self._machine, self._make, self._table, self._expected, self._is_quiet = machine, make, table, expected, quiet
        self._memory = mmap.mmap(-1, 24)
        self._pid = 0

    def __enter__(self) -> Reader:
        if self._is_quiet and self._make(self._machine).watch is None:
            return self
        self._pid = os.fork()
        if self._pid == 0:
            self._loop()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    @property
    def reads(self) -> int:
        return self._counts()[0]

    @property
    def mixed(self) -> int:
        return self._counts()[1]

    @property
    def failed(self) -> int:
        """Reads that were not answered."""
        return self._counts()[2]

    def _counts(self) -> tuple[int, int, int]:
        reads, mixed, failed = struct.unpack("qqq", self._memory[:24])
        return reads, mixed, failed

    def _loop(self) -> None:
        target = self._make(self._machine)
        reads = mixed = failed = 0
        while os.getppid() > 1:
            started, since = time.monotonic(), len(self._expected)
            try:
                look = target.watch if self._is_quiet and target.watch else target.read
                mixed += not self._expected.allows(look(self._table) or (), since)
                reads += 1
            except Exception:  # noqa: BLE001 - a reader that is refused reads again
                failed += 1
                target = self._make(self._machine)
            self._memory[:24] = struct.pack("qqq", reads, mixed, failed)
            time.sleep(max(SHORTEST_PAUSE_S, SHARE * (time.monotonic() - started)))
        os._exit(0)
