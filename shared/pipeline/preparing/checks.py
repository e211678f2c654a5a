"""What of a mapping, a contract and declared types can be checked when they come, without their rows and without pyarrow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping as AnyMapping

import msgspec

from shared.errors import MappingError, SourceError
from shared.models import Breach, Contract, Drift, MappedColumn, Mapping
from shared.pipeline.preparing import grammar
from shared.redaction import hinted

TYPE = re.compile(r"int64|double|bool|string|date|timestamp|timestamp_tz|decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)")
MAX_ALLOWED = 10_000  # our choice: each is an index entry of the job's record, which Firestore bounds at 40,000
MAX_BYTES = 200_000  # our choice: a job's record, which keeps both, holds at most 1 MiB
TYPES = "int64, double, bool, string, date, timestamp, timestamp_tz or decimal(p,s) with p from 1 to 38"


def check_rules(mapping: Mapping | None, contract: Contract | None) -> None:
    """Refuse what of either can never be followed. Raises `MappingError` naming the column."""
    if mapping is not None:
        check_mapping(mapping)
    if contract is not None:
        check_contract(contract)


def check_types(columns: AnyMapping[str, str] | None, field: str) -> None:
    """Refuse a declared type that does not exist. Raises `SourceError` naming the column."""
    for name, kind in (columns or {}).items():
        if not _is_type(kind):
            message = f"{field}.{name}: {hinted(kind)!r} is no type; use {TYPES}"
            raise SourceError(message, code="schema_invalid", field=f"{field}.{name}", column=name)


def check_mapping(mapping: Mapping) -> None:
    """Refuse what can never be followed, whatever the source.

    Raises:
        MappingError: naming the column.
    """
    _check_size(mapping, "mapping")
    if mapping.where is not None:
        grammar.parse(mapping.where, "mapping.where")
    for column in mapping.columns:
        _check_column(column)
    _check_names([column.name for column in mapping.columns], "mapping.columns")


def check_contract(contract: Contract) -> None:
    """Refuse rules that contradict themselves.

    Raises:
        MappingError: naming the column.
    """
    _check_size(contract, "contract")
    if contract.gone_columns not in (Drift.EVOLVE, Drift.FREEZE):
        raise MappingError(
            "contract.gone_columns is evolve or freeze: a column that is gone has nothing to discard",
            field="contract.gone_columns",
        )
    listed = sum(len(rules.allowed or ()) for rules in contract.columns.values())
    if listed > MAX_ALLOWED:
        message = f"the contract lists {listed} allowed values; at most {MAX_ALLOWED} are taken in all"
        raise MappingError(message, field="contract.columns")
    _check_names(list(contract.columns), "contract.columns")
    _check_names(contract.key, "contract.key")
    for name, rules in contract.columns.items():
        field = f"contract.columns.{name}"
        if name.startswith("__") and name.endswith("__"):
            message = f"{field}: a name in double underscores cannot be stored; rename the column in the mapping"
            raise MappingError(message, field=field, column=name)
        for value in (rules.minimum, rules.maximum, *(rules.allowed or ())):
            _check_value(value, field, name)
        if rules.type is not None:
            _check_type(rules.type, field, name)
        if rules.unique and rules.on_breach is Breach.DISCARD_VALUE:
            message = f"{field}: a value that is there twice is discarded with its row; say discard_row"
            raise MappingError(message, field=field, column=name)
        if rules.required and rules.on_breach is Breach.DISCARD_VALUE:
            message = f"{field}: a required value cannot be discarded alone; say discard_row"
            raise MappingError(message, field=field, column=name)


def _check_column(column: MappedColumn) -> None:
    field = f"mapping.columns.{column.name}"
    given = [
        name
        for name, value in (("from", column.source), ("value", column.value), ("expression", column.expression))
        if value is not None
    ]
    if len(given) > 1:
        message = f"{field}: it has {' and '.join(given)}; one of them says where its values come from"
        raise MappingError(message, field=field, column=column.name)
    for value in (column.value, column.default):
        _check_value(value, field, column.name)
    if column.type is not None:
        _check_type(column.type, field, column.name)
    if column.expression is not None:
        grammar.parse(column.expression, field)


def _check_size(value: msgspec.Struct, field: str) -> None:
    size = len(msgspec.json.encode(value))
    if size > MAX_BYTES:
        raise MappingError(
            f"the {field} takes {size} bytes; at most {MAX_BYTES} are kept: make it smaller", field=field
        )


def _check_value(value: object, field: str, column: str) -> None:
    if type(value) is int and not -(2**63) <= value < 2**63:
        message = f"{field}: {value} is beyond 64 bits; write it as text, with a decimal type"
        raise MappingError(message, field=field, column=column)


def _check_type(name: str, field: str, column: str) -> None:
    if not _is_type(name):
        raise MappingError(f"{field}: {hinted(name)!r} is no type; use {TYPES}", field=field, column=column)


def _is_type(name: str) -> bool:
    found = TYPE.fullmatch(name)
    return found is not None and (found[1] is None or (1 <= int(found[1]) <= 38 and int(found[2]) <= int(found[1])))


def _check_names(names: list[str], field: str) -> None:
    folded = Counter(name.casefold() for name in names)
    for name in names:
        if folded[name.casefold()] > 1:
            message = f"{field}: {name!r} is there twice (upper and lower case count as the same); rename one"
            raise MappingError(message, field=field, column=name)
        if not name.strip():
            raise MappingError(f"{field}: a column needs a name", field=field)
