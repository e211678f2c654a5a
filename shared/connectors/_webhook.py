"""One POST to a URL that an administrator set, and what its answer means: taken, refused for good, or worth another try."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.connectors._outgoing import Outgoing, guarded_session
from shared.errors import TargetError, VendorUnavailableError

TIMEOUT_S = (5.0, 10.0)  # our choice: to connect, and between two bytes of the answer
REASON_BYTES = 300  # our choice: as much of a refusal as people are shown


def post(outgoing: Outgoing, url: str, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
    """Send a body once; return if the receiver took it. Of the answer only the beginning of a refusal is read.

    Raises:
        TargetError: it will not be taken: code `receiver_refused` (4xx), `redirected`, or what `outgoing` does not allow.
        VendorUnavailableError: it may be taken later: no answer, 408, 425, 429, 5xx.
    """
    import requests

    from shared.connectors._http import RETRYABLE, retry_after_s, unreachable

    host = outgoing.require(url)
    sent = {"Accept-Encoding": "identity", "User-Agent": "bi-connectors", **headers}
    try:
        with (
            guarded_session("receiver", outgoing) as session,
            session.post(url, data=body, headers=sent, timeout=TIMEOUT_S, allow_redirects=False, stream=True) as answer,
        ):
            status, wait = answer.status_code, answer.headers.get("Retry-After")
            if answer.ok:
                return
            reason = _beginning(answer)
    except requests.RequestException as exc:
        raise unreachable(host, exc, "a notice was sent") from exc
    said = f"{host} answered {status}" + (f": {reason}" if reason else "")
    if status in RETRYABLE or status >= 500:
        raise VendorUnavailableError(said, retry_after_s=retry_after_s(wait, now), vendor_status=status)
    raise TargetError(
        f"{said}; mend the receiver, or put the channel with its present URL and secret, then test it",
        code="receiver_refused",
        vendor_status=status,
    )


def _beginning(answer: object) -> str:
    """Return the first printable text of an answer's body, empty if it cannot be read."""
    import requests

    try:
        first = next(answer.iter_content(REASON_BYTES), b"")  # type: ignore[attr-defined]  # requests.Response, imported late
    except (requests.RequestException, TargetError):
        return ""
    return "".join(mark if mark.isprintable() else " " for mark in first.decode("utf-8", "replace")).strip()
