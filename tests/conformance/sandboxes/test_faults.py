"""Faults: each kind does to the vendor and to the client what it says, as often as it says."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, route
from infra.local.sandboxes.faults import Fault, Faults
from infra.local.sandboxes.server import SandboxServer

HOST = "counter.example"


class Counter(Sandbox):
    """A vendor that counts how often it was applied."""

    name = "counter"
    hosts = (HOST,)

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.applied = 0

    @route("POST", "/add")
    def add(self, request: Request) -> Response:
        with self.lock:
            self.applied += 1
            return Response(200, {"applied": self.applied})

    @route("DELETE", "/add")
    def clear(self, request: Request) -> Response:
        with self.lock:
            self.applied = 0
        return Response(200)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("counter"), classes=[Counter]) as server:
        yield server


@pytest.fixture
def counter(vendors: SandboxServer) -> Counter:
    sandbox = vendors.sandbox("counter")
    assert isinstance(sandbox, Counter)
    sandbox.applied = 0
    return sandbox


def add() -> requests.Response:
    return requests.post(f"https://{HOST}/add", timeout=10)


def raw_answer(server: SandboxServer, method: bytes = b"POST") -> tuple[bytes, type[OSError] | None]:
    """The decrypted answer, and how the connection ended below TLS: None for an orderly end."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    raw = socket.create_connection(("127.0.0.1", server.tls_port), timeout=10)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    text, ended = b"", None
    try:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65_536))
        tls.write(method + b" /add HTTP/1.1\r\nHost: counter.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        raw.sendall(outgoing.read())
        while data := raw.recv(65_536):
            incoming.write(data)
            try:
                while part := tls.read(65_536):
                    text += part
            except ssl.SSLWantReadError:
                pass
    except ConnectionResetError:
        ended = ConnectionResetError
    finally:
        raw.close()
    return text, ended


def test_a_status_fault_answers_without_applying(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(
        vendor="counter", kind="status", status=429, headers={"Retry-After": "7"}, body={"error": "slow down"}
    )
    first, second = add(), add()
    assert (first.status_code, first.headers["Retry-After"], first.json()) == (429, "7", {"error": "slow down"})
    assert (second.status_code, counter.applied) == (200, 1)


def test_an_html_fault_answers_a_page_without_applying(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="html_5xx", status=503)
    answer = add()
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=UTF-8")
    assert (answer.text.startswith("<html>"), counter.applied) == (True, 0)


def test_a_reset_before_applies_nothing(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="reset_before")
    assert raw_answer(vendors) == (b"", ConnectionResetError)
    assert counter.applied == 0


def test_a_lost_reply_applies_and_resets(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="lost_reply")
    assert raw_answer(vendors) == (b"", ConnectionResetError)
    assert counter.applied == 1


def test_requests_sees_a_lost_reply_as_a_connection_error(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="lost_reply")
    with pytest.raises(requests.exceptions.ConnectionError):
        add()
    assert (counter.applied, add().json()) == (1, {"applied": 2})


def test_a_reset_in_the_body_applies_and_sends_half(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="reset_in_body")
    text, _ = raw_answer(vendors)
    head, _, body = text.partition(b"\r\n\r\n")
    assert (b"Content-Length: 13" in head, body, counter.applied) == (True, b'{"appl', 1)


def test_requests_sees_half_a_body_as_a_broken_transfer(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="reset_in_body")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        add()
    assert counter.applied == 1


def test_half_an_answer_without_a_body_is_half_a_head(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="reset_in_body")
    text, _ = raw_answer(vendors, b"DELETE")
    assert (text.startswith(b"HTTP/1.1 200"), b"\r\n\r\n" in text) == (True, False)


def test_a_slow_fault_applies_late_and_the_clock_cuts_it_short(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="slow", delay_s=0.2)
    started = time.monotonic()
    add()
    assert time.monotonic() - started >= 0.2
    assert counter.applied == 1


def test_a_duplicate_applies_twice_and_answers_once(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="duplicate")
    assert (add().json(), counter.applied) == ({"applied": 1}, 2)


def test_times_and_skip_say_which_requests_are_hit(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="status", status=500, skip=1, times=2)
    assert [add().status_code for _ in range(5)] == [200, 500, 500, 200, 200]


def test_method_and_path_say_which_requests_are_hit(vendors: SandboxServer, counter: Counter) -> None:
    vendors.fault(vendor="counter", kind="status", status=500, method="DELETE", path="^/add$", times=-1)
    assert (add().status_code, requests.delete(f"https://{HOST}/add", timeout=10).status_code) == (200, 500)


def test_the_same_seed_strikes_the_same_requests() -> None:
    def strikes(seed: int) -> str:
        faults = Faults()
        fields = {"vendor": "v", "kind": "slow", "times": -1, "probability": 0.5, "seed": seed}
        faults.add(Fault.from_dict(fields))
        return "".join("x" if faults.strike("v", "GET", "/") else "." for _ in range(20))

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert re.search("x", strikes(1))
    assert re.search(r"\.", strikes(1))


def test_a_struck_fault_is_named_in_the_traffic(vendors: SandboxServer, counter: Counter) -> None:
    fault_id = vendors.fault(vendor="counter", kind="status", status=500)
    add()
    line = list(vendors.traffic.read("counter"))[-1]
    assert (line["fault"], line["status"]) == (fault_id, 500)


def test_admin_adds_lists_and_removes_faults(vendors: SandboxServer, counter: Counter) -> None:
    url = f"{vendors.admin_url}/faults"
    wanted = {"id": "mine", "vendor": "counter", "kind": "status", "status": 503, "times": -1}
    made = requests.post(url, json=wanted, timeout=10)
    add()
    listed = requests.get(url, timeout=10).json()["faults"][0]
    removed = requests.delete(f"{url}/mine", timeout=10).status_code
    again = requests.delete(f"{url}/mine", timeout=10).status_code
    assert (made.status_code, made.json()) == (201, {"id": "mine"})
    assert (listed["id"], listed["struck"], removed, again, add().status_code) == ("mine", 1, 204, 404, 200)
    requests.post(url, json=wanted, timeout=10)
    requests.delete(url, timeout=10)
    assert requests.get(url, timeout=10).json() == {"faults": []}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vendor": "counter"}, "needs 'kind'"),
        ({"vendor": "nobody", "kind": "slow"}, "unknown vendor 'nobody'"),
        ({"vendor": "counter", "kind": "explode"}, "unknown kind 'explode'"),
        ({"vendor": "counter", "kind": "status"}, "needs a status"),
        ({"vendor": "counter", "kind": "slow", "path": "("}, "not a fault"),
        ({"vendor": "counter", "kind": "slow", "probability": 2}, "probability"),
        ({"vendor": "counter", "kind": "slow", "delay_s": "long"}, "not a fault"),
        ({"vendor": "counter", "kind": "slow", "method": 5}, "needs texts"),
        ({"vendor": "counter", "kind": "slow", "colour": "red"}, "unknown fault field 'colour'"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_is_wrong(
    vendors: SandboxServer, counter: Counter, wrong: dict[str, Any], message: str
) -> None:
    answer = requests.post(f"{vendors.admin_url}/faults", json=wrong, timeout=10)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
