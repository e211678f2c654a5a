"""Hands requests on to the functions' containers, bodies as streams in both directions, past Cloud Run's check of the caller."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol
from urllib.parse import unquote, urlsplit

import urllib3

from infra.local.cloud_run import CloudRun, RefusedError

BLOCK_BYTES = 64 * 1024
TIMEOUTS_S = {"register": 120.0, "export": 120.0, "export_worker": 900.0, "refresh": 300.0}
"""What a function may take, as Terraform says it to Cloud Run."""

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_ANSWERS_WITHOUT_BODY = frozenset({204, 304})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LINK_WORD = re.compile(r"(?<=files/)[^\s/]+|[0-9a-fA-F]{64}")
"""The word of a link to a kept file, which no log may show; the functions leave it out alike."""


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, limit: int = -1, /) -> bytes: ...


class BadBodyError(Exception):
    """The client's chunked body is not well formed."""


class Containers:
    """The functions' own addresses, which only Cloud Run's front knows in the cloud, and a pool of kept connections to each."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self.urls = dict(urls)
        self.pool = urllib3.PoolManager(num_pools=len(self.urls), maxsize=64, block=False, retries=False)

    def send(
        self, function: str, method: str, target: str, headers: Mapping[str, str], body: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; the answer's body is still to be read.

        Raises:
            urllib3.exceptions.HTTPError: The function cannot be reached or broke the connection.
        """
        timeout = urllib3.Timeout(connect=2.0, read=TIMEOUTS_S.get(function, 120.0))
        # A function that has just restarted has closed the connections kept here: reading is safe to send again.
        retries = (
            urllib3.Retry(2, redirect=False, status=False, backoff_factor=0.1) if method in {"GET", "HEAD"} else False
        )
        return self.pool.request(
            *(method, self.urls[function] + target),
            headers=dict(headers),
            body=body,
            timeout=timeout,
            retries=retries,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )


class ForwardingHandler(BaseHTTPRequestHandler):
    """One client connection. Which function a request is for says `answer`."""

    containers: ClassVar[Containers]
    cloud_run: ClassVar[CloudRun]
    protocol_version = "HTTP/1.1"
    server_version = "bi-connectors-gateway"
    sys_version = ""
    timeout = 75

    def answer(self, path: str) -> None:
        """Answer the request, whose path without its query is given."""
        raise NotImplementedError

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log the request as the base class does, without the word of a link."""
        status = code.value if isinstance(code, HTTPStatus) else code
        self.log_message('"%s" %s %s', LINK_WORD.sub("…", unquote(self.requestline)), str(status), str(size))

    def _handle(self) -> None:
        self._body_read = not self._has_body()
        try:
            if not self._is_asked_by_name():
                self._problem(403, "forbidden", "this local cloud answers to localhost and 127.0.0.1 only")
                return
            self.answer(self.path.partition("?")[0])
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away

    def _is_asked_by_name(self) -> bool:
        """Whether every Host is this machine: a page's own name that was made to lead here would read what is the developer's."""
        try:
            hosts = {urlsplit(f"//{host}").hostname for host in self.headers.get_all("Host", [])}
        except ValueError:
            return False
        return hosts <= LOOPBACK

    def __getattr__(self, name: str) -> Any:
        """Return the handler of any method: http.server finds it by the name `do_<method>`. The functions know which they take."""
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - http.server's signature
        """Refuse what http.server cannot read (a request line, too many headers) as any other request is refused."""
        self.request_version = self.protocol_version  # it is unread, or too old for an answer with a status line
        self._body_read = False
        self._problem(code, "invalid_request", message or HTTPStatus(code).phrase)

    def _forward(self, function: str) -> None:
        try:
            headers = self.cloud_run.admitted(function, self._request_headers())
            answer = self.containers.send(function, self.command, self.path, headers, self._request_body())
        except RefusedError as exc:
            self._problem(exc.status, exc.code, str(exc))
            return
        except BadBodyError as exc:
            self._problem(400, "invalid_request", str(exc))
            return
        except urllib3.exceptions.HTTPError:
            self._problem(502, "function_unreachable", f"function {function} did not answer; see its log")
            return
        try:
            self._relay(answer)
        except urllib3.exceptions.HTTPError:
            self.close_connection = True  # half an answer: only a broken connection says so
        finally:
            answer.release_conn()

    def _relay(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        listed = _connection_tokens(answer.headers.get("Connection", ""))
        for name, value in answer.headers.iteritems():
            if name.lower() not in _HOP_BY_HOP | listed:
                self.send_header(name, value)
        has_body = self.command != "HEAD" and answer.status not in _ANSWERS_WITHOUT_BODY
        chunked = has_body and "Content-Length" not in answer.headers
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self._finish_headers()
        if not has_body:
            answer.drain_conn()
            return
        for block in answer.stream(BLOCK_BYTES, decode_content=False):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _request_headers(self) -> dict[str, str]:
        listed = _connection_tokens(self.headers.get("Connection", ""))
        if self._is_chunked():
            listed |= {"content-length"}  # both together is how requests are smuggled: the chunks decide
        dropped = _HOP_BY_HOP | listed | {"host", "expect", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            if name.lower() not in dropped:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        headers["X-Forwarded-For"] = self.client_address[0]
        headers["X-Forwarded-Host"] = self.headers.get("Host", "")
        headers["X-Forwarded-Proto"] = "http"
        return headers

    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()

    def _has_body(self) -> bool:
        return self._is_chunked() or self.headers.get("Content-Length", "0") != "0"

    def _request_body(self) -> Iterator[bytes] | None:
        if self._is_chunked():
            return self._noting_its_end(read_chunked(self.rfile))
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadBodyError("Content-Length is not a number")
        return self._noting_its_end(read_exactly(self.rfile, int(length))) if int(length) else None

    def _noting_its_end(self, body: Iterator[bytes]) -> Iterator[bytes]:
        yield from body
        self._body_read = True

    def _finish_headers(self) -> None:
        if not self._body_read:  # what is left of the body would be taken for the next request
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()

    def _problem(self, status: int, code: str, detail: str) -> None:
        retryable = status == 502
        self._answer_json(
            status,
            {
                "type": f"/problems/{code}",
                "title": HTTPStatus(status).phrase,
                "status": status,
                "code": code,
                "detail": detail,
                "retryable": retryable,
            },
            "application/problem+json",
        )

    def _answer_json(self, status: int, body: dict[str, Any], content_type: str = "application/json") -> None:
        payload = json.dumps(body, indent=2).encode() + b"\n"
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(payload)))
        sent = self.headers.get("X-Request-Id", "") if hasattr(self, "headers") else ""
        self.send_header("X-Request-Id", sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex)
        self._finish_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)


class LoopbackServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1 only; `members` are the handler's class attributes."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, port: int, handler: type[ForwardingHandler], **members: Any) -> None:
        super().__init__(("127.0.0.1", port), type("BoundHandler", (handler,), members))

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept with Nagle's delay off: answers are written in small pieces."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address


def read_exactly(source: _Readable, length: int) -> Iterator[bytes]:
    """Yield `length` bytes in blocks. Raises `BadBodyError` where the source ends early."""
    while length:
        block = source.read(min(BLOCK_BYTES, length))
        if not block:
            raise BadBodyError("the body ended before its Content-Length")
        length -= len(block)
        yield block


def read_chunked(source: _Readable) -> Iterator[bytes]:
    """Yield the data of a chunked body in blocks; its trailers are read and dropped.

    Raises:
        BadBodyError: Not well formed, or it ended early.
    """
    while True:
        line = source.readline(1024)
        try:
            size = int(line.split(b";", 1)[0].strip() or b"?", 16)
        except ValueError as exc:
            raise BadBodyError("a chunk of the body has no valid size") from exc
        if size == 0:
            while source.readline(65537) not in (b"\r\n", b"\n", b""):
                pass
            return
        yield from read_exactly(source, size)
        source.readline(3)


def _connection_tokens(value: str) -> frozenset[str]:
    return frozenset(token.strip().lower() for token in value.split(",") if token.strip())
