"""Documents in one SQLite file: the live ones, an index over their fields, and what they were in the last hour.

Write-ahead log with synchronous=NORMAL: a committed write is in the operating system's hands, so a kill -9 of this
process loses none (a power cut might lose the last ones; the file stays sound). The log is folded in seldom, because
that waits for the disk. Times are microseconds since 1970.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.emulators.firestore.index import Entry, Wanted, entries_of
from infra.local.emulators.firestore.messages import Document, Message, stamp
from infra.local.emulators.firestore.paths import DocumentName, collection_path

_SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
pragma wal_autocheckpoint = 16000;
pragma cache_size = -16000;
create table if not exists collections (
    id integer primary key, root text not null, parent blob not null, name text not null, unique (root, parent, name));
create table if not exists documents (
    id integer primary key, collection integer not null, name text not null, body blob not null,
    created integer not null, updated integer not null, indexed integer not null, unique (collection, name));
create index if not exists unindexed on documents (collection) where indexed = 0;
create index if not exists updated on documents (updated);
create table if not exists entries (
    collection integer not null, field text not null, value blob not null, document integer not null,
    primary key (collection, field, value, document)) without rowid;
create table if not exists wanted (collection integer not null, field text not null, primary key (collection, field));
create table if not exists history (
    collection integer not null, name text not null, body blob not null,
    created integer not null, updated integer not null, until integer not null);
create index if not exists history_of on history (collection, name);
create index if not exists history_until on history (until);
"""
_COLUMNS = "name, body, created, updated"


@dataclass(frozen=True)
class Collection:
    """A row of `collections`; `path` is the full path that its documents' names begin with."""

    id: int
    path: str


class Store:
    """The file. Not locked here: the service calls it from one thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=512)
        self._db.executescript(_SCHEMA)
        self._ids: dict[tuple[str, bytes, str], int] = {}
        self._wanted: dict[int, Wanted] = {}
        for collection, field in self._db.execute("select collection, field from wanted").fetchall():
            self._wanted[collection] = self._wanted_of(collection) | [field]

    def last_change(self) -> int:
        """The newest time in the file; 0 for an empty one."""
        newest = self._db.execute(
            "select max(coalesce((select max(updated) from documents), 0), coalesce((select max(until) from history), 0))"
        ).fetchone()
        return int(newest[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none of them if it raises."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            self._ids.clear()
            raise
        self._db.execute("commit")

    def get(self, name: DocumentName, at: int | None = None) -> Message | None:
        """The document, or as it was at time `at`; None if it does not (or did not) exist."""
        collection = self._find(name.root, name.parent, name.collection)
        if collection is None:
            return None
        query = f"select {_COLUMNS} from documents where collection = ? and name = ?"
        given: tuple[int | str, ...] = (collection, name.document)
        if at is not None:
            query = f"{query} and updated <= ? union all {_past('and name = ?')}"
            given = (*given, at, collection, name.document, at, at)
        row = self._db.execute(query, given).fetchone()
        return _document(collection_path(name.root, name.parent, name.collection), row) if row else None

    def put(self, name: DocumentName, fields: Message, old: Message | None, created: int, updated: int) -> None:
        """Store a document over `old` (what `get` answers now), which goes to the history."""
        collection = self._find(name.root, name.parent, name.collection) or self._make(name)
        if old is not None:
            self._keep_past(collection, name.document, updated)
        body = Document(fields=fields).SerializeToString(deterministic=True)
        wanted = self._wanted_of(collection)
        entries = entries_of(fields, wanted)
        row = self._db.execute(
            "insert into documents (collection, name, body, created, updated, indexed) values (?, ?, ?, ?, ?, ?) "
            "on conflict (collection, name) do update set body = excluded.body, created = excluded.created, "
            "updated = excluded.updated, indexed = excluded.indexed returning id",
            (collection, name.document, body, created, updated, entries is not None),
        ).fetchone()
        before = entries_of(old.fields, wanted) if old is not None else None
        self._reindex(collection, row[0], before or set(), entries or set())

    def delete(self, name: DocumentName, old: Message, now: int) -> None:
        """Delete a document that exists as `old`."""
        collection = self._find(name.root, name.parent, name.collection)
        if collection is None:
            return
        self._keep_past(collection, name.document, now)
        row = self._db.execute(
            "delete from documents where collection = ? and name = ? returning id", (collection, name.document)
        ).fetchone()
        self._reindex(collection, row[0], entries_of(old.fields, self._wanted_of(collection)) or set(), set())

    def prune(self, before: int) -> None:
        """Forget what was overwritten or deleted before a time."""
        self._db.execute("delete from history where until < ?", (before,))

    def collection(self, root: str, parent: bytes, name: str) -> list[Collection]:
        """The collection of that name directly below `parent`, or all of them for the name ""; none if unknown."""
        rows = self._db.execute(
            "select id, parent, name from collections where root = ? and parent = ? and (name = ? or ? = '') order by name",
            (root, parent, name, name),
        )
        return [Collection(row[0], collection_path(root, row[1], row[2])) for row in rows.fetchall()]

    def group(self, root: str, parent: bytes, name: str) -> list[Collection]:
        """Every collection of that name (of any name for "") at any depth below `parent`."""
        return [Collection(row[0], collection_path(root, row[1], row[2])) for row in self._below(root, parent, name)]

    def live_below(self, root: str, parent: bytes, at: int | None = None) -> list[tuple[bytes, str]]:
        """Parent key and name of every collection with at least one document, at any depth below `parent`."""
        return [(row[1], row[2]) for row in self._below(root, parent, "") if self._holds_documents(row[0], at)]

    def scan(
        self, collection: Collection, start: str | None = None, end: str | None = None, *, backwards: bool = False
    ) -> Iterator[Message]:
        """Documents in order of their ids, between two ids (inclusive) where given."""
        rows = self._db.execute(
            f"select {_COLUMNS} from documents where collection = ? and name >= ? and (? is null or name <= ?) "
            f"order by name {'desc' if backwards else 'asc'}",
            (collection.id, start or "", end, end),
        )
        return (_document(collection.path, row) for row in rows)

    def scan_at(self, collection: Collection, at: int) -> Iterator[Message]:
        """Documents as they were at a time, in no order."""
        rows = self._db.execute(
            f"select {_COLUMNS} from documents where collection = ? and updated <= ? union all {_past()}",
            (collection.id, at, collection.id, at, at),
        )
        return (_document(collection.path, row) for row in rows)

    def is_indexed(self, collection: Collection, fields: Iterable[str]) -> bool:
        """Whether every document of the collection is in the index of these fields; one that is not there yet is made."""
        known = self._wanted_of(collection.id)
        if not known.names.issuperset(fields):
            with self.transaction():
                self._index(collection, known | fields)
        found = self._db.execute(
            "select 1 from documents where collection = ? and indexed = 0 limit 1", (collection.id,)
        )
        return found.fetchone() is None

    def _index(self, collection: Collection, wanted: Wanted) -> None:
        self._db.execute("delete from entries where collection = ?", (collection.id,))
        rows = self._db.execute("select id, body from documents where collection = ?", (collection.id,)).fetchall()
        for document, body in rows:
            entries = entries_of(Document.FromString(body).fields, wanted)
            self._db.execute("update documents set indexed = ? where id = ?", (entries is not None, document))
            self._reindex(collection.id, document, set(), entries or set())
        self._db.executemany(
            "insert or ignore into wanted values (?, ?)", [(collection.id, field) for field in wanted.names]
        )
        self._wanted[collection.id] = wanted

    def _wanted_of(self, collection: int) -> Wanted:
        return self._wanted.get(collection) or Wanted()

    def count_entries(self, collection: Collection, field: str, values: list[bytes], most: int) -> int:
        """How many index entries have one of the values; counting stops at `most`."""
        total = 0
        for value in values:
            counted = self._db.execute(
                "select count(*) from (select 1 from entries where collection = ? and field = ? and value = ? limit ?)",
                (collection.id, field, value, most),
            )
            total += counted.fetchone()[0]
        return min(total, most)

    def having(self, collection: Collection, field: str, values: list[bytes]) -> Iterator[Message]:
        """Documents with one of the index values, each once."""
        marks = ", ".join("?" * len(values))
        rows = self._db.execute(
            f"select {_COLUMNS} from documents where id in "
            f"(select document from entries where collection = ? and field = ? and value in ({marks}))",
            (collection.id, field, *values),
        )
        return (_document(collection.path, row) for row in rows)

    def ordered(
        self, collection: Collection, field: str, low: bytes, high: bytes, *, backwards: bool
    ) -> Iterator[tuple[bytes, Message]]:
        """Index value and document in order of a field, between two index values (inclusive)."""
        rows = self._db.execute(
            f"select d.name, body, created, updated, value from entries e cross join documents d on d.id = e.document "
            f"where e.collection = ? and field = ? and value >= ? and value <= ? order by value {'desc' if backwards else 'asc'}",
            (collection.id, field, low, high),
        )
        return ((row[4], _document(collection.path, row)) for row in rows)

    def _find(self, root: str, parent: bytes, name: str) -> int | None:
        known = self._ids.get((root, parent, name))
        if known is None:
            row = self._db.execute(
                "select id from collections where root = ? and parent = ? and name = ?", (root, parent, name)
            ).fetchone()
            if row is None:
                return None
            known = self._ids[root, parent, name] = int(row[0])
        return known

    def _make(self, name: DocumentName) -> int:
        made = self._db.execute(
            "insert into collections (root, parent, name) values (?, ?, ?)", (name.root, name.parent, name.collection)
        )
        return int(made.lastrowid or 0)

    def _keep_past(self, collection: int, name: str, until: int) -> None:
        # Two writes of one commit share their time: what lay between them was never visible.
        self._db.execute(
            "insert into history select collection, name, body, created, updated, ? from documents "
            "where collection = ? and name = ? and updated < ?",
            (until, collection, name, until),
        )

    def _reindex(self, collection: int, document: int, before: set[Entry], after: set[Entry]) -> None:
        self._db.executemany(
            "delete from entries where collection = ? and field = ? and value = ? and document = ?",
            [(collection, field, value, document) for field, value in before - after],
        )
        self._db.executemany(
            "insert or ignore into entries values (?, ?, ?, ?)",
            [(collection, field, value, document) for field, value in after - before],
        )

    def _below(self, root: str, parent: bytes, name: str) -> list[tuple[int, bytes, str]]:
        return self._db.execute(
            "select id, parent, name from collections where root = ? and (name = ? or ? = '') "
            "and (? = x'' or parent = ? or (parent >= ? and parent < ?)) order by parent, name",
            (root, name, name, parent, parent, parent + b"\0", parent + b"\x01"),
        ).fetchall()

    def _holds_documents(self, collection: int, at: int | None) -> bool:
        query = "select 1 from documents where collection = ?"
        given: tuple[int, ...] = (collection,)
        if at is not None:
            query = f"{query} and updated <= ? union all "
            query += "select 1 from history where collection = ? and updated <= ? and until > ?"
            given = (collection, at, collection, at, at)
        return self._db.execute(f"{query} limit 1", given).fetchone() is not None


def _past(condition: str = "") -> str:
    return f"select {_COLUMNS} from history where collection = ? {condition} and updated <= ? and until > ?"


def _document(collection_path: str, row: tuple[str, bytes, int, int]) -> Message:
    document = Document.FromString(row[1])
    document.name = f"{collection_path}/{row[0]}"
    document.create_time.CopyFrom(stamp(row[2]))
    document.update_time.CopyFrom(stamp(row[3]))
    return document
