"""Every exchange with a sandbox: a log in JSON lines and counts, without secrets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ._base import BadJson, Request
from .clock import SandboxClock

MAX_PARSED_BYTES = 2_000_000  # a larger body that its handler did not parse itself is logged by its size only
MAX_LOGGED_BYTES = 256_000  # of a larger body, lists keep their first 50 items
KEPT_ITEMS = 50
_REDACTED = "(redacted)"
_SECRET_HEADERS = frozenset(
    {"authorization", "x-serverless-authorization", "proxy-authorization", "cookie", "set-cookie"}
)
_SECRET_PATHS = frozenset({"hooks.slack.com"})
"""Hosts where whoever knows an address may use it: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
_SECRET_FIELDS = frozenset(
    {"client_secret", "client_assertion", "assertion", "access_token", "refresh_token", "id_token", "password"}
)


@dataclass(frozen=True)
class Exchange:
    """One request and the answer to it, as it happened.

    `fault` is the id of a fault that struck; `status` is 0 where the connection was reset before the handler ran.
    """

    vendor: str
    route: str
    request: Request
    status: int
    response_headers: Mapping[str, str]
    response_body: bytes
    fault: str | None


class TrafficLog:
    """Appends to `traffic.jsonl` (0600, never rotated) and counts since its start. Thread-safe.

    `at` is when an exchange ended, on the sandbox clock; it grows from line to line, so that a reader can go on
    after the last one it has seen.
    """

    def __init__(self, path: Path, clock: SandboxClock, *, enabled: bool = True) -> None:
        self.path = path
        self.enabled = enabled
        self._clock = clock
        self._last = datetime.min.replace(tzinfo=UTC)
        self._is_closed = False
        self._guard = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._counts: dict[str, dict[str, Any]] = {}

    def record(self, exchange: Exchange) -> None:
        """Count one exchange and, where the log is on, append it."""
        line = orjson.dumps(_as_line(exchange)) if self.enabled else b""
        with self._guard:
            if self._is_closed:
                return
            self._count(exchange)
            if line:
                self._last = max(self._clock.now(), self._last + timedelta(microseconds=1))
                self._append(b'{"at":"%s",%s\n' % (_text(self._last).encode(), line[1:]))

    def counts(self) -> dict[str, dict[str, Any]]:
        """By vendor: `{"total", "bytes_in", "bytes_out", "routes": {route: {status: n}}}`; only vendors that were called."""
        with self._guard:
            counts: dict[str, dict[str, Any]] = orjson.loads(orjson.dumps(self._counts))
        return counts

    def read(self, vendor: str | None = None, since: str | None = None) -> Iterator[dict[str, Any]]:
        """Logged exchanges in order, of one vendor, and with `at` after `since` (RFC 3339).

        Raises:
            ValueError: `since` is not a time.
        """
        after = _text(datetime.fromisoformat(since).astimezone(UTC)) if since else ""
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                entry = orjson.loads(line)
                if (vendor is None or entry["vendor"] == vendor) and entry["at"] > after:
                    yield entry

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._file)

    def _append(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._file, line) :]

    def _count(self, exchange: Exchange) -> None:
        counts = self._counts.setdefault(exchange.vendor, {"total": 0, "bytes_in": 0, "bytes_out": 0, "routes": {}})
        counts["total"] += 1
        counts["bytes_in"] += len(exchange.request.body)
        counts["bytes_out"] += len(exchange.response_body)
        statuses = counts["routes"].setdefault(exchange.route, {})
        statuses[str(exchange.status)] = statuses.get(str(exchange.status), 0) + 1


def _text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _as_line(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    response_type = next((v for k, v in exchange.response_headers.items() if k.lower() == "content-type"), "")
    line = {
        "vendor": exchange.vendor,
        "method": request.method,
        "host": request.host,
        "path": request.path,
        "route": exchange.route,
        "query": {name: values if len(values) > 1 else values[0] for name, values in _query(request).items()},
        "request_headers": {k: v for k, v in request.headers.items() if k not in _SECRET_HEADERS},
        "request_body": _request_body(request),
        "status": exchange.status,
        "response_headers": {k: v for k, v in exchange.response_headers.items() if k.lower() not in _SECRET_HEADERS},
        "response_body": _body(exchange.response_body, response_type),
        "bytes_in": len(request.body),
        "bytes_out": len(exchange.response_body),
        "fault": exchange.fault,
    }
    if request.host in _SECRET_PATHS:
        line |= {"path": _REDACTED, "response_body": _REDACTED}  # an answer may quote the path
    if len(request.body) > MAX_LOGGED_BYTES:
        line["request_body_truncated"] = True
    if len(exchange.response_body) > MAX_LOGGED_BYTES:
        line["response_body_truncated"] = True
    return line


def _query(request: Request) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in request.query_pairs:
        values.setdefault(name, []).append(_REDACTED if name in _SECRET_FIELDS else value)
    return values


def _request_body(request: Request) -> Any:
    if len(request.body) > MAX_LOGGED_BYTES and "_json" in vars(request):  # parsed by its handler: no second parse
        return _clean(request.json())
    return _body(request.body, request.headers.get("content-type", ""))


def _body(body: bytes, content_type: str) -> Any:
    if not body or len(body) > MAX_PARSED_BYTES:
        return None
    if "x-www-form-urlencoded" in content_type:
        return _clean(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))
    if "json" in content_type or body[:1] in b"{[":
        try:
            parsed = Request("POST", "", "", body=body).json()
        except BadJson:
            return body[:MAX_LOGGED_BYTES].decode("utf-8", "replace")
        return _clean(parsed, None if len(body) <= MAX_LOGGED_BYTES else KEPT_ITEMS)
    return body[:MAX_LOGGED_BYTES].decode("utf-8", "replace")


def _clean(value: Any, kept_items: int | None = KEPT_ITEMS) -> Any:
    """Redact secret fields and cut lists to `kept_items`."""
    if isinstance(value, dict):
        return {
            key: _REDACTED if key in _SECRET_FIELDS and isinstance(item, str) else _clean(item, kept_items)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_clean(item, kept_items) for item in value[:kept_items]]
    return value
