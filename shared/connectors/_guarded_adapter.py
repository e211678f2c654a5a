"""The transport of `_outgoing.guarded_session`: checks each request's URL and address, and dials that very address."""

from __future__ import annotations

import io
import socket
import time
from functools import partial
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.connection import HTTPSConnection

from shared.connectors._http import VendorAdapter
from shared.connectors._outgoing import Bounded, Outgoing
from shared.errors import TargetError


class GuardedAdapter(VendorAdapter):
    """One request: URL allowed, every address public, connected to a checked one under the host's own certificate."""

    def __init__(self, vendor: str, outgoing: Outgoing) -> None:
        super().__init__(vendor)
        self._outgoing = outgoing

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # same call, typed loosely
        """Raises `TargetError` for what may not be called, for a redirect and for an endless answer."""
        host = self._outgoing.require(request.url or "")
        request.headers["Host"] = urlsplit(request.url or "").netloc
        response = super().send(request, **{**kwargs, "stream": True})
        if response.is_redirect:
            response.close()
            raise TargetError(
                f"{host} answered {response.status_code}, a redirect; redirects are not followed, name the final address",
                code="redirected",
            )
        response.raw = Bounded(response.raw, self._outgoing, host)
        return response

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Dial the address that was checked just now, in place of a name that would be looked up again."""
        place, options = super().build_connection_pool_key_attributes(request, verify, cert)
        checked = self._outgoing.address(place["host"])
        return {**place, "host": checked}, {**options, "server_hostname": place["host"]}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool, whose connections end when a host takes too long over its answer."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = partial(_Timed, longest_s=self._outgoing.longest_answer_s)
        return pool

    def shown_path(self, path: str) -> str:
        return "(hidden)" if self._outgoing.hides_path else path


class _Timed(HTTPSConnection):
    """A connection whose answers end in time."""

    def __init__(self, *args: Any, longest_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = partial(_TimedAnswer, longest_s=longest_s)  # type: ignore[assignment]  # it is only ever called


class _TimedAnswer(HTTPResponse):
    """An answer whose reading, headers to last byte, raises `TimeoutError` once it took too long."""

    def __init__(self, sock: socket.socket, *args: Any, longest_s: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReads(sock, self.fp.detach(), longest_s))


class _TimedReads(io.RawIOBase):
    """A socket's file for so many seconds in all: the socket's own time-out starts anew with every byte."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, longest_s: float) -> None:
        self._sock, self._raw = sock, raw
        self._most_s, self._ends_at = sock.gettimeout() or longest_s, time.monotonic() + longest_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(min(left, self._most_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
