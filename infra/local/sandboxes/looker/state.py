"""Datagroups and builds of derived tables: rows in SQLite, moved on by the sandbox clock when somebody looks."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

import psycopg

from .database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS api_keys (client_id TEXT PRIMARY KEY, digest TEXT NOT NULL, user_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS datagroups (
    id TEXT PRIMARY KEY, model_name TEXT NOT NULL, name TEXT NOT NULL, created_at INTEGER NOT NULL, stale_before INTEGER,
    triggered_at INTEGER, trigger_check_at INTEGER, trigger_value TEXT, trigger_error TEXT, check_due REAL);
CREATE TABLE IF NOT EXISTS derived_tables (
    model TEXT NOT NULL, view TEXT NOT NULL, source_table TEXT NOT NULL, persistent INTEGER NOT NULL,
    source_rows INTEGER, built_at REAL, PRIMARY KEY (model, view));
CREATE TABLE IF NOT EXISTS builds (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, view TEXT NOT NULL, source TEXT, force_rebuild TEXT, started_at REAL NOT NULL,
    status TEXT NOT NULL, message TEXT, source_rows INTEGER);
CREATE TABLE IF NOT EXISTS queries (id TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
ENDED = ("complete", "error", "killed")
PUBLIC = (
    "id",
    "model_name",
    "name",
    "created_at",
    "stale_before",
    "triggered_at",
    "trigger_check_at",
    "trigger_value",
    "trigger_error",
)


def datagroup(db: sqlite3.Connection, datagroup_id: str, now: float, knobs: Mapping[str, Any]) -> dict[str, Any] | None:
    """One datagroup in the contract's form, after the regenerator's check if that is due; None if there is none."""
    row = db.execute("SELECT * FROM datagroups WHERE id = ?", (datagroup_id,)).fetchone()
    if row is None:
        return None
    found = dict(row)
    if found["check_due"] is not None and now >= found["check_due"]:
        found["trigger_check_at"] = max(int(found["check_due"]), (found["trigger_check_at"] or 0) + 1)
        found["trigger_error"] = str(knobs["trigger_error"]) or None
        found["trigger_value"] = found["trigger_value"] if found["trigger_error"] else str(found["trigger_check_at"])
        found["check_due"] = None
        db.execute(
            "UPDATE datagroups SET trigger_check_at = ?, trigger_error = ?, trigger_value = ?, check_due = NULL WHERE id = ?",
            (found["trigger_check_at"], found["trigger_error"], found["trigger_value"], datagroup_id),
        )
    return {name: found[name] for name in PUBLIC}


def start_build(db: sqlite3.Connection, table: sqlite3.Row, now: float, source: str | None, force: str | None) -> str:
    """A new build; returns its id."""
    build_id = secrets.token_hex(16)
    db.execute(
        "INSERT INTO builds (id, model, view, source, force_rebuild, started_at, status) VALUES (?, ?, ?, ?, ?, ?, 'added')",
        (build_id, table["model"], table["view"], source, force, now),
    )
    return build_id


def build(
    db: sqlite3.Connection, build_id: str, now: float, knobs: Mapping[str, Any], database: Database
) -> dict[str, Any] | None:
    """One build as it stands now: added, running for `pdt_seconds`, then ended by really reading the source table."""
    row = db.execute("SELECT * FROM builds WHERE id = ?", (build_id,)).fetchone()
    if row is None:
        return None
    found = dict(row)
    if found["status"] in ENDED:
        return found
    if now < found["started_at"] + float(knobs["pdt_seconds"]):
        found["status"] = "running"
    else:
        _finish(db, found, now, str(knobs["pdt_outcome"]), database)
    db.execute(
        "UPDATE builds SET status = ?, message = ?, source_rows = ? WHERE id = ?",
        (found["status"], found["message"], found["source_rows"], build_id),
    )
    return found


def resp_text(found: Mapping[str, Any]) -> str:
    """Looker's JSON in a string: `status`, and `message` on an error."""
    text = {"status": found["status"], "materialization_id": found["id"]}
    if found["message"]:
        text["message"] = found["message"]
    return json.dumps(text)


def _finish(db: sqlite3.Connection, found: dict[str, Any], now: float, outcome: str, database: Database) -> None:
    key = (found["model"], found["view"])
    table = db.execute("SELECT * FROM derived_tables WHERE model = ? AND view = ?", key).fetchone()
    found["status"] = outcome
    if outcome == "error":
        found["message"] = f"ERROR: could not create table for {found['view']}"
    if outcome != "complete":
        return
    try:
        found["source_rows"] = database.count(table["source_table"])
    except psycopg.Error as error:
        found["status"], found["message"] = "error", f"ERROR: {error.diag.message_primary or 'no connection'}"
        return
    db.execute(
        "UPDATE derived_tables SET source_rows = ?, built_at = ? WHERE model = ? AND view = ?",
        (found["source_rows"], now, *key),
    )
