"""Calls to the Power BI REST API: a token before every call, and every refusal told apart once.

API: learn.microsoft.com/rest/api/power-bi. A service principal may use the `/groups/{id}/…` form of a URL only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msal
import requests

from shared.connectors import _http
from shared.connectors._quota import Need, NoQuota, Quota
from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError
from shared.ports import Clock

VENDOR = "Power BI"
API = "https://api.powerbi.com"
AUTHORITY = "https://login.microsoftonline.com"
SCOPES = ["https://analysis.windows.net/powerbi/api/.default"]
PASSING = frozenset({"temporarily_unavailable", "server_error"})  # RFC 6749, 4.1.2.1
EXPIRED = frozenset({"TokenExpired", "ExpiredToken"})

Json = Any


class Session:
    """One service principal's way to the API. One per thread; the first call signs in.

    Args:
        tenant_id, client_id, client_secret: the service principal; the secret appears in no message.
        clock: wall clock, to read a Retry-After that is a date.
        quota: asked before each call that names `needs`.
    """

    def __init__(  # a principal is three values
        self, tenant_id: str, client_id: str, client_secret: str, clock: Clock, quota: Quota | None = None
    ) -> None:
        self._tenant_id, self._client_id, self._client_secret = tenant_id, client_id, client_secret
        self._clock = clock
        self._quota = quota or NoQuota()
        self._http = _http.vendor_session("power_bi")
        self._sign_in_http = _http.vendor_session("entra")
        self._sign_in_http.hooks["response"].append(self._keep)
        self._entra_answer: requests.Response | None = None  # the last one: msal tells neither status nor headers
        self._app: Any = None

    @property
    def client_id(self) -> str:
        return self._client_id

    def sign_in(self) -> str:
        """Return an access token: msal's cached one while it has 5 minutes left, else a new one.

        Raises:
            CredentialError: Entra refused tenant, client or secret.
            VendorUnavailableError: Entra throttles, fails or cannot be reached.
        """
        self._entra_answer = None
        try:
            if self._app is None:
                # instance_discovery only matters for authorities that are not Microsoft's own; off, it saves a call.
                self._app = msal.ConfidentialClientApplication(
                    self._client_id,
                    self._client_secret,
                    authority=f"{AUTHORITY}/{segment(self._tenant_id)}",
                    instance_discovery=False,
                    http_client=self._sign_in_http,
                    timeout=_http.CONNECT_TIMEOUT_S,
                )
            answer: dict[str, Any] = self._app.acquire_token_for_client(SCOPES)
        except requests.RequestException as exc:
            raise self._no_token(_http.unreachable("Entra ID", exc, "signing in")) from exc
        except (ValueError, KeyError, msal.exceptions.MsalServiceError) as exc:  # no JSON, 5xx, no openid-configuration
            raise self._no_token(self._refused({})) from exc
        token = answer.get("access_token")
        if isinstance(token, str):
            return token
        raise self._no_token(self._refused(answer))

    def _no_token(self, error: BIConnectorsError) -> BIConnectorsError:
        """Start anew with the next call: msal repeats a refusal from its memory for a while, but the waiting is done by us."""
        self._app = None
        if isinstance(error, VendorUnavailableError):
            error.is_sent = False
        return error

    def call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: bytes | Json | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        needs: Sequence[Need] = (),
    ) -> requests.Response:
        """Send one request to `/v1.0/myorg/<path>` and return its 2xx answer; never tries again by itself.

        A token that the vendor calls expired is renewed and the call repeated once: it was refused, so it had no effect.

        Args:
            doing: completes "Power BI answered 404 while …".
            body: bytes are sent as they are (they are JSON already), anything else is encoded.
            needs: what the call counts against (see `limits`); waited for before it is sent.

        Raises:
            BIConnectorsError: as `_http.classify`; details `vendor_status`, `vendor_code`.
            VendorUnavailableError: code `vendor_unreachable` when there was no answer: the outcome is unknown; code
                `quota_wait` when nothing was sent.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        token = self.sign_in()  # before, lest the place that is taken in the quota's window grow old
        with self._quota.hold(needs):
            for attempt in (1, 2):
                response = self._send(
                    method, path, doing, data, query, {**(headers or {}), "Authorization": f"Bearer {token}"}
                )
                if response.ok:
                    return response
                code, message = explain(response)
                if attempt == 1 and response.status_code in (401, 403) and code in EXPIRED:
                    self._app.remove_tokens_for_client()
                    token = self.sign_in()
                    continue
                break
        error = self._refusal(response, code, message, doing)
        if response.status_code == 429 and isinstance(error, VendorUnavailableError):
            self._quota.refused(needs, error.retry_after_s)
        raise error

    def _send(
        self,
        method: str,
        path: str,
        doing: str,
        data: bytes | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> requests.Response:
        sent = dict(headers)
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            return self._http.request(method, f"{API}/v1.0/myorg/{path}", params=query, data=data, headers=sent)
        except requests.RequestException as exc:
            raise _http.unreachable(VENDOR, exc, doing) from exc

    def _refusal(self, response: requests.Response, code: str, message: str, doing: str) -> BIConnectorsError:
        said = f"{code}: {message}" if code and message else code or message
        error = _http.classify(
            VENDOR,
            response.status_code,
            said,
            retry_after=response.headers.get("Retry-After"),
            now=datetime.fromtimestamp(self._clock.now().timestamp(), UTC),
            doing=doing,
        )
        error.details["vendor_code"] = code
        request_id = response.headers.get("RequestId")
        if request_id:
            error.details["vendor_request_id"] = request_id
        return error

    def _refused(self, answer: Mapping[str, Any]) -> BIConnectorsError:
        """Return the error for an answer of Entra's without a token; empty: it was not even one of its own kind."""
        last = self._entra_answer
        status = last.status_code if last is not None else HTTPStatus.SERVICE_UNAVAILABLE
        error = str(answer.get("error") or "")
        first_line = str(answer.get("error_description") or "").splitlines()[:1]
        said = ": ".join(part for part in (error, *first_line) if part) or "no explanation"
        if (
            error in PASSING
            or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
            or status in _http.RETRYABLE
        ):
            asked = last.headers.get("Retry-After") if last is not None else None
            return VendorUnavailableError(
                f"Entra ID answered {int(status)} without a token: {said}; it will be tried again",
                retry_after_s=_http.retry_after_s(asked, self._clock.now()),
                vendor_status=int(status),
            )
        if not error:
            return CredentialError(
                f"Entra ID knows no tenant {self._tenant_id!r}; correct tenant_id and register the connector again",
                kind="power_bi",
            )
        return CredentialError(
            f"Entra ID refused to sign in client {self._client_id!r} of tenant {self._tenant_id!r} ({said}); "
            "check tenant_id and client_id, or create a new client secret, and register the connector again",
            kind="power_bi",
        )

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._entra_answer = response


def explain(response: requests.Response) -> tuple[str, str]:
    """Return (code, message) of a refusal, each possibly empty. Understands every form that Power BI is known to use:

    `{"error": {"code", "message"}}`, the same with `pbi.error` and its details instead of a message, `{"message"}`,
    `{"Message"}`, and bodies that are empty or no JSON.
    """
    try:
        body = response.json()
    except ValueError:
        return "", response.reason or ""
    if not isinstance(body, dict):
        return "", ""
    error = body.get("error")
    if isinstance(error, dict):
        return str(error.get("code") or ""), str(error.get("message") or _details(error.get("pbi.error")))
    return str(error or ""), str(body.get("message") or body.get("Message") or "")


def exact_json(response: requests.Response) -> Json:
    """Parse an answer with its decimals exact. Raises `TargetError` if it is no JSON."""
    try:
        return json.loads(response.content, parse_float=Decimal)
    except ValueError as exc:
        raise TargetError(f"Power BI answered {response.status_code} with a body that is not JSON") from exc


def segment(name: str) -> str:
    """Return a name as one segment of a path. Raises `TargetError` for one that would climb out of it."""
    if name in ("", ".", ".."):
        raise TargetError(f"{name!r} cannot be part of an address at Power BI; correct the id or the name")
    return quote(name, safe="")


def _details(pbi_error: object) -> str:
    if not isinstance(pbi_error, dict):
        return ""
    told = []
    for item in pbi_error.get("details") or []:
        if isinstance(item, dict) and isinstance(item.get("detail"), dict):
            told.append(f"{item.get('code')}: {item['detail'].get('value')}")
    return "; ".join(told)
