"""Structured logs, one JSON line an event on standard output, which Cloud Logging reads as it is; and the trace that joins them.

A request takes up the trace of its caller (`traceparent`, as Cloud Tasks brings back what `enqueue` sent) or begins one, so all
lines of a job, over all its tasks, are one trace. With `TRACE_EXPORT_URL`, `shared.spans` also sends the spans themselves.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol

from shared.redaction import redact

CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))
"""Fields that every event of the present request carries: request_id, job_id. Set with `bind`."""

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_CLOUD_TRACE = re.compile(r"^([0-9a-f]{32})(?:/(\d+))?(?:;o=(\d))?$")
_TRACE = "logging.googleapis.com/trace"


@dataclass(frozen=True)
class Span:
    """A stretch of work. `kind` is `server`, `client` or `producer`; times are Unix nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool
    started_ns: int
    attributes: dict[str, Any] = field(default_factory=dict)


class Headers(Protocol):
    """A request's headers, whatever the case of their names."""

    def get(self, name: str, default: str, /) -> str: ...


class Exporter(Protocol):
    """Where finished spans go; `shared.spans.Spans`."""

    def add(self, span: Span, ended_ns: int, error: str | None) -> None: ...

    def flush(self) -> None: ...


_SPAN: ContextVar[Span | None] = ContextVar("span", default=None)
_exporters: list[Exporter] = []


def export_spans_to(exporter: Exporter) -> None:
    """Hand every finished span to `exporter` from now on; called once, when the settings are first read."""
    _exporters[:] = [exporter]


def log_event(event: str, *, severity: str = "INFO", **fields: Any) -> None:
    """Write one event. Values must be JSON values and must not hold secrets; `redaction` removes known ones all the same."""
    line = {"severity": severity, "message": event, "time": datetime.now(UTC).isoformat(), **CONTEXT.get(), **fields}
    if span := _SPAN.get():
        project = line.pop("project", None)
        line[_TRACE] = f"projects/{project}/traces/{span.trace_id}" if project else span.trace_id
        line["logging.googleapis.com/spanId"] = span.span_id
        line["logging.googleapis.com/trace_sampled"] = span.sampled
    if job_id := line.get("job_id"):
        line["logging.googleapis.com/labels"] = {"job_id": str(job_id)}
    sys.stdout.write(redact(json.dumps(line, default=str, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def bind(**fields: Any) -> None:
    """Add fields to every later event of this request. `project` makes the trace's name whole."""
    CONTEXT.set({**CONTEXT.get(), **fields})


def clear() -> None:
    """Forget the bound fields; called when a request ends, because threads are reused."""
    CONTEXT.set(MappingProxyType({}))


@contextmanager
def request_span(name: str, headers: Headers) -> Iterator[Span]:
    """The span of one request, in the trace that its headers name, else in a new one; its spans are sent before it returns."""
    trace_id, parent, sampled = _parent_of(headers)
    try:
        with _running(_span(name, "server", trace_id or secrets.token_hex(16), parent, sampled=sampled)) as span:
            yield span
    finally:
        for exporter in _exporters:
            exporter.flush()


@contextmanager
def span(name: str, kind: str = "client", **attributes: Any) -> Iterator[Span | None]:
    """A span inside the present one; outside of any request, nothing."""
    outer = _SPAN.get()
    if outer is None:
        yield None
        return
    inner = _span(name, kind, outer.trace_id, outer.span_id, sampled=outer.sampled)
    inner.attributes.update(attributes)
    with _running(inner) as running:
        yield running


def traceparent() -> str | None:
    """Return the header that joins the next hop to this trace, None outside of any request."""
    present = _SPAN.get()
    return f"00-{present.trace_id}-{present.span_id}-{'01' if present.sampled else '00'}" if present else None


@contextmanager
def _running(span: Span) -> Iterator[Span]:
    token = _SPAN.set(span)
    error = None
    try:
        yield span
    except BaseException as exc:
        error = type(exc).__name__
        raise
    finally:
        _SPAN.reset(token)
        for exporter in _exporters:
            exporter.add(span, time.time_ns(), error)


def _span(name: str, kind: str, trace_id: str, parent_id: str | None, *, sampled: bool) -> Span:
    return Span(name, kind, trace_id, secrets.token_hex(8), parent_id, sampled, time.time_ns())


def _parent_of(headers: Headers) -> tuple[str | None, str | None, bool]:
    """Return (trace, span, sampled) of the caller. Google's front ends send both headers; W3C's comes first."""
    if found := _TRACEPARENT.match(headers.get("traceparent", "")):
        return found.group(1), found.group(2), bool(int(found.group(3), 16) & 1)
    if found := _CLOUD_TRACE.match(headers.get("X-Cloud-Trace-Context", "")):
        parent = format(int(found.group(2)), "016x") if found.group(2) else None
        return found.group(1), parent, found.group(3) != "0"
    return None, None, True
