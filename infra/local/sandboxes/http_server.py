"""A threaded HTTP/1.1 keep-alive server, with or without TLS, that answers `Request` objects."""

from __future__ import annotations

import contextlib
import enum
import http.server
import io
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from ._base import Request

MAX_BODY_BYTES = 64_000_000  # our choice: above every vendor's own limit, so that those are what a client meets
IDLE_TIMEOUT_S = 120.0  # our choice: a client that holds an idle connection longer gets a closed one, as in real life
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends a reset


class Wire(enum.Enum):
    """What happens on the connection after the handler ran."""

    ANSWER = "answer"
    RESET = "reset"
    HALF_ANSWER = "half_answer"


@dataclass
class Reply:
    """Encoded answer. A `Content-Length` is added."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wire: Wire = Wire.ANSWER


Application = Callable[[Request], Reply]


class HttpServer(socketserver.ThreadingTCPServer):
    """Serves `application` on 127.0.0.1, a thread for each connection.

    Args:
        port: 0 takes a free one; `port` then tells which.
        application: Called in the connection's thread. Must not raise.
        tls: Makes it HTTPS; the handshake runs in the connection's thread.

    Raises:
        OSError: The port cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int, application: Application, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.application = application
        self.tls = tls
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in a daemon thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name=f"http-{self.port}", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and close every connection."""
        self.shutdown()
        self.server_close()
        with self._guard:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                # not SSLSocket.shutdown, which takes the TLS object away from a thread that is reading
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def serve_connection(self, connection: socket.socket, address: Any) -> None:
        """Serve an accepted connection in the calling thread until it ends; closes it."""
        try:
            self.finish_request(connection, address)
        except Exception:  # noqa: BLE001 - as in socketserver: one connection's failure must not end the server
            self.handle_error(connection, address)
        finally:
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client hangs up or breaks TLS; anything else is a bug and prints its trace."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, so that `stop` can end it."""
        with self._guard:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._guard:
            self._open.discard(connection)


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_S
    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    server: HttpServer

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.server.opened(self.request)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.server.closed(self.request)
        self.request.close()

    def _serve(self) -> None:
        try:
            body = self._read_body()
        except ValueError as exc:
            self.close_connection = True
            self._send(Reply(400, {"Content-Type": "text/plain"}, str(exc).encode()))
            return
        self._send(self.server.application(self._request(body)))

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # the base class looks up do_<METHOD>: every method is the application's to answer
            return self._serve
        raise AttributeError(name)

    def _request(self, body: bytes) -> Request:
        target = self.path
        if "://" in target[:9]:  # absolute form, as a client sends to a plain proxy
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        raw_path, _, raw_query = target.partition("?")
        headers: dict[str, str] = {}
        for key, value in self.headers.items():
            lower = key.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        pairs = tuple(parse_qsl(raw_query, keep_blank_values=True))
        encoded_slash_kept = raw_path.replace("%2F", "%00").replace("%2f", "%00")
        return Request(
            method=self.command,
            host=headers.get("host", "").rpartition("@")[2].partition(":")[0].lower(),
            path=unquote(raw_path),
            query=dict(reversed(pairs)),
            headers=headers,
            body=body,
            query_pairs=pairs,
            match_path=unquote(encoded_slash_kept),
        )

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            raise ValueError(f"a body of {length} bytes is over the sandbox's {MAX_BODY_BYTES}")
        return self._read(length)

    def _read_chunks(self) -> bytes:
        body = io.BytesIO()
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            if body.tell() + size > MAX_BODY_BYTES:
                raise ValueError(f"a chunked body is over the sandbox's {MAX_BODY_BYTES} bytes")
            body.write(self._read(size))
            self.rfile.readline(100)
        while self.rfile.readline(65_536).strip():  # trailers
            pass
        return body.getvalue()

    def _acknowledge(self) -> None:
        """Acknowledge what came at once: behind a proxy urllib3 keeps Nagle's algorithm on, and the body waits for it (40 ms)."""
        if hasattr(socket, "TCP_QUICKACK"):
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _read(self, length: int) -> bytes:
        self._acknowledge()
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionResetError("the client hung up within its request body")
        return data

    def _send(self, reply: Reply) -> None:
        if reply.wire is Wire.RESET:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        has_body = reply.status not in _NO_BODY
        body = reply.body if has_body else b""
        lines = [f"HTTP/1.1 {reply.status} {_reason(reply.status)}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if has_body:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if reply.wire is Wire.HALF_ANSWER:
            self.close_connection = True
            self.wfile.write(head + body[: len(body) // 2] if body else head[: len(head) // 2])
            return
        self.wfile.write(head if self.command == "HEAD" else head + body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing: the traffic log has it."""


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
