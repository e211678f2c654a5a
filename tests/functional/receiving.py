"""A world whose notices go over HTTPS to the sandbox of the receivers, and what came there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.local.sandboxes.proxy import SANDBOX_ADDRESS
from infra.local.sandboxes.receivers import Receivers
from infra.local.sandboxes.server import SandboxServer
from shared.ports import Query
from shared.services.notices import announce
from tests.functional.conftest import Answer, World

API = "/api/bi-connectors"
SECRET = "canary-of-a-channel-0123456789abcdef"
WEBHOOK = {"type": "webhook", "url": "https://hooks.example.org/notices/bi", "secret": SECRET}
SLACK = {"type": "slack", "url": "https://hooks.slack.com/services/T0AAAA/B0BBBB/canary-of-slack"}
REACHING = {
    "NOTICE_HOSTS": "hooks.slack.com,hooks.example.org",
    "RESOLVER_TABLE": f"hooks.slack.com={SANDBOX_ADDRESS},hooks.example.org={SANDBOX_ADDRESS}",
}
"""Settings with which a world's notices reach the sandbox."""


@dataclass
class Told:
    """A world, and who is told."""

    world: World
    server: SandboxServer

    def put(self, name: str, body: dict[str, Any], **headers: str) -> Answer:
        return self.world.call("register", "PUT", f"{API}/channels/{name}", body, **headers)

    def change(self, event: str = "freshness.late", message: str = "26 hours old", schedule_id: str = "s1") -> None:
        """Let something change of which people are to hear, a moment after what was before."""
        self.world.fakes.clock.sleep(1)
        subject = {"schedule_id": schedule_id, "connector_name": "ymca_sheets", "table_name": "people"}
        now = self.world.fakes.clock.now()
        self.world.fakes.documents.transact(lambda tx: announce(tx, event, now, message, subject))

    def received(self) -> list[dict[str, Any]]:
        """Return what came, in order: host, path, headers and body of each."""
        sandbox = self.server.sandbox("receivers")
        assert isinstance(sandbox, Receivers)
        return sandbox.received()

    def events(self) -> list[str]:
        return [one["body"]["event"] for one in self.received()]

    def asked(self) -> int:
        """Return how often a receiver was called, taken or not."""
        return int(self.server.calls("receivers")["total"])

    def refuse(self, status: int, body: str = "", times: int = 1, **headers: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.server.fault(vendor="receivers", kind="status", status=status, body=body, times=times, headers=sent)

    def delivery(self, channel: str = "on_call") -> dict[str, Any]:
        """Return how the newest notice stands with a channel, as the API shows it."""
        newest = self.world.call("refresh", "GET", f"{API}/notices").body["notices"][0]
        return dict(newest["deliveries"][channel])

    def are_open(self) -> list[str]:
        query = Query("notices", (("open", "==", True),))
        return [item.data["event"] for item in self.world.fakes.documents.query(query)]

    def lose_tasks(self) -> None:
        """Let the process die between the commit and its tasks."""
        self.world.fakes.tasks.pending.clear()
