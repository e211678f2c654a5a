"""The tables of the sandbox: every version that they had, in DuckDB; what they are, in SQLite."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from .columns import KEPT_AS_TEXT, LEGACY, duckdb_type, row_bytes, schema_field
from .errors import invalid_query, not_imitated, refuse
from .statements import translate

_MACROS = """
CREATE OR REPLACE MACRO TO_JSON_STRING(x) AS to_json(x)::VARCHAR;
CREATE OR REPLACE MACRO TO_BASE64(x) AS base64(x);
CREATE OR REPLACE MACRO ST_ASTEXT(x) AS x::VARCHAR;
"""
SCHEMA = """
CREATE TABLE IF NOT EXISTS datasets (project TEXT, dataset TEXT, location TEXT NOT NULL, PRIMARY KEY (project, dataset));
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY, project TEXT, dataset TEXT, name TEXT, at_us INTEGER, kind TEXT, fields TEXT, rows INTEGER
);
"""


@dataclass(frozen=True)
class Version:
    """One state of a table."""

    number: int
    project: str
    dataset: str
    name: str
    at_us: int
    kind: str
    fields: Sequence[Mapping[str, Any]]
    rows: int
    location: str

    @property
    def label(self) -> str:
        """As BigQuery's messages write it."""
        return f"{self.project}:{self.dataset}.{self.name}"


@dataclass(frozen=True)
class Reading:
    """A query ready to run: in DuckDB's words, with the tables that it names."""

    sql: str
    versions: tuple[Version, ...]
    statement_type: str
    location: str

    @property
    def bytes(self) -> int:
        """All columns of all tables, whatever the query selects: BigQuery would count the selected ones only."""
        return sum(version.rows * row_bytes(version.fields) for version in self.versions)


class Tables:
    """All projects' datasets and tables. Guarded by the caller's lock where it writes."""

    def __init__(self, database: Path, db: Any) -> None:
        self._db = db
        self._db.executescript(SCHEMA)
        self._duckdb = duckdb.connect(str(database))
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute(_MACROS)
        self._duckdb.execute("SET enable_external_access = false")
        self._lock = threading.Lock()

    def put(self, body: Mapping[str, Any], at_us: int) -> Version:
        """Add a version of a table: `{"project", "dataset", "table", "location"?, "type"?, "schema": [fields], "rows": [..]}`."""
        project, dataset, name = body["project"], body["dataset"], body["table"]
        location = body.get("location", "US")
        fields = [
            {"mode": "NULLABLE", **field, "type": LEGACY.get(field["type"], field["type"])} for field in body["schema"]
        ]
        self._db.execute("INSERT OR IGNORE INTO datasets VALUES (?, ?, ?)", (project, dataset, location))
        number = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM versions").fetchone()[0]
        columns = ", ".join(f'"{field["name"]}" {duckdb_type(field)}' for field in fields)
        with self._lock:
            self._duckdb.execute(f"CREATE OR REPLACE TABLE t{number} ({columns})")
            self._fill(number, fields, body["rows"])
        kind = body.get("type", "TABLE")
        row = (number, project, dataset, name, at_us, kind, json.dumps(fields), len(body["rows"]))
        self._db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return self.find(project, dataset, name)

    def _fill(self, number: int, fields: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows of JSON values in one statement; BYTES come as Base64, everything else as DuckDB reads its text."""
        values = ", ".join(_value(field) for field in fields)
        rows_of = "SELECT unnest(from_json(?::JSON, '[\"JSON\"]')) AS r"
        if rows:
            self._duckdb.execute(f"INSERT INTO t{number} SELECT {values} FROM ({rows_of})", [json.dumps(list(rows))])

    def find(self, project: str, dataset: str, name: str, moment: datetime | None = None) -> Version:
        """The version of a moment, or the newest. Raises `VendorError` (notFound, invalid)."""
        found = self._db.execute(
            "SELECT v.*, d.location FROM versions v JOIN datasets d USING (project, dataset) "
            "WHERE v.project = ? AND v.dataset = ? AND v.name = ? ORDER BY at_us DESC, number DESC",
            (project, dataset, name),
        ).fetchall()
        versions = [Version(**{**dict(row), "fields": json.loads(row["fields"])}) for row in found]
        if not versions:
            raise refuse(404, "notFound", f"Not found: Table {project}:{dataset}.{name} was not found in location US")
        if moment is None:
            return versions[0]
        us = int(moment.timestamp() * 1_000_000)
        at = next((version for version in versions if version.at_us <= us), None)
        if at is None:
            first = versions[-1].at_us // 1000
            message = f"Invalid snapshot time {us // 1000} for table {versions[0].label}. Cannot read before {first}"
            raise refuse(400, "invalid", message)
        if at.kind != "TABLE":
            raise invalid_query(f"FOR SYSTEM_TIME AS OF is not supported for {at.kind} {at.label}")
        return at

    def read(self, query: str, project: str) -> Reading:
        """The query for DuckDB. Raises `VendorError`."""
        used: list[Version] = []

        def resolve(path: tuple[str, ...], moment: datetime | None) -> str:
            if len(path) > 3:
                raise not_imitated(f"a table path of {len(path)} parts")
            own = path if len(path) == 3 else (project, *path)
            used.append(self.find(own[0], own[1], own[2], moment))
            return f"t{used[-1].number}"

        sql = translate(query, resolve)
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error as exc:
            raise invalid_query(f"Syntax error: {_first_line(exc)}") from exc
        kinds = [statement.type.name for statement in statements]
        locations = {version.location for version in used} or {"US"}
        if len(locations) > 1:
            raise invalid_query(f"Query references datasets in different locations: {', '.join(sorted(locations))}")
        return Reading(sql, tuple(used), kinds[0] if len(kinds) == 1 else "SCRIPT", locations.pop())

    def schema(self, reading: Reading) -> list[dict[str, Any]]:
        """The result's fields. Raises `VendorError` for a query that DuckDB refuses."""
        kept = {
            field["name"]: field["type"]
            for version in reading.versions
            for field in version.fields
            if field["type"] in KEPT_AS_TEXT
        }
        with self._lock:
            try:
                described = self._duckdb.execute(f"DESCRIBE {reading.sql}").fetchall()
            except duckdb.Error as exc:
                raise invalid_query(_first_line(exc)) from exc
        return [schema_field(name, kind, kept) for name, kind, *_ in described]

    def rows(self, reading: Reading, batch_rows: int) -> Iterator[pa.Table]:
        """The result in tables of at most so many rows; one without rows if there are none."""
        with self._lock:
            try:
                batches: Any = self._duckdb.sql(reading.sql).to_arrow_reader(batch_rows)
                first = True
                for batch in batches:
                    if batch.num_rows or first:
                        yield pa.Table.from_batches([batch])
                    first = False
                if first:
                    yield batches.schema.empty_table()
            except duckdb.Error as exc:
                raise invalid_query(_first_line(exc)) from exc

    def close(self) -> None:
        """Close DuckDB's file."""
        self._duckdb.close()


def _value(field: Mapping[str, Any]) -> str:
    """The field of a row `r` of JSON, as its column holds it."""
    path = f"""'$."{field["name"]}"'"""
    if field["mode"] == "REPEATED" or field["type"] in ("RECORD", "JSON"):
        return f"CAST(nullif(r->{path}, 'null'::JSON) AS {duckdb_type(field)})"
    if field["type"] == "BYTES":
        return f"from_base64(r->>{path})"
    return f"CAST(r->>{path} AS {duckdb_type(field)})"


def _first_line(exc: Exception) -> str:
    return str(exc).splitlines()[0]
