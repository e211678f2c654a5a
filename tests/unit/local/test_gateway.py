"""The gateway over real sockets, in front of small servers that stand for the functions."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.local import gateway as front
from infra.local.cloud_run import CloudRun
from infra.local.emulators.identity import TokenSigner
from infra.local.forwarding import BadBodyError, read_chunked, read_exactly
from infra.local.gateway import Functions
from infra.local.ports import free_base

BIG = bytes(range(256)) * 4096


class Function(BaseHTTPRequestHandler):
    """Answers with what it was asked; `/api/things/big` streams a body of unknown length."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.path == "/openapi.json":
            self._send(
                {
                    "openapi": "3.1.0",
                    "info": {"title": "things", "version": "7.1"},
                    "paths": {"/api/things/{id}": {"get": {}, "post": {}}, "/internal/run": {"post": {}}},
                }
            )
        elif self.path == "/health":
            self._send({"status": "ok"})
        elif self.path == "/api/things/big":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(BIG), 100_000):
                part = BIG[start : start + 100_000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/api/things/refused":
            self.send_response(413)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
        elif self.path == "/api/things/gone":
            self.send_response(204)
            self.end_headers()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b"".join(read_chunked(self.rfile))
            self._send(
                {"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "length": len(body)}
            )

    # http.server finds handlers by these names
    do_GET = do_POST = do_HEAD = do_TRACE = do_QUERY = _answer  # noqa: N815

    def _send(self, value: dict[str, Any]) -> None:
        payload = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def function() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Function)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> TokenSigner:
    return TokenSigner(tmp_path_factory.mktemp("identity") / "key.pem")


@pytest.fixture
def cloud_run(signer: TokenSigner) -> CloudRun:
    return CloudRun(signer, {"export": "http://export"})


@pytest.fixture(params=["origin", "service"])
def served(
    request: pytest.FixtureRequest, function: ThreadingHTTPServer, cloud_run: CloudRun
) -> Iterator[http.client.HTTPConnection]:
    """The gateway, and the function's own URL."""
    functions = Functions({"export": f"http://127.0.0.1:{function.server_address[1]}"})
    if request.param == "origin":
        server = front.gateway(0, functions, cloud_run)
    else:
        server = front.service(0, "export", functions, cloud_run)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()


@pytest.fixture
def gateway(function: ThreadingHTTPServer, cloud_run: CloudRun) -> Iterator[http.client.HTTPConnection]:
    server = front.gateway(0, Functions({"export": f"http://127.0.0.1:{function.server_address[1]}"}), cloud_run)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()


def call(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    payload = answer.read()
    return answer.status, json.loads(payload) if payload[:1] == b"{" else payload


def test_a_request_reaches_the_function_with_forwarding_headers_and_without_hop_by_hop_ones(
    gateway: http.client.HTTPConnection,
) -> None:
    status, seen = call(
        gateway,
        "POST",
        "/api/things/7?wait=1s",
        b"hello",
        Connection="keep-alive, X-Secret-Hop",
        X_Secret_Hop="1",
        X_Kept="2",
    )

    assert status == 200
    assert (seen["method"], seen["path"], seen["length"]) == ("POST", "/api/things/7?wait=1s", 5)
    assert seen["headers"]["X-Kept"] == "2"
    assert seen["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert seen["headers"]["X-Forwarded-Host"] == f"127.0.0.1:{gateway.port}"
    assert "X-Secret-Hop" not in seen["headers"]


@pytest.mark.parametrize("path", ["/api/things/7", "/openapi.json", "/health"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "[::"])
def test_a_name_that_was_made_to_lead_here_is_refused(served: http.client.HTTPConnection, path: str, host: str) -> None:
    status, problem = call(served, "GET", path, Host=host)
    assert (status, problem["code"]) == (403, "forbidden")
    for own in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert call(served, "GET", path, Host=own)[0] == 200


def test_a_chunked_body_passes_through(gateway: http.client.HTTPConnection) -> None:
    status, seen = call(gateway, "POST", "/api/things/7", iter([b"a" * 70_000, b"b" * 70_000]))

    assert (status, seen["length"]) == (200, 140_000)


def test_an_answer_of_unknown_length_passes_through_unchanged(gateway: http.client.HTTPConnection) -> None:
    assert call(gateway, "GET", "/api/things/big") == (200, BIG)


def test_the_connection_is_good_for_the_next_request_after_answers_without_a_body(
    gateway: http.client.HTTPConnection,
) -> None:
    assert call(gateway, "GET", "/api/things/gone") == (204, b"")
    assert call(gateway, "HEAD", "/api/things/7") == (200, b"")
    assert call(gateway, "GET", "/api/things/7")[0] == 200


def test_an_answer_before_the_body_was_read_does_not_turn_the_body_into_a_request(
    gateway: http.client.HTTPConnection,
) -> None:
    assert call(gateway, "POST", "/internal/run", b"GET /api/things/7 HTTP/1.1\r\n\r\n")[0] == 404
    assert call(gateway, "GET", "/api/things/7")[0] == 200


@pytest.mark.parametrize("path", ["/internal/run", "/%69nternal/run", "//internal/run"])
def test_internal_paths_are_not_forwarded(gateway: http.client.HTTPConnection, path: str) -> None:
    status, problem = call(gateway, "POST", path)

    assert (status, problem["code"]) == (404, "route_not_found")


def test_a_method_that_the_gateway_does_not_know_is_the_functions_to_refuse(
    gateway: http.client.HTTPConnection,
) -> None:
    assert call(gateway, "QUERY", "/api/things/7")[1]["method"] == "QUERY"
    status, problem = call(gateway, "QUERY", "/api/nothing")
    assert (status, problem["code"]) == (404, "route_not_found")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET /health HTTP/x\r\n\r\n", 400),
        (b"GET /health HTTP/3.0\r\n\r\n", 505),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_in_our_form(
    gateway: http.client.HTTPConnection, sent: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as raw:
        raw.sendall(sent)
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        problem = json.loads(answer.read())
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert (problem["code"], problem["type"], problem["retryable"]) == (
            "invalid_request",
            "/problems/invalid_request",
            False,
        )
        assert raw.recv(1) == b""


def test_an_unknown_path_is_a_problem_that_says_where_the_paths_are(gateway: http.client.HTTPConnection) -> None:
    status, problem = call(gateway, "GET", "/api/nothing")

    assert (status, problem["code"], problem["retryable"]) == (404, "route_not_found", False)
    assert "/openapi.json" in problem["detail"]


def test_the_merged_document_has_public_paths_only(gateway: http.client.HTTPConnection) -> None:
    status, document = call(gateway, "GET", "/openapi.json")

    assert (status, list(document["paths"])) == (200, ["/api/things/{id}"])


def test_a_token_reaches_the_function_without_its_signature(
    served: http.client.HTTPConnection, signer: TokenSigner
) -> None:
    token = signer.id_token("http://export", "ada@example.org", datetime.now(UTC))
    for header in ("Authorization", "X-Serverless-Authorization"):
        status, seen = call(served, "GET", "/api/things/7", **{header: f"Bearer {token}"})
        assert status == 200
        assert seen["headers"][header] == f"Bearer {token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"
    assert call(served, "GET", "/api/things/7")[0] == 200


def test_a_forged_token_does_not_reach_the_function(served: http.client.HTTPConnection, signer: TokenSigner) -> None:
    token = signer.id_token("http://export", "ada@example.org", datetime.now(UTC))
    forged = f"{token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"
    status, problem = call(served, "GET", "/api/things/7", Authorization=f"Bearer {forged}")
    assert (status, problem["code"], problem["status"]) == (401, "unauthenticated", 401)


def test_a_functions_own_url_hands_on_every_path(function: ThreadingHTTPServer, cloud_run: CloudRun) -> None:
    containers = Functions({"export": f"http://127.0.0.1:{function.server_address[1]}"})
    server = front.service(0, "export", containers, cloud_run)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        status, seen = call(connection, "POST", "/internal/run?x=1", b"body")
        assert (status, seen["path"], seen["length"]) == (200, "/internal/run?x=1", 4)
    finally:
        connection.close()
        server.shutdown()
        server.server_close()


def test_a_function_that_goes_down_is_a_502_and_unhealthy_and_recovers(
    function: ThreadingHTTPServer, cloud_run: CloudRun
) -> None:
    port = free_base(start=24_000)
    server = front.gateway(0, Functions({"export": f"http://127.0.0.1:{port}"}), cloud_run)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        status, problem = call(connection, "GET", "/api/things/7")
        assert (status, problem["code"], problem["retryable"]) == (502, "function_unreachable", True)
        assert "export" in problem["detail"]
        assert call(connection, "GET", "/health") == (
            503,
            {"status": "failing", "function": "gateway", "version": "unknown", "functions": {"export": "unreachable"}},
        )
    finally:
        connection.close()
        server.shutdown()
        server.server_close()


def test_health_is_ok_when_every_function_is(gateway: http.client.HTTPConnection) -> None:
    call(gateway, "GET", "/openapi.json")
    expected = {"status": "ok", "function": "gateway", "version": "7.1", "functions": {"export": "ok"}}
    assert call(gateway, "GET", "/health") == (200, expected)


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/api/other", "/api/things/a%2Fb"])
def test_the_gateways_own_answers_carry_the_request_id(gateway: http.client.HTTPConnection, path: str) -> None:
    for sent, expected in (("seven-7", "seven-7"), ("two words", "[0-9a-f]{32}"), ("", "[0-9a-f]{32}")):
        gateway.request("GET", path, headers={"X-Request-Id": sent})
        answer = gateway.getresponse()
        answer.read()
        assert re.fullmatch(expected, answer.headers["X-Request-Id"])


def test_a_trace_is_refused_by_the_function_and_not_as_a_fault(gateway: http.client.HTTPConnection) -> None:
    status, seen = call(gateway, "TRACE", "/api/things/7")
    assert (status, seen["method"]) == (200, "TRACE")  # this function answers anything; a real one 405


class Bytes:
    """A stream over given bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1, /) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def readline(self, limit: int = -1, /) -> bytes:
        end = self._data.find(b"\n") + 1 or len(self._data)
        return self.read(min(end, limit))


def test_a_chunked_body_that_ends_early_or_has_no_size_is_refused() -> None:
    assert b"".join(read_chunked(Bytes(b"3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"))) == b"abc"
    for broken in (b"zz\r\nabc", b"", b"5\r\nab"):
        with pytest.raises(BadBodyError):
            list(read_chunked(Bytes(broken)))


def test_a_body_shorter_than_announced_is_refused() -> None:
    with pytest.raises(BadBodyError):
        list(read_exactly(Bytes(b"abc"), 4))
