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
from dataclasses import dataclass

LAST_MESSAGE = 14
"""A doomed connection is cut at one of its first messages, drawn from 1 to this: a delivery's step sends about as many."""
ORDERS, COUNTS = slice(0, 32), slice(32, 56)
GOODBYE = b"X\0\0\0\4"
"""What a client sends last; nothing answers it."""


@dataclass(frozen=True)
class Counts:
    """What came since the last order, and how often the link was cut."""

    connections: int
    messages: int
    cuts: int


class FaultyLink:
    """Runs in a process of its own, made by forking. `doom` sets the share of connections, or of messages, at which it cuts from now
    on, `lose` one single message whose answer is lost.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._memory = mmap.mmap(-1, 56)
        self._guard = threading.Lock()
        self._pid = os.fork()
        if self._pid == 0:
            self._serve()

    def doom(self, rate: float, seed: int, *, each_message: bool = False) -> None:
        self._order(rate, seed, 0, each_message)

    def lose(self, message: int) -> None:
        """Lose the answer to the n-th message from now on, which takes effect; 0 loses none and only counts."""
        self._order(0.0, 0, message, False)

    def _order(self, *order: float) -> None:
        self._memory[COUNTS] = struct.pack("qqq", 0, 0, 0)
        self._memory[ORDERS] = struct.pack("dqqq", *order)

    def counts(self) -> Counts:
        return Counts(*struct.unpack("qqq", self._memory[COUNTS]))

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._listener.close()

    def _serve(self) -> None:
        number, last_seed = 0, -1
        while os.getppid() > 1:
            client, _ = self._listener.accept()
            rate, seed, _, each_message = struct.unpack("dqqq", self._memory[ORDERS])
            number = number + 1 if seed == last_seed else 0
            last_seed = seed
            self._count(connections=1)
            server = socket.create_connection(self._target)
            threading.Thread(target=_back, args=(server, client), daemon=True).start()
            fate = Fate(random.Random(f"{seed} {number}"), rate, bool(each_message))
            threading.Thread(target=self._forth, args=(client, server, fate), daemon=True).start()
        os._exit(0)

    def _forth(self, client: socket.socket, server: socket.socket, fate: Fate) -> None:
        with contextlib.suppress(OSError):
            while (data := client.recv(65536)) and data != GOODBYE:
                is_the_one = self._count(messages=1)
                if fate.strikes() or is_the_one:
                    self._count(cuts=1)
                    _cut(client)  # the answer finds no way back
                    if fate.is_applied or is_the_one:
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        while server.recv(65536):
                            pass
                    break
                server.sendall(data)
        _cut(server)

    def _count(self, connections: int = 0, messages: int = 0, cuts: int = 0) -> bool:
        """Count; return whether the last message is the one whose answer is to be lost."""
        with self._guard:
            now = self.counts()
            found = (now.connections + connections, now.messages + messages, now.cuts + cuts)
            self._memory[COUNTS] = struct.pack("qqq", *found)
            wanted: int = struct.unpack("dqqq", self._memory[ORDERS])[2]
        return messages > 0 and found[1] == wanted


class Fate:
    """Decides for one connection, drawn from its own numbers, at which message it is cut, and whether that message takes effect."""

    def __init__(self, rng: random.Random, rate: float, each_message: bool) -> None:
        self._rng, self._rate, self._is_each = rng, rate, each_message
        self._left = rng.randint(1, LAST_MESSAGE) if not each_message and rng.random() < rate else 0
        self.is_applied = rng.random() < 0.5

    def strikes(self) -> bool:
        """Whether the next message is the one."""
        if self._is_each:
            return self._rng.random() < self._rate
        self._left -= 1
        return self._left == 0


def _back(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            client.sendall(data)
    _cut(client)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
