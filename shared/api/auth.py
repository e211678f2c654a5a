"""Who is calling: Google-signed ID tokens, checked for issuer, audience, times and e-mail; roles from the settings.

The signature is checked here, or was by Cloud Run: see `shared/api/tokens.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from shared.api.routes import Permission, Route
from shared.api.tokens import GoogleVerifier, Headers, claims_unsigned, has_no_signature, presented
from shared.config import Settings
from shared.errors import ForbiddenError, UnauthenticatedError

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"  # gcloud's own client id
SERVICE_ACCOUNTS = ".gserviceaccount.com"
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
        self._verify = verify or GoogleVerifier()

    def require(self, route: Route, headers: Headers) -> Caller:
        """Return who calls, if that is enough for the route.

        Raises:
            UnauthenticatedError: no token, or one that does not verify.
            ForbiddenError: a verified identity that may not do this.
        """
        if not self._settings.admins and not self._settings.is_local and route.path != "/health":
            raise ForbiddenError(  # whoever it is, and before anybody has a token to show
                "nobody may use this deployment yet: set BI_ADMINS to the administrators' e-mail addresses"
            )
        if route.permission is Permission.PUBLIC:
            return Caller("anonymous", None)
        token = presented(headers)
        if token is None and self._settings.is_local and route.permission in RANKS:
            origin = headers.get("Origin")
            host = _name_in(headers.get("Host"))
            if host not in LOOPBACK:
                raise ForbiddenError(
                    f"{host!r} is no name of this machine's own; call http://localhost or http://127.0.0.1"
                )
            if origin is not None and _name_in(origin.partition("//")[2]) not in LOOPBACK:
                raise ForbiddenError(f"a page of {origin} may not act as the developer of this machine")
            return Caller("developer@localhost", Permission.ADMIN)
        if route.permission in RANKS:
            return self._person(self._email(token, [self._audience, GCLOUD_AUDIENCE]), route)
        email = self._email(token, [self._audience])
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

    def _email(self, token: str | None, audiences: Sequence[str]) -> str:
        if token is None:
            raise UnauthenticatedError("send a Google-signed ID token: Authorization: Bearer <token>")
        claims = self._claims(token, audiences)
        if claims.get("iss") not in ISSUERS:
            raise UnauthenticatedError(
                f"the token's issuer is {claims.get('iss')!r}; expected https://accounts.google.com"
            )
        if claims.get("email_verified") is not True or not claims.get("email"):
            raise UnauthenticatedError(
                "the token carries no verified e-mail address; ask for one with the e-mail claim"
            )
        email = str(claims["email"]).lower()
        if claims.get("aud") != self._audience and email.endswith(SERVICE_ACCOUNTS):
            raise UnauthenticatedError(f"a service account's token must be for the audience {self._audience}")
        return email

    def _claims(self, token: str, audiences: Sequence[str]) -> Mapping[str, Any]:
        if not has_no_signature(token):
            return self._verify(token, audiences)
        if not self._settings.cloud_run_checks_callers:
            raise UnauthenticatedError(
                "the ID token has no signature, and nothing says that Cloud Run has checked it: set CLOUD_RUN_CHECKS_CALLERS=true on "
                "the function on Cloud Run, where no caller but its invokers reaches it (infra/terraform and infra/gcloud.sh do both)"
            )
        return claims_unsigned(token, audiences, time.time())


def _name_in(host: str | None) -> str | None:
    """Return the name in a Host header, None if there is none: a page's own name can be made to lead to this machine."""
    try:
        return urlsplit(f"//{host or ''}").hostname
    except ValueError:
        return None
