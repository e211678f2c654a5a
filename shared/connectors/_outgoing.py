"""Calls to a URL that a user can set: only to https on allowed hosts, at a public address that was checked and is then dialled.

`guarded_session` is the only way to call such a URL. Without it a user could have this service fetch what only it can reach:
the metadata server that hands out its identity, or a machine of its network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.errors import InternalError, TargetError

if TYPE_CHECKING:
    import requests

    from shared.ports import Resolver

HOST = re.compile(r"(?=.{1,253}\Z)(?=.*[a-z][^.]*\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}\Z")
"""An ASCII host name of at least two labels, the last with a letter: no address in any notation, no name of one label."""
PORTS = frozenset({443, 19999})  # https, and Looker's API on hosts that customers run
GOOGLE_APIS = tuple(map(ipaddress.ip_network, ("199.36.153.0/24", "2600:2d00:2:1000::/56", "2600:2d00:2:2000::/56")))
"""restricted. and private.googleapis.com, public by form only: cloud.google.com/vpc/docs/configure-private-google-access-hybrid"""
NOT_YET_KNOWN = tuple(map(ipaddress.ip_network, ("fec0::/10", "3fff::/20", "192.0.0.0/24")))
"""What `is_global` takes for public: site-local (RFC 3879), documentation (RFC 9637), protocols' own (RFC 6890; before Python 3.11.10)."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
MOST_ANSWER_BYTES = 64 * 1024 * 1024  # our choice: above what an API of configuration and status answers
LONGEST_ANSWER_S = 180.0  # our choice: above what such an API takes to answer


@dataclass(frozen=True)
class Outgoing:
    """What a user's URL may lead to.

    Attributes:
        hosts: exact names, or `.suffix` for every name below it; none means nothing is allowed.
        setting: what an administrator changes to allow another host.
        longest_answer_s: for one answer, from its first header to its last byte.
        hides_path: whether URLs are secrets themselves: then no log line says more of them than the host.
    """

    resolver: Resolver
    hosts: Sequence[str]
    setting: str
    ports: frozenset[int] = PORTS
    most_answer_bytes: int = MOST_ANSWER_BYTES
    longest_answer_s: float = LONGEST_ANSWER_S
    hides_path: bool = False

    def require(self, url: str) -> str:
        """Return the host of a URL that may be called.

        Raises:
            TargetError: another scheme or port, a user name, an address, an unusual character; or (code `host_not_allowed`)
                a host that is not on the list.
        """
        host = self._host(url)
        if host is None:
            raise TargetError(
                f"this URL may not be called, and is not repeated, for it may hold a secret; expected https://<host name>/…, without "
                f"user name, on port {' or '.join(map(str, sorted(self.ports)))}",
                code="url_not_allowed",
            )
        for entry in (item.strip().lower() for item in self.hosts):
            if host == entry or (entry.startswith(".") and host.endswith(entry)):
                return host
        which = "the host of this URL" if self.hides_path else f"the host {host!r}"
        raise TargetError(
            f"{which} is not on this deployment's allow-list; an administrator adds it to {self.setting}",
            code="host_not_allowed",
        )

    def address(self, host: str) -> str:
        """Return the address to dial: all of the host's are public, and this is one of them.

        Raises:
            TargetError: (code `address_not_allowed`) one of them is not; it is not told, because that would map the network.
            VendorUnavailableError: the name does not resolve now.
        """
        addresses = self.resolver.addresses(host)
        if not addresses or not all(is_public(address) for address in addresses):
            raise TargetError(
                f"{host} has an address that is not a public one; this service calls no address of a private network",
                code="address_not_allowed",
            )
        return min(addresses, key=lambda address: ":" in address)

    def _host(self, url: str) -> str | None:
        if not url.isascii() or not url.isprintable() or any(mark in url for mark in " \\"):
            return None
        try:
            parts = urlsplit(url)
            port = 443 if parts.port is None else parts.port
        except ValueError:
            return None
        host = (parts.hostname or "").lower()
        is_plain = parts.scheme == "https" and parts.username is None and parts.password is None
        return host if is_plain and port in self.ports and HOST.match(host) else None


class NoResolver:
    """The resolver of a runtime that calls no user's URL."""

    def addresses(self, host: str) -> list[str]:
        raise InternalError(f"no resolver was wired, so {host} cannot be called")


NOWHERE = Outgoing(NoResolver(), (), "the settings")


def is_public(address: str) -> bool:
    """Whether an address is reachable for everybody: not private, shared, link-local, multicast, reserved, nor an IPv6 form of such."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    is_told_public = found.is_global and not found.is_multicast and not found.is_reserved
    return is_told_public and not any(found in network for network in (*GOOGLE_APIS, *NOT_YET_KNOWN))


def guarded_session(vendor: str, outgoing: Outgoing) -> requests.Session:
    """Return a session that calls nothing but what `outgoing` allows, follows no redirect and reads no endless answer."""
    import requests

    from shared.connectors._guarded_adapter import GuardedAdapter

    session = requests.Session()
    session.adapters.clear()
    session.mount("", GuardedAdapter(vendor, outgoing))
    return session


class Bounded:
    """A response's body that ends with an error after so many bytes. Stands for urllib3's response."""

    def __init__(self, raw: Any, outgoing: Outgoing, host: str) -> None:
        self._raw = raw
        self._left = outgoing.most_answer_bytes
        self._host = host

    def stream(self, amt: int = 65536, **options: Any) -> Iterator[bytes]:
        for part in self._raw.stream(amt, **options):
            yield self._counted(part)

    def read(self, amt: int | None = None, **kwargs: Any) -> bytes:
        return self._counted(self._raw.read(self._left + 1 if amt is None else amt, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def _counted(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            self._raw.close()
            raise TargetError(f"the answer of {self._host} is too large; it was not read", code="answer_too_large")
        return part
