"""Who notices are sent to: Slack's incoming webhooks, and a webhook receiver that checks signatures as a careful one does.

Slack: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, and for its refusals
api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks. The receiver is nobody's in particular; what it asks for is
written down in README, "Notices".
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, ClassVar

from ._base import BadJson, Request, Response, Sandbox, SandboxContext, VendorError, route

SIGNATURE = "bi-connectors-signature"


class Receivers(Sandbox):
    """Takes notices and keeps them; `GET /receivers/notices` of the admin API shows what came, in order."""

    name = "receivers"
    hosts = ("hooks.slack.com", "hooks.example.org")
    default_settings: ClassVar = {"secret": "", "tolerance_s": 300}

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.db.execute("CREATE TABLE IF NOT EXISTS received (number INTEGER PRIMARY KEY, line TEXT NOT NULL)")

    @route("POST", "/services/<team>/<hook>/<token>")
    def slack(self, request: Request, **_: str) -> Response:
        """An incoming webhook: a JSON object with a text that is not empty."""
        try:
            message = request.json()
        except BadJson:
            message = None
        if not isinstance(message, dict):
            return Response(400, "invalid_payload")
        text = message.get("text")
        if not isinstance(text, str) or not text:
            return Response(400, "no_text")
        self._keep(request, message)
        return Response(200, "ok")

    @route("POST", "/notices/<name>")
    def notice(self, request: Request, **_: str) -> Response:
        """A receiver of signed notices. Without the knob `secret` it believes whoever calls."""
        if secret := str(self.settings["secret"]):
            self._check(request, secret)
        self._keep(request, request.json())
        return Response(204)

    def admin(self, request: Request, path: str) -> Response | None:
        if (request.method, path) == ("GET", "notices"):
            return Response(200, {"notices": self.received()})
        if (request.method, path) == ("DELETE", "notices"):
            self.forget()
            return Response(204)
        return None

    def received(self) -> list[dict[str, Any]]:
        """What was taken, in order: host, path, headers (names in lower case) and body of each."""
        with self.lock:
            rows = self.db.execute("SELECT line FROM received ORDER BY number").fetchall()
        return [json.loads(row["line"]) for row in rows]

    def forget(self) -> None:
        """Forget what was taken."""
        with self.transaction() as db:
            db.execute("DELETE FROM received")

    def _check(self, request: Request, secret: str) -> None:
        """Refuse what was not signed with the secret a short while ago."""
        parts = dict(part.partition("=")[::2] for part in request.headers.get(SIGNATURE, "").split(","))
        at, told = parts.get("t", ""), parts.get("v1", "")
        wanted = hmac.new(secret.encode(), at.encode() + b"." + request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, told):
            raise VendorError(Response(401, "the signature is not ours"))
        tolerance_s = float(self.settings["tolerance_s"])
        if tolerance_s and not abs(self.clock.now().timestamp() - int(at)) <= tolerance_s:
            raise VendorError(Response(401, "the signature is too old"))

    def _keep(self, request: Request, body: Any) -> None:
        kept = {"host": request.host, "path": request.path, "headers": dict(request.headers), "body": body}
        with self.transaction() as db:
            db.execute("INSERT INTO received (line) VALUES (?)", (json.dumps(kept),))
