"""What lies between a worker and its vendors' HTTP APIs: it can end a token in mid-job, lets a call time out without real waiting,
and knows whether a vendor was called before the time that its Retry-After had named.

It stands in the place of `requests`' own transport, below everything that is shipped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.connectors._http import READ_TIMEOUT_S
from shared.ports import Clock

TOKENS = {"www.googleapis.com": "google", "sheets.googleapis.com": "google", "api.powerbi.com": "entra"}
"""Hosts whose calls need a token, with the sandboxes' name for the tokens; any other vendor's are Looker's."""
TOKEN_HOSTS = frozenset({"oauth2.googleapis.com", "login.microsoftonline.com"})
SHORTEST_LIFE = 8
"""Calls between two early ends of a token: one that was just issued and is refused at once is a matter of the credential."""
LOOKS_AGAIN = timedelta(
    milliseconds=1
)  # two reads of one clock, one for the header and one for the wait, differ by less

Send = Callable[..., requests.Response]


@dataclass
class Network:
    """One worker's way out. `expire` ends every token of a name at its vendor; `draws` decides where that happens.

    While it `is_on` it watches. With `times_out` a connection that broke without an answer looks like one that was silent for as
    long as the client waits.
    """

    clock: Clock
    expire: Callable[[str], None]
    draws: random.Random = field(default_factory=random.Random)
    expiry: float = 0.0
    times_out: bool = False
    is_on: bool = False
    undercut: list[str] = field(default_factory=list)
    _calls_with_token: int = 0
    _not_before: dict[str, datetime] = field(default_factory=dict)

    @contextmanager
    def between(self) -> Iterator[Network]:
        """Put it under every session of this process."""
        plain: Send = HTTPAdapter.send
        network = self

        def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            return network.pass_on(lambda: plain(adapter, request, **options), request)

        HTTPAdapter.send = send  # type: ignore[method-assign]  # the library's transport, in a process of its own
        try:
            yield self
        finally:
            HTTPAdapter.send = plain  # type: ignore[method-assign]  # as above

    def pass_on(self, send: Callable[[], requests.Response], request: requests.PreparedRequest) -> requests.Response:
        """Make one call."""
        host = urlsplit(request.url or "").hostname or ""
        if not self.is_on or not (request.url or "").startswith("https://"):
            return send()  # a look at the target, or a call of Google's own services, which are no vendors
        self._look(host, f"{request.method} {urlsplit(request.url or '').path}")
        self._calls_with_token += 1
        if host not in TOKEN_HOSTS and self.draws.random() < self.expiry and self._calls_with_token > SHORTEST_LIFE:
            self._calls_with_token = 0
            self.expire(TOKENS.get(host, "looker"))
        try:
            answer = send()
        except requests.ConnectionError as error:
            if not self.times_out:
                raise
            self.clock.sleep(READ_TIMEOUT_S)
            raise requests.ReadTimeout("no answer in time", request=request) from error
        self._note(host, answer.headers.get("Retry-After"))
        return answer

    def _look(self, host: str, call: str) -> None:
        until, now = self._not_before.get(host), self.clock.now()
        if until is not None and now < until - LOOKS_AGAIN:
            self.undercut.append(f"{call} at {host} {(until - now).total_seconds():.1f} s before its Retry-After")

    def _note(self, host: str, retry_after: str | None) -> None:
        if retry_after is None:
            return
        now = self.clock.now()
        if retry_after.isdigit():
            until = now + timedelta(seconds=int(retry_after))
        else:
            until = parsedate_to_datetime(retry_after).astimezone(UTC)
        self._not_before[host] = max(until, self._not_before.get(host, until))
