"""The ports of one local cloud: a base and a fixed offset for each part."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

OFFSETS = {
    "gateway": 0,
    "register": 1,
    "export": 2,
    "export_worker": 3,
    "refresh": 4,
    "register_container": 5,
    "export_container": 6,
    "export_worker_container": 7,
    "refresh_container": 8,
    "firestore": 10,
    "secret_manager": 11,
    "cloud_scheduler": 12,
    "cloud_tasks": 13,
    "gcs": 14,
    "postgres": 15,
    "sandbox_proxy": 16,
    "sandbox_tls": 17,
    "sandbox_admin": 18,
    "emulator_admin": 19,
}
"""Offset of each part's port from the base. The whole block of 20 belongs to one local cloud."""

BLOCK = 20
_LOWEST, _HIGHEST = 1024, 65535


class PortInUseError(Exception):
    """A port that a part needs is taken, or the base leaves the range of ports."""


@dataclass(frozen=True)
class Ports:
    """The block of ports that starts at `base`, all on 127.0.0.1."""

    base: int

    def of(self, part: str) -> int:
        """The port of one part of `OFFSETS`."""
        return self.base + OFFSETS[part]

    def address(self, part: str) -> str:
        """`127.0.0.1:<port>`, as gRPC clients take it."""
        return f"127.0.0.1:{self.of(part)}"

    def url(self, part: str) -> str:
        """`http://127.0.0.1:<port>`, without a slash at the end."""
        return f"http://{self.address(part)}"

    def check_free(self, data: str = ".local2") -> None:
        """Make sure that every port can be bound.

        Args:
            data: Another data folder, named in the advice.

        Raises:
            PortInUseError: Names each taken port with its part, and how to choose others.
        """
        if not _LOWEST <= self.base <= _HIGHEST - BLOCK:
            raise PortInUseError(f"PORT_BASE={self.base}: expected {_LOWEST} to {_HIGHEST - BLOCK}")
        taken = [f"{self.of(part)} ({part})" for part in OFFSETS if not is_free(self.of(part))]
        if taken:
            raise PortInUseError(
                f"port {', '.join(taken)} on 127.0.0.1 is in use by another program; "
                f"choose another block of {BLOCK} ports: make run PORT_BASE={_another_base(self.base)} DATA={data}"
            )


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound now. A port in TIME_WAIT counts as free, as it does for the servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_base(start: int | None = None, stop: int = 32000) -> int:
    """A base whose whole block is free, searched from `start` up.

    Args:
        start: By default a place that depends on the process, so that two that search at once do not meet.
        stop: Below Linux's ephemeral ports.

    Raises:
        PortInUseError: There is none.
    """
    if start is None:
        start = 18_080 + os.getpid() % 500 * BLOCK
    for base in range(start, stop - BLOCK, BLOCK):
        if all(is_free(base + offset) for offset in OFFSETS.values()):
            return base
    raise PortInUseError(f"no {BLOCK} free ports between {start} and {stop} on 127.0.0.1")


def _another_base(base: int) -> int:
    for candidate in (9000, 9100, 10080, 12080):
        if abs(candidate - base) >= BLOCK and all(is_free(candidate + offset) for offset in OFFSETS.values()):
            return candidate
    return free_base()
