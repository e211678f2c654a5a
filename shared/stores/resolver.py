"""Name resolution: the system's, and locally a table of the sandboxes' names."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from shared.errors import VendorUnavailableError


class SystemResolver:
    """`Resolver` of the machine."""

    def addresses(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise _unknown(host) from exc
        return sorted({str(item[4][0]) for item in found})


class TableResolver:
    """`Resolver` of the names in a table; no other name exists."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = table

    def addresses(self, host: str) -> list[str]:
        if host not in self._table:
            raise _unknown(host)
        return [self._table[host]]


def _unknown(host: str) -> VendorUnavailableError:
    return VendorUnavailableError(f"the name {host} does not resolve now", code="vendor_unreachable")
