"""A host of a user's choice that sends a byte now and then holds no thread of ours: socket time-outs alone never end that."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from infra.local.sandboxes.certificates import ensure_certificates, server_context
from infra.local.sandboxes.proxy import SANDBOX_ADDRESS
from shared.connectors._outgoing import Outgoing, guarded_session
from shared.stores.resolver import TableResolver

HOST = "hooks.example.org"
DRIPS = 300
"""Of one byte every 50 ms: 15 s, unless the client hangs up."""


class Dripping:
    """A CONNECT proxy that leads to a server which never comes to an end; counts the bytes that it got rid of."""

    def __init__(self, context: ssl.SSLContext | None, start: bytes) -> None:
        self._context, self._start = context, start
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @contextmanager
    def running(self) -> Iterator[Dripping]:
        self._thread.start()
        yield self
        self._listener.close()
        self._thread.join(30)

    def _serve(self) -> None:
        with suppress(OSError):
            plain, _ = self._listener.accept()
            with plain:
                plain.recv(4096)
                plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                if self._context is None:
                    self._drip(plain, self._start)
                    return
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(4096)
                    self._drip(secure, self._start)

    def _drip(self, connection: socket.socket, start: bytes) -> None:
        connection.sendall(start)
        for _ in range(DRIPS):
            connection.sendall(b"x")
            self.sent += 1
            time.sleep(0.05)


STARTS = {
    "handshake": b"\x16\x03\x03\x10\x00",  # the head of a TLS record of 4,096 bytes
    "head of the answer": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body of the answer": b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n",
    "a chunk of the body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12C\r\n",
}


@pytest.mark.parametrize("place", STARTS)
def test_a_host_that_drips_is_hung_up_on(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file, leaf = ensure_certificates(tmp_path, [HOST])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
    outgoing = Outgoing(TableResolver({HOST: SANDBOX_ADDRESS}), (HOST,), "NOTICE_HOSTS", longest_answer_s=1.0)
    with Dripping(None if place == "handshake" else server_context(leaf), STARTS[place]).running() as server:
        session = guarded_session("receiver", outgoing)
        session.proxies = {"https": server.url}
        with pytest.raises((requests.ConnectionError, requests.Timeout)):
            session.post(f"https://{HOST}/x", timeout=5)
        session.close()
    assert server.sent < DRIPS
