"""What a notice looks like on its way out: signed JSON for a webhook, a message for Slack."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

SIGNATURE = "BI-Connectors-Signature"
Form = tuple[bytes, dict[str, str]]
"""A body and its headers."""
_HEADERS = {"Content-Type": "application/json"}


def webhook(notice: Mapping[str, Any], secret: str, now: datetime) -> Form:
    """Return the notice as JSON, signed: `t=<Unix seconds>,v1=<hex>`, the HMAC-SHA256 of `<t>.<body>` by the channel's secret.

    `id` is the same however often a notice is sent, `t` is of this sending.
    """
    shown = {name: notice[name] for name in ("id", "event", "at", "message", "subject")}
    body = json.dumps(shown, default=_rfc3339, separators=(",", ":")).encode()
    at = int(now.timestamp())
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {**_HEADERS, SIGNATURE: f"t={at},v1={digest}"}


def slack(notice: Mapping[str, Any]) -> Form:
    """Return the notice as a message of an incoming webhook. Form: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
    subject = ", ".join(f"{name}: {value}" for name, value in notice["subject"].items() if value is not None)
    lines = (f"*{_escaped(notice['event'])}* {_escaped(notice['message'])}", _escaped(subject))
    text = "\n".join((*lines, f"{_rfc3339(notice['at'])}, notice {notice['id']}"))
    return json.dumps({"text": text}).encode(), dict(_HEADERS)


def _escaped(text: str) -> str:
    """Return text without Slack's control characters, so that no name or vendor's message makes a link or calls people."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
