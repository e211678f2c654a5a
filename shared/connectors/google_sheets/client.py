"""Calls to one spreadsheet through gspread: our session underneath, our errors on top, retried in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import google.auth.exceptions
import gspread
import orjson
import requests
from google.auth.transport.requests import AuthorizedSession, Request
from gspread.urls import SPREADSHEET_URL, SPREADSHEET_VALUES_BATCH_URL, SPREADSHEET_VALUES_URL
from gspread.utils import quote

from shared.connectors import _http, _retry
from shared.connectors._quota import Limit, Need, NoQuota, Quota
from shared.connectors.google_sheets.account import ServiceAccount, TokenRefusedError, credentials_of
from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError
from shared.ports import Clock

VENDOR = "Google Sheets"
QUOTA_WINDOW_S = 60.0  # per-minute quotas: developers.google.com/workspace/sheets/api/limits
CALLS_A_MINUTE_OF_USER = 60  # reads and writes apart, as the next; a service account is one user
CALLS_A_MINUTE_OF_PROJECT = 300
SEARCH = ":search"  # ends the one address that is read with POST

SPREADSHEET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
T = TypeVar("T")


class SheetsHttp(gspread.HTTPClient):
    """gspread's own HTTP client on a session with our transport, for the API and for tokens, and under the shared quota."""

    def __init__(
        self, auth: ServiceAccount, session: requests.Session | None = None, *, clock: Clock, quota: Quota
    ) -> None:
        tokens = Request(_http.vendor_session("google_identity"))
        authorised = session or AuthorizedSession(auth, auth_request=tokens)  # type: ignore[no-untyped-call]  # as above
        super().__init__(auth, _http.mount(authorised, "google_sheets"))
        self.set_timeout((_http.CONNECT_TIMEOUT_S, _http.READ_TIMEOUT_S))
        self._clock, self._quota = clock, quota
        self._email, self._project = str(auth.service_account_email), str(auth.project_id)

    def request(self, method: str, *args: Any, **options: Any) -> requests.Response:
        """Send one request when the quota allows it; every call of the API comes through here.

        The token is there before: while one is waited for, the place that was taken in the quota's window would grow old.
        """
        session: Any = self.session  # google-auth's, with its own request on our transport
        if not session.credentials.valid:
            session.credentials.refresh(session._auth_request)  # noqa: SLF001 - there is no other way to it
        is_read = method.lower() == "get" or str(args[0]).endswith(SEARCH)
        needs = needs_of("reads" if is_read else "writes", self._email, self._project)
        with self._quota.hold(needs):
            try:
                answered: requests.Response = super().request(method, *args, **options)
                _refuse_error_body(answered)
                return answered
            except gspread.exceptions.APIError as refusal:
                if refusal.response.status_code == 429:
                    asked = refusal.response.headers.get("Retry-After")
                    self._quota.refused(needs, _http.retry_after_s(asked, self._clock.now()))
                raise


def _refuse_error_body(answered: requests.Response) -> None:
    """Raise gspread's error for an answer of 200 that holds an error: whatever sent it, the call was not done."""
    if b"".join(answered.content[:64].split()).startswith(b'{"error":'):
        told = answered.json()["error"]
        if not isinstance(told, dict) or not isinstance(told.get("code"), int):
            raise ValueError("an answer of 200 holds an error")
        answered.status_code = told["code"]
        raise gspread.exceptions.APIError(answered)


def needs_of(unit: str, email: str, project: str) -> tuple[Need, ...]:
    """Return what one request counts against: `reads` or `writes`, of the service account and of its project."""
    user = Limit("google_sheets", "user", email, CALLS_A_MINUTE_OF_USER, QUOTA_WINDOW_S, unit)
    whole = Limit("google_sheets", "project", project, CALLS_A_MINUTE_OF_PROJECT, QUOTA_WINDOW_S, unit)
    return Need(user), Need(whole)


class SheetsClient:
    """One spreadsheet. Not shared between threads; the first call fetches a token."""

    def __init__(
        self, spreadsheet_id: str, key: Mapping[str, Any] | str, clock: Clock, quota: Quota | None = None
    ) -> None:
        self.spreadsheet_id = spreadsheet_id
        self._key = key
        self._clock = clock
        self._quota = quota or NoQuota()
        self._client: gspread.Client | None = None
        self.account = "the service account"

    def http(self) -> Any:
        """gspread's HTTP client, made on first use. Raises `CredentialError` for an unusable key, `TargetError` for a wrong id."""
        if self._client is None:
            if not SPREADSHEET_ID.fullmatch(self.spreadsheet_id):  # it stands in paths
                raise TargetError(f"{self.spreadsheet_id!r} is no spreadsheet_id; take what follows /d/ in its URL")
            credentials = credentials_of(self._key)
            self.account = str(credentials.service_account_email)
            http = partial(SheetsHttp, clock=self._clock, quota=self._quota)
            self._client = gspread.Client(credentials, http_client=http)  # type: ignore[arg-type]  # it is only ever called
        return self._client.http_client

    def fetch_token(self) -> None:
        """Get a new access token now. Raises `CredentialError` if Google refuses the key."""
        session = self.http().session
        self.call("getting a token", lambda _: session.credentials.refresh(session._auth_request))  # noqa: SLF001 - google-auth's own request, with our transport

    def get(self, fields: str) -> dict[str, Any]:
        """Return the Spreadsheet resource, cut to a field mask."""
        url = SPREADSHEET_URL % self.spreadsheet_id
        found: dict[str, Any] = self.call(
            "opening the spreadsheet", lambda http: http.request("get", url, params={"fields": fields}).json()
        )
        return found

    def batch_update(self, requests_: Sequence[Mapping[str, Any]], doing: str) -> dict[str, Any]:
        """Send one atomic batch; a lost answer is retried, so a batch that cannot be repeated ends in a `TargetError`."""
        body = {"requests": list(requests_)}
        done: dict[str, Any] = self.call(doing, lambda http: http.batch_update(self.spreadsheet_id, body))
        return done

    def write_values(self, a1: str, body: bytes) -> None:
        """Write a ValueRange (JSON bytes) RAW at an explicit range; the same call again changes nothing."""
        url = SPREADSHEET_VALUES_URL % (self.spreadsheet_id, quote(a1))
        params, headers = {"valueInputOption": "RAW"}, {"Content-Type": "application/json"}
        self.call("writing rows", lambda http: http.request("put", url, params=params, data=body, headers=headers))

    def read_values(self, ranges: Sequence[str], *, formulas: bool = False) -> list[list[list[Any]]]:
        """Return the cells of each range by columns: unformatted, dates as serial numbers, trailing empty cells left out."""
        url = SPREADSHEET_VALUES_BATCH_URL % self.spreadsheet_id
        params = {
            "ranges": list(ranges),
            "majorDimension": "COLUMNS",
            "valueRenderOption": "FORMULA" if formulas else "UNFORMATTED_VALUE",
            "dateTimeRenderOption": "SERIAL_NUMBER",
        }
        answer = self.call("reading rows", lambda http: orjson.loads(http.request("get", url, params=params).content))
        return [part.get("values", []) for part in answer["valueRanges"]]

    def find_metadata(self, key: str) -> list[dict[str, Any]]:
        """Return all developer metadata of a key, wherever in the spreadsheet it is."""
        url = f"{SPREADSHEET_URL % self.spreadsheet_id}/developerMetadata{SEARCH}"
        body = {"dataFilters": [{"developerMetadataLookup": {"metadataKey": key}}]}
        answer = self.call("finding our range", lambda http: http.request("post", url, json=body).json())
        return [one["developerMetadata"] for one in answer.get("matchedDeveloperMetadata", [])]

    def call(self, doing: str, work: Callable[[Any], T]) -> T:
        """Run `work` on gspread's HTTP client, retried after passing troubles; it must be safe to repeat.

        Raises:
            CredentialError, TargetError, VendorUnavailableError: see `_translate`.
        """

        def once() -> T:
            try:
                return work(self.http())
            except (
                gspread.exceptions.APIError,
                google.auth.exceptions.GoogleAuthError,
                requests.RequestException,
                ValueError,
            ) as exc:
                raise self._translate(exc, doing) from exc

        try:
            return _retry.call(once, self._clock)
        except VendorUnavailableError as error:
            if error.retry_after_s is None and error.details.get("vendor_status") == 429:
                error.retry_after_s = QUOTA_WINDOW_S  # Google names no time; the window is a minute
            raise

    def _translate(self, error: Exception, doing: str) -> BIConnectorsError:
        if isinstance(error, gspread.exceptions.APIError):
            return self._refused(error, doing)
        if isinstance(error, TokenRefusedError):
            return self._no_token(error, doing)
        return _http.unreachable(VENDOR, error, doing)

    def _no_token(self, error: TokenRefusedError, doing: str) -> BIConnectorsError:
        if error.is_final:
            return CredentialError(
                f"Google refused the key of {self.account} while {doing}: {error.reason}; "
                "create a new JSON key and register it again",
                vendor_status=error.status,
            )
        return VendorUnavailableError(
            f"Google answered {error.status} without a token while {doing}: {error.reason}; this may pass with time",
            retry_after_s=_http.retry_after_s(error.retry_after, self._clock.now()),
            vendor_status=error.status,
        )

    def _refused(self, error: gspread.exceptions.APIError, doing: str) -> BIConnectorsError:
        response = error.response
        is_json = error.code != -1  # gspread's mark for a body that is not JSON, e.g. a proxy's page
        message = str(error.error.get("message", "")) if is_json else "a page that is not JSON"
        if response.status_code == 403:
            return CredentialError(
                f"Google Sheets answered 403 while {doing}: {message}; "
                f"share the spreadsheet with {self.account} as editor",
                vendor_status=403,
            )
        if response.status_code == 404:
            return TargetError(
                f"Google Sheets answered 404 while {doing}: {message} Check spreadsheet_id: the long id in the URL of a "
                f"spreadsheet that is shared with {self.account}",
                code="spreadsheet_not_found",
                vendor_status=404,
            )
        retry_after = response.headers.get("Retry-After")
        return _http.classify(
            VENDOR, response.status_code, message, retry_after=retry_after, now=self._clock.now(), doing=doing
        )
