"""Schemas of push datasets: the documented names, types and numbers."""

from __future__ import annotations

import re
from typing import Any

from .errors import invalid

MAX_COLUMNS, MAX_TABLES, MAX_RELATIONSHIPS = 75, 75, 75
# Microsoft's pattern with \U00010000-\U0010FFFF where the swagger says \u10000-\u10FFFF: the stricter reading of the two.
_TABLE = re.compile("[\\x09\\x0A\\x0D #\\-0-9@A-Z^_a-z~-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]{1,100}")
_COLUMN = re.compile("[\\x09\\x0A\\x0D -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_TYPES = {
    "int64": "Int64",
    "double": "Double",
    "bool": "Boolean",
    "boolean": "Boolean",
    "datetime": "DateTime",
    "string": "String",
    "decimal": "Decimal",
}
_COLUMN_FIELDS = {"name", "dataType", "formatString", "sortByColumn", "dataCategory", "isHidden", "summarizeBy"}

Schema = dict[str, str]
"""Column name to type, in order; types spelled as the values of `_TYPES`."""


def read_dataset(body: Any) -> dict[str, Schema]:
    """The tables of a CreateDatasetRequest, checked.

    Raises:
        VendorError: 400 naming the first broken rule.
    """
    if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"].strip():
        raise invalid("The dataset needs a name")
    if body.get("defaultMode", "Push") != "Push":
        raise invalid(f"defaultMode {body['defaultMode']!r} is not imitated here; only Push is")
    tables, relationships = body.get("tables"), body.get("relationships") or []
    if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_TABLES:
        raise invalid(f"A dataset needs 1 to {MAX_TABLES} tables")
    if not isinstance(relationships, list) or len(relationships) > MAX_RELATIONSHIPS:
        raise invalid(f"A dataset takes at most {MAX_RELATIONSHIPS} relationships")
    found: dict[str, Schema] = {}
    for table in tables:
        name, schema = read_table(table)
        if name.casefold() in {other.casefold() for other in found}:
            raise invalid(f"Table '{name}' is there twice")
        found[name] = schema
    return found


def read_table(table: Any) -> tuple[str, Schema]:
    """Name and columns of one table, checked.

    Raises:
        VendorError: 400 naming the first broken rule.
    """
    if not isinstance(table, dict) or not isinstance(table.get("name"), str) or not _TABLE.fullmatch(table["name"]):
        raise invalid(f"Invalid table name: {table.get('name')!r}" if isinstance(table, dict) else "Not a table")
    columns = table.get("columns")
    if not isinstance(columns, list) or not 1 <= len(columns) <= MAX_COLUMNS:
        raise invalid(f"Table '{table['name']}' needs 1 to {MAX_COLUMNS} columns")
    schema: Schema = {}
    for column in columns:
        if not isinstance(column, dict) or set(column) - _COLUMN_FIELDS:
            raise invalid(f"Not a column: {column!r}")
        name, kind = column.get("name"), column.get("dataType")
        if not isinstance(name, str) or not _COLUMN.fullmatch(name):
            raise invalid(f"Invalid column name: {name!r}")
        if name.casefold() in {other.casefold() for other in schema}:
            raise invalid(f"Column '{name}' is there twice")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise invalid(f"Column '{name}' has the unknown data type {kind!r}")
        schema[name] = _TYPES[kind.lower()]
    return table["name"], schema
