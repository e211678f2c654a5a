"""The DAX that this sandbox understands, and nothing else:

- `EVALUATE ROW("alias", <scalar>, …)`, each scalar one of `SHAPES` over one table;
- `EVALUATE TOPNSKIP(<rows>, <skip>, 'T', 'T'[c], ASC, …)` (dax.guide/TOPNSKIP).

White space and the case of words do not matter. BLANK is null; `COUNTROWS` of nothing and sums of nothing are BLANK, as in DAX.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from .columns import Schema
from .errors import dax as refuse

TICKS_A_DAY = 25_920_000
_DAY_ZERO = 25_569 * TICKS_A_DAY  # from 1899-12-30 to 1970-01-01
_TOKEN = re.compile(
    r"""\s*(?:"(?P<text>(?:[^"]|"")*)"|'(?P<table>(?:[^']|'')*)'|\[(?P<column>(?:[^\]]|\]\])*)\]|(?P<word>[A-Za-z]+)|(?P<number>\d+)|(?P<mark>[(),*=-]))"""
)
Token = tuple[str, str]


@dataclass(frozen=True)
class Scalar:
    """One aliased value: a shape over a table, and over a column unless it counts rows."""

    alias: str
    shape: str
    table: str
    column: str | None


@dataclass(frozen=True)
class Page:
    """Rows `skip` to `skip + rows` of a table sorted by columns."""

    rows: int
    skip: int
    table: str
    order: tuple[str, ...]


def parse(query: str) -> list[Scalar] | Page:
    """Read a query. Raises `VendorError` 400 for any that is of no known shape."""
    tokens = _tokens(query)
    words = [text.upper() for _, text in tokens[:3]]
    if words[:1] != ["EVALUATE"] or words[2:] != ["("] or tokens[-1:] != [("mark", ")")]:
        raise refuse(f"The query is not imitated here: {query[:200]}")
    arguments = _split(tokens[3:-1])
    if words[1] == "ROW":
        return _row(arguments)
    if words[1] == "TOPNSKIP":
        return _page(arguments)
    raise refuse(f"The function {words[1]} is not imitated here")


def evaluate(scalar: Scalar, frame: pl.DataFrame, schema: Schema) -> Any:
    """The value: None (BLANK), int, float, Decimal, or ticks for a date-time (`is_moment` tells).

    Raises:
        VendorError: 400 for a column that is not there, or of a type that the function does not take.
    """
    if scalar.column is None:
        return frame.height or None
    if scalar.column not in schema:
        raise refuse(
            f"Column '{scalar.column}' in table '{scalar.table}' cannot be found or may not be used in this expression."
        )
    types, compute = SHAPES[scalar.shape]
    kind = schema[scalar.column]
    if types and kind not in types:
        raise refuse(f"The function {scalar.shape.split('(', 1)[0]} cannot work with values of type {kind}.")
    return compute(frame[scalar.column])


def is_moment(scalar: Scalar, schema: Schema) -> bool:
    """Whether the value of a scalar is a date-time."""
    return scalar.shape in ("MIN(TC)", "MAX(TC)") and schema.get(scalar.column or "") == "DateTime"


def _tokens(query: str) -> list[Token]:
    tokens, at = [], 0
    stripped = query.strip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise refuse(f"The syntax for '{stripped[at : at + 20]}' is incorrect.")
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind]))
        at = match.end()
    return tokens


def _split(tokens: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token == ("mark", ",") and depth == 0:
            parts.append([])
            continue
        depth += {"(": 1, ")": -1}.get(token[1], 0) if token[0] == "mark" else 0
        if depth < 0:
            raise refuse("The syntax for ')' is incorrect.")
        parts[-1].append(token)
    return parts


def _row(arguments: list[list[Token]]) -> list[Scalar]:
    if len(arguments) % 2 or not arguments[0]:
        raise refuse("ROW takes pairs of a name and an expression.")
    found = []
    for alias, expression in zip(arguments[::2], arguments[1::2], strict=True):
        if len(alias) != 1 or alias[0][0] != "text":
            raise refuse("ROW takes pairs of a name and an expression.")
        found.append(_scalar(alias[0][1].replace('""', '"'), expression))
    return found


def _scalar(alias: str, tokens: list[Token]) -> Scalar:
    letters = {"table": "T", "column": "C"}
    shape = "".join(letters.get(kind, text.upper()) for kind, text in tokens)
    tables = {text.replace("''", "'") for kind, text in tokens if kind == "table"}
    columns = {text.replace("]]", "]") for kind, text in tokens if kind == "column"}
    if shape not in SHAPES and shape != "COUNTROWS(T)":
        raise refuse(f"The expression of '{alias}' is not imitated here: {shape}")
    if len(tables) != 1 or len(columns) > 1:
        raise refuse(f"The expression of '{alias}' mixes tables or columns, which is not imitated here")
    return Scalar(alias, shape, tables.pop(), columns.pop() if columns else None)


def _page(arguments: list[list[Token]]) -> Page:
    numbers, tables, order = arguments[:2], arguments[2:3], arguments[3:]
    is_formed = (
        [[kind for kind, _ in part] for part in numbers] == [["number"], ["number"]]
        and [[kind for kind, _ in part] for part in tables] == [["table"]]
        and len(order) % 2 == 0
        and all([kind for kind, _ in part] == ["table", "column"] for part in order[::2])
        and all([text.upper() for _, text in part] == ["ASC"] for part in order[1::2])
    )
    if not is_formed:
        raise refuse("This form of TOPNSKIP is not imitated here")
    name = tables[0][0][1]
    if any(part[0][1] != name for part in order[::2]):
        raise refuse("TOPNSKIP over several tables is not imitated here")
    columns = tuple(part[1][1].replace("]]", "]") for part in order[::2])
    return Page(int(numbers[0][0][1]), int(numbers[1][0][1]), name.replace("''", "'"), columns)


def _some(series: pl.Series, value: Any) -> Any:
    """BLANK over no values, else the value."""
    return None if series.null_count() == series.len() else value


def _sum(series: pl.Series) -> Any:
    total = series.cast(pl.Int128).sum() if series.dtype == pl.Int64 else series.sum()
    if isinstance(total, int) and not -(2**63) <= total < 2**63:
        raise refuse("An arithmetic overflow occurred in the sum of an Int64 column.")
    return _some(series, total)


def _days(series: pl.Series) -> Any:
    return _some(series, ((series + _DAY_ZERO) // TICKS_A_DAY).sum())


def _ticks(series: pl.Series) -> Any:
    return _some(series, ((series + _DAY_ZERO) % TICKS_A_DAY).sum())


def _lengths(series: pl.Series) -> Any:
    astral = series.str.count_matches("[\U00010000-\U0010ffff]")
    return (series.str.len_chars() + astral).sum() if series.len() else None


_NUMBERS = frozenset({"Int64", "Double", "Decimal"})
_ORDERED = _NUMBERS | {"DateTime"}
_MOMENTS, _TEXT, _TRUTH = frozenset({"DateTime"}), frozenset({"String"}), frozenset({"Boolean"})
SHAPES: dict[str, tuple[frozenset[str], Callable[[pl.Series], Any]]] = {
    "COUNTROWS(FILTER(T,NOTISBLANK(TC)))": (frozenset(), lambda s: (s.len() - s.null_count()) or None),
    "COUNTROWS(FILTER(T,TC=TRUE()))": (_TRUTH, lambda s: int(s.sum() or 0) or None),
    "SUM(TC)": (_NUMBERS, _sum),
    "SUMX(T,CONVERT(TC,DOUBLE))": (_NUMBERS, lambda s: _some(s, s.cast(pl.Float64).sum())),
    "MIN(TC)": (_ORDERED, lambda s: s.min()),
    "MAX(TC)": (_ORDERED, lambda s: s.max()),
    "SUMX(T,LEN(TC))": (_TEXT, _lengths),
    "SUMX(T,INT(TC))": (_MOMENTS, _days),
    f"SUMX(T,ROUND((TC-INT(TC))*{TICKS_A_DAY},0))": (_MOMENTS, _ticks),
}
"""Shape with T for the table and C for the column: types it takes (none: all) and how it is computed."""

Value = int | float | Decimal | None
