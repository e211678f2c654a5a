"""A port that leads to Postgres and cuts connections, before or after a message of the client took effect."""

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
ORDERS, COUNTS = slice(0, 24), slice(24, 40)


class FaultyLink:
    """Runs in a process of its own, made by forking. `doom` sets the share of connections that are cut from now on, `lose` one
    single message whose answer is lost; `counts` tells how many messages came since, and how often the link was cut.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._memory = mmap.mmap(-1, 40)
        self._guard = threading.Lock()
        self._pid = os.fork()
        if self._pid == 0:
            self._serve()

    def doom(self, rate: float, seed: int) -> None:
        self._memory[COUNTS] = struct.pack("qq", 0, 0)
        self._memory[ORDERS] = struct.pack("dqq", rate, seed, 0)

    def lose(self, message: int) -> None:
        """Lose the answer to the n-th message from now on, which takes effect; 0 loses none and only counts."""
        self._memory[COUNTS] = struct.pack("qq", 0, 0)
        self._memory[ORDERS] = struct.pack("dqq", 0.0, 0, message)

    def counts(self) -> tuple[int, int]:
        messages, cuts = struct.unpack("qq", self._memory[COUNTS])
        return messages, cuts

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._listener.close()

    def _serve(self) -> None:
        number, last_seed = 0, -1
        while os.getppid() > 1:
            client, _ = self._listener.accept()
            rate, seed, _ = struct.unpack("dqq", self._memory[ORDERS])
            number = number + 1 if seed == last_seed else 0
            last_seed = seed
            rng = random.Random(f"{seed} {number}")
            cut_at = rng.randint(1, LAST_MESSAGE) if rng.random() < rate else 0
            server = socket.create_connection(self._target)
            threading.Thread(target=_back, args=(server, client), daemon=True).start()
            way = (client, server, cut_at, rng.random() < 0.5)
            threading.Thread(target=self._forth, args=way, daemon=True).start()
        os._exit(0)

    def _forth(self, client: socket.socket, server: socket.socket, cut_at: int, is_applied: bool) -> None:
        message = 0
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                message += 1
                is_the_one = self._count()
                if message == cut_at or is_the_one:
                    self._count_cut()
                    _cut(client)  # the answer finds no way back
                    if is_applied or is_the_one:
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        while server.recv(65536):
                            pass
                    break
                server.sendall(data)
        _cut(server)

    def _count(self) -> bool:
        """Count one message; return whether it is the one whose answer is to be lost."""
        with self._guard:
            messages, cuts = struct.unpack("qq", self._memory[COUNTS])
            self._memory[COUNTS] = struct.pack("qq", messages + 1, cuts)
            wanted: int = struct.unpack("dqq", self._memory[ORDERS])[2]
        return messages + 1 == wanted

    def _count_cut(self) -> None:
        with self._guard:
            messages, cuts = struct.unpack("qq", self._memory[COUNTS])
            self._memory[COUNTS] = struct.pack("qq", messages, cuts + 1)


def _back(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            client.sendall(data)
    _cut(client)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
