"""Upsert by key, inside the publishing transaction: the rows of a known key are overwritten, the others added, none removed.

UPDATE … FROM staging and then INSERT of the keys that are still missing, rather than

* INSERT … ON CONFLICT, which needs a unique index on the key: none is asked of the user, and one that is there is used by the
  planner (staging is analysed for it);
* DELETE and INSERT, which would fire ON DELETE CASCADE of tables that refer to this one, and give new values to columns that
  Postgres fills by itself (identity, defaults).

Keys are compared by Postgres' `=` for the column's type, which is why a text column whose collation calls different texts equal
is refused. Rows without a key that are in the table already match nothing and stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.looker import staging
from shared.connectors.looker.encode import first_true
from shared.errors import SourceError, TargetError

SHOWN_CHARACTERS = 60  # of a key's value in a message
_LOOSE_COLLATIONS = """
SELECT a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND a.attname = ANY(%s) AND NOT c.collisdeterministic
"""


def check_key(plan: DeliveryPlan) -> None:
    """Raise `TargetError` unless an upsert's key names columns of the export. No effect for other modes."""
    if plan.mode is not Mode.UPSERT:
        return
    if not plan.key:
        raise TargetError("an upsert needs a key: name the columns that tell rows apart", code="key_column")
    missing = [name for name in plan.key if name not in plan.schema.names]
    if missing:
        raise TargetError(
            f"the key column {missing[0]!r} is not in the export; it has {', '.join(map(repr, plan.schema.names))}",
            code="key_column",
            column=missing[0],
        )


def check_target(connection: psycopg.Connection, table_oid: int, key: Sequence[str], place: str) -> None:
    """Raise `TargetError` if an existing table lacks a key column, or compares one loosely."""
    existing = {column.name for column in staging.columns_of(connection, table_oid)}
    missing = [name for name in key if name not in existing]
    if missing:
        raise TargetError(
            f"{place} has no column {missing[0]!r}, so no row of it has a key and every row would come twice; "
            "add and fill the column, name another key, or replace the table",
            code="schema_drift",
        )
    loose = connection.execute(_LOOSE_COLLATIONS, [table_oid, list(key)]).fetchone()
    if loose:
        raise TargetError(
            f"the key column {loose[0]!r} of {place} has a collation that calls different texts equal, so a row could "
            "overwrite another one's; give it a deterministic collation, or name another key"
        )


def refuse_empty(table: pa.Table, key: Sequence[str], first_row: int) -> None:
    """Raise `SourceError` (code `key_empty`) for the first row without a value in a key column; rows count from one."""
    for name in key:
        position = first_true(pc.is_null(table[name]))
        if position >= 0:
            row = first_row + position + 1
            raise SourceError(
                f"row {row} has no value in the key column {name!r}; give every row a key, or name another one",
                code="key_empty",
                row=row,
                column=name,
            )


def refuse_twice(connection: psycopg.Connection, staged: sql.Identifier, key: Sequence[str]) -> None:
    """Raise `SourceError` (code `key_twice`, or `key_empty`) unless every staged row has a key of its own."""
    columns = [sql.Identifier(name) for name in key]
    query = sql.SQL("SELECT count(*), {texts} FROM {staged} GROUP BY {columns} HAVING count(*) > 1 OR {empty} LIMIT 1")
    found = connection.execute(
        query.format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(column) for column in columns),
            staged=staged,
            columns=sql.SQL(", ").join(columns),
            empty=sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(column) for column in columns),
        )
    ).fetchone()
    if not found:
        return
    rows, *values = found
    if None in values:
        name = key[values.index(None)]
        raise SourceError(f"{rows} rows have no value in the key column {name!r}", code="key_empty", column=name)
    raise SourceError(
        f"{rows} rows of the source have the same key, {_told(key, values)}, and an upsert needs each key once; "
        "remove the others, or name more key columns",
        code="key_twice",
        column=", ".join(key),
    )


def merge(
    connection: psycopg.Connection,
    live: sql.Identifier,
    staged: sql.Identifier,
    names: Sequence[str],
    key: Sequence[str],
    rows: int,
) -> tuple[int, int]:
    """Overwrite and add; return how many rows of `live` were overwritten and added (all of the `rows`, if all went well).

    Raises:
        TargetError: code `key_twice`, several rows of the table have one key, so it is open which is to be overwritten.
    """
    connection.execute(sql.SQL("ANALYZE {}").format(staged))  # it is new: without this the planner knows no sizes
    same = sql.SQL(" AND ").join(sql.SQL("l.{0} = s.{0}").format(sql.Identifier(name)) for name in key)
    sets = sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in names)
    update = sql.SQL("UPDATE {} AS l SET {} FROM {} AS s WHERE {}").format(live, sets, staged, same)
    overwritten = connection.execute(update).rowcount
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
    insert = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS l WHERE {})")
    added = connection.execute(insert.format(live, columns, columns, staged, live, same)).rowcount
    if overwritten + added > rows:
        _refuse_twice_in_table(connection, live, staged, key)
    return overwritten, added


def _refuse_twice_in_table(
    connection: psycopg.Connection, live: sql.Identifier, staged: sql.Identifier, key: Sequence[str]
) -> None:
    columns = [sql.SQL("l.{}").format(sql.Identifier(name)) for name in key]
    query = sql.SQL(
        "SELECT count(*), {texts} FROM {live} AS l JOIN {staged} AS s ON {same} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
    )
    found = connection.execute(
        query.format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(column) for column in columns),
            live=live,
            staged=staged,
            same=sql.SQL(" AND ").join(sql.SQL("l.{0} = s.{0}").format(sql.Identifier(name)) for name in key),
            columns=sql.SQL(", ").join(columns),
        )
    ).fetchone()
    if found:
        rows, *values = found
        raise TargetError(
            f"{rows} rows of the table have the same key, {_told(key, values)}, so it is open which one is to be overwritten; "
            "remove the others, name more key columns, or replace the table. Nothing was changed",
            code="key_twice",
        )


def _told(key: Sequence[str], values: Sequence[str]) -> str:
    shown = (value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…" for value in values)
    return ", ".join(f"{name} = {value!r}" for name, value in zip(key, shown, strict=True))
