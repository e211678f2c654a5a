"""The real targets: how each is registered, and how a person who has nothing to do with exports reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import psycopg
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from shared import connectors as kinds
from shared.connectors._base import Mode
from tests.campaigns.machine import Machine
from tests.campaigns.simulated_target import Row
from tests.campaigns.spot import Spot

FEWEST_ROWS, SPREAD = 41, 19
"""A version has 41 to 59 rows: three chunks, whatever its number, and seldom as many as the version before it."""
STEP, IDS = 17, 211
"""An upsert's ids begin 17 behind those of the version before, in a ring: most of its rows exist already, some are new, and most
of those that exist stay as they are."""


def rows_of(version: int, mode: Mode) -> list[dict[str, Any]]:
    """Return the source of run `version`.

    Its ids are 0, 1, … in a replace, its own in an append, and partly those of versions before in an upsert.
    """
    count = FEWEST_ROWS + version * 7 % SPREAD
    ids: Sequence[int]
    match mode:
        case Mode.REPLACE:
            ids = range(count)
        case Mode.APPEND:
            ids = range(1000 * version, 1000 * version + count)
        case Mode.UPSERT:
            ids = [(STEP * version + n) % IDS for n in range(count)]
    return [{"id": id_, "version": version, "name": f"volunteer {n} of {version}"} for n, id_ in enumerate(ids)]


@dataclass(frozen=True)
class Target:
    """One kind of target, with one behaviour of its vendor.

    Attributes:
        read: returns (id, version, name) of every row that a reader sees, None if there is no table.
        watch: the same without a call of the vendor's API, None where there is no other way.
        name: of the target in the report, and of its connector.
        sandboxes: the vendors that a job on it calls, with those that give tokens.
        knobs: what the sandbox of the kind is set to.
        refuses: modes that must be refused, with the job's error code.
        may_fail: codes with which a job may end under faults beside those that pass with time, and the kind of fault that must have
            struck it then.
        excepted: modes in which readers may see a part and a failed job may leave one; counted apart from the zeros, by name.
        is_held_up: tells whether somebody waits there for a lock of a session whose client is silent; None where there are no locks.
    """

    kind: str
    registration: dict[str, Any]
    read: Callable[[str], list[Row] | None]
    watch: Callable[[str], list[Row] | None] | None
    name: str
    sandboxes: tuple[str, ...]
    excepted: frozenset[Mode] = frozenset()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    refuses: Mapping[Mode, str] = field(default_factory=dict)
    may_fail: Mapping[str, str] = field(default_factory=dict)
    is_held_up: Callable[[], bool] | None = None

    @property
    def modes(self) -> list[Mode]:
        return sorted(kinds.capabilities(self.kind).modes)


HELD_UP = """
SELECT 1 FROM pg_stat_activity waiting JOIN pg_stat_activity holder ON holder.pid = ANY(pg_blocking_pids(waiting.pid))
WHERE waiting.datname = current_database() AND holder.wait_event_type = 'Client' LIMIT 1
"""


def looker(machine: Machine) -> Target:
    at, accounts = machine.accounts.warehouse, machine.accounts.looker
    sessions: list[psycopg.Connection] = []

    def session() -> psycopg.Connection:
        if not sessions:
            sessions.append(psycopg.connect(machine.postgres.dsn(at.user), autocommit=True))
        return sessions[0]

    def read(table: str) -> list[Row] | None:
        try:
            return session().execute(f'SELECT id, version, name FROM bi."{table}"').fetchall()
        except psycopg.errors.UndefinedTable:
            return None

    def is_held_up() -> bool:
        return session().execute(HELD_UP).fetchone() is not None

    warehouse: dict[str, Any] = {
        "host": at.host,
        "port": at.port,
        "database": at.database,
        "user": at.user,
        "schema": at.schema,
    }
    body: dict[str, Any] = {"connector_type": "looker", "base_url": accounts.base_url, "client_id": accounts.client_id}
    body |= {"client_secret": accounts.client_secret, "warehouse_password": at.password}
    body |= {"connection": accounts.connection, "warehouse": {**warehouse, "sslmode": "disable"}}
    return Target("looker", body, read, read, "looker", ("looker",), is_held_up=is_held_up)


def google_sheets(machine: Machine) -> Target:
    account = machine.accounts.google
    sessions: list[Any] = []

    def read(table: str) -> list[Row] | None:
        if not sessions:
            credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                account.service_account_key, scopes=["https://www.googleapis.com/auth/spreadsheets"]
            )
            sessions.append(AuthorizedSession(credentials))  # type: ignore[no-untyped-call]
        url = f"https://sheets.googleapis.com/v4/spreadsheets/{account.spreadsheet_id}/values/{table}!A2:C100000"
        answer = sessions[0].get(url, params={"valueRenderOption": "UNFORMATTED_VALUE"})
        if answer.status_code == 400:
            return None
        answer.raise_for_status()
        return [(int(row[0]), int(row[1]), row[2]) for row in answer.json().get("values", []) if row]

    def watch(table: str) -> list[Row] | None:
        found = machine.look(f"/google_sheets/spreadsheets/{account.spreadsheet_id}/tabs/{quote(table)}")
        rows = [] if found is None else [row for row in found["values"][1:] if row and row[0] is not None]
        return None if found is None else [(int(row[0]), int(row[1]), row[2]) for row in rows]

    body = {"connector_type": "google_sheets", "spreadsheet_id": account.spreadsheet_id}
    body["service_account_key"] = account.service_account_key
    return Target("google_sheets", body, read, watch, "google_sheets", ("google_sheets", "google_identity"))


def power_bi(machine: Machine, numbers: str = "enforce") -> Target:
    """`numbers`: what the vendor does with a sequence number that came before (`infra/local/sandboxes/power_bi/table_rows.py`)."""
    entra, account = machine.accounts.entra, machine.accounts.power_bi
    api = f"https://api.powerbi.com/v1.0/myorg/groups/{account.workspace_id}"
    session = requests.Session()

    def token() -> str:
        form = {"grant_type": "client_credentials", "client_id": entra.client_id, "client_secret": entra.client_secret}
        url = f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/token"
        answer = session.post(url, data={**form, "scope": "https://analysis.windows.net/powerbi/api/.default"})
        return str(answer.json()["access_token"])

    def read(table: str) -> list[Row] | None:
        bearer = {"Authorization": f"Bearer {token()}"}
        found = session.get(f"{api}/datasets", headers=bearer).json()["value"]
        ids = [one["id"] for one in found if one["name"] == table]
        if not ids:
            return None
        order = ", ".join(f"'{table}'[{name}], ASC" for name in ("id", "version", "name"))
        query = {
            "queries": [{"query": f"EVALUATE TOPNSKIP(100000, 0, '{table}', {order})"}],
            "serializerSettings": {"includeNulls": True},
        }
        answer = session.post(f"{api}/datasets/{ids[0]}/executeQueries", json=query, headers=bearer)
        answer.raise_for_status()
        rows = answer.json()["results"][0]["tables"][0]["rows"]
        return [tuple(row[f"{table}[{name}]"] for name in ("id", "version", "name")) for row in rows]

    body = {"connector_type": "power_bi", "tenant_id": entra.tenant_id, "client_id": entra.client_id}
    body |= {"client_secret": entra.client_secret, "workspace_id": account.workspace_id}
    return Target(
        "power_bi",
        body,
        read,
        None,
        "power_bi" if numbers == "enforce" else f"power_bi_{numbers}",
        ("power_bi", "entra_id"),
        excepted=frozenset({Mode.REPLACE, Mode.APPEND}),
        knobs={"sequence_numbers": numbers},
        refuses={Mode.APPEND: "append_not_exact"} if numbers == "ignore" else {},
        # a vendor that keeps no numbers takes a request that was delivered twice for two: the job finds too many rows and says so
        may_fail={"verification_failed": "duplicate"} if numbers == "ignore" else {},
    )


Make = Callable[[Machine], Target]
TARGETS: dict[str, Make] = {
    "looker": looker,
    "google_sheets": google_sheets,
    "power_bi": power_bi,
    "power_bi_reject": partial(power_bi, numbers="reject"),
    "power_bi_ignore": partial(power_bi, numbers="ignore"),
}


def chosen(targets: Sequence[Target], spot: Spot, third: int | None = None) -> list[tuple[str, Mode]]:
    """Return the courses that a part runs, target and mode: those of the spot, or of all only every third, beginning with `third`."""
    every = [(target.name, mode) for target in targets for mode in target.modes if spot.takes(target.name, mode.value)]
    return every if third is None or spot.target else every[third::3]
