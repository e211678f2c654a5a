"""A service account: its key, and the one request that exchanges a signed assertion for a token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import google.auth.exceptions
from google.oauth2 import service_account

from shared.errors import CredentialError

SCOPES = ("https://www.googleapis.com/auth/spreadsheets",)
TOKEN_URIS = frozenset({"https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token"})
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
PASSING = frozenset({"internal_failure", "temporarily_unavailable", "server_error"})
LONGEST_REASON = 300  # our choice: a proxy's error page is no explanation


class TokenRefusedError(google.auth.exceptions.RefreshError):
    """The token endpoint gave no token. `is_final`: it names a reason in the key or the account, so asking again is of no use."""

    def __init__(self, status: int, answer: object, retry_after: str | None) -> None:
        told = answer if isinstance(answer, dict) else {}
        parts = [str(told[name]) for name in ("error", "error_description") if told.get(name)]
        self.status, self.retry_after = status, retry_after
        self.reason = ": ".join(parts)[:LONGEST_REASON] or "no explanation"
        self.is_final = status in (400, 401, 403) and bool(told.get("error")) and told["error"] not in PASSING
        super().__init__(self.reason)  # type: ignore[no-untyped-call]  # google-auth declares no types here


class ServiceAccount(service_account.Credentials):
    """A service account that asks for a token once: google-auth itself would repeat the request without regard to Retry-After.

    It makes no background look-up of its regional access boundary either: that needs the cloud-platform scope, which we do not
    ask for, and runs in a thread after the answer is given.
    """

    def refresh(self, request: Callable[..., Any]) -> None:
        """Get a new token. Raises `TokenRefusedError`, or google-auth's `TransportError` if there was no answer."""
        form = {"grant_type": GRANT, "assertion": self._make_authorization_grant_assertion()}  # type: ignore[no-untyped-call]  # as below
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = request(url=self._token_uri, method="POST", headers=headers, body=urlencode(form).encode())
        try:
            told = json.loads(answer.data)
        except ValueError:
            told = None
        if answer.status != 200 or not isinstance(told, dict) or not told.get("access_token"):
            raise TokenRefusedError(answer.status, told, answer.headers.get("Retry-After"))
        self.token = told["access_token"]
        ends = datetime.now(UTC) + timedelta(seconds=int(told.get("expires_in", 3600)))
        self.expiry = ends.replace(tzinfo=None)  # google-auth compares with naive times in UTC

    def _is_regional_access_boundary_lookup_required(self) -> bool:
        return False


def credentials_of(key: Mapping[str, Any] | str) -> ServiceAccount:
    """Return credentials for a JSON key (object or text) with the spreadsheets scope only; no call is made.

    Raises:
        CredentialError: not a service account's JSON key, or one that names another place than Google to get tokens from.
    """
    try:
        info = json.loads(key) if isinstance(key, str) else dict(key)
        if not isinstance(info, dict) or info.get("type") != "service_account":
            raise CredentialError("service_account_key is not a service account's JSON key; paste the whole key file")
        if info.get("token_uri") not in TOKEN_URIS:
            raise CredentialError("service_account_key names an unknown token_uri; use the key file as Google made it")
        made: ServiceAccount = ServiceAccount.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth declares no types here
        return made
    except (ValueError, TypeError, google.auth.exceptions.GoogleAuthError) as exc:
        raise CredentialError(
            f"service_account_key cannot be used ({type(exc).__name__}); create a new JSON key and register it again"
        ) from exc
