"""The named checks of a Looker connector: sign-in, connection, warehouse, that both are one database, what refresh needs."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from looker_sdk.sdk.api40 import models
from psycopg import sql

from shared.connectors import looker
from shared.connectors._base import Check
from shared.connectors._checks import run_checks
from shared.connectors.looker.client import LookerClient
from shared.connectors.looker.warehouse import RESERVED_PREFIX, Warehouse
from shared.errors import CredentialError, TargetError

LOOKER_TESTS = (
    "connect",
    "query",
)  # operation test_connection of the API 4.0 contract: names a dialect does not support are ignored
GOOD = frozenset({"success", "ok", "pass", "passed", "warning"})
"""Words for a passed test. The contract names none, so anything else counts as failed; a warning is told and passes."""


class ConnectionTest:
    """Runs the checks in order; read-only (the table that proves the write right is rolled back)."""

    def __init__(self, config: looker.Config, client: LookerClient, warehouse: Warehouse) -> None:
        self._config = config
        self._client = client
        self._warehouse = warehouse
        self._connection: models.DBConnection | None = None

    def run(self) -> list[Check]:
        """Return one check per step; those after a failed one are reported as not tried."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("looker_sign_in", self._sign_in),
            ("looker_connection", self._find_connection),
            ("looker_connection_test", self._run_connection_test),
            ("warehouse_login", self._log_in),
            ("warehouse_write", self._try_write),
            ("same_database", self._compare),
            ("looker_can_read", self._try_read_right),
        ]
        if self._config.datagroup_id:
            steps.append(("looker_datagroup", self._find_datagroup))
        if self._config.model and self._config.view:
            steps.append(("looker_pdt", self._find_pdt))
        return run_checks(steps)

    def _sign_in(self) -> str:
        user = self._client.call("signing in", lambda sdk: sdk.me(fields="id,display_name"))
        return f"signed in as {user.display_name or 'user'} (id {user.id})"

    def _find_connection(self) -> str:
        name = self._config.connection
        self._connection = self._client.call(
            f"reading connection {name!r}", lambda sdk: sdk.connection(name), needs="see_connections or develop"
        )
        dialect = self._connection.dialect_name or "unknown"
        if "postgres" not in dialect:
            raise TargetError(f"connection {name!r} is of dialect {dialect}; this connector loads Postgres only")
        return f"connection {name!r} is a {dialect} database"

    def _run_connection_test(self) -> str:
        name = self._config.connection
        results: Sequence[models.DBConnectionTestResult] = self._client.call(
            f"testing connection {name!r}",
            lambda sdk: sdk.test_connection(name, tests=models.DelimSequence(LOOKER_TESTS)),
            needs="manage_project_connections_restricted",
        )
        if not results:
            raise TargetError(f"Looker ran no test on connection {name!r}; try it in Looker (Admin, Connections)")
        failed = [result for result in results if (result.status or "").lower() not in GOOD]
        if failed:
            said = "; ".join(f"{item.name}: {item.status}, {item.message or 'no explanation'}" for item in failed)
            raise TargetError(
                f"Looker cannot use connection {name!r}: {said}; correct it in Looker (Admin, Connections)"
            )
        return "; ".join(f"{result.name}: {result.message or result.status}" for result in results)

    def _log_in(self) -> str:
        with self._warehouse.connect("logging in") as connection:
            row = connection.execute("SELECT current_user::text, current_database()::text").fetchone() or ("", "")
        return f"signed in to database {row[1]} as {row[0]}"

    def _try_write(self) -> str:
        self._with_probe(lambda _connection, _probe: None)
        return f"may create tables in schema {self._warehouse.settings.schema}"

    def _compare(self) -> str:
        ours, theirs = self._warehouse.settings, self._looker_connection()
        differences = []
        if theirs.database != ours.database:
            differences.append(f"database {theirs.database!r} in Looker, {ours.database!r} in warehouse")
        if not theirs.tunnel_id:  # through a tunnel Looker's host and port are its own end
            if not _same_host(theirs.host or "", ours.host):
                differences.append(f"host {theirs.host!r} in Looker, {ours.host!r} in warehouse")
            if theirs.port and str(theirs.port) != str(ours.port):
                differences.append(f"port {theirs.port} in Looker, {ours.port} in warehouse")
        if differences:
            raise TargetError(
                f"connection {self._config.connection!r} and warehouse are not the same database: {'; '.join(differences)}"
            )
        elsewhere = f"; its default schema is {theirs.schema!r}" if theirs.schema not in (None, "", ours.schema) else ""
        return f"both mean database {ours.database!r} on {ours.host}:{ours.port}{elsewhere}"

    def _try_read_right(self) -> str:
        user, schema = self._looker_connection().username, self._warehouse.settings.schema
        if not user:
            return "Looker does not tell the connection's database user, so its read right was not tried"

        def ask(connection: psycopg.Connection, probe: str) -> None:
            if connection.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", [user]).fetchone() is None:
                raise CredentialError(f"Looker's database user {user!r} does not exist in the warehouse")
            row = connection.execute(
                "SELECT pg_catalog.has_schema_privilege(%s, %s, 'USAGE'), pg_catalog.has_table_privilege(%s, %s, 'SELECT')",
                [user, schema, user, sql.Identifier(schema, probe).as_string(connection)],
            ).fetchone()
            usage, select = row or (False, False)
            if not usage:
                raise CredentialError(
                    f"Looker's user {user!r} lacks USAGE on schema {schema}; GRANT USAGE ON SCHEMA to it"
                )
            if not select:
                raise CredentialError(
                    f"Looker's user {user!r} could not read a table that we publish in schema {schema}; as the load role: "
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {user}"
                )

        self._with_probe(ask)
        return f"Looker's database user {user} can read what is published in schema {schema}"

    def _find_datagroup(self) -> str:
        wanted = self._config.datagroup_id or ""
        found = self._client.call(
            f"reading datagroup {wanted!r}", lambda sdk: sdk.datagroup(wanted), needs="see_datagroups"
        )
        if found.trigger_error:
            raise TargetError(f"datagroup {wanted!r} cannot be checked by Looker: {found.trigger_error}")
        return f"datagroup {found.model_name}.{found.name} is visible"

    def _find_pdt(self) -> str:
        model, view = self._config.model or "", self._config.view or ""
        if self._looker_connection().pdt_api_control_enabled is False:
            raise TargetError(
                f"PDT API control is off on connection {self._config.connection!r}; enable it in Looker (Admin, Connections)"
            )
        self._client.call(
            f"reading the derived tables of {view!r}",
            lambda sdk: sdk.graph_derived_tables_for_view(view, models=model),
            needs="develop",
        )
        return f"derived table {model}.{view} is visible"

    def _looker_connection(self) -> models.DBConnection:
        if self._connection is None:
            self._find_connection()
        assert self._connection is not None
        return self._connection

    def _with_probe(self, ask: Callable[[psycopg.Connection[Any], str], None]) -> None:
        """Run `ask` beside a new table in the schema; the table is rolled back."""
        schema, name = self._warehouse.settings.schema, f"{RESERVED_PREFIX}probe_{uuid.uuid4().hex[:12]}"
        with self._warehouse.connect("trying to create a table") as connection, connection.transaction() as transaction:
            connection.execute(sql.SQL("CREATE TABLE {} (n integer)").format(sql.Identifier(schema, name)))
            ask(connection, name)
            raise psycopg.Rollback(transaction)


def _same_host(left: str, right: str) -> bool:
    if left.strip().rstrip(".").lower() == right.strip().rstrip(".").lower():
        return True
    return bool(_addresses(left) & _addresses(right))


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
