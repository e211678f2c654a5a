"""Datasets, tables and rows in SQLite; the rows of one accepted POST are one blob."""

from __future__ import annotations

import io
import json
import sqlite3
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from .columns import Schema
from .rows import empty_frame

FIFO_ROWS = 200_000
CACHED_FRAMES = 4
SCHEMA = """
CREATE TABLE IF NOT EXISTS workspaces (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    workspace_id TEXT NOT NULL REFERENCES workspaces, client_id TEXT NOT NULL, PRIMARY KEY (workspace_id, client_id)
);
CREATE TABLE IF NOT EXISTS datasets (
    id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL REFERENCES workspaces, name TEXT NOT NULL, kind TEXT NOT NULL,
    retention TEXT NOT NULL, configured_by TEXT NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS tables (
    id INTEGER PRIMARY KEY, dataset_id TEXT NOT NULL REFERENCES datasets ON DELETE CASCADE, name TEXT NOT NULL,
    columns TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0, UNIQUE (dataset_id, name)
);
CREATE TABLE IF NOT EXISTS blobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, table_id INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE,
    rows INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS blobs_by_table ON blobs (table_id);
CREATE TABLE IF NOT EXISTS sequence_numbers (
    table_id INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE, client_id TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (table_id, client_id)
);
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, key TEXT NOT NULL, at REAL NOT NULL, rows INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key, at);
CREATE TABLE IF NOT EXISTS refreshes (
    id TEXT PRIMARY KEY, dataset_id TEXT NOT NULL REFERENCES datasets ON DELETE CASCADE, enhanced INTEGER NOT NULL,
    type TEXT NOT NULL, commit_mode TEXT NOT NULL, started_at REAL NOT NULL, ends_at REAL NOT NULL, visible_at REAL NOT NULL,
    outcome TEXT NOT NULL, exception TEXT
);
"""


@dataclass(frozen=True)
class Table:
    """One table; `version` changes with its rows and columns."""

    id: int
    dataset_id: str
    name: str
    schema: Schema
    version: int


class Store:
    """All that the sandbox keeps. Callers hold the sandbox's lock or transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._frames: OrderedDict[tuple[str, int, int, tuple[str, ...]], pl.DataFrame] = OrderedDict()
        db.executescript(SCHEMA)

    def add_dataset(
        self,
        workspace_id: str,
        name: str,
        kind: str,
        retention: str,
        configured_by: str,
        at: float,
        dataset_id: str = "",
    ) -> str:
        """Insert a dataset and return its id (a new one unless given)."""
        key = dataset_id or str(uuid.uuid4())
        row = (key, workspace_id, name, kind, retention, configured_by, at)
        self.db.execute("INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return key

    def dataset(self, workspace_id: str, dataset_id: str) -> sqlite3.Row | None:
        """One dataset of a workspace."""
        found: sqlite3.Row | None = self.db.execute(
            "SELECT * FROM datasets WHERE id = ? AND workspace_id = ?", (dataset_id, workspace_id)
        ).fetchone()
        return found

    def datasets(self, workspace_id: str | None = None) -> list[sqlite3.Row]:
        """All datasets, or a workspace's, oldest first."""
        where, values = ("WHERE workspace_id = ?", (workspace_id,)) if workspace_id else ("", ())
        return self.db.execute(f"SELECT * FROM datasets {where} ORDER BY created_at, id", values).fetchall()

    def add_table(self, dataset_id: str, name: str, schema: Schema) -> None:
        """Insert an empty table."""
        self.db.execute(
            "INSERT INTO tables (dataset_id, name, columns) VALUES (?, ?, ?)", (dataset_id, name, json.dumps(schema))
        )

    def tables(self, dataset_id: str) -> list[Table]:
        """All tables of a dataset, in the order of their creation."""
        rows = self.db.execute("SELECT * FROM tables WHERE dataset_id = ? ORDER BY id", (dataset_id,)).fetchall()
        return [Table(r["id"], r["dataset_id"], r["name"], json.loads(r["columns"]), r["version"]) for r in rows]

    def table(self, dataset_id: str, name: str) -> Table | None:
        """One table by its exact name."""
        return next((table for table in self.tables(dataset_id) if table.name == name), None)

    def row_count(self, table: Table) -> int:
        """Rows of a table."""
        return int(
            self.db.execute("SELECT coalesce(sum(rows), 0) FROM blobs WHERE table_id = ?", (table.id,)).fetchone()[0]
        )

    def append(self, table: Table, frame: pl.DataFrame, *, is_fifo: bool) -> None:
        """Add rows; under FIFO the oldest beyond 200,000 are dropped."""
        if frame.height == 0:
            return
        self._add_blob(table.id, frame)
        if is_fifo and self.row_count(table) > FIFO_ROWS:
            self._replace(table, self.frame(self._touched(table)).tail(FIFO_ROWS))
            return
        self._touched(table)

    def clear(self, table: Table) -> None:
        """Delete all rows."""
        self.db.execute("DELETE FROM blobs WHERE table_id = ?", (table.id,))
        self._touched(table)

    def put_columns(self, table: Table, schema: Schema) -> None:
        """Replace the columns: kept ones keep their values, new ones are blank."""
        frame, types = self.frame(table), empty_frame(schema)
        kept = [name for name in schema if name in frame.columns]
        shaped = pl.concat([types, frame.select(kept)], how="diagonal") if frame.height else types
        self.db.execute("UPDATE tables SET columns = ? WHERE id = ?", (json.dumps(schema), table.id))
        self._replace(table, shaped)

    def frame(self, table: Table, order: Iterable[str] = ()) -> pl.DataFrame:
        """All rows in the order of arrival, or sorted by columns (blank first); cached until they change."""
        by = tuple(order)
        key = (table.dataset_id, table.id, table.version, by)  # SQLite gives a deleted table's id again
        cached = self._frames.get(key)
        if cached is None:
            if by:
                cached = self.frame(table).sort(by)
            else:
                blobs = self.db.execute("SELECT data FROM blobs WHERE table_id = ? ORDER BY id", (table.id,)).fetchall()
                parts = [pl.read_ipc(io.BytesIO(blob[0])) for blob in blobs]
                cached = pl.concat(parts) if parts else empty_frame(table.schema)
            self._frames[key] = cached
            while len(self._frames) > CACHED_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(key)
        return cached

    def _add_blob(self, table_id: int, frame: pl.DataFrame) -> None:
        out = io.BytesIO()
        frame.write_ipc(out, compression="lz4")
        self.db.execute(
            "INSERT INTO blobs (table_id, rows, data) VALUES (?, ?, ?)", (table_id, frame.height, out.getvalue())
        )

    def _replace(self, table: Table, frame: pl.DataFrame) -> None:
        self.db.execute("DELETE FROM blobs WHERE table_id = ?", (table.id,))
        if frame.height:
            self._add_blob(table.id, frame)
        self._touched(table)

    def _touched(self, table: Table) -> Table:
        self.db.execute("UPDATE tables SET version = version + 1 WHERE id = ?", (table.id,))
        for key in [key for key in self._frames if key[1] == table.id]:
            del self._frames[key]
        version = self.db.execute("SELECT version FROM tables WHERE id = ?", (table.id,)).fetchone()[0]
        return Table(table.id, table.dataset_id, table.name, table.schema, version)
