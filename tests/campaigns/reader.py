"""A process that reads the live target all the time, and counts what it sees that is neither the old table nor the new one."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable

from shared.connectors._base import Mode
from tests.campaigns.machine import Machine
from tests.campaigns.targets import Target, is_mixed

PAUSE_S = 0.02


class Reader:
    """Runs from `start` to `stop`."""

    def __init__(self, machine: Machine, make: Callable[[Machine], Target], table: str, mode: Mode) -> None:
        self._machine, self._make, self._table, self._mode = machine, make, table, mode
        self._memory = mmap.mmap(-1, 24)
        self._pid = 0

    def __enter__(self) -> Reader:
        self._pid = os.fork()
        if self._pid == 0:
            self._loop()
        return self

    def __exit__(self, *_: object) -> None:
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
            try:
                mixed += is_mixed(target.read(self._table), self._mode)
                reads += 1
            except Exception:  # noqa: BLE001 - a reader that is refused reads again
                failed += 1
                target = self._make(self._machine)
            self._memory[:24] = struct.pack("qqq", reads, mixed, failed)
            time.sleep(PAUSE_S)
        os._exit(0)
