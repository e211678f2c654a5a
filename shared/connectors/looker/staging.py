"""Names and statements of what a delivery keeps in the warehouse beside the live table.

`_bi_stage_<digest of the job>` holds the rows of one job with exactly the target's columns. `_bi_chunks` has a row for each
chunk that is in staging, written in the transaction of its COPY, two with what was read back, and one, for a while, of each job
that was abandoned: a worker that slept meanwhile makes no staging for it, and what it left all the same is found by that row.
`_bi_publications` has a row for each published job: its key is the guard that makes a second publish change nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

import psycopg
from psycopg import sql

from shared.connectors.looker.columns import Column, TargetColumn
from shared.connectors.looker.warehouse import RESERVED_PREFIX

READ_BACK, READ_BACK_QUICK, ABANDONED = -1, -2, -3
"""Numbers in `_bi_chunks` that no chunk has: the checksum that was read back, its quick one, and that the job was abandoned."""
LONGEST_SLEEP = "30 days"  # our choice: far longer than a worker of Cloud Run can live
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
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '', a.attidentity = 'a' OR a.attgenerated <> ''
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


def is_abandoned(connection: psycopg.Connection, schema: str, job_id: str) -> bool:
    """Whether the job was abandoned in the last `LONGEST_SLEEP`."""
    query = sql.SQL("SELECT 1 FROM {} WHERE job_id = {} AND chunk = {}")
    chunks = sql.Identifier(schema, CHUNKS)
    row = connection.execute(query.format(chunks, sql.Literal(job_id), sql.Literal(ABANDONED))).fetchone()
    return row is not None


def forget(connection: psycopg.Connection, schema: str, job_id: str) -> None:
    """Delete what is recorded of the job's chunks; that it was abandoned stays."""
    query = sql.SQL("DELETE FROM {} WHERE job_id = {} AND chunk <> {}")
    connection.execute(query.format(sql.Identifier(schema, CHUNKS), sql.Literal(job_id), sql.Literal(ABANDONED)))


def note_abandoned(connection: psycopg.Connection, schema: str, job_id: str) -> None:
    """Record that the job was abandoned; waits for nobody. What was recorded of others goes after `LONGEST_SLEEP`."""
    chunks, mark = sql.Identifier(schema, CHUNKS), sql.Literal(ABANDONED)
    connection.execute(
        sql.SQL("INSERT INTO {} (job_id, chunk, rows) VALUES ({}, {}, 0) ON CONFLICT DO NOTHING").format(
            chunks, sql.Literal(job_id), mark
        )
    )
    old = sql.SQL("DELETE FROM {} WHERE chunk = {} AND written_at < now() - {}::interval")
    connection.execute(old.format(chunks, mark, sql.Literal(LONGEST_SLEEP)))


def sweep(connection: psycopg.Connection, schema: str) -> None:
    """Drop staging of abandoned jobs: of workers that stood in a transaction when their job ended, and committed it later.

    One that somebody still holds is left for the next sweep.
    """
    lying = connection.execute(
        "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind = 'r' AND starts_with(c.relname, %s)",
        [schema, f"{RESERVED_PREFIX}stage_"],
    ).fetchall()
    if not lying:
        return
    query = sql.SQL("SELECT job_id FROM {} WHERE chunk = {}").format(
        sql.Identifier(schema, CHUNKS), sql.Literal(ABANDONED)
    )
    ended = {staging_name(job_id): job_id for (job_id,) in connection.execute(query).fetchall()}
    for name in ended.keys() & {name for (name,) in lying}:
        table, held = sql.Identifier(schema, name), (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable)
        with contextlib.suppress(*held), connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(table))
            connection.execute(sql.SQL("DROP TABLE {}").format(table))
            forget(connection, schema, ended[name])
