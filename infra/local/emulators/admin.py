"""The emulators' admin port: plain HTTP and JSON on loopback, for tests and for people who debug.

| request | answer |
|---|---|
| `GET /clock` | `{"now": RFC 3339, "advanced_s"}` |
| `POST /clock {"advance_s": n}` | the same; work that became due is sent at once. The total survives a restart |
| `GET /tasks` | Cloud Tasks: every task not yet done, JSON form of the API without bodies, and `inFlight` |
| `GET /jobs` | Cloud Scheduler: every job, JSON form of the API without bodies, and `running` |
| `GET /attempts` | the last 2,000 HTTP attempts of each service: at, name, method, url, status, code, message, copy |
| `GET /delivery` | `{"cloud_tasks": {"copies", "hold"}, "cloud_scheduler": {...}}` |
| `POST /delivery {"service"?, "copies"?, "hold"?}` | the same; without `service` both are changed |

`copies: n` sends every attempt n times at once (the first copy's answer counts); `hold: true` sends nothing new until
`hold: false`. A service that this process does not run has no entry.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler import CloudScheduler
from infra.local.emulators.cloud_tasks import CloudTasks
from infra.local.emulators.dispatch import Delivery

MAX_BODY_BYTES = 64 * 1024
MAX_COPIES = 20  # our choice: more would only fill the sender's threads


class _Sending(Protocol):
    delivery: Delivery
    attempts: deque[dict[str, Any]]

    def poke(self) -> None: ...


class BadRequestError(Exception):
    """The request cannot be obeyed; its text says why."""


class Offset:
    """How far the clock was moved, kept in a small file so that a restart does not move time backwards."""

    def __init__(self, clock: Clock, path: Path) -> None:
        self._clock = clock
        self._path = path
        self._lock = threading.Lock()
        self.seconds = json.loads(path.read_text())["advanced_s"] if path.exists() else 0.0
        clock.advance(self.seconds)

    def add(self, seconds: float) -> None:
        """Move the clock forward and remember the total."""
        with self._lock:
            total = self.seconds + seconds
            draft = self._path.with_suffix(".draft")
            draft.write_text(json.dumps({"advanced_s": total}))
            draft.replace(self._path)
            self.seconds = total
            self._clock.advance(seconds)


class Admin:
    """Answers the routes above; give only the services that run."""

    def __init__(
        self, clock: Clock, offset: Offset, tasks: CloudTasks | None, scheduler: CloudScheduler | None
    ) -> None:
        self._clock = clock
        self._offset = offset
        self._tasks = tasks
        self._scheduler = scheduler
        services: dict[str, _Sending | None] = {"cloud_tasks": tasks, "cloud_scheduler": scheduler}
        self._sending = {name: service for name, service in services.items() if service is not None}
        self.routes: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "/clock"): lambda _: self._time(),
            ("POST", "/clock"): self._advance,
            ("GET", "/tasks"): lambda _: {"tasks": self._tasks.pending() if self._tasks else []},
            ("GET", "/jobs"): lambda _: {"jobs": self._scheduler.jobs() if self._scheduler else []},
            ("GET", "/attempts"): lambda _: {name: list(each.attempts) for name, each in self._sending.items()},
            ("GET", "/delivery"): lambda _: self._delivery(),
            ("POST", "/delivery"): self._set_delivery,
        }

    def _time(self) -> dict[str, Any]:
        return {"now": self._clock.now().isoformat(), "advanced_s": self._offset.seconds}

    def _advance(self, body: dict[str, Any]) -> dict[str, Any]:
        seconds = body.get("advance_s")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 1e9:
            raise BadRequestError(f"advance_s must be a number of seconds from 0 to 1e9; got {seconds!r}")
        self._offset.add(float(seconds))
        return self._time()

    def _delivery(self) -> dict[str, Any]:
        return {name: asdict(each.delivery) for name, each in self._sending.items()}

    def _set_delivery(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted, copies, hold = body.get("service"), body.get("copies"), body.get("hold")
        if unknown := set(body) - {"service", "copies", "hold"}:
            raise BadRequestError(f"unknown {sorted(unknown)}; expected service, copies, hold")
        if wanted is not None and wanted not in self._sending:
            raise BadRequestError(f"service must be one of {sorted(self._sending)}; got {wanted!r}")
        if copies is not None and (isinstance(copies, bool) or copies not in range(1, MAX_COPIES + 1)):
            raise BadRequestError(f"copies must be a whole number from 1 to {MAX_COPIES}; got {copies!r}")
        if hold is not None and not isinstance(hold, bool):
            raise BadRequestError(f"hold must be true or false; got {hold!r}")
        for name, each in self._sending.items():
            if wanted in (None, name):
                each.delivery.copies = each.delivery.copies if copies is None else copies
                each.delivery.hold = each.delivery.hold if hold is None else hold
                each.poke()
        return self._delivery()


def serve_admin(port: int, admin: Admin) -> ThreadingHTTPServer:
    """Serve `admin` on 127.0.0.1:`port` (0 = any free one: `server_address[1]`) from threads of its own.

    Raises:
        OSError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(*_answer(admin, "GET", self.path, b""))

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > MAX_BODY_BYTES:
                self.close_connection = True
                self._reply(413, {"error": f"the body is {size} bytes; at most {MAX_BODY_BYTES}"})
                return
            self._reply(*_answer(admin, "POST", self.path, self.rfile.read(size)))

        def _reply(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
            pass  # the admin port is polled; its requests would bury the log

    server = _Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="admin", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _answer(admin: Admin, method: str, path: str, data: bytes) -> tuple[int, Any]:
    path = path.partition("?")[0]
    route = admin.routes.get((method, path))
    if route is None:
        return 404, {"error": f"no route {method} {path}", "routes": [" ".join(each) for each in admin.routes]}
    try:
        body = json.loads(data) if data else {}
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        return 200, route(body)
    except (BadRequestError, ValueError) as exc:
        return 400, {"error": str(exc)}
