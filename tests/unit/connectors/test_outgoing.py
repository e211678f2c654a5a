"""No URL that a user can set leads this service to what only it can reach."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import requests

from shared.connectors._outgoing import Outgoing, guarded_session, is_public
from shared.errors import BIConnectorsError, TargetError, VendorUnavailableError
from shared.stores.resolver import TableResolver

PUBLIC = "192.88.99.1"
NOT_PUBLIC = [
    "127.0.0.1", "10.1.1.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "192.0.0.1", "192.0.0.8",
    "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "::ffff:7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:a9fe:a9fe::", "2002:7f00:1::", "2001::1", "2001:db8::1", "ff02::1", "199.36.153.8", "203.0.113.1",
    "::a9fe:a9fe", "::169.254.169.254", "::7f00:1", "::808:808", "fec0::1", "3fff::1", "2600:2d00:2:1000::1", "2600:2d00:2:2000::1",
    "not an address", "",
]  # fmt: skip
REFUSED_URLS = [
    "http://acme.looker.com/", "ftp://acme.looker.com/", "file:///etc/passwd", "gopher://acme.looker.com/", "//acme.looker.com/",
    "https://user@acme.looker.com/", "https://user:pw@acme.looker.com/", "https://acme.looker.com:443@169.254.169.254/",
    "https://acme.looker.com:22/", "https://acme.looker.com:0/",
    "https://acme.looker.com:99999/", "https://acme.looker.com:x/", "https:///x", "https://",
    "https://127.0.0.1/", "https://169.254.169.254/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
    "https://127.1/", "https://①②⑦.0.0.1/", "https://[::1]/", "https://[::ffff:a9fe:a9fe]/", "https://[64:ff9b::a9fe:a9fe]/",
    "https://localhost/", "https://localhost./", "https://metadata/", "https://\uff21\uff23\uff2d\uff25.looker.com/", "https://acme.looker.com\u3002evil.com/",
    "https://acme.looker.com\\@evil.com/", "https://acme.looker.com\t.evil.com/", "https://acme.looker.com /",
    "https://acme.looker.com\r\nHost: evil/", "https://acme.looker.com./", "https://-acme.looker.com/", "https://acme_.looker.com/",
]  # fmt: skip
FOREIGN_HOSTS = [
    "https://metadata.google.internal/", "https://evil.com/", "https://looker.com.evil.com/", "https://evillooker.com/",
    "https://looker.com/", "https://evil.com#@acme.looker.com/", "https://evil.com/?x=acme.looker.com",
]  # fmt: skip


def outgoing(addresses: dict[str, str] | None = None, ports: frozenset[int] = frozenset({443, 19999})) -> Outgoing:
    return Outgoing(TableResolver(addresses or {}), (".looker.com",), "LOOKER_HOSTS", ports)


@dataclass
class Listener:
    """Counts who connects; keeps the first line that each sends, and hangs up."""

    port: int = 0
    lines: list[bytes] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    found = Listener()
    with socket.create_server(("127.0.0.1", 0)) as server:
        found.port = server.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    found.lines.append(connection.recv(4096).partition(b"\r\n")[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def direct(vendor_outgoing: Outgoing) -> requests.Session:
    session = guarded_session("looker", vendor_outgoing)
    session.trust_env = False
    return session


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_everybodys_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", PUBLIC])
def test_a_public_address_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(TargetError) as caught:
        outgoing().require(url)
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize("url", FOREIGN_HOSTS)
def test_a_host_that_is_not_on_the_list_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match="LOOKER_HOSTS") as caught:
        outgoing().require(url)
    assert caught.value.code == "host_not_allowed"


def test_no_host_is_allowed_by_an_empty_list() -> None:
    with pytest.raises(TargetError):
        Outgoing(TableResolver({}), (), "LOOKER_HOSTS").require("https://acme.looker.com/")


def test_a_listed_name_allows_that_name_only() -> None:
    listed = Outgoing(TableResolver({}), ("acme.com",), "LOOKER_HOSTS")
    assert listed.require("https://acme.com/") == "acme.com"
    for host in ("evilacme.com", "x.acme.com", "acme.com.evil.com"):
        with pytest.raises(TargetError):
            listed.require(f"https://{host}/")


@pytest.mark.parametrize("url", ["https://evil.com/", "http://acme.looker.com/", "https://acme.looker.com:22/"])
def test_the_session_calls_nothing_that_the_rules_refuse(url: str) -> None:
    with listening() as proxy:
        session = direct(outgoing({"evil.com": PUBLIC, "acme.looker.com": PUBLIC}))
        session.proxies = dict.fromkeys(("http", "https"), f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(TargetError):
            session.get(url, timeout=5)
        assert proxy.lines == []


def test_an_allowed_url_passes() -> None:
    assert outgoing().require("https://ACME.cloud.looker.com:19999/api?x=1") == "acme.cloud.looker.com"


def test_no_request_reaches_a_metadata_server_by_any_name_or_address() -> None:
    """The listener is the proxy of the session too, so that it sees every dial, wherever it would have gone."""
    with listening() as metadata:
        hosts = {f"h{index}.looker.com": address for index, address in enumerate(NOT_PUBLIC)}
        session = direct(outgoing(hosts, frozenset({metadata.port})))
        session.proxies = dict.fromkeys(("http", "https"), f"http://127.0.0.1:{metadata.port}")
        urls = [f"https://{host}:{metadata.port}/computeMetadata/v1/" for host in hosts]
        urls += [url.rstrip("/") + f":{metadata.port}/" for url in REFUSED_URLS + FOREIGN_HOSTS]
        for url in urls:
            with pytest.raises((BIConnectorsError, requests.exceptions.RequestException)):
                session.get(url, timeout=5)
        assert metadata.lines == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_no_request_reaches_a_metadata_server_of_this_machine_without_a_proxy(address: str) -> None:
    with listening() as metadata:
        session = direct(outgoing({"acme.looker.com": address}, frozenset({metadata.port})))
        with pytest.raises((TargetError, requests.exceptions.RequestException)):
            session.get(f"https://acme.looker.com:{metadata.port}/computeMetadata/v1/", timeout=5)
        assert metadata.lines == []


def test_the_listener_is_reached_when_nothing_guards_it() -> None:
    with listening() as metadata:
        session = requests.Session()
        session.trust_env = False
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(f"http://127.0.0.1:{metadata.port}/", timeout=5)
        assert metadata.lines == [b"GET / HTTP/1.1"]


def test_a_name_with_one_public_and_one_private_address_is_refused() -> None:
    class Both:
        def addresses(self, host: str) -> list[str]:
            return [PUBLIC, "169.254.169.254"]

    with pytest.raises(TargetError) as caught:
        Outgoing(Both(), (".looker.com",), "LOOKER_HOSTS").address("acme.looker.com")
    assert caught.value.code == "address_not_allowed"
    assert "169.254" not in caught.value.message


class Rebinding:
    """Answers a public address once, and another ever after."""

    def __init__(self, later: str) -> None:
        self._answers = iter([PUBLIC])
        self._later = later

    def addresses(self, host: str) -> list[str]:
        return [next(self._answers, self._later)]


@pytest.mark.parametrize("later", NOT_PUBLIC)
def test_a_name_that_is_rebound_between_check_and_call_is_dialled_at_the_checked_address(later: str) -> None:
    """If any look-up after the check decided, the later address or the name would be dialled, which the proxy would see."""
    with listening() as proxy:
        session = direct(Outgoing(Rebinding(later), (".looker.com",), "LOOKER_HOSTS"))
        session.proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get("https://acme.looker.com/", timeout=5)
        with pytest.raises((TargetError, requests.exceptions.ConnectionError)):
            session.get("https://acme.looker.com/", timeout=5)
        assert [line.split()[1] for line in proxy.lines] == [f"{PUBLIC}:443".encode()]


def test_a_name_that_does_not_resolve_is_a_matter_of_time() -> None:
    with pytest.raises(VendorUnavailableError):
        outgoing().address("acme.looker.com")
