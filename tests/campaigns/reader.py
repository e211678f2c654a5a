"""A process that reads the live target all the time, and counts what it sees that is neither the old table nor the new one."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time

from shared.connectors._base import Mode
from tests.campaigns.machine import Machine
from tests.campaigns.targets import Make, is_mixed

SHORTEST_PAUSE_S = 0.02
SHARE = 9
"""A pause is so many times as long as the read before it: a reader that never pauses would take a processor from the workers."""


class Reader:
    """Runs inside the `with` block. `quiet`: it makes no call of the vendor's API, of which faults are meant for others; where
    there is no other way to look it does not run, and counts nothing.
    """

    def __init__(self, machine: Machine, make: Make, table: str, mode: Mode, *, quiet: bool = False) -> None:
        self._machine, self._make, self._table, self._mode, self._is_quiet = machine, make, table, mode, quiet
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

    def _counts(self) -> tuple[int, int, int]:
        reads, mixed, failed = struct.unpack("qqq", self._memory[:24])
        return reads, mixed, failed

    def _loop(self) -> None:
        target = self._make(self._machine)
        reads = mixed = failed = 0
        while os.getppid() > 1:
            started = time.monotonic()
            try:
                look = target.watch if self._is_quiet and target.watch else target.read
                mixed += is_mixed(look(self._table), self._mode)
                reads += 1
            except Exception:  # noqa: BLE001 - a reader that is refused reads again
                failed += 1
                target = self._make(self._machine)
            self._memory[:24] = struct.pack("qqq", reads, mixed, failed)
            time.sleep(max(SHORTEST_PAUSE_S, SHARE * (time.monotonic() - started)))
        os._exit(0)
