"""The CONNECT proxy in front of the sandboxes. It never dials: a tunnel is handed to the TLS server as it is."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from collections import Counter
from collections.abc import Collection
from typing import Any

from .http_server import HttpServer

SANDBOX_ADDRESS = "192.88.99.1"
"""What a sandbox's name resolves to, for clients that connect to addresses. Public by form, as they demand, yet routed to nobody:
RFC 7526 took the block back from 6to4 relays. A tunnel to it reaches the TLS server, which goes by the request's host."""
MAX_HEAD_BYTES = 16_384
HEAD_TIMEOUT_S = 30.0
_MAX_TARGETS = 1_000  # names counted apart; what comes after them is counted as "(others)"


class ConnectProxy(socketserver.ThreadingTCPServer):
    """Answers `CONNECT <sandbox host>:443` by letting the TLS server speak on that very connection; all else is 403.

    Nothing is resolved or connected to, so no request can leave the machine, and no byte is copied.

    Raises:
        OSError: The port cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int, hosts: Collection[str], backend: HttpServer) -> None:
        super().__init__(("127.0.0.1", port), _ProxyConnection)
        self.hosts = frozenset(hosts)
        self.backend = backend
        self._counts: dict[str, Counter[str]] = {"connected": Counter(), "blocked": Counter()}
        self._guard = threading.Lock()

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in a daemon thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name=f"proxy-{self.port}", daemon=True).start()

    def stop(self) -> None:
        """Stop listening; the tunnels are the TLS server's to close."""
        self.shutdown()
        self.server_close()

    def counts(self) -> dict[str, dict[str, int]]:
        """`{"connected": {"host:443": n}, "blocked": {target: n}}` since the start."""
        with self._guard:
            return {kind: dict(counter) for kind, counter in self._counts.items()}

    def count(self, kind: str, target: str) -> None:
        """Count one attempt as "connected" or "blocked"."""
        with self._guard:
            counter = self._counts[kind]
            counter[target if target in counter or len(counter) < _MAX_TARGETS else "(others)"] += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client hangs up; anything else is a bug and prints its trace."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _ProxyConnection(socketserver.BaseRequestHandler):
    server: ConnectProxy
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(HEAD_TIMEOUT_S)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = self._read_head()
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        if not head:
            return
        if method != "CONNECT":
            self._refuse(target[:200], "this is the sandboxes' CONNECT proxy; plain HTTP requests are not forwarded")
            return
        host, _, port = target.lower().rpartition(":")
        if host not in {*self.server.hosts, SANDBOX_ADDRESS} or port != "443":
            self._refuse(target[:200], f"{target[:200]} is not a sandbox; known, on port 443: {self._known()}")
            return
        self.server.count("connected", f"{host}:443")
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.server.backend.serve_connection(self.request, self.client_address)

    def _known(self) -> str:
        return ", ".join(sorted(self.server.hosts))

    def _read_head(self) -> bytes:
        """The request's head, or nothing if the client hung up or sent something longer."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # a client waits for the answer before it sends on
            data = self.request.recv(4096)
            if not data or len(head) + len(data) > MAX_HEAD_BYTES:
                return b""
            head += data
            if b"\r\n\r\n" in head and not head.startswith(b"CONNECT "):
                break
        return head

    def _refuse(self, target: str, reason: str) -> None:
        self.server.count("blocked", target)
        body = (reason + "\n").encode()
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close"
        with contextlib.suppress(OSError):
            self.request.sendall(head.encode("latin-1") + b"\r\n\r\n" + body)
