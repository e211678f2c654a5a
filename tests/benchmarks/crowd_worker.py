"""The export worker of `crowd`: the shipped function behind HTTP, on a clock that skips the time in which nobody works.

Time passes as it does, and jumps to the next moment at which anything is to happen once every request at work sleeps (for a
quota) and no task is due. The sandboxes' and emulators' clocks jump with it.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import flask
import requests
from werkzeug.serving import make_server

from infra.local.ports import Ports
from infra.local.settings import WORKER_INSTANCES
from shared.api.dispatch import Function
from tests.benchmarks.skipping import services_on

LOOK_S = 0.02
MARGIN = timedelta(milliseconds=1)


class SkippingClock:
    """`shared.ports.Clock` of a process with several threads at work."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._moved = threading.Condition()
        self._at_work = 0
        self._sleepers: dict[int, datetime] = {}

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def sleep(self, seconds: float) -> None:
        until = self.now() + timedelta(seconds=max(0.0, seconds))
        with self._moved:
            self._sleepers[threading.get_ident()] = until
            while (left := (until - self.now()).total_seconds()) > 0:
                self._moved.wait(min(left, 1.0))
            del self._sleepers[threading.get_ident()]

    def work(self, started: int) -> None:
        """Count a request in (1) or out (-1)."""
        with self._moved:
            self._at_work += started

    def is_idle(self) -> bool:
        """Whether every request at work sleeps. Cheap: the list of tasks, which costs the emulators much, is not needed for it."""
        with self._moved:
            return self._at_work <= len(self._sleepers)

    def next_event(self, tasks: list[datetime]) -> datetime | None:
        """The moment to jump to: None while somebody works, a task is due that the queue can still hand out, or nothing is to come."""
        with self._moved:
            sleepers, at_work = list(self._sleepers.values()), self._at_work
        due = sum(at <= self.now() for at in tasks)
        if at_work > len(sleepers) or (due > at_work and at_work < WORKER_INSTANCES):
            return None
        return min([*sleepers, *(at for at in tasks if at > self.now())], default=None)

    def jump(self, seconds: float) -> None:
        with self._moved:
            self._offset += timedelta(seconds=seconds)
            self._moved.notify_all()


def skip_idle_time(clock: SkippingClock, ports: Ports) -> None:
    """Move all clocks whenever nothing would happen otherwise; never returns."""
    session = requests.Session()
    session.trust_env = False
    emulators, sandboxes = ports.url("emulator_admin"), ports.url("sandbox_admin")
    while True:
        time.sleep(LOOK_S)
        if not clock.is_idle():
            continue
        waiting = session.get(f"{emulators}/tasks", timeout=60).json()["tasks"]
        at = clock.next_event([datetime.fromisoformat(task["scheduleTime"]) for task in waiting])
        if at is None or (seconds := (at + MARGIN - clock.now()).total_seconds()) <= 0:
            continue
        session.post(f"{sandboxes}/clock", json={"advance_s": seconds}, timeout=60).raise_for_status()
        clock.jump(seconds)
        session.post(f"{emulators}/clock", json={"advance_s": seconds}, timeout=60).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-base", type=int, required=True)
    ports = Ports(parser.parse_args().port_base)
    clock = SkippingClock()
    services = services_on(clock)
    function = Function("export_worker", lambda: services)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        clock.work(1)
        try:
            return function(flask.Request(environ))(environ, start_response)
        finally:
            clock.work(-1)

    threading.Thread(target=skip_idle_time, args=(clock, ports), daemon=True).start()
    make_server("127.0.0.1", ports.of("export_worker_container"), answer, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
