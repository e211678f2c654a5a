"""The transport of `_outgoing.guarded_session`: checks each request's URL and address, and dials that very address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

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
        response.raw = Bounded(response.raw, self._outgoing.most_answer_bytes, host)
        return response

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Dial the address that was checked just now, in place of a name that would be looked up again."""
        place, options = super().build_connection_pool_key_attributes(request, verify, cert)
        checked = self._outgoing.address(place["host"])
        return {**place, "host": checked}, {**options, "server_hostname": place["host"]}
