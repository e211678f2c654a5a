"""The three targets, read by somebody who has nothing to do with exports, through the vendor's own API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import psycopg
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account
from psycopg import sql

from infra.local.accounts import Accounts
from tests.campaigns.tables.values import DATE, DECIMAL, DOUBLE, TIME, ZONED, Table

Read = Callable[[str, Table], list[tuple[Any, ...]] | None]
"""Returns the rows of a table (None if the target has no such table), and forgets the table."""


def reader_of_looker(dsn: str, schema: str) -> Read:
    connection = psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")

    def read(name: str, table: Table) -> list[tuple[Any, ...]] | None:
        where = sql.Identifier(schema, name)
        try:
            rows = connection.execute(sql.SQL("SELECT * FROM {} ORDER BY n").format(where)).fetchall()
        except psycopg.errors.UndefinedTable:
            return None
        connection.execute(sql.SQL("DROP TABLE {}").format(where))
        return rows

    return read


def reader_of_sheets(accounts: Accounts) -> Read:
    account = accounts.google
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        account.service_account_key, scopes=["https://www.googleapis.com/auth/spreadsheets"]
    )
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    book = f"https://sheets.googleapis.com/v4/spreadsheets/{account.spreadsheet_id}"

    def read(name: str, table: Table) -> list[tuple[Any, ...]] | None:
        sheets = session.get(book, params={"fields": "sheets.properties(sheetId,title)"}).json()["sheets"]
        ids = {sheet["properties"]["title"]: sheet["properties"]["sheetId"] for sheet in sheets}
        if name not in ids:
            return None
        shown = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "SERIAL_NUMBER"}
        values = session.get(f"{book}/values/{quote(name)}", params=shown).json()["values"]
        gone = {"requests": [{"deleteSheet": {"sheetId": ids[name]}}]}
        session.post(f"{book}:batchUpdate", json=gone).raise_for_status()
        if values[0] != list(table.types):
            raise AssertionError(f"the header is {values[0]}")
        return [tuple(_cells(row, table)) for row in values[1:]]

    return read


def _cells(row: list[Any], table: Table) -> list[Any]:
    cells = [None if cell == "" else cell for cell in row] + [None] * (len(table.types) - len(row))
    for index, kind in enumerate(table.types.values()):
        if kind in (TIME, ZONED) and isinstance(cells[index], int | float):
            cells[index] = round(cells[index] * 86_400_000)
    return cells


def reader_of_power_bi(accounts: Accounts) -> Read:
    entra = accounts.entra
    group = f"https://api.powerbi.com/v1.0/myorg/groups/{accounts.power_bi.workspace_id}"
    session = requests.Session()

    def bearer() -> dict[str, str]:
        form = {"grant_type": "client_credentials", "client_id": entra.client_id, "client_secret": entra.client_secret}
        url = f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/token"
        answer = session.post(url, data={**form, "scope": "https://analysis.windows.net/powerbi/api/.default"})
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    headers = bearer()

    def read(name: str, table: Table) -> list[tuple[Any, ...]] | None:
        found = session.get(f"{group}/datasets", headers=headers).json()["value"]
        ids = [one["id"] for one in found if one["name"] == name]
        if not ids:
            return None
        body = {
            "queries": [{"query": f"EVALUATE TOPNSKIP(100000, 0, '{name}', '{name}'[n], ASC)"}],
            "serializerSettings": {"includeNulls": True},
        }
        answer = session.post(f"{group}/datasets/{ids[0]}/executeQueries", json=body, headers=headers)
        answer.raise_for_status()
        rows = answer.json(parse_float=Decimal)["results"][0]["tables"][0]["rows"]
        session.delete(f"{group}/datasets/{ids[0]}", headers=headers).raise_for_status()
        return [tuple(_value(row[f"{name}[{column}]"], kind) for column, kind in table.types.items()) for row in rows]

    return read


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind in (DATE, TIME, ZONED):
        since = datetime.fromisoformat(value).replace(tzinfo=None) - datetime(1970, 1, 1)
        return round(since // timedelta(microseconds=1) * 3 / 10_000)
    if kind == DOUBLE:
        return float(value)
    return Decimal(value) if kind == DECIMAL else value
