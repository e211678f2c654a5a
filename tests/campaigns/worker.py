"""One worker: a process forked from the warm parent, that can be killed or stopped at any point.

Vendor calls are seen by a profile function of the interpreter: it watches requests' transport and psycopg's exchange with the
server, so that no line of the shipped code is replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import pkgutil
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import psycopg
from requests.adapters import HTTPAdapter

import shared
from shared import connectors as kinds
from shared.bootstrap import Services, google_stores
from shared.config import read_settings
from shared.connectors._base import Delivery, DeliveryPlan, Runtime
from shared.ports import Stores
from shared.services.connectors import Connectors
from tests.campaigns.machine import Machine
from tests.campaigns.points import pointed
from tests.fakes.stores import InMemoryCronJobs, InMemorySecrets

CHUNK_ROWS = 20
LONG_S = 10.0
"""After that a worker is looked at less often."""
Wrap = Callable[[Delivery], Delivery]


class CountingPoints:
    """Numbers the points from 1; sends this process the signal that `signals` has for a number."""

    def __init__(self, signals: Mapping[int, int]) -> None:
        self._signals = signals
        self.names: list[str] = []
        self.is_on = True

    def reach(self, name: str) -> None:
        if not self.is_on:
            return
        self.names.append(name)
        if number := self._signals.get(len(self.names)):
            os.kill(os.getpid(), number)

    def watch(self, frame: FrameType, event: str, _: Any) -> None:
        """A profile function: vendor calls as points."""
        if event == "call" and (name := _vendor_call(frame)):
            self.reach(f"{name}:before")
        elif event == "return" and (name := _vendor_call(frame)):
            self.reach(f"{name}:after")


def _vendor_call(frame: FrameType) -> str | None:
    if frame.f_code is _EXCHANGE:
        return "postgres"
    if frame.f_code is _SEND:
        request = frame.f_locals.get("request")
        url = getattr(request, "url", "") or ""
        return f"vendor {request.method} {url.split('/')[2]}" if url.startswith("https://") else None  # type: ignore[union-attr]
    return None


_SEND = HTTPAdapter.send.__code__
_EXCHANGE = psycopg.Connection.wait.__code__


def warm() -> None:
    """Import whatever a worker will need, so that a forked one starts at once; nothing is built."""
    for module in pkgutil.walk_packages(shared.__path__, "shared."):
        importlib.import_module(module.name)
    importlib.import_module("pandas")  # pyarrow looks for it on first use


@dataclass
class SmallChunks:
    """A connector whose deliveries have chunks of `CHUNK_ROWS`, and whatever else `wrap` makes of them."""

    inner: Any
    wrap: Wrap

    def open_delivery(self, plan: DeliveryPlan) -> Delivery:
        delivery: Delivery = self.inner.open_delivery(plan)
        delivery.chunk_rows = CHUNK_ROWS
        return self.wrap(delivery)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass
class Workshop:
    """What workers are made of. `secrets` are the registered credentials; `wrap`, `stores` and `runtime` take a guard away."""

    machine: Machine
    secrets: InMemorySecrets = field(default_factory=InMemorySecrets)
    wrap: Wrap = lambda delivery: delivery
    stores: Callable[[Stores], Stores] = lambda stores: stores
    runtime: Callable[[Runtime], Runtime] = lambda runtime: runtime

    def services(self, points: CountingPoints) -> Services:
        settings = read_settings()
        google = google_stores(settings)
        plain = Stores(
            google.documents,
            self.secrets,
            self.machine.tasks,
            InMemoryCronJobs(),
            google.objects,
            self.machine.clock,
            google.warehouse,
            google.collections,
        )
        stores = pointed(self.stores(plain), points)
        services = Services(settings, stores)

        def load(*arguments: Any) -> SmallChunks:
            return SmallChunks(kinds.load(*arguments), self.wrap)

        runtime = self.runtime(services.connectors._runtime)
        services.__dict__["connectors"] = Connectors(stores, "bi", runtime, load=load)
        return services

    def spawn(
        self, work: Callable[[Services], Any], signals: Mapping[int, int] | None = None, *, quiet: bool = False
    ) -> Worker:
        """Fork a worker that does `work`; its points are counted inside, unless it is `quiet`."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return Worker(pid, reading)
        os.close(reading)
        self._be(work, signals or {}, writing, quiet=quiet)
        raise AssertionError("a worker never comes back")

    def _be(self, work: Callable[[Services], Any], signals: Mapping[int, int], pipe: int, *, quiet: bool) -> None:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a forked child: nothing but descriptors
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            points = CountingPoints(signals)
            services = self.services(points)
            points.is_on = not quiet
            sys.setprofile(None if quiet else points.watch)
            try:
                result = work(services)
                code = 0
            finally:
                sys.setprofile(None)
                points.is_on = False
            answer = (result, points.names)
        except BaseException as error:  # noqa: BLE001 - told to the parent, whatever it is
            answer = (f"{type(error).__name__}: {error}"[:2000], [])
        with contextlib.suppress(OSError):
            os.write(pipe, pickle.dumps(answer))
        os._exit(code)


@dataclass
class Worker:
    """A forked worker as its parent sees it."""

    pid: int
    pipe: int
    result: Any = None
    names: list[str] = field(default_factory=list)
    code: int | None = None
    is_stopped: bool = False

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Wait until it ended or stopped; return False if neither happened in time. `code` is negative for a signal."""
        started, pause = time.monotonic(), 0.002
        while (waited_s := time.monotonic() - started) < timeout_s:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid:
                if os.WIFSTOPPED(status):
                    self.is_stopped = True
                    return True
                self._ended(status)
                return True
            select.select([self.pipe], [], [], pause)
            time.sleep(0.001)
            pause = min(pause * 1.5, 0.02 if waited_s < LONG_S else 0.5)
        return False

    def go_on(self) -> None:
        """Wake it after a stop."""
        self.is_stopped = False
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._ended(os.waitpid(self.pid, 0)[1])

    def _ended(self, status: int) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        parts = []
        while part := os.read(self.pipe, 65536):
            parts.append(part)
        os.close(self.pipe)
        if parts:
            self.result, self.names = pickle.loads(b"".join(parts))
