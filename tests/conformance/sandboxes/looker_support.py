"""Looker's sandbox and its warehouse for a test module, and a link to the warehouse that can fail."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from infra.local.accounts import load_accounts
from infra.local.ports import free_base
from infra.local.postgres import EmbeddedPostgres
from infra.local.sandboxes.looker import LookerSandbox
from infra.local.sandboxes.server import SandboxServer, inherited_variables


class QuickClock:
    """Real time, without waiting."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Cloud:
    """A running sandbox of Looker and the embedded Postgres that its connection reads."""

    server: SandboxServer
    postgres: EmbeddedPostgres

    def sql(self, statement: str, user: str = "bi_loader") -> list[tuple[Any, ...]]:
        """Run a statement in a session of its own; rows, or nothing."""
        with psycopg.connect(self.postgres.dsn(user), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def looker_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    data = tmp_path_factory.mktemp("looker")
    base = free_base(24000)
    warehouse = load_accounts(data, base).warehouse
    postgres = EmbeddedPostgres(data / "postgres", base + 15, warehouse)
    with postgres, SandboxServer(data, classes=[LookerSandbox]) as server:
        yield Cloud(server, postgres)


@pytest.fixture(name="cloud")
def looker_cloud(looker_parts: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty schema, no faults, default knobs, and the environment that leads clients to the sandbox."""
    for name in inherited_variables():
        monkeypatch.delenv(name)
    for name, value in looker_parts.server.environment().items():
        monkeypatch.setenv(name, value)
    yield looker_parts
    looker_parts.server.reset()
    for name, kind in looker_parts.sql(
        "SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'bi' AND c.relkind IN ('r', 'v')"
        " AND c.relname NOT IN ('_bi_chunks', '_bi_publications') ORDER BY c.relkind DESC"
    ):
        looker_parts.sql(f'DROP {kind} IF EXISTS bi."{name}" CASCADE')


class LossyLink:
    """A port that leads to Postgres, and cuts the connection once after the client sent `cut_after` and it took effect."""

    def __init__(self, port: int, cut_after: bytes) -> None:
        self._target = ("127.0.0.1", port)
        self._cut_after = cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0

    def __enter__(self) -> LossyLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
                threading.Thread(target=self._pump_and_cut, args=(client, server), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.cuts == 1 and sink.fileno() == -1:
                    return
                sink.sendall(data)

    def _pump_and_cut(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.cuts == 0 and self._cut_after in data:
                    self.cuts = 1
                    client.shutdown(socket.SHUT_WR)  # the answer finds no way back
                    client.close()
                    server.sendall(data)
                    time.sleep(0.3)
                    server.close()
                    return
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.close()
