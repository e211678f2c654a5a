"""What each vendor holds now, read through the vendor's own API with tokens of the demo accounts; none of our shipped code.

Cells come back as the source states them: None, numbers, text; dates and times as ISO texts. A cell of another type than
its column has becomes a `Mistyped`, which equals nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import service_account

from infra.local.accounts import Accounts
from infra.local.demo.comparison import Row

_SHEETS_PAGE_ROWS = 5_000
_POWER_BI_PAGE_ROWS = 20_000
"""Our choice: below 15 MB an answer for 20 columns; halved where the vendor says that it cut an answer off."""

_SHEETS_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a serial number has no zone
_TIMEOUT_S = 120


@dataclass(frozen=True)
class Mistyped:
    """A cell that is not of its column's kind."""

    expected: str
    found: Any


class VendorAnswerError(Exception):
    """A vendor's API did not answer as expected."""


class Vendors:
    """The three vendors behind the CONNECT proxy."""

    def __init__(self, accounts: Accounts, proxy: str, ca_file: Path) -> None:
        self._accounts = accounts
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies = {"https": proxy}
        self._session.verify = str(ca_file)

    def power_bi(self, table: str, kinds: Mapping[str, str]) -> Iterator[Row]:
        """Rows of the table in the push dataset of the same name, through executeQueries, page by page."""
        entra = self._accounts.entra
        token = self._json(
            *("POST", f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/token"),
            data={
                "grant_type": "client_credentials",
                "client_id": entra.client_id,
                "client_secret": entra.client_secret,
                "scope": "https://analysis.windows.net/powerbi/api/.default",
            },
        )["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        group = f"https://api.powerbi.com/v1.0/myorg/groups/{self._accounts.power_bi.workspace_id}"
        datasets = self._json("GET", f"{group}/datasets", headers=headers)["value"]
        ids = [dataset["id"] for dataset in datasets if dataset["name"] == table]
        if len(ids) != 1:
            raise VendorAnswerError(f"expected one Power BI dataset named {table}, found {len(ids)}")
        order = ", ".join(f"'{table}'[{name}], ASC" for name in kinds)
        size, skip = _POWER_BI_PAGE_ROWS, 0
        while True:
            query = f"EVALUATE TOPNSKIP({size}, {skip}, '{table}', {order})"
            body = {"queries": [{"query": query}], "serializerSettings": {"includeNulls": True}}
            answer = self._json("POST", f"{group}/datasets/{ids[0]}/executeQueries", json=body, headers=headers)
            if "error" in answer["results"][0] or "error" in answer:  # cut off at a limit, with status 200
                if size == 1:
                    raise VendorAnswerError(f"executeQueries: {answer}")
                size //= 2
                continue
            rows = answer["results"][0]["tables"][0]["rows"]
            for row in rows:
                yield tuple(_JSON[kind](row.get(f"{table}[{name}]")) for name, kind in kinds.items())
            if len(rows) < size:
                return
            skip += len(rows)

    def google_sheets(self, tab: str, kinds: Mapping[str, str]) -> Iterator[Row]:
        """Rows of a tab below its header, through values.get, unformatted."""
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            self._accounts.google.service_account_key, scopes=["https://www.googleapis.com/auth/spreadsheets.readonly"]
        )
        credentials.refresh(GoogleRequest(session=self._session))
        headers = {"Authorization": f"Bearer {credentials.token}"}
        book = f"https://sheets.googleapis.com/v4/spreadsheets/{self._accounts.google.spreadsheet_id}"
        fields = {"fields": "sheets.properties(title,gridProperties.rowCount)"}
        sheets = self._json("GET", book, params=fields, headers=headers)["sheets"]
        heights = {sheet["properties"]["title"]: sheet["properties"]["gridProperties"]["rowCount"] for sheet in sheets}
        if tab not in heights:
            raise VendorAnswerError(f"the spreadsheet has no tab {tab!r}; it has {sorted(heights)}")

        def page(first: int, last: int) -> list[list[Any]]:
            cells = quote(f"'{tab}'!{first}:{last}", safe="")
            shown = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "SERIAL_NUMBER"}
            rows: list[list[Any]] = self._json("GET", f"{book}/values/{cells}", params=shown, headers=headers).get(
                "values", []
            )
            return rows

        header = (page(1, 1) or [[]])[0]
        if header != list(kinds):
            raise VendorAnswerError(f"expected the header {list(kinds)} in tab {tab}, found {header}")
        for first in range(2, heights[tab] + 1, _SHEETS_PAGE_ROWS):
            rows = page(first, min(first + _SHEETS_PAGE_ROWS - 1, heights[tab]))
            for row in rows:
                cells = [*row, *[None] * (len(kinds) - len(row))]
                yield tuple(_SHEETS[kind](cell) for kind, cell in zip(kinds.values(), cells, strict=True))
            if len(rows) < _SHEETS_PAGE_ROWS:
                return

    def looker(self, table: str, kinds: Mapping[str, str]) -> Iterator[Row]:
        """Rows of the warehouse table as Looker shows them, through run_inline_query."""
        looker = self._accounts.looker
        api = f"{looker.base_url}/api/4.0"
        login = {"client_id": looker.client_id, "client_secret": looker.client_secret}
        token = self._json("POST", f"{api}/login", data=login)["access_token"]
        query = {
            "model": looker.model,
            "view": table,
            "fields": [f"{table}.{name}" for name in kinds],
            "limit": "-1",
        }
        headers = {"Authorization": f"token {token}"}
        rows = self._json("POST", f"{api}/queries/run/json", json=query, headers=headers)
        for row in rows:
            yield tuple(_JSON[kind](row[f"{table}.{name}"]) for name, kind in kinds.items())

    def _json(self, method: str, url: str, **arguments: Any) -> Any:
        answer = self._session.request(method, url, timeout=_TIMEOUT_S, **arguments)
        if not answer.ok:
            raise VendorAnswerError(f"{method} {url} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()


Decoder = Callable[[Any], Any]


def _number(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return Mistyped("number", value)


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else Mistyped("text", value)


def _boolean(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else Mistyped("boolean", value)


def _iso_date(value: Any) -> Any:
    """`2013-01-01`, or midnight of that day where the vendor has only date-times."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return Mistyped("date", value)
    at_midnight = moment == datetime.combine(moment.date(), datetime.min.time(), moment.tzinfo)
    return moment.date().isoformat() if at_midnight else Mistyped("date", value)


def _iso_timestamp(value: Any) -> Any:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return Mistyped("timestamp", value)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def _serial(value: Any) -> datetime | None:
    """A Sheets serial number (days since 1899-12-30, the time as a fraction), to the millisecond a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _SHEETS_EPOCH + timedelta(milliseconds=round(value * 86_400_000))


def _sheets_date(value: Any) -> Any:
    moment = _serial(value)
    if moment is None or moment.time() != datetime.min.time():
        return Mistyped("date", value)
    return date(moment.year, moment.month, moment.day).isoformat()


def _sheets_timestamp(value: Any) -> Any:
    moment = _serial(value)
    return Mistyped("timestamp", value) if moment is None else moment.isoformat(timespec="microseconds")


def _empty_is_null(decode: Decoder) -> Decoder:
    """A blank Sheets cell comes as an empty text, or not at all at the end of a row."""
    return lambda value: None if value is None or value == "" else decode(value)


_JSON: dict[str, Decoder] = {
    "number": _number,
    "text": _text,
    "boolean": _boolean,
    "date": _iso_date,
    "timestamp": _iso_timestamp,
}
_SHEETS: dict[str, Decoder] = {
    "number": _empty_is_null(_number),
    "text": _empty_is_null(_text),
    "boolean": _empty_is_null(_boolean),
    "date": _empty_is_null(_sheets_date),
    "timestamp": _empty_is_null(_sheets_timestamp),
}
