"""Who is calling: Google-signed ID tokens, checked for signature, issuer, audience and e-mail; roles from the settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from shared.api.routes import Permission, Route
from shared.config import Settings
from shared.errors import ForbiddenError, UnauthenticatedError, VendorUnavailableError

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"  # gcloud's own client id
SERVICE_ACCOUNTS = ".gserviceaccount.com"
CLOCK_SKEW_S = 10
CERTIFICATES_LIFETIME_S = 300.0  # our choice: Google rotates its keys within days and serves them cacheable for hours
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
RANKS = {Permission.VIEWER: 1, Permission.OPERATOR: 2, Permission.ADMIN: 3}


@dataclass(frozen=True)
class Caller:
    """A verified identity. `role` is None for the service accounts of internal routes."""

    email: str
    role: Permission | None


class Authenticator:
    """Checks one function's callers. `audience` is the function's own URL.

    On people's routes a person's token may also be for `GCLOUD_AUDIENCE`: `gcloud auth print-identity-token` gives a user account
    no other (it refuses `--audiences`), and so a person could not call at all. What remains: such a token is bound to no function, so
    whatever a person sends one to can use it here, as that person, for the hour that it lives. Internal routes and service accounts,
    which can ask for any audience, take the function's URL alone.
    """

    def __init__(
        self, settings: Settings, audience: str, verify: Callable[[str, Sequence[str]], Mapping[str, Any]] | None = None
    ) -> None:
        self._settings = settings
        self._audience = audience
        self._verify = verify or _GoogleVerifier()

    def require(self, route: Route, authorization: str | None, origin: str | None = None) -> Caller:
        """Return who calls, if that is enough for the route.

        Raises:
            UnauthenticatedError: no token, or one that does not verify.
            ForbiddenError: a verified identity that may not do this.
        """
        if route.permission is Permission.PUBLIC:
            return Caller("anonymous", None)
        if authorization is None and self._settings.is_local and route.permission in RANKS:
            if origin is not None and urlsplit(origin).hostname not in LOOPBACK:
                raise ForbiddenError(f"a page of {origin} may not act as the developer of this machine")
            return Caller("developer@localhost", Permission.ADMIN)
        if route.permission in RANKS:
            return self._person(self._email(authorization, [self._audience, GCLOUD_AUDIENCE]), route)
        email = self._email(authorization, [self._audience])
        expected = (
            self._settings.tasks_service_account
            if route.permission is Permission.TASKS
            else self._settings.scheduler_service_account
        )
        if email != expected.lower():
            raise ForbiddenError(f"{email} may not call {route.path}; only {expected} may")
        return Caller(email, None)

    def _person(self, email: str, route: Route) -> Caller:
        settings = self._settings
        if not settings.admins:
            raise ForbiddenError(
                "nobody may use this deployment yet: set BI_ADMINS to the administrators' e-mail addresses"
            )
        groups = (
            (Permission.ADMIN, settings.admins),
            (Permission.OPERATOR, settings.operators),
            (Permission.VIEWER, settings.viewers),
        )
        role = next((role for role, members in groups if email in members), None)
        if role is None or RANKS[role] < RANKS[route.permission]:
            raise ForbiddenError(
                f"{email} is {role.value if role else 'not known here'}; {route.method} {route.path} needs {route.permission.value}; "
                "ask an administrator"
            )
        return Caller(email, role)

    def _email(self, authorization: str | None, audiences: Sequence[str]) -> str:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("send a Google-signed ID token: Authorization: Bearer <token>")
        claims = self._verify(token, audiences)
        if claims.get("iss") not in ISSUERS:
            raise UnauthenticatedError(
                f"the token's issuer is {claims.get('iss')!r}; expected https://accounts.google.com"
            )
        if not claims.get("email_verified") or not claims.get("email"):
            raise UnauthenticatedError(
                "the token carries no verified e-mail address; ask for one with the e-mail claim"
            )
        email = str(claims["email"]).lower()
        if claims.get("aud") != self._audience and email.endswith(SERVICE_ACCOUNTS):
            raise UnauthenticatedError(f"a service account's token must be for the audience {self._audience}")
        return email


class _GoogleVerifier:
    """Verifies a token with google-auth, Google's certificates cached."""

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
            raise UnauthenticatedError(f"the ID token does not verify: {str(exc).split(',')[0][:120]}") from exc
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
