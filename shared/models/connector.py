"""Connectors and their connection tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """A registered connector without its secrets. `config` is the kind's configuration; `capabilities` what it can do."""

    name: str
    connector_type: str
    config: dict[str, Any]
    capabilities: dict[str, Any]
    credentials: str
    """Secret Manager version that holds the credentials: a name, never a value."""
    created_at: datetime
    updated_at: datetime
    last_test: dict[str, Any] | None = None


class ConnectorPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of connectors by name; `next_page_token` is null on the last page."""

    connectors: list[Connector]
    next_page_token: str | None = None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One named step of a connection test."""

    name: str
    ok: bool
    latency_ms: float
    message: str


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """A connection test: `ok` only if every check is."""

    connector_name: str
    ok: bool
    checks: list[CheckResult]
    latency_ms: float
    tested_at: datetime


class TestAllResult(msgspec.Struct, frozen=True, kw_only=True):
    """All connectors, tested side by side in time, by name."""

    ok: bool
    results: list[TestResult]
