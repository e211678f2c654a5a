"""Requests to the functions: identity, retries that cannot double anything, problems as exceptions."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

API = "/api/bi-connectors"
TIMEOUT_S = (10.0, 90.0)  # connect; between two bytes: a `?wait=` holds at most 60 s
ATTEMPTS = 5  # our choice: about a minute of trouble
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
TRANSIENT = frozenset({429, 502, 503, 504})


class ApiError(Exception):
    """What the API refused. `code` is stable (see the README), `problem` the whole document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", f"http_{status}"))
        self.problem = dict(problem)
        super().__init__(f"{self.code}: {problem.get('detail', 'no detail')}")


class Transport:
    """One origin, or one URL for each function. `token` gives the ID token of an audience, None sends none."""

    def __init__(
        self,
        urls: Mapping[str, str],
        token: Callable[[str], str] | None,
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._urls = {name: check_url(url) for name, url in urls.items()}
        self._token = token
        self._session = session or requests.Session()
        self._sleep = sleep

    def call(self, *request: Any, **more: Any) -> Any:
        """The decoded answer, None for an empty one; the arguments of `stream`.

        Raises:
            ApiError: the API refused.
            requests.RequestException: it could not be reached.
        """
        with self.stream(*request, **more) as answer:
            return answer.json() if answer.content else None

    def stream(
        self,
        function: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer before its body is read. A POST carries one Idempotency-Key through all its attempts."""
        sent = {"Accept": "application/json", **(headers or {})}
        if method == "POST":
            sent.setdefault("Idempotency-Key", uuid.uuid4().hex)
        for pause in _pauses():
            try:
                answer = self._once(function, method, path, body, query, sent)
            except (requests.ConnectionError, requests.Timeout):
                if pause is None:
                    raise
                self._sleep(pause)
                continue
            if answer.ok:
                return answer
            error = ApiError(answer.status_code, _problem(answer))
            if pause is None or answer.status_code not in TRANSIENT:
                raise error
            asked = answer.headers.get("Retry-After", "")
            self._sleep(min(float(asked), LONGEST_PAUSE_S) if asked.isdigit() else pause)
        raise AssertionError("the last attempt answers or raises")

    def _once(
        self, function: str, method: str, path: str, body: Any, query: Mapping[str, Any] | None, sent: dict[str, str]
    ) -> requests.Response:
        url = self._urls.get(function) or self._urls["*"]
        if self._token is not None:
            sent = {**sent, "Authorization": f"Bearer {self._token(url)}"}
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._session.request(
            method,
            f"{url}{path}",
            params={name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()},
            json=body,
            headers=sent,
            timeout=TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        )


def check_url(url: str) -> str:
    """The URL without its last slash. Raises `ValueError` unless it is https, or http on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_local(url)):
        return url.rstrip("/")
    raise ValueError(
        f"{url!r} is not an https URL; a token and rows are not sent in the clear (http is for this machine)"
    )


def is_local(url: str) -> bool:
    """Whether a URL is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def google_token(audience: str) -> str:
    """A Google-signed ID token for an audience, of the identity that this machine runs as (application default credentials)."""
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    return str(id_token.fetch_id_token(Request(), audience))  # type: ignore[no-untyped-call]


def _pauses() -> Iterator[float | None]:
    """The pause before each next attempt; None when there is none."""
    for attempt in range(ATTEMPTS - 1):
        yield min(FIRST_PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S)
    yield None


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"detail": answer.text[:500] or answer.reason}
