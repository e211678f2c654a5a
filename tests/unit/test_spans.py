"""Spans: in the caller's trace, sent before the request is answered, and nothing of OpenTelemetry where they are off."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared import telemetry
from shared.spans import Spans
from tests.unit.test_architecture import REQUEST, modules_after

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP endpoint that keeps what it gets, or refuses it."""

    got: list[ExportTraceServiceRequest]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.got.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def collector() -> Iterator[type[Collector]]:
    handler = type("Handler", (Collector,), {"got": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    telemetry.export_spans_to(Spans(f"http://127.0.0.1:{server.server_address[1]}/v1/traces", "fake"))
    yield handler
    telemetry._exporters.clear()
    server.shutdown()
    thread.join()
    server.server_close()


def spans(collector: type[Collector]) -> dict[str, object]:
    """Return the spans that came, by name."""
    return {
        span.name: span
        for request in collector.got
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_spans_are_sent_before_the_request_is_answered_and_join_the_callers_trace(collector: type[Collector]) -> None:
    with telemetry.request_span("POST export", {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}):
        with telemetry.span("enqueue", "producer", queue="bi-export"):
            hop = telemetry.traceparent()
        assert collector.got == []
    found = spans(collector)
    server, producer = found["POST export"], found["enqueue"]
    assert server.trace_id.hex() == producer.trace_id.hex() == TRACE  # type: ignore[attr-defined]
    assert server.parent_span_id.hex() == "b7ad6b7169203331"  # type: ignore[attr-defined]
    assert producer.parent_span_id == server.span_id  # type: ignore[attr-defined]
    assert hop == f"00-{TRACE}-{producer.span_id.hex()}-01"  # type: ignore[attr-defined]


def test_the_next_hop_is_below_what_enqueued_it(collector: type[Collector]) -> None:
    with telemetry.request_span("one", {}), telemetry.span("enqueue", "producer"):
        hop = telemetry.traceparent()
    with telemetry.request_span("two", {"traceparent": str(hop)}):
        pass
    found = spans(collector)
    assert found["two"].parent_span_id == found["enqueue"].span_id  # type: ignore[attr-defined]
    assert found["two"].trace_id == found["one"].trace_id  # type: ignore[attr-defined]


def test_a_trace_that_nobody_samples_is_not_sent_but_goes_on(collector: type[Collector]) -> None:
    with telemetry.request_span("quiet", {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}):
        assert str(telemetry.traceparent()).endswith("-00")
    assert collector.got == []


def test_a_failure_is_an_error_of_the_span(collector: type[Collector]) -> None:
    with pytest.raises(ValueError, match="no"), telemetry.request_span("fails", {}):
        raise ValueError("no")
    assert spans(collector)["fails"].status.code == 2  # type: ignore[attr-defined]


def test_a_collector_that_refuses_costs_no_request(
    collector: type[Collector], capsys: pytest.CaptureFixture[str]
) -> None:
    collector.status = 400
    with telemetry.request_span("lost", {}):
        pass
    assert "spans_lost" in capsys.readouterr().out


def test_googles_own_header_is_understood() -> None:
    with telemetry.request_span("one", {"X-Cloud-Trace-Context": f"{TRACE}/123;o=1"}) as span:
        assert (span.trace_id, span.parent_id) == (TRACE, "000000000000007b")


def test_a_header_that_is_none_begins_a_new_trace() -> None:
    with telemetry.request_span("one", {"traceparent": "00-zz-1-01"}) as span:
        assert span.parent_id is None
        assert len(span.trace_id) == 32


def test_nothing_of_opentelemetry_is_imported_where_spans_are_off() -> None:
    loaded = modules_after(REQUEST.format(name="register"))
    assert not [name for name in loaded if name.startswith("opentelemetry")]
