"""Spreadsheets in SQLite: one row per spreadsheet, sheet and block of rows, and who may open what."""

from __future__ import annotations

import functools
import sqlite3
from typing import Any

import orjson

from .book import Block, Book, Cell, Formula, Grid, Row, Sheet
from .formats import Formats

SCHEMA = """
CREATE TABLE IF NOT EXISTS books (id TEXT PRIMARY KEY, properties TEXT NOT NULL, metadata TEXT NOT NULL, next_key INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sheets (
    book TEXT NOT NULL, key INTEGER NOT NULL, position INTEGER NOT NULL, properties TEXT NOT NULL, formats TEXT NOT NULL,
    blocks INTEGER NOT NULL, PRIMARY KEY (book, key));
CREATE TABLE IF NOT EXISTS blocks (
    book TEXT NOT NULL, sheet INTEGER NOT NULL, block INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (book, sheet, block));
CREATE TABLE IF NOT EXISTS shares (book TEXT NOT NULL, email TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (book, email));
"""


class BookStore:
    """Loads and saves books; the caller holds the sandbox's lock and, to save, its transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._books: dict[str, Book] = {}
        db.executescript(SCHEMA)

    def get(self, spreadsheet_id: str) -> Book | None:
        """The committed state; treat as read-only, `clone()` it to change it."""
        if spreadsheet_id in self._books:
            return self._books[spreadsheet_id]
        found = self._db.execute("SELECT * FROM books WHERE id = ?", (spreadsheet_id,)).fetchone()
        if found is None:
            return None
        sheets = [
            self._sheet(spreadsheet_id, row)
            for row in self._db.execute("SELECT * FROM sheets WHERE book = ? ORDER BY position", (spreadsheet_id,))
        ]
        metadata = {int(key): value for key, value in orjson.loads(found["metadata"]).items()}
        book = Book(spreadsheet_id, orjson.loads(found["properties"]), sheets, metadata, found["next_key"])
        self._books[spreadsheet_id] = book
        return book

    def save(self, book: Book) -> None:
        """Write what differs from the stored state and make this book the committed one."""
        db, name = self._db, book.spreadsheet_id
        metadata = orjson.dumps({str(key): value for key, value in book.metadata.items()})
        db.execute(
            "INSERT OR REPLACE INTO books VALUES (?, ?, ?, ?)",
            (name, orjson.dumps(book.properties), metadata, book.next_key),
        )
        kept = {sheet.key for sheet in book.sheets}
        for (key,) in db.execute("SELECT key FROM sheets WHERE book = ?", (name,)).fetchall():
            if key not in kept:
                db.execute("DELETE FROM sheets WHERE book = ? AND key = ?", (name, key))
                db.execute("DELETE FROM blocks WHERE book = ? AND sheet = ?", (name, key))
        for position, sheet in enumerate(book.sheets):
            self._save_sheet(name, position, sheet)
        self._books[name] = book

    def forget(self, spreadsheet_id: str) -> None:
        """Drop the cached book, so that the next read comes from the file (after a rollback)."""
        self._books.pop(spreadsheet_id, None)

    def delete(self, spreadsheet_id: str) -> None:
        """Remove a spreadsheet with everything in it."""
        self.forget(spreadsheet_id)
        for table, column in (("books", "id"), ("sheets", "book"), ("blocks", "book"), ("shares", "book")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (spreadsheet_id,))

    def list(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT id FROM books ORDER BY rowid")]

    def role(self, spreadsheet_id: str, email: str) -> str | None:
        """ "writer", "reader" or None."""
        row = self._db.execute(
            "SELECT role FROM shares WHERE book = ? AND email = ?", (spreadsheet_id, email.lower())
        ).fetchone()
        return None if row is None else str(row[0])

    def share(self, spreadsheet_id: str, email: str, role: str | None) -> None:
        """Set a person's role; None takes the right away."""
        self._db.execute("DELETE FROM shares WHERE book = ? AND email = ?", (spreadsheet_id, email.lower()))
        if role is not None:
            self._db.execute("INSERT INTO shares VALUES (?, ?, ?)", (spreadsheet_id, email.lower(), role))

    def shares(self, spreadsheet_id: str) -> dict[str, str]:
        rows = self._db.execute("SELECT email, role FROM shares WHERE book = ?", (spreadsheet_id,))
        return {row["email"]: row["role"] for row in rows}

    def _sheet(self, name: str, row: sqlite3.Row) -> Sheet:
        grid = Grid(functools.partial(self._load_block, name, row["key"]), row["blocks"])
        return Sheet(row["key"], orjson.loads(row["properties"]), grid, Formats.from_json(orjson.loads(row["formats"])))

    def _save_sheet(self, name: str, position: int, sheet: Sheet) -> None:
        sheet.grid.rebind(functools.partial(self._load_block, name, sheet.key))
        formats = orjson.dumps(sheet.formats.to_json())
        values = (name, sheet.key, position, orjson.dumps(sheet.properties), formats, sheet.grid.block_count)
        self._db.execute("INSERT OR REPLACE INTO sheets VALUES (?, ?, ?, ?, ?, ?)", values)
        blocks = [
            (name, sheet.key, index, orjson.dumps(sheet.grid.block(index), default=_encode))
            for index in sorted(sheet.grid.dirty)
            if index < sheet.grid.block_count
        ]
        self._db.executemany("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", blocks)
        self._db.execute(
            "DELETE FROM blocks WHERE book = ? AND sheet = ? AND block >= ?", (name, sheet.key, sheet.grid.block_count)
        )
        sheet.grid.dirty.clear()

    def _load_block(self, name: str, key: int, block: int) -> Block:
        row = self._db.execute(
            "SELECT rows FROM blocks WHERE book = ? AND sheet = ? AND block = ?", (name, key, block)
        ).fetchone()
        return [] if row is None else [_decode(cells) for cells in orjson.loads(row["rows"])]


def _encode(value: Any) -> Any:
    if isinstance(value, Formula):
        return {"f": value.text}
    raise TypeError(f"a cell cannot hold {type(value).__name__}")


def _decode(cells: list[Any]) -> Row:
    if not any(type(cell) is dict for cell in cells):
        return cells
    decoded: list[Cell] = [Formula(cell["f"]) if isinstance(cell, dict) else cell for cell in cells]
    return decoded
