"""A queue before contended documents, so that competing transactions take turns and do not starve.

Correctness never rests on this: a commit checks what the transaction has read. But the client repeats an aborted
transaction at most five times and at once, so without turns many of them would fail. Production locks documents
for the same reason. Nobody waits here for longer than `HOLD_S` per holder: then the place is taken over.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

HOLD_S = 1.0  # our choice: far above an honest transaction, short enough for one that was abandoned
MAX_WAITING = 64  # our choice: some of the server's threads must stay free for the commits waited for


@dataclass
class _Gate:
    holder: bytes = b""
    since: float = 0.0
    queue: deque[bytes] = field(default_factory=deque)


class Turnstile:
    """Gates by key (a document or collection name); holders are transaction ids. Safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._gates: dict[str, _Gate] = {}
        self._waiting: dict[bytes, str] = {}

    def enter(self, key: str, holder: bytes) -> None:
        """Wait for the turn at `key` and keep it until `leave`; where waiting would be in a circle, go on without."""
        with self._changed:
            gate = self._gates.setdefault(key, _Gate())
            if self._may_wait(key, holder):
                gate.queue.append(holder)
                self._waiting[holder] = key
                self._await_turn(gate, holder)
                gate.queue.remove(holder)
                del self._waiting[holder]
            if self._is_open(gate, holder):
                gate.holder, gate.since = holder, time.monotonic()
            self._changed.notify_all()

    def pass_by(self, keys: list[str], passer: bytes) -> None:
        """Wait until nobody else holds any of `keys`, without taking a turn: what a write does.

        `passer` is the transaction the write belongs to, or b"".
        """
        with self._changed:
            for key in keys:
                while (
                    key in self._gates and not self._is_open(self._gates[key], passer) and self._may_wait(key, passer)
                ):
                    waiter = passer or uuid.uuid4().bytes
                    self._waiting[waiter] = key
                    self._changed.wait(self._patience(self._gates[key]))
                    del self._waiting[waiter]

    def leave(self, holder: bytes) -> None:
        """Give up every turn of `holder`."""
        with self._changed:
            for key in [key for key, gate in self._gates.items() if gate.holder == holder]:
                self._gates[key].holder = b""
                if not self._gates[key].queue:
                    del self._gates[key]
            self._changed.notify_all()

    def _may_wait(self, key: str, waiter: bytes) -> bool:
        """Whether there is room to wait, and the holders ahead do not wait for `waiter` themselves."""
        if len(self._waiting) >= MAX_WAITING or waiter in self._waiting:
            return False
        seen = set()
        while key not in seen:
            seen.add(key)
            ahead = self._gates[key].holder if key in self._gates else b""
            if ahead == waiter:
                return False
            if ahead not in self._waiting:
                return True
            key = self._waiting[ahead]
        return False

    def _await_turn(self, gate: _Gate, holder: bytes) -> None:
        while gate.queue[0] != holder or not self._is_open(gate, holder):
            self._changed.wait(self._patience(gate))

    def _is_open(self, gate: _Gate, passer: bytes) -> bool:
        return gate.holder in (b"", passer) or self._patience(gate) <= 0

    def _patience(self, gate: _Gate) -> float:
        return max(0.0, gate.since + HOLD_S - time.monotonic()) if gate.holder else HOLD_S
