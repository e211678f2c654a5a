"""A world whose connectors are the real ones, on the sandboxes of the vendors and on their clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from infra.local.sandboxes.server import SandboxServer
from infra.local.try_it import connector_bodies
from shared.connectors._base import Runtime
from shared.services.connectors import Connectors
from tests.conformance.connectors.looker_support import LOOKER
from tests.fakes.stores import FakeClock, InMemoryStores
from tests.functional.conftest import ENVIRONMENT, World

API = "/api/bi-connectors"


class SandboxTime(FakeClock):
    """The clock of the sandboxes; `sleep` moves it."""

    def __init__(self, server: SandboxServer) -> None:
        self._server = server

    def now(self) -> datetime:
        return self._server.clock.now()

    def sleep(self, seconds: float) -> None:
        self._server.clock.advance(max(0.0, seconds))


class LinkedWorld(World):
    """A world with one connector, and what its refreshes come to."""

    def __init__(self, server: SandboxServer, kind: str, **changes: Any) -> None:
        super().__init__(dict(ENVIRONMENT), InMemoryStores(clock=SandboxTime(server)))
        runtime = Runtime(self.fakes.clock, ("127.0.0.1",), looker=LOOKER)
        self.services.__dict__["connectors"] = Connectors(self.services.stores, "bi", runtime)
        body = {**connector_bodies(server.accounts)[kind], **changes}
        answer = self.call("register", "POST", f"{API}/register", body)
        assert answer.status == 201, answer.body
        self.connector = str(answer.body["name"])

    def start(self, options: dict[str, Any] | None = None, timeout: str | None = None) -> str:
        body = {"options": options or {}, **({"timeout": timeout} if timeout else {})}
        answer = self.call("refresh", "POST", f"{API}/{self.connector}/refresh", body)
        assert answer.status == 202, answer.body
        return str(answer.body["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body)

    def ended(self, options: dict[str, Any] | None = None, timeout: str | None = None) -> dict[str, Any]:
        """Return a refresh that was followed to its end."""
        run_id = self.start(options, timeout)
        self.work()
        return self.run(run_id)


def end(run: dict[str, Any]) -> tuple[str, str | None]:
    """Return (status, error code) of a run."""
    return run["status"], (run["error"] or {}).get("code")
