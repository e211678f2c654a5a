"""The transport of `_outgoing.guarded_session`: checks each request's URL and address, and dials that very address."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
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
        """Return the pool, whose connections end when a host takes too long over the head of its answer."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = partial(_Timed, longest_s=self._outgoing.longest_answer_s)
        return pool

    def shown_path(self, path: str) -> str:
        return "(hidden)" if self._outgoing.hides_path else path


class _Timed(HTTPSConnection):
    """A connection that is cut when the head of an answer takes too long: a socket's time-out starts anew with every byte of it."""

    def __init__(self, *args: Any, longest_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._longest_s = longest_s
        self._is_cut = False

    def getresponse(self) -> Any:
        timer = threading.Timer(self._longest_s, self._cut)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        finally:
            timer.cancel()
        if self._is_cut:  # headers that were cut off look like headers that ended
            raise TimeoutError(f"no whole answer within {self._longest_s} s")
        return response

    def _cut(self) -> None:
        self._is_cut = True
        with contextlib.suppress(OSError, AttributeError):  # closed meanwhile, or not open yet
            self.sock.shutdown(socket.SHUT_RDWR)
