"""Tables of every listed value: of those that a target and a kept format hold together, and of each that one of them refuses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tests.campaigns.tables import reference
from tests.campaigns.tables.files import NO_FORM, WRITE
from tests.campaigns.tables.values import CALM, EDGES, INT, TYPES, Table


def held(fmt: str, target: str, keep: str) -> Table:
    """Every value that such a file can hold and that is refused nowhere, a column for each type; null after the last."""
    columns = {
        kind: [
            value
            for value in _values(kind)
            if _is_writable(fmt, kind, value) and not _refuses(fmt, target, keep, kind, value)
        ]
        for kind in TYPES
    }
    types = {"n": INT, **{f"c{number}": kind for number, kind in enumerate(TYPES)}}
    rows = [dict(zip(types, row, strict=True)) for row in enumerate_rows(zip_longest(*columns.values(), [None]))]
    return Table(types, rows)


def enumerate_rows(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Put the one-based number of each row before it; the last column is dropped."""
    return ((number, *row[:-1]) for number, row in enumerate(rows, 1))


def refused(fmt: str, target: str) -> Iterator[tuple[Table, str]]:
    """Yield (table, kept format) of each value that the target refuses, and from Parquet of each that only the kept format does."""
    for kind in TYPES:
        for value in _values(kind):
            if not _is_writable(fmt, kind, value):
                continue
            table = Table({"n": INT, "v": kind}, [{"n": 1, "v": None}, {"n": 2, "v": value}])
            if _refuses(fmt, target, "parquet", kind, value):
                yield table, "parquet"
            elif fmt == "parquet":
                yield from (
                    (table, keep) for keep in ("json", "jsonl", "xlsx") if _refuses(fmt, target, keep, kind, value)
                )


def _values(kind: str) -> list[Any]:
    return CALM[kind] + EDGES.get(kind, [])


def _is_writable(fmt: str, kind: str, value: Any) -> bool:
    try:
        WRITE[fmt](Table({"v": kind}, [{"v": value}]))
    except NO_FORM:
        return False
    return True


def _refuses(fmt: str, target: str, keep: str, kind: str, value: Any) -> bool:
    table = reference.as_the_file_has_it(fmt, Table({"v": kind}, [{"v": value}]))
    rules = (reference.TARGETS[target], lambda cell, name: reference.kept(keep, cell, name))
    return any(reference.expected(table, rule)[1] for rule in rules)
