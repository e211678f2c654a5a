"""Names and statements of what a delivery keeps in the warehouse beside the live table.

`_bi_stage_<digest of the job>` holds the rows of one job with exactly the target's columns. `_bi_chunks` has a row for each
chunk that is in staging, written in the transaction of its COPY, and one (chunk -1) with what was read back.
`_bi_publications` has a row for each published job: its key is the guard that makes a second publish change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import psycopg
from psycopg import sql

from shared.connectors.looker.columns import Column, TargetColumn
from shared.connectors.looker.warehouse import RESERVED_PREFIX

READ_BACK = -1
CHUNKS = f"{RESERVED_PREFIX}chunks"
PUBLICATIONS = f"{RESERVED_PREFIX}publications"

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS {chunks} (
    job_id text NOT NULL, chunk integer NOT NULL, rows bigint NOT NULL, checksum text,
    written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (job_id, chunk));
CREATE TABLE IF NOT EXISTS {publications} (
    job_id text PRIMARY KEY, table_name text NOT NULL, mode text NOT NULL, rows bigint NOT NULL, checksum text,
    published_at timestamptz NOT NULL DEFAULT now());
"""
_COLUMNS = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


def staging_name(job_id: str) -> str:
    """Return the staging table of a job: the same on every attempt, within 63 bytes whatever the id looks like."""
    return f"{RESERVED_PREFIX}stage_{hashlib.blake2b(job_id.encode(), digest_size=12).hexdigest()}"


def lock(connection: psycopg.Connection, schema: str, name: str) -> None:
    """Hold an advisory lock on a name until the transaction ends; bounded by the session's `lock_timeout`."""
    digest = hashlib.blake2b(f"{schema}\0{name}".encode(), digest_size=8).digest()
    connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [int.from_bytes(digest, "big", signed=True)])


def make_bookkeeping(connection: psycopg.Connection, schema: str) -> None:
    """Create the two bookkeeping tables if they are missing."""
    if oid(connection, schema, CHUNKS) is not None and oid(connection, schema, PUBLICATIONS) is not None:
        return
    with connection.transaction():
        lock(connection, schema, "bookkeeping")  # IF NOT EXISTS alone fails when two sessions create at once
        connection.execute(
            sql.SQL(_BOOKKEEPING).format(
                chunks=sql.Identifier(schema, CHUNKS), publications=sql.Identifier(schema, PUBLICATIONS)
            )
        )


def make_table(connection: psycopg.Connection, schema: str, name: str, columns: Sequence[Column]) -> None:
    """Create a table with these columns, all nullable; no effect if it exists."""
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
            sql.Identifier(schema, name), sql.SQL(", ").join(definition(column) for column in columns)
        )
    )


def definition(column: Column) -> sql.Composed:
    """`"name" type`. The type is one of `columns.postgres_type`, never a user's text."""
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))


def oid(connection: psycopg.Connection, schema: str, name: str) -> tuple[int, str] | None:
    """Return (oid, relkind) of what has this name in the schema, None if nothing has."""
    row = connection.execute(
        "SELECT c.oid::bigint, c.relkind::text FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        [schema, name],
    ).fetchone()
    return None if row is None else (row[0], row[1])


def columns_of(connection: psycopg.Connection, table_oid: int) -> list[TargetColumn]:
    """Return the columns of a table in its order."""
    return [TargetColumn(*row) for row in connection.execute(_COLUMNS, [table_oid]).fetchall()]
