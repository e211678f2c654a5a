"""One process with the emulators of Firestore, Secret Manager, Cloud Scheduler and Cloud Tasks, and their admin port.

    python -m infra.local.emulators --data DIR --port-base N [--only firestore,cloud_tasks]

Ports: N+10 firestore, +11 secret_manager, +12 cloud_scheduler, +13 cloud_tasks (gRPC without TLS), +19 admin (HTTP); all
on 127.0.0.1. Files: `DIR/emulators/*.sqlite`, `DIR/emulators/clock.json`, `DIR/identity/oidc_key.pem`.

Prints the line `ready` when all ports are bound. SIGTERM and SIGINT stop it within 3 s, exit code 0; a port in use is
one line on standard error and exit code 1. Logs go to standard error.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infra.local.emulators.admin import Admin, Offset, serve_admin
from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler import CloudScheduler
from infra.local.emulators.cloud_tasks import CloudTasks
from infra.local.emulators.grpc_server import serve
from infra.local.emulators.identity import TokenSigner

PORT_OFFSETS = {"firestore": 10, "secret_manager": 11, "cloud_scheduler": 12, "cloud_tasks": 13}
ADMIN_OFFSET = 19
GRACE_S = 0.5  # our choice: calls under way get this long; the stores commit each change before they answer


class PortInUseError(Exception):
    """A part cannot listen on its port."""

    def __init__(self, port: int, part: str) -> None:
        super().__init__(f"emulators: port {port} ({part}) is in use; stop what listens there or choose a --port-base")


class Emulators:
    """The running services; `stop()` ends them."""

    def __init__(self, data: Path, port_base: int, only: frozenset[str]) -> None:
        ports = {part: port_base + PORT_OFFSETS[part] for part in PORT_OFFSETS if part in only}
        ports["emulator admin"] = port_base + ADMIN_OFFSET
        for part, port in ports.items():
            _bind(partial(_probe, port), port, part)  # before a file is opened: its owner may be running
        folder = data / "emulators"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # secrets lie in it
        clock = Clock()
        offset = Offset(clock, folder / "clock.json")
        signer = TokenSigner(data / "identity" / "oidc_key.pem")
        self._servers: list[Any] = []
        self._admin: ThreadingHTTPServer | None = None
        self._tasks = CloudTasks(folder / "cloud_tasks.sqlite", clock, signer) if "cloud_tasks" in only else None
        self._scheduler = (
            CloudScheduler(folder / "cloud_scheduler.sqlite", clock, signer) if "cloud_scheduler" in only else None
        )
        handlers = self._handlers(folder, clock, only)
        admin = Admin(clock, offset, self._tasks, self._scheduler)
        try:
            for part, handler in handlers.items():
                self._servers.append(_bind(partial(serve, ports[part], handler), ports[part], part))
            port = ports["emulator admin"]
            self._admin = _bind(partial(serve_admin, port, admin), port, "emulator admin")
        except PortInUseError:
            self.stop()
            raise

    def stop(self) -> None:
        """Take no more calls, cut what is being sent, close the files."""
        if self._admin is not None:
            self._admin.shutdown()
        stopping = [server.stop(GRACE_S) for server in self._servers]
        end = time.monotonic() + 3 * GRACE_S
        for stopped in stopping:
            stopped.wait(max(0.0, end - time.monotonic()))
        for service in (self._tasks, self._scheduler):
            if service is not None:
                service.close()

    def _handlers(self, folder: Path, clock: Clock, only: frozenset[str]) -> dict[str, Any]:
        """The gRPC handler of each wanted service; Firestore and Secret Manager are imported only if wanted."""
        handlers: dict[str, Any] = {}
        if "firestore" in only:
            from infra.local.emulators import firestore

            handlers["firestore"] = firestore.handler(folder / "firestore.sqlite", clock)
        if "secret_manager" in only:
            from infra.local.emulators import secret_manager

            handlers["secret_manager"] = secret_manager.handler(folder / "secret_manager.sqlite", clock)
        if self._scheduler is not None:
            handlers["cloud_scheduler"] = self._scheduler.handler()
        if self._tasks is not None:
            handlers["cloud_tasks"] = self._tasks.handler()
        return handlers


def main(arguments: list[str]) -> int:
    """Run until a signal; answer the exit code."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        emulators = Emulators(options.data.resolve(), options.port_base, options.only)
    except PortInUseError as exc:
        print(exc, file=sys.stderr)
        return 1
    print("ready", flush=True)
    stop.wait()
    emulators.stop()
    return 0


def _bind(open_port: Callable[[], Any], port: int, part: str) -> Any:
    try:
        return open_port()
    except OSError as exc:
        raise PortInUseError(port, part) from exc


def _probe(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.emulators", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder for all files; made if missing")
    parser.add_argument("--port-base", type=int, required=True, help="the services listen on this plus 10 to 13 and 19")
    parser.add_argument("--only", type=_parts, default=frozenset(PORT_OFFSETS), help="services, comma-separated")
    return parser.parse_args(arguments)


def _parts(text: str) -> frozenset[str]:
    parts = frozenset(text.split(","))
    if unknown := parts - set(PORT_OFFSETS):
        raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}; expected some of {', '.join(PORT_OFFSETS)}")
    return parts


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # not sys.exit: a call that waits in a gRPC worker thread must not hold the process up
