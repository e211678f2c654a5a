"""The Looker SDK with settings in code, our session under it, and its errors told apart by HTTP status."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import requests
from looker_sdk import api_settings, error
from looker_sdk.rtl import auth_session, requests_transport, serialize, transport
from looker_sdk.sdk import constants
from looker_sdk.sdk.api40 import methods

from shared.connectors import _http, _retry
from shared.connectors._quota import Limit, Need, NoQuota, Quota
from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError
from shared.ports import Clock

T = TypeVar("T")
API = "4.0"
TIMEOUT_S = 120  # the SDK's own default; test_connection and starting a build can take long
QUOTA_WINDOW_S = 60.0  # our choice: how often to look whether another instance was refused is derived from it
LONGEST_MESSAGE = 500  # our choice: a proxy's error page is not an explanation


class CodeSettings(api_settings.ApiSettings):
    """Settings from arguments: neither a `looker.ini` in the working directory nor `LOOKERSDK_*` variables are read."""

    def __init__(self, base_url: str, client_id: str, client_secret: str) -> None:
        self._given: api_settings.SettingsConfig = {
            "base_url": base_url.rstrip("/"),
            "client_id": client_id,
            "client_secret": client_secret,
            "verify_ssl": "true",
            "timeout": str(TIMEOUT_S),
        }
        super().__init__(sdk_version=constants.sdk_version)

    def read_config(self) -> api_settings.SettingsConfig:
        return self._given.copy()


class StatusTransport(requests_transport.RequestsTransport):
    """Keeps the last answer, because `SDKError` has neither status nor headers. None after a call without an answer."""

    def __init__(self, settings: CodeSettings, session: requests.Session) -> None:
        super().__init__(settings, session)
        self.last: requests.Response | None = None
        session.hooks["response"].append(self._keep)

    def request(
        self,
        method: transport.HttpMethod,
        path: str,
        query_params: MutableMapping[str, str] | None = None,
        body: bytes | None = None,
        authenticator: transport.TAuthenticator = None,
        transport_options: transport.TransportOptions | None = None,
    ) -> transport.Response:
        """Send one request; the SDK signs in inside of it, and an answer to that is not the answer to this."""

        def authenticate(options: transport.TransportOptions) -> dict[str, str]:
            headers = authenticator(options) if authenticator else {}
            self.last = None
            return headers

        self.last = None
        return super().request(method, path, query_params, body, authenticate, transport_options)

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.last = response


class LookerClient:
    """One API user of one instance; for one thread. Logs in on the first call, and again when a token has ended early."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        clock: Clock,
        session: Callable[[], requests.Session],
        quota: Quota | None = None,
    ) -> None:
        # Every operation of the API 4.0 document says x-looker-rate-limited, none says how often: only 429 holds us back.
        self._needs = (Need(Limit("looker", "user", f"{client_id}@{base_url}", None, QUOTA_WINDOW_S)),)
        self._quota = quota or NoQuota()
        self._client_id = client_id
        self._settings = CodeSettings(base_url, client_id, client_secret)
        self._clock = clock
        self._session = session
        self._open()

    def call(
        self, doing: str, work: Callable[[methods.Looker40SDK], T], *, needs: str = "", is_repeatable: bool = True
    ) -> T:
        """Return `work(sdk)`, waiting out throttling and faults.

        Args:
            needs: the Looker permission, named when Looker answers 404, which it also does for a lack of rights.
            is_repeatable: False for a call whose effect adds up: it is sent again only after an answer that refused it.

        Raises:
            CredentialError, TargetError, VendorUnavailableError: by what Looker answered.
        """

        def once() -> T:
            try:
                with self._quota.hold(self._needs):
                    return self._with_fresh_token(work)
            except error.SDKError as problem:
                told = self._translate(problem, doing, needs)
                if isinstance(told, VendorUnavailableError) and told.details.get("vendor_status") == 429:
                    self._quota.refused(self._needs, told.retry_after_s)
                raise told from problem

        return _retry.call(once, self._clock, attempts=_retry.MAX_ATTEMPTS if is_repeatable else 1)

    def vendor_now(self) -> datetime:
        """Looker's own time from its last answer, else ours: it refuses times that are in its future."""
        sent = self._transport.last.headers.get("Date") if self._transport.last is not None else None
        try:
            return parsedate_to_datetime(sent) if sent else self._clock.now()
        except ValueError:
            return self._clock.now()

    def _open(self) -> None:
        self._transport = StatusTransport(self._settings, self._session())
        authentication = auth_session.AuthSession(self._settings, self._transport, serialize.deserialize40, API)
        self._sdk = methods.Looker40SDK(
            authentication, serialize.deserialize40, serialize.serialize40, self._transport, API
        )

    def _with_fresh_token(self, work: Callable[[methods.Looker40SDK], T]) -> T:
        try:
            return work(self._sdk)
        except error.SDKError:
            last = self._transport.last
            if last is None or last.status_code != 401 or _is_login(last):
                raise
        self._open()  # 401 in flight: the token ended before its time; the request was refused, so it is safe to repeat
        return work(self._sdk)

    def _translate(self, problem: error.SDKError, doing: str, needs: str) -> BIConnectorsError:
        last = self._transport.last
        if last is None or last.ok:  # no answer, or one that broke off in its body
            return _http.unreachable("Looker", problem, doing)
        message = _explanation(problem)
        if _is_login(last) and last.status_code in (400, 401, 403, 404):
            return CredentialError(
                f"Looker refused client id {self._client_id!r} ({last.status_code}); make a new API key for that user in "
                "Looker (Admin, Users, API keys) and register it",
                vendor_status=last.status_code,
            )
        if last.status_code == 401:  # keys are refused by the login
            return VendorUnavailableError(
                f"Looker refused the token that its own login had just given while {doing}; this may pass with time",
                vendor_status=401,
            )
        if last.status_code == 404:
            right = f" or the API user lacks the permission {needs}" if needs else ""
            return TargetError(
                f"Looker answered 404 while {doing}: {message}. It does not exist{right}: Looker answers the same to both",
                vendor_status=404,
            )
        return _http.classify(
            "Looker",
            last.status_code,
            message,
            retry_after=last.headers.get("Retry-After"),
            now=self._clock.now(),
            doing=doing,
        )


def _is_login(response: requests.Response) -> bool:
    return (response.request.path_url or "").split("?")[0].endswith("/login")


def _explanation(problem: error.SDKError) -> str:
    """Looker's words, with the fields that it names; an error page of something in between is only called that."""
    message = (problem.message or "").strip()
    if message.startswith("<"):
        return "a page of HTML, so not from Looker's API itself"
    fields = "; ".join(f"{item.field}: {item.message}" for item in problem.errors or () if item.message)
    return f"{message[:LONGEST_MESSAGE]} ({fields[:LONGEST_MESSAGE]})" if fields else message[:LONGEST_MESSAGE]
