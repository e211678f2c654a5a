"""What hangs on a table and would make our statements do something else than they say, or change other tables.

Refused before anything is touched, and again under the lock of the publish, which keeps everybody from adding some meanwhile:

* row triggers and rules that fire on what the mode does: they may keep, alter or swallow rows, or write elsewhere;
* foreign keys of other tables that follow a deleted or changed row (CASCADE, SET NULL, SET DEFAULT);
* tables that inherit from it (no partitions): a replace would miss or empty them, and readers see their rows as its own;
* partitions in another database, which no transaction of this one covers;
* row security that hides rows from the load role, or refuses its rows.

Triggers for each statement may stay (they refresh what was derived from the table); `publish` then looks at what they did.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from shared.connectors._base import Mode
from shared.errors import TargetError

_INSERT, _DELETE, _UPDATE = 4, 8, 16  # bits of pg_trigger.tgtype: postgresql.org/docs/current/catalog-pg-trigger.html
_EVENTS = {Mode.REPLACE: _DELETE | _INSERT, Mode.APPEND: _INSERT, Mode.UPSERT: _UPDATE | _INSERT}
_RULE_EVENTS = {_UPDATE: "2", _INSERT: "3", _DELETE: "4"}  # pg_rewrite.ev_type
_FOUND = """
WITH tree AS (SELECT %(table)s::bigint::oid AS id UNION
              SELECT relid::oid FROM pg_partition_tree(%(table)s::bigint::oid::regclass))
SELECT 'trigger', t.tgname::text, t.tgrelid::regclass::text FROM pg_trigger t JOIN tree ON tree.id = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 1 <> 0 AND t.tgtype & %(events)s <> 0
UNION ALL
SELECT 'rule', r.rulename::text, r.ev_class::regclass::text FROM pg_rewrite r
WHERE r.ev_class = %(table)s::bigint::oid AND r.ev_type::text = ANY(%(rule_events)s) AND r.ev_enabled IN ('O', 'A')
UNION ALL
SELECT 'foreign key', f.conname::text, f.conrelid::regclass::text FROM pg_constraint f JOIN tree ON tree.id = f.confrelid
WHERE f.contype = 'f' AND (
    %(deletes)s AND f.confdeltype IN ('c', 'n', 'd') AND f.conrelid NOT IN (SELECT id FROM tree)
    OR %(updates)s AND f.confupdtype IN ('c', 'n', 'd') AND EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = f.confrelid AND a.attnum = ANY(f.confkey) AND a.attname <> ALL(%(key)s)))
UNION ALL
SELECT 'child table', i.inhrelid::regclass::text, i.inhparent::regclass::text
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
WHERE i.inhparent = %(table)s::bigint::oid AND c.relkind = 'r' AND (%(deletes)s OR %(updates)s)
UNION ALL
SELECT 'foreign partition', c.oid::regclass::text, '' FROM pg_class c JOIN tree ON tree.id = c.oid WHERE c.relkind = 'f'
UNION ALL
SELECT 'row security', '', '' WHERE row_security_active(%(table)s::bigint::oid)
LIMIT 1
"""
_STATEMENT_TRIGGERS = """
WITH tree AS (SELECT %(table)s::bigint::oid AS id UNION
              SELECT relid::oid FROM pg_partition_tree(%(table)s::bigint::oid::regclass))
SELECT EXISTS (SELECT FROM pg_trigger t JOIN tree ON tree.id = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 1 = 0 AND t.tgtype & %(events)s <> 0)
"""
_TOLD = {
    "trigger": "has the row trigger {name!r} (on {on}), which may keep, alter or swallow rows; disable or drop it, make it a "
    "trigger for each statement,",
    "rule": "has the rule {name!r}, which rewrites our statements; drop it,",
    "foreign key": "is referred to by {on} with foreign key {name!r}, which follows a deleted or changed row (CASCADE, SET "
    "NULL or SET DEFAULT) and so changes {on}; make it NO ACTION, DEFERRABLE INITIALLY DEFERRED,",
    "child table": "has the child table {name}, whose rows readers see as its own; end its inheritance (ALTER TABLE … NO INHERIT),",
    "foreign partition": "has the partition {name} in another database, which no transaction of this one covers; detach it,",
    "row security": "has row-level security that applies to the load role and hides rows from it; make the role the table's "
    "owner or give it BYPASSRLS,",
}


def refuse(connection: psycopg.Connection, table: tuple[int, str], mode: Mode, key: Sequence[str], place: str) -> None:
    """Raise `TargetError` (code `side_effects`) for the first thing found that fires on what the mode does to a table.

    `table` is its (oid, relkind), `key` that of an upsert: an update changes no value of it, so nothing follows it.
    """
    events = _events(table, mode)
    rules = [letter for event, letter in _RULE_EVENTS.items() if events & event]
    follows = {"deletes": bool(events & _DELETE), "updates": bool(events & _UPDATE), "key": list(key)}
    values = {"table": table[0], "events": events, "rule_events": rules, **follows}
    found = connection.execute(_FOUND, values).fetchone()
    if found:
        kind, name, on = found
        raise TargetError(
            f"{place} {_TOLD[kind].format(name=name, on=on)} or export under another table name", code="side_effects"
        )


def has_statement_triggers(connection: psycopg.Connection, table: tuple[int, str], mode: Mode) -> bool:
    """Whether a trigger for each statement fires on what the mode does to a table (oid, relkind)."""
    row = connection.execute(_STATEMENT_TRIGGERS, {"table": table[0], "events": _events(table, mode)}).fetchone()
    return bool(row and row[0])


def _events(table: tuple[int, str], mode: Mode) -> int:
    """An update that moves a row to another partition is a DELETE and an INSERT there."""
    return _EVENTS[mode] | (_DELETE if table[1] == "p" and mode is Mode.UPSERT else 0)
