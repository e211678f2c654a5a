"""The warehouse as Looker sees it: through the reader role of the embedded Postgres, read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from infra.local.accounts import WarehouseAccount

DATE_FORMAT, TIME_FORMAT = "YYYY-MM-DD", "YYYY-MM-DD HH24:MI:SS.US"
_COLUMNS = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_TABLES = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm') AND left(c.relname, 1) <> '_' ORDER BY 1
"""


class Database:
    """Looker's one connection; every use opens a session of its own, so that a dead server is noticed."""

    def __init__(self, account: WarehouseAccount) -> None:
        self.account = account

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """A read-only session as the reader role.

        Raises:
            psycopg.Error: No server, wrong password, or a refused statement.
        """
        at = self.account
        with psycopg.connect(
            host=at.host,
            port=at.port,
            dbname=at.database,
            user=at.reader_user,
            password=at.reader_password,
            connect_timeout=5,
            options="-c default_transaction_read_only=on -c TimeZone=UTC",
            application_name="looker",
        ) as connection:
            yield connection

    def tables(self) -> list[str]:
        """Tables and views of the schema that may be explored, by name; those beginning with `_` are nobody's business."""
        with self.session() as connection:
            return [row[0] for row in connection.execute(_TABLES, [self.account.schema]).fetchall()]

    def columns(self, table: str) -> dict[str, str]:
        """Column name to type without length, in order; empty if there is no such table."""
        with self.session() as connection:
            return dict(connection.execute(_COLUMNS, [self.account.schema, table]).fetchall())

    def count(self, table: str) -> int:
        """Rows of a table, counted."""
        with self.session() as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(self.table(table))).fetchone()
            return int(row[0]) if row else 0

    def table(self, name: str) -> sql.Identifier:
        """The qualified name."""
        return sql.Identifier(self.account.schema, name)
