"""Everything real that a job touches, each part in a process of its own: Firestore, Cloud Storage, vendors, Postgres.

The process that builds a `Machine` opens no gRPC channel, client or thread, so that workers can be forked from it, warm.
"""

from __future__ import annotations

import http.client
import json
import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local import cloud_storage
from infra.local.accounts import load_accounts
from infra.local.ports import Ports, free_base
from infra.local.postgres import EmbeddedPostgres
from infra.local.sandboxes.proxy import SANDBOX_ADDRESS
from infra.local.sandboxes.server import inherited_variables
from shared.ports import Task
from tests.campaigns.rig import SETTINGS

STARTS_WITHIN_S = 60.0


class SharedClock:
    """The real time plus an offset that this process and every process forked from it see; `sleep` moves it and the vendors'."""

    def __init__(self, admin_port: int) -> None:
        self._memory = mmap.mmap(-1, 8)
        self._admin_port = admin_port

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=struct.unpack("d", self._memory[:8])[0])

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._memory[:8] = struct.pack("d", struct.unpack("d", self._memory[:8])[0] + seconds)
            call(self._admin_port, "POST", "/clock", {"advance_s": seconds})


class FileTasks:
    """`Tasks` in a file that outlives the worker: a line a task; a name that is there already is not added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch(mode=0o600)

    def enqueue(self, task: Task) -> bool:
        name = json.dumps(task.name).encode()
        if b'"name": %s,' % name in self.path.read_bytes():
            return False
        at = task.at.isoformat() if task.at else None
        line = {"name": task.name, "url": task.url, "body": dict(task.body), "at": at}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.close(descriptor)
        return True

    def since(self, place: int) -> tuple[list[Task], int]:
        """Return the tasks that were enqueued behind this place of the file, oldest first, and the place behind them."""
        with self.path.open("rb") as file:
            file.seek(place)
            lines = file.read()
        found = [json.loads(line) for line in lines.splitlines()]
        tasks = [
            Task("q", one["url"], one["name"], one["body"], datetime.fromisoformat(one["at"]) if one["at"] else None)
            for one in found
        ]
        return tasks, place + len(lines)


class Machine:
    """The running parts of one data folder. Sets this process's environment so that unmodified clients reach them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ports = Ports(free_base())
        self.accounts = load_accounts(data, self.ports.base)
        self.postgres = EmbeddedPostgres(data / "postgres", self.ports.of("postgres"), self.accounts.warehouse)
        self.clock = SharedClock(self.ports.of("sandbox_admin"))
        self.tasks = FileTasks(data / "tasks.jsonl")
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Machine:
        ports = self.ports
        (self.data / "gcs").mkdir(parents=True, exist_ok=True)
        for name in inherited_variables():
            os.environ.pop(name, None)
        place = ("--data", str(self.data), "--port-base", str(ports.base))
        self._start(sys.executable, "-m", "infra.local.sandboxes", *place, "--no-traffic-log")
        self._start(sys.executable, "-m", "infra.local.emulators", *place, "--only", "firestore")
        self._start(*cloud_storage.command(self.data, ports))
        self.postgres.start()
        self._wait()
        cloud_storage.make_buckets(ports, ["tables", "frozen", "exports"])
        self.admin("PUT", "/settings/power_bi", {"quotas": False})
        lift_quotas(self)
        os.environ.update(self.environment())
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait(20)
        self.postgres.stop()

    def environment(self) -> dict[str, str]:
        """What leads the shipped code here; `read_settings` and the vendors' clients read it."""
        return {
            **SETTINGS,
            "FIRESTORE_EMULATOR_HOST": self.ports.address("firestore"),
            "STORAGE_EMULATOR_HOST": self.ports.url("gcs"),
            "WAREHOUSE_HOSTS": "127.0.0.1",
            "RESOLVER_TABLE": f"demo.cloud.looker.com={SANDBOX_ADDRESS}",
            "HTTPS_PROXY": self.ports.url("sandbox_proxy"),
            "REQUESTS_CA_BUNDLE": str((self.data / "identity" / "ca.pem").resolve()),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the sandboxes' admin API."""
        return call(self.ports.of("sandbox_admin"), method, path, body)

    def look(self, path: str) -> Any:
        """Ask the sandboxes' admin API; None for what is not there."""
        try:
            return self.admin("GET", path)
        except NotThereError:
            return None

    def _start(self, *command: str) -> None:
        with (self.data / "parts.log").open("ab") as log:
            self._children.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _wait(self) -> None:
        end = time.monotonic() + STARTS_WITHIN_S
        for is_up in (
            lambda: cloud_storage.is_ready(self.ports),
            lambda: self.admin("GET", "/clock"),
            self._has_firestore,
        ):
            while True:
                try:
                    if is_up():
                        break
                except OSError:
                    pass
                if time.monotonic() > end or any(child.poll() is not None for child in self._children):
                    raise RuntimeError(f"a part did not start; see {self.data / 'parts.log'}")
                time.sleep(0.05)

    def _has_firestore(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.of("firestore"), timeout=5)
        connection.connect()
        connection.close()
        return True


class NotThereError(RuntimeError):
    """An admin API knows nothing of that name."""


SHEETS_QUOTAS = [f"{kind}_per_minute_per_{scope}" for kind in ("read", "write") for scope in ("user", "project")]


def lift_quotas(machine: Machine) -> None:
    """Let Google Sheets take as many calls as come: windows are what `removed` and the benches look at."""
    machine.admin("PUT", "/settings/google_sheets", dict.fromkeys(SHEETS_QUOTAS, 1_000_000))


_connections: dict[tuple[int, int], http.client.HTTPConnection] = {}
"""Kept by process and port: a forked process must not talk on its parent's connection."""


def call(port: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Call an admin API of this machine; no thread. Returns the parsed answer, None if it is empty."""
    key = (os.getpid(), port)
    data = json.dumps(body) if body is not None else None
    for is_last in (False, True):
        connection = _connections.get(key) or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        _connections[key] = connection
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            break
        except (http.client.HTTPException, OSError):
            connection.close()
            del _connections[key]
            if is_last:
                raise
    if response.status == 404:
        raise NotThereError(path)
    if response.status >= 400:
        raise RuntimeError(f"{method} {path} was answered {response.status}: {text[:300]!r}")
    return json.loads(text) if text else None
