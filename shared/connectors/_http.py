"""The one HTTP session for vendors: time-outs on every call, one log event a call, answers classified once."""

from __future__ import annotations

import email.utils
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError
from shared.telemetry import log_event, span

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 190.0  # Google answers or gives up after 180 s: developers.google.com/workspace/sheets/api/limits
LONGEST_RETRY_AFTER_S = (
    7 * 86_400.0
)  # our choice: who asks for longer is asked again after a week; Cloud Tasks holds 30 days
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class VendorAdapter(HTTPAdapter):
    """Transport that every vendor client's session uses: adds a time-out where the client forgot one, and logs the call."""

    def __init__(self, vendor: str) -> None:
        super().__init__(pool_connections=4, pool_maxsize=8, max_retries=0)
        self._vendor = vendor

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # same call, typed loosely
        if not kwargs.get("timeout"):
            kwargs["timeout"] = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        started = time.monotonic()
        status: int | str = "no answer"
        try:
            with span(f"{self._vendor} {request.method}", vendor=self._vendor):
                response = super().send(request, **kwargs)
            status = response.status_code
            return response
        finally:
            url = urlsplit(request.url or "")
            log_event(
                "vendor_call",
                vendor=self._vendor,
                method=request.method,
                host=url.hostname,
                path=self.shown_path(url.path),
                status=status,
                sent_bytes=_length(request.body),
                latency_ms=round((time.monotonic() - started) * 1000, 1),
            )

    def shown_path(self, path: str) -> str:
        """Return what the log says of a URL's path."""
        return path


def vendor_session(vendor: str) -> requests.Session:
    """Return a session whose calls go through `VendorAdapter`. One per thread."""
    return mount(requests.Session(), vendor)


def mount(session: requests.Session, vendor: str) -> requests.Session:
    """Put `VendorAdapter` under a session that a vendor's library made, and return it."""
    session.mount("https://", VendorAdapter(vendor))
    return session


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (number or HTTP date), None if it is absent, unreadable or asks for none.

    At most `LONGEST_RETRY_AFTER_S`. No time at all, or one that has passed by our clock, is no leave to come at once: a vendor in
    trouble is met with our own pauses.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds > 0 else None


def classify(  # one answer needs all of these to be told apart
    vendor: str, status: int, message: str, *, retry_after: str | None, now: datetime, doing: str
) -> BIConnectorsError:
    """Return the error for a vendor's refusal, by what to do next. `message` is the vendor's own text, without secrets."""
    said = f"{vendor} answered {status} while {doing}: {message or 'no explanation'}"
    if status in RETRYABLE:
        return VendorUnavailableError(
            f"{said}; this may pass with time", retry_after_s=retry_after_s(retry_after, now), vendor_status=status
        )
    if status in (401, 403):
        return CredentialError(
            f"{said}; check the credential and its rights, then register it again", vendor_status=status
        )
    return TargetError(said, vendor_status=status)


def unreachable(vendor: str, error: Exception, doing: str) -> VendorUnavailableError:
    """Return the error for a call without an answer. The exception's own text may hold a URL's query, so only its type is told."""
    return VendorUnavailableError(
        f"{vendor} gave no answer while {doing} ({type(error).__name__}); this may pass with time",
        code="vendor_unreachable",
    )


def _length(body: object) -> int:
    return len(body) if isinstance(body, bytes | str) else 0
