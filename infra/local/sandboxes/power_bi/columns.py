"""Schemas of push datasets: the documented names, types and numbers."""

from __future__ import annotations

import re
from typing import Any

from .bodies import check_body
from .errors import invalid, not_imitated

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
MODES = ("AsAzure", "AsOnPrem", "Push", "Streaming", "PushStreaming")

Schema = dict[str, str]
"""Column name to type, in order; types spelled as the values of `_TYPES`."""


def read_dataset(body: Any) -> dict[str, Schema]:
    """The tables of a CreateDatasetRequest, checked.

    Raises:
        VendorError: 400 naming the first broken rule.
    """
    check_body("dataset", body)
    if not body["name"].strip():
        raise invalid("The dataset needs a name")
    mode = body.get("defaultMode", "Push")
    if mode not in MODES:
        raise invalid(f"defaultMode '{mode}' is none of {', '.join(MODES)}")
    if mode != "Push":
        raise not_imitated(f"defaultMode {mode}")
    if not 1 <= len(body["tables"]) <= MAX_TABLES:
        raise invalid(f"A dataset needs 1 to {MAX_TABLES} tables")
    if len(body.get("relationships", [])) > MAX_RELATIONSHIPS:
        raise invalid(f"A dataset takes at most {MAX_RELATIONSHIPS} relationships")
    found: dict[str, Schema] = {}
    for table in body["tables"]:
        name, schema = _table(table)
        if name.casefold() in {other.casefold() for other in found}:
            raise invalid(f"Table '{name}' is there twice")
        found[name] = schema
    return found


def read_table(table: Any) -> tuple[str, Schema]:
    """Name and columns of one table, checked.

    Raises:
        VendorError: 400 naming the first broken rule.
    """
    return _table(check_body("table", table))


def _table(table: dict[str, Any]) -> tuple[str, Schema]:
    if not _TABLE.fullmatch(table["name"]):
        raise invalid(f"Invalid table name: '{table['name']}'")
    columns = table["columns"]
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise invalid(f"Table '{table['name']}' needs 1 to {MAX_COLUMNS} columns")
    schema: Schema = {}
    for column in columns:
        name, kind = column["name"], column["dataType"]
        if not _COLUMN.fullmatch(name):
            raise invalid(f"Invalid column name: '{name}'")
        if name.casefold() in {other.casefold() for other in schema}:
            raise invalid(f"Column '{name}' is there twice")
        if kind.lower() not in _TYPES:
            raise invalid(f"Column '{name}' has the unknown data type '{kind}'")
        schema[name] = _TYPES[kind.lower()]
    return table["name"], schema
