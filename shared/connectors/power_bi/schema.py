"""Push dataset schemas: which Arrow column becomes which Power BI column, which names are allowed, what has drifted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import TargetError
from shared.type_rules import POWER_BI, becomes

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLUMNS = 75  # learn.microsoft.com/power-bi/developer/embedded/push-datasets-limitations, and the next three
MAX_TABLE_ROWS = 5_000_000  # with retention policy None
MAX_POST_ROWS = 10_000
MAX_TEXT_LENGTH = 4_000  # characters of one string value
DECIMAL_PLACES = 4  # precision 28, scale 4: powerbi-docs api-dataset-properties
DECIMAL_DIGITS = 28
TICKS_A_DAY = 25_920_000  # a tick is 1/300 s

# The pattern of Table.name in Microsoft's swagger as it is meant: written there with \u10000, it would read as \u1000 and "0".
_TABLE_NAME = re.compile(
    "[\\x09\\x0A\\x0D\\x20\\x23\\x2D0-9@A-Z^_a-z~-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]{1,100}"
)
_COLUMN_NAME = re.compile("[\\x09\\x0A\\x0D\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

Columns = list[dict[str, str]]
"""`[{"name": …, "dataType": …}]` as the API takes it, in table order."""


@dataclass(frozen=True)
class Body:
    """One POST: `rows` consecutive rows as the JSON text `{"rows": […]}`."""

    rows: int
    data: bytes


def columns_of(schema: pa.Schema) -> Columns:
    """Return the push dataset columns of a table.

    Raises:
        TargetError: naming the first column whose name or type Power BI cannot take, or too many columns.
    """
    if not 1 <= len(schema) <= MAX_COLUMNS:
        raise TargetError(
            f"The table has {len(schema)} columns; a Power BI push table takes 1 to {MAX_COLUMNS}. Leave columns out"
        )
    seen: dict[str, str] = {}
    for name in schema.names:
        if not _COLUMN_NAME.fullmatch(name):
            raise TargetError(f"Column name {name!r} is not allowed in Power BI: it is empty or has control characters")
        twin = seen.setdefault(name.casefold(), name)
        if twin is not name:
            raise TargetError(f"Columns {twin!r} and {name!r} are one name in Power BI, which ignores case; rename one")
    return [{"name": field.name, "dataType": data_type(field)} for field in schema]


def data_type(field: pa.Field) -> str:
    """Return the Power BI type of an Arrow column. Raises `TargetError` for a type that no push dataset holds."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_integer(kind):
        return becomes("int64", POWER_BI)
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return becomes("double", POWER_BI)
    if pa.types.is_boolean(kind):
        return becomes("bool", POWER_BI)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return becomes("string", POWER_BI)
    if pa.types.is_date32(kind):
        return becomes("date", POWER_BI)
    if pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz in (None, "UTC"):
        return becomes("timestamp", POWER_BI)
    if pa.types.is_decimal128(kind):
        return becomes("decimal(p,s)", POWER_BI)
    raise TargetError(
        f"Column {field.name!r} is of type {kind}, which Power BI cannot hold; expected an integer, float, boolean, text, date, "
        "timestamp in microseconds (without zone or UTC) or decimal. Cast it"
    )


def check_table_name(name: str) -> str:
    """Return the name. Raises `TargetError` if Power BI does not take it: it is refused, never renamed."""
    if not _TABLE_NAME.fullmatch(name):
        bad = "".join(sorted({char for char in name if not _TABLE_NAME.fullmatch(char)}))
        why = f"it has {bad!r}" if bad else f"it has {len(name)} characters"
        raise TargetError(
            f"Power BI does not take {name!r} as a table name: {why}; expected 1 to 100 characters and none of "
            "! \" $ % & ' ( ) * + , . / : ; < = > ? [ \\ ] ` { | }. Export under another table_name"
        )
    return name


def drift(remembered: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what `wanted` adds, lacks or types differently, in words; empty if the columns are the same (order aside)."""
    before = {column["name"]: str(column["dataType"]) for column in remembered}
    after = {column["name"]: str(column["dataType"]) for column in wanted}
    told = [f"{name!r} is new" for name in after if name not in before]
    told += [f"{name!r} is missing" for name in before if name not in after]
    told += [
        f"{name!r} was {before[name]} and is {after[name]}"
        for name in after
        if name in before and before[name].casefold() != after[name].casefold()
    ]
    return told
