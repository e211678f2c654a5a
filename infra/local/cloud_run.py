"""What Cloud Run does in front of a function: it checks the caller's ID token and removes its signature before the function gets it.

The rules are those of https://cloud.google.com/run/docs/authenticating/service-to-service: `X-Serverless-Authorization` is the one
that is checked where it is sent, and `Authorization` then passes untouched. A request without a token passes, which Cloud Run would
refuse: it is the developer's (`ENVIRONMENT=local`), and the functions refuse it where it may not be. Who is bound as an invoker
follows `infra/terraform/callers.tf` as far as there are bindings here: people are nobody in particular, service accounts are two.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from google.auth import exceptions, jwt

from infra.local.emulators.identity import TokenSigner
from infra.local.settings import SCHEDULER_SERVICE_ACCOUNT, TASKS_SERVICE_ACCOUNT

REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"
CHECKED = ("x-serverless-authorization", "authorization")
"""The headers that may carry the token, the one that counts first."""

ROBOTS = frozenset({TASKS_SERVICE_ACCOUNT, SCHEDULER_SERVICE_ACCOUNT})
CLOCK_SKEW_S = 10


class RefusedError(Exception):
    """Cloud Run would not hand the request on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CloudRun:
    """The check in front of all functions; `audiences` are their URLs by name."""

    def __init__(self, signer: TokenSigner, audiences: Mapping[str, str]) -> None:
        self._audiences = dict(audiences)
        self._signer = signer
        self._lock = threading.Lock()
        self._certificates: dict[str, str] = {}

    def admitted(self, function: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers as the function gets them: the token that was checked has no signature any more.

        Raises:
            RefusedError: 401 for a token that does not verify, 403 for a caller without the binding.
        """
        for checked in CHECKED:
            sent = [name for name in headers if name.lower() == checked]
            if len(sent) > 1:
                raise RefusedError(401, "unauthenticated", f"the header {checked} was sent more than once")
            if sent:
                scheme, _, token = headers[sent[0]].partition(" ")
                if scheme.lower() != "bearer":
                    raise RefusedError(401, "unauthenticated", f"{checked} is not of the form Bearer <token>")
                self._check(function, self._claims(function, token))
                return {**headers, sent[0]: f"{scheme} {token.rpartition('.')[0]}.{REMOVED}"}
        return dict(headers)

    def _claims(self, function: str, token: str) -> Mapping[str, Any]:
        audiences = [self._audiences[function], GCLOUD_AUDIENCE]
        with self._lock:
            self._certificates = self._certificates or self._signer.certificates()
        try:
            claims: Mapping[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]  # the library is half typed
                token, certs=self._certificates, audience=audiences, clock_skew_in_seconds=CLOCK_SKEW_S
            )
        except (ValueError, exceptions.GoogleAuthError) as exc:
            raise RefusedError(
                401, "unauthenticated", f"the ID token is not one of the local cloud for {audiences[0]}"
            ) from exc
        return claims

    def _check(self, function: str, claims: Mapping[str, Any]) -> None:
        is_robot = claims.get("email") in ROBOTS
        if not (function == "refresh" or is_robot == (function == "export_worker")):
            raise RefusedError(403, "forbidden", f"{claims.get('email')} is no invoker of {function}")
