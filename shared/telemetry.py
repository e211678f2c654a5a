"""Structured logs: one JSON line an event on standard output, which Cloud Logging reads as it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from shared.redaction import redact

CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))
"""Fields that every event of the present request carries: request_id, job_id, trace. Set with `bind`."""


def log_event(event: str, *, severity: str = "INFO", **fields: Any) -> None:
    """Write one event. Values must be JSON values and must not hold secrets; `redaction` removes known ones all the same."""
    line = {"severity": severity, "message": event, "time": datetime.now(UTC).isoformat(), **CONTEXT.get(), **fields}
    sys.stdout.write(redact(json.dumps(line, default=str, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def bind(**fields: Any) -> None:
    """Add fields to every later event of this request."""
    CONTEXT.set({**CONTEXT.get(), **fields})


def clear() -> None:
    """Forget the bound fields; called when a request ends, because threads are reused."""
    CONTEXT.set(MappingProxyType({}))
