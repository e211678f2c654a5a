"""BigQuery's column types, in a table's schema, in DuckDB, and in an exported Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from .errors import not_imitated

PLAIN = {
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "NUMERIC": "DECIMAL(38,9)",
    "JSON": "JSON",
}
KEPT_AS_TEXT = frozenset({"BIGNUMERIC", "GEOGRAPHY", "INTERVAL", "RANGE"})
"""DuckDB has none of them as BigQuery does (76 digits, WKT …): a column holds the text, and its name tells the type."""

LEGACY = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
SIZES = {"INTEGER": 8, "FLOAT": 8, "BOOLEAN": 1, "DATE": 8, "DATETIME": 8, "TIME": 8, "TIMESTAMP": 8, "NUMERIC": 16}
TEXT_BYTES = 16  # our choice: texts count as so much in a dry run
_BY_DUCKDB = {duckdb: google for google, duckdb in PLAIN.items()} | {"INTEGER": "INTEGER", "HUGEINT": "INTEGER"}


def duckdb_type(field: Mapping[str, Any]) -> str:
    """The type of a schema's field in DuckDB. Raises `VendorError` for a type that is not imitated."""
    kind = LEGACY.get(field["type"], field["type"])
    if kind == "RECORD":
        inner = ", ".join(f'"{one["name"]}" {duckdb_type(one)}' for one in field["fields"])
        found = f"STRUCT({inner})"
    elif kind in KEPT_AS_TEXT:
        found = "VARCHAR"
    elif kind in PLAIN:
        found = PLAIN[kind]
    else:
        raise not_imitated(f"the column type {field['type']}")
    return f"{found}[]" if field.get("mode") == "REPEATED" else found


def schema_field(name: str, kind: str, kept: Mapping[str, str]) -> dict[str, Any]:
    """The field of a query's result; `kept` are the types by name of the columns that DuckDB holds as text."""
    if kind.endswith("[]"):
        return {**schema_field(name, kind[:-2], kept), "mode": "REPEATED"}
    if kind.startswith("STRUCT"):
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": []}
    if kind.startswith("DECIMAL"):
        return {"name": name, "type": "NUMERIC", "mode": "NULLABLE"}
    if kind == "VARCHAR":
        return {"name": name, "type": kept.get(name, "STRING"), "mode": "NULLABLE"}
    if kind not in _BY_DUCKDB:
        raise not_imitated(f"a result of DuckDB's type {kind}")
    return {"name": name, "type": _BY_DUCKDB[kind], "mode": "NULLABLE"}


def row_bytes(fields: Sequence[Mapping[str, Any]]) -> int:
    """What a row of these columns counts as in a dry run."""
    return sum(SIZES.get(LEGACY.get(field["type"], field["type"]), TEXT_BYTES) for field in fields)


def as_exported(table: pa.Table) -> pa.Table:
    """The table as BigQuery's Parquet has it: TIMESTAMP without a zone (`isAdjustedToUTC = false`), as DATETIME."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            naive = table.column(index).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
            table = table.set_column(index, field.name, naive)
    return table
