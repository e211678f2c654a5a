"""The CONNECT proxy: it lets the sandboxes' hosts through, refuses all else, and never dials."""

from __future__ import annotations

import socket
import time

import pytest
import requests

from infra.local.sandboxes.server import SandboxServer


def raw(server: SandboxServer, sent: bytes) -> bytes:
    port = int(server.proxy_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(4096):
            answer += data
    return answer


def send_endless_head(server: SandboxServer) -> None:
    port = int(server.proxy_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for _ in range(1000):  # the proxy hangs up long before
            connection.sendall(b"x" * 1000)
            time.sleep(0.001)


def counts(server: SandboxServer) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = requests.get(f"{server.admin_url}/proxy", timeout=10).json()
    return found


def test_a_known_host_is_reached_under_its_real_name(vendors: SandboxServer) -> None:
    answer = requests.get("https://www.googleapis.com/oauth2/v3/certs", timeout=10)
    assert [key["kty"] for key in answer.json()["keys"]] == ["RSA"]
    assert counts(vendors)["connected"]["www.googleapis.com:443"] >= 1


def test_an_unknown_host_is_refused_and_counted(vendors: SandboxServer) -> None:
    before = counts(vendors)["blocked"].get("sts.googleapis.com:443", 0)
    with pytest.raises(requests.exceptions.ProxyError, match="403"):
        requests.get("https://sts.googleapis.com/", timeout=10)
    assert counts(vendors)["blocked"]["sts.googleapis.com:443"] - before == 1


def test_nothing_is_resolved_or_dialled(vendors: SandboxServer) -> None:
    with socket.socket() as decoy:
        decoy.bind(("127.0.0.1", 0))
        decoy.listen()
        decoy.settimeout(0.3)
        answer = raw(vendors, f"CONNECT 127.0.0.1:{decoy.getsockname()[1]} HTTP/1.1\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            decoy.accept()
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT www.googleapis.com:80 HTTP/1.1\r\n\r\n",
        b"CONNECT www.googleapis.com HTTP/1.1\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT www.googleapis.com.evil.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT HTTP/1.1\r\n\r\n",
        b"GET http://www.googleapis.com/ HTTP/1.1\r\nHost: www.googleapis.com\r\n\r\n",
        b"POST http://evil.example/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_all_but_a_connect_to_a_sandbox_on_443_is_403_with_a_reason(vendors: SandboxServer, head: bytes) -> None:
    top, _, reason = raw(vendors, head).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert len(reason.splitlines()) == 1


def test_a_host_is_known_in_any_case_of_letters(vendors: SandboxServer) -> None:
    assert raw(vendors, b"CONNECT WWW.GoogleAPIs.com:443 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_an_endless_head_and_a_silent_client_are_dropped_without_a_trace(
    vendors: SandboxServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert raw(vendors, b"") == b""
    with pytest.raises(ConnectionError):
        send_endless_head(vendors)
    assert requests.get("https://www.googleapis.com/oauth2/v3/certs", timeout=10).ok
    assert capfd.readouterr().err == ""
