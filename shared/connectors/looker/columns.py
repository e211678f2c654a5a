"""Arrow columns as Postgres columns: types, names, and how far an existing table has drifted from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from shared.errors import TargetError
from shared.type_rules import LOOKER, becomes

MAX_COLUMNS = 1600  # postgresql.org/docs/current/limits.html
MAX_IDENTIFIER_BYTES = 63  # same page; longer names are cut silently by Postgres
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"}


@dataclass(frozen=True)
class Column:
    """One column as it will be in Postgres. `type` is what `format_type` prints for it."""

    name: str
    type: str


@dataclass(frozen=True)
class TargetColumn:
    """One column of an existing table. `is_filled`: Postgres gives it a value by itself (default, identity, generated);
    `is_only_filled`: and takes none from us (GENERATED ALWAYS)."""

    name: str
    type: str
    is_filled: bool = False
    is_only_filled: bool = False


@dataclass(frozen=True)
class Drift:
    """What an existing table lacks (`additions`, in source order), and what cannot be reconciled, in words."""

    additions: tuple[Column, ...]
    problems: tuple[str, ...]


def postgres_columns(schema: pa.Schema) -> list[Column]:
    """Return the Postgres columns for a schema, in its order.

    Raises:
        TargetError: a type Postgres has no exact counterpart for, a name it would cut or refuse, or too many columns.
    """
    if len(schema) > MAX_COLUMNS:
        raise TargetError(
            f"the table has {len(schema)} columns, Postgres takes {MAX_COLUMNS}; leave some out by the mapping"
        )
    if len(schema) == 0:
        raise TargetError("the table has no columns; there is nothing to export")
    duplicates = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if duplicates:
        raise TargetError(f"column names occur twice: {', '.join(duplicates)}; rename one by the mapping")
    for name in schema.names:
        require_identifier(name, "column")
        if name in SYSTEM_COLUMNS:
            raise TargetError(f"column {name!r}: Postgres keeps this name for itself; rename it by the mapping")
    return [Column(field.name, postgres_type(field)) for field in schema]


def postgres_type(field: pa.Field) -> str:
    """Return the type as `format_type` prints it. Raises `TargetError` if there is none that holds every value exactly."""
    kind = field.type
    if str(kind) in _INTEGERS:
        return becomes("int64", LOOKER)
    if pa.types.is_uint64(kind):
        return "numeric(20,0)"  # beyond bigint
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return becomes("double", LOOKER)
    if pa.types.is_boolean(kind):
        return becomes("bool", LOOKER)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return becomes("string", LOOKER)
    if pa.types.is_date32(kind):
        return becomes("date", LOOKER)
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return becomes("timestamp" if kind.tz is None else "timestamp_tz", LOOKER)
    if pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision:
        return becomes("decimal(p,s)", LOOKER).replace("(p,s)", f"({kind.precision},{kind.scale})")
    raise TargetError(
        f"column {field.name!r} is of type {kind}, which has no exact counterpart in Postgres; cast it by the mapping to "
        "an integer, double, boolean, text, date, timestamp (microseconds) or decimal"
    )


def require_identifier(name: str, what: str) -> None:
    """Raise `TargetError` if Postgres would refuse the name, or cut it (63 bytes of UTF-8, not characters)."""
    length = len(name.encode())
    if length == 0 or "\0" in name:
        raise TargetError(f"the {what} name {name!r} is empty or holds a NUL character; rename it")
    if length > MAX_IDENTIFIER_BYTES:
        raise TargetError(
            f"the {what} name {name!r} has {length} bytes in UTF-8, Postgres takes {MAX_IDENTIFIER_BYTES}; shorten it"
        )


def compare(wanted: Sequence[Column], existing: Sequence[TargetColumn]) -> Drift:
    """Return how an existing table differs from the export. Columns are matched by name; their order does not matter.

    New columns of the export are additions. Everything that would lose or change values is a problem: another type, and a
    column of the table that the export does not have, unless Postgres fills it by itself.
    """
    by_name = {column.name: column for column in existing}
    names = {column.name for column in wanted}
    problems = [
        f"column {column.name!r} is {by_name[column.name].type} in the table and {column.type} in the export"
        for column in wanted
        if column.name in by_name and not _holds(by_name[column.name].type, column.type)
    ]
    problems += [
        f"column {column.name!r} takes no values from outside (GENERATED ALWAYS in the table)"
        for column in existing
        if column.name in names and column.is_only_filled
    ]
    for column in existing:
        if column.name in names or column.is_filled:
            continue
        problems.append(f"column {column.name!r} ({column.type}) is in the table and not in the export")
    return Drift(tuple(column for column in wanted if column.name not in by_name), tuple(problems))


def _holds(existing: str, wanted: str) -> bool:
    return existing == wanted or (existing, wanted) == ("character varying", "text")
