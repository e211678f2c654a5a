"""Sends spans with OpenTelemetry's exporter over OTLP. Imported only where `TRACE_EXPORT_URL` is set: the SDK costs cold start.

An instance has no time of its own after the response, so a request's spans are sent before it is answered, two seconds at most;
what cannot be sent by then is dropped and said.
"""

from __future__ import annotations

import queue
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.telemetry import Span, log_event

TIMEOUT_S = 2
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}


class Spans:
    """`telemetry.Exporter` to one OTLP endpoint. Google's asks for an access token of the function's service account."""

    def __init__(self, url: str, project: str) -> None:
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=TIMEOUT_S, session=_session(url))
        self._resource = Resource({"service.name": "bi-connectors", "gcp.project_id": project})
        self._waiting: queue.SimpleQueue[ReadableSpan] = queue.SimpleQueue()

    def add(self, span: Span, ended_ns: int, error: str | None) -> None:
        if span.sampled:
            self._waiting.put(self._readable(span, ended_ns, error))

    def flush(self) -> None:
        waiting = [self._waiting.get() for _ in range(self._waiting.qsize())]
        if waiting and self._exporter.export(waiting) is not SpanExportResult.SUCCESS:
            log_event("spans_lost", severity="WARNING", spans=len(waiting))

    def _readable(self, span: Span, ended_ns: int, error: str | None) -> ReadableSpan:
        parent = _context(span.trace_id, span.parent_id) if span.parent_id else None
        return ReadableSpan(
            span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            resource=self._resource,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=span.started_ns,
            end_time=ended_ns,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _session(url: str) -> Any:
    if not (urlsplit(url).hostname or "").endswith(".googleapis.com"):
        return None
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
