"""A port that leads to Postgres and cuts a share of the connections, before or after a message of the client took effect."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import socket
import struct
import threading

LAST_MESSAGE = 14
"""A doomed connection is cut at one of its first messages, drawn from 1 to this: a delivery's step sends about as many."""


class FaultyLink:
    """Runs in a process of its own, made by forking; `doom` sets the share of connections that are cut from now on."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._memory = mmap.mmap(-1, 16)
        self._pid = os.fork()
        if self._pid == 0:
            self._serve()

    def doom(self, rate: float, seed: int) -> None:
        self._memory[:16] = struct.pack("dq", rate, seed)

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._listener.close()

    def _serve(self) -> None:
        number, last_seed = 0, -1
        while os.getppid() > 1:
            client, _ = self._listener.accept()
            rate, seed = struct.unpack("dq", self._memory[:16])
            number = number + 1 if seed == last_seed else 0
            last_seed = seed
            rng = random.Random(f"{seed} {number}")
            cut_at = rng.randint(1, LAST_MESSAGE) if rng.random() < rate else 0
            server = socket.create_connection(self._target)
            threading.Thread(target=_back, args=(server, client), daemon=True).start()
            threading.Thread(target=_forth, args=(client, server, cut_at, rng.random() < 0.5), daemon=True).start()
        os._exit(0)


def _back(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            client.sendall(data)
    _cut(client)


def _forth(client: socket.socket, server: socket.socket, cut_at: int, is_applied: bool) -> None:
    message = 0
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            message += 1
            if message == cut_at:
                _cut(client)  # the answer finds no way back
                if is_applied:
                    server.sendall(data)
                    server.shutdown(socket.SHUT_WR)
                    while server.recv(65536):
                        pass
                break
            server.sendall(data)
    _cut(server)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
