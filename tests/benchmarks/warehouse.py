"""What a delivery costs at the warehouse: the CPU of the whole Postgres server, and the exchanges that a client waits for."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import tempfile
import threading
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_COUNT = struct.Struct("q")


def server_cpu_s(pid: int) -> float:
    """Return user and system seconds of a Postgres server so far: its first process, all others, and those that have ended."""
    while True:
        first = _stat(pid)
        ticks = sum(map(int, first[11:15]))  # utime, stime, cutime, cstime: man 5 proc_pid_stat
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = _stat(int(entry.name))
                    ticks += sum(map(int, fields[11:13])) if int(fields[1]) == pid else 0
        if _stat(pid)[13:15] == first[13:15]:  # none ended meanwhile: it would be in neither sum
            return ticks / _TICKS


def _stat(pid: int) -> list[str]:
    """Fields from the third on, the process's state."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


class Link:
    """A port that leads to Postgres and counts exchanges in a file (`exchanges_in`): how often the server's turn to speak came.

    Opening a connection is one, as over a network; what a client sends in one go, and the answers, are one.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._file = tempfile.NamedTemporaryFile(prefix="exchanges")  # noqa: SIM115 - closed with this
        self._file.truncate(_COUNT.size)
        self._memory = mmap.mmap(self._file.fileno(), _COUNT.size)
        self._guard, self._count = threading.Lock(), 0
        self.path = self._file.name
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self._file.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._note()
                turn = ["server"]
                for speaker, source, sink in (("client", client, server), ("server", server, client)):
                    threading.Thread(target=self._pump, args=(speaker, source, sink, turn), daemon=True).start()

    def _pump(self, speaker: str, source: socket.socket, sink: socket.socket, last: list[str]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                if speaker == "server" and last[0] == "client":
                    self._note()
                last[0] = speaker
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _note(self) -> None:
        with self._guard:
            self._count += 1
            self._memory[:] = _COUNT.pack(self._count)


def exchanges_in(path: str) -> int:
    """Return what a link has counted so far."""
    found: int = _COUNT.unpack(Path(path).read_bytes())[0]
    return found
