"""Threads on a virtual clock: one runs at a time, and time jumps to the next moment at which one of them wakes. Repeatable."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class ActorClock:
    """What one actor takes for the time: the true time and an error of its own. Seconds of `true` count from the start."""

    def __init__(self, world: VirtualTime, wrong_by_s: float) -> None:
        self._world = world
        self._wrong_by = timedelta(seconds=wrong_by_s)
        self.turn = threading.Semaphore(0)

    @property
    def true(self) -> float:
        return self._world.now_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self._world.now_s) + self._wrong_by

    def sleep(self, seconds: float) -> None:
        self._world.wake(self, self._world.now_s + max(0.0, seconds))
        self._world.pause(self)


class VirtualTime:
    """Runs actors until all have ended; the first exception of one ends the run."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queue: list[tuple[float, int, ActorClock]] = []
        self._numbers = itertools.count()
        self._paused = threading.Semaphore(0)
        self._errors: list[Exception] = []

    def start(self, actor: Callable[[ActorClock], None], *, at_s: float = 0.0, wrong_by_s: float = 0.0) -> None:
        """Let an actor run from `at_s` on. May be called by a running actor."""
        clock = ActorClock(self, wrong_by_s)

        def body() -> None:
            clock.turn.acquire()
            try:
                actor(clock)
            except Exception as error:  # noqa: BLE001 - raised again by `run`
                self._errors.append(error)
            self._paused.release()

        threading.Thread(target=body, daemon=True).start()
        self.wake(clock, at_s)

    def wake(self, clock: ActorClock, at_s: float) -> None:
        heapq.heappush(self._queue, (at_s, next(self._numbers), clock))

    def pause(self, clock: ActorClock) -> None:
        self._paused.release()
        clock.turn.acquire()

    def run(self) -> None:
        while self._queue and not self._errors:
            at_s, _, clock = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, at_s)
            clock.turn.release()
            self._paused.acquire()
        if self._errors:
            raise self._errors[0]
