"""Starts, watches and stops the whole local cloud.

    cloud = LocalCloud(Path(".local"), port_base=8080)
    cloud.start()
    ...
    cloud.stop()

Every part is a child process in a group of its own. If this process dies, however it dies, a guardian ends them all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import psycopg

from infra.local import cloud_storage, settings
from infra.local.accounts import Accounts, load_accounts
from infra.local.ports import Ports
from infra.local.processes import Child, Guardian, Part, PartFailedError, stop_all, wait_until_ready
from infra.local.settings import FUNCTIONS, Layout
from infra.package import stage_source

READY_TIMEOUT_S = 60.0
STOP_FUNCTIONS_S = 2.0
STOP_REST_S = 2.0
"""Together below the 5 seconds in which a person expects Ctrl-C to have worked."""

_WATCH_S = 0.2
_LOCK_FILE = ".running"
_PROBE_TIMEOUT_S = 5.0


class DataFolderInUseError(Exception):
    """Another local cloud runs on the same data folder."""


class LocalCloud:
    """One local cloud: a data folder and a block of ports. Not for use from several threads."""

    def __init__(
        self,
        data: Path,
        port_base: int,
        say: Callable[[str], object] = str,
        settings_of: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """Start nothing yet. `say` is called with one line for each step; by default the lines go nowhere.

        `settings_of` gives settings of one function, by its name in `FUNCTIONS`, that replace those of the local cloud.
        """
        self.layout = Layout(data.resolve(), Ports(port_base))
        self._say = say
        self._settings_of = settings_of
        self._children: dict[str, Child] = {}
        self._guardian: Guardian | None = None
        self._lock: IO[str] | None = None
        self._accounts: Accounts | None = None

    @property
    def endpoints(self) -> dict[str, Any]:
        """What `endpoints.json` holds."""
        return settings.endpoints(self.layout, self.accounts)

    @property
    def accounts(self) -> Accounts:
        """The demo accounts of the data folder; made on first use."""
        if self._accounts is None:
            self._accounts = load_accounts(self.layout.data, self.layout.ports.base)
        return self._accounts

    def start(self, stop_requested: threading.Event | None = None) -> None:
        """Start all parts side by side and wait until each is ready; then write `endpoints.json`.

        Raises:
            StoppedError: The event was set meanwhile; nothing is left running.
            PortInUseError, DataFolderInUseError, PartFailedError: Says which, why and what to do; nothing is left running.
        """
        self._take_data_folder()
        try:
            self.layout.ports.check_free(f"{self.layout.data.name}2")
            self.layout.endpoints_file.unlink(missing_ok=True)
            self._guardian = Guardian()
            self._stage_functions()
            parts = self._parts()
            for part in parts:
                self._children[part.name] = Child(part, self._guardian)
            self._say(f"starting {', '.join(part.name for part in parts)}")
            from infra.local.provision import provision  # imports Google's client (1 s) while the parts start

            wait_until_ready(self._children.values(), READY_TIMEOUT_S, stop_requested)
            provision(self.layout.ports)
            self._write_endpoints()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all parts, functions first, within about 5 seconds; data stays. No effect if nothing runs."""
        if self._lock is not None:
            self.layout.endpoints_file.unlink(missing_ok=True)
        front = [child for name, child in self._children.items() if name in (*FUNCTIONS, "gateway")]
        rest = [child for child in self._children.values() if child not in front]
        stop_all(front, STOP_FUNCTIONS_S)
        stop_all(rest, STOP_REST_S)
        self._children.clear()
        if self._guardian is not None:
            self._guardian.close()
            self._guardian = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait(self, stop_requested: threading.Event) -> None:
        """Return when a stop is requested.

        Raises:
            PartFailedError: A part ended by itself; its last log lines are in the message.
        """
        while not stop_requested.wait(_WATCH_S):
            self.check()

    def check(self) -> None:
        """Raises `PartFailedError` if a part has ended that `kill` did not end."""
        for child in self._children.values():
            if child.exit_code() is not None:
                raise PartFailedError(child.failure())

    def kill(self, name: str) -> None:
        """End one part with SIGKILL, as a crash would; it stays down until `restart`."""
        self._children.pop(name).kill()

    def restart(self, *names: str) -> None:
        """Stop these parts (if they run), start them on the same data, and wait until they are ready."""
        stop_all([self._children.pop(name) for name in names if name in self._children], STOP_FUNCTIONS_S)
        if self._guardian is None:
            raise RuntimeError("the local cloud is not started")
        parts = {part.name: part for part in self._parts()}
        for name in names:
            self._children[name] = Child(parts[name], self._guardian)
        wait_until_ready([self._children[name] for name in names], READY_TIMEOUT_S)

    def pid(self, name: str) -> int:
        """The process (and process group) of one part."""
        return self._children[name].pid

    @property
    def parts(self) -> list[str]:
        """Names of the parts that were started."""
        return list(self._children)

    def _parts(self) -> list[Part]:
        layout, ports = self.layout, self.layout.ports
        environment = settings.base_environment(layout.data)
        warehouse = settings.endpoints(layout, self.accounts)["postgres"]

        def part(name: str, command: tuple[str, ...], is_ready: Callable[[], bool]) -> Part:
            return Part(name, command, environment, layout.log(name), is_ready)

        def module(name: str) -> tuple[str, ...]:
            return (sys.executable, "-m", name, "--data", str(layout.data), "--port-base", str(ports.base))

        return [
            part("postgres", module("infra.local.postgres"), lambda: _accepts_logins(warehouse)),
            part("sandboxes", module("infra.local.sandboxes"), lambda: _answers(ports.url("sandbox_admin") + "/clock")),
            part(
                "emulators", module("infra.local.emulators"), lambda: _answers(ports.url("emulator_admin") + "/clock")
            ),
            *(self._function(name) for name in FUNCTIONS),
            part("gcs", cloud_storage.command(layout.data, ports), lambda: cloud_storage.is_ready(ports)),
            part(
                "gateway",
                module("infra.local.gateway"),
                lambda: _answers(ports.url("gateway") + "/health"),
            ),
        ]

    def _stage_functions(self) -> None:
        for name in sorted({part.removesuffix("_worker") for part in FUNCTIONS}):
            shutil.rmtree(self.layout.package(name), ignore_errors=True)
            stage_source(name, self.layout.package(name))

    def _function(self, name: str) -> Part:
        return Part(
            name,
            tuple(settings.function_command(self.layout, name)),
            settings.function_environment(self.layout, name) | dict(self._settings_of(name)),
            self.layout.log(name),
            lambda: _answers(self.layout.ports.url(f"{name}_container") + "/health"),
        )

    def _take_data_folder(self) -> None:
        self.layout.data.mkdir(parents=True, exist_ok=True)
        lock = (self.layout.data / _LOCK_FILE).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            raise DataFolderInUseError(
                f"another local cloud runs on {self.layout.data}; stop it, or choose another folder and other ports: "
                f"make run DATA={self.layout.data.name}2 PORT_BASE=9000"
            ) from exc
        self._lock = lock

    def _write_endpoints(self) -> None:
        temporary = self.layout.endpoints_file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(self.endpoints, file, indent=2)
            file.write("\n")
        temporary.replace(self.layout.endpoints_file)


def remove_data(data: Path) -> None:
    """Delete a data folder that no local cloud uses."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(data)


def _answers(url: str) -> bool:
    """Whether a GET without any proxy answers 200. Raises `OSError` where it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=_PROBE_TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def _accepts_logins(dsn: str) -> bool:
    """Whether the load role can log in: it exists only once the database is set up."""
    try:
        with psycopg.connect(dsn, connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False
