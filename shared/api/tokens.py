"""The ID token of a request: which header it stands in, and what it claims once somebody has checked its signature.

Cloud Run checks the caller's token itself and hands it on without its signature (https://cloud.google.com/run/docs/troubleshooting,
"signature removed"): the last part is then `SIGNATURE_REMOVED`. Where `X-Serverless-Authorization` is sent, Cloud Run checks that one
and passes `Authorization` on as it came (https://cloud.google.com/run/docs/authenticating/service-to-service).
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from shared.errors import UnauthenticatedError, VendorUnavailableError

SIGNATURE_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
CLOCK_SKEW_S = 10
CERTIFICATES_LIFETIME_S = 300.0  # our choice: Google rotates its keys within days and serves them cacheable for hours
SERVERLESS, PLAIN = "X-Serverless-Authorization", "Authorization"
BEARER = re.compile(r"bearer ([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
"""One token and nothing else: headers that came twice are joined by a comma, and are refused."""


class Headers(Protocol):
    """A request's headers, whatever the case of their names."""

    def get(self, name: str, /) -> str | None: ...


def presented(headers: Headers) -> str | None:
    """Return the token that says who calls, None if the request carries none.

    A signature was removed from the one token that Cloud Run checked. Of two without a signature it checked one and somebody made the
    other up, and which is which cannot be seen from here.

    Raises:
        UnauthenticatedError: the header is malformed or came twice, or two tokens have no signature.
    """
    serverless, plain = headers.get(SERVERLESS), headers.get(PLAIN)
    if serverless is not None and SIGNATURE_REMOVED in serverless and SIGNATURE_REMOVED in (plain or ""):
        raise UnauthenticatedError(f"{SERVERLESS} and {PLAIN} both carry a token without a signature; send one token")
    name, value = (PLAIN, plain) if serverless is None else (SERVERLESS, serverless)
    if value is None:
        return None
    found = BEARER.fullmatch(value)
    if found is None:
        raise UnauthenticatedError(f"send one Google-signed ID token: {name}: Bearer <token>")
    return found.group(1)


def has_no_signature(token: str) -> bool:
    """Whether the token is what Cloud Run makes of one that it has checked, or is made to look so."""
    return token.count(".") == 2 and token.rpartition(".")[2] == SIGNATURE_REMOVED


def claims_unsigned(token: str, audiences: Sequence[str], now: float) -> Mapping[str, Any]:
    """Return the claims of a token whose signature Cloud Run has checked and removed. `now` is Unix seconds.

    Raises:
        UnauthenticatedError: it cannot be read, is for another audience, or is not valid now.
    """
    payload = token.split(".")[1]
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=dict[str, Any])
    except (ValueError, RecursionError) as exc:
        raise UnauthenticatedError("the ID token cannot be read; ask for a new one") from exc
    if claims.get("aud") not in audiences:
        raise UnauthenticatedError(f"the ID token is for another audience; expected {audiences[0]}")
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        raise UnauthenticatedError("the ID token does not say when it was issued and expires; ask for a new one")
    if not issued - CLOCK_SKEW_S <= now <= expires + CLOCK_SKEW_S:
        raise UnauthenticatedError("the ID token is not valid now; ask for a new one")
    return claims


class GoogleVerifier:
    """Verifies a signed token with google-auth, Google's certificates cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached: dict[str, tuple[float, Any]] = {}

    def __call__(self, token: str, audiences: Sequence[str]) -> Mapping[str, Any]:
        from google.auth import exceptions
        from google.oauth2 import id_token

        try:
            claims: Mapping[str, Any] = (
                id_token.verify_token(  # signature, times, audience; `Authenticator` sees to the issuer
                    token,
                    self._get,  # type: ignore[arg-type]  # it is only ever called
                    audience=list(audiences),
                    clock_skew_in_seconds=CLOCK_SKEW_S,
                )
            )
        except exceptions.TransportError as exc:
            raise VendorUnavailableError("Google's certificates could not be fetched; try again") from exc
        except (ValueError, exceptions.GoogleAuthError) as exc:
            raise UnauthenticatedError("the ID token does not verify; ask for a new one") from exc
        return claims

    def _get(self, url: str, method: str = "GET", **kwargs: Any) -> Any:
        from google.auth.transport.requests import Request

        with self._lock:
            cached = self._cached.get(url)
            if cached and time.monotonic() - cached[0] < CERTIFICATES_LIFETIME_S:
                return cached[1]
            response = Request()(url, method=method, timeout=10, **kwargs)
            if response.status == 200:
                self._cached[url] = (time.monotonic(), response)
            return response
