"""A mapping over the columns of one source: which rows stay, and what each delivered column is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import MappingError, SourceError
from shared.models import MappedColumn, Mapping, Others
from shared.pipeline.formats import ReadOptions
from shared.pipeline.formats.column_types import BOOL, STRING, check_names, parse_type
from shared.pipeline.preparing import casting, grammar
from shared.pipeline.preparing.casting import CastRefusedError, Computed, either
from shared.pipeline.preparing.compute import NULL, Compiler, Term, literal_term, named, retyped

WHERE = "mapping.where"
"""Stands in rejects where a column does: the row could not be asked."""


@dataclass(frozen=True)
class Flaw:
    """Rows of a batch that break a rule. `values` are what they hold there, None where nothing could be computed."""

    column: str
    rule: str
    rows: pa.BooleanArray
    values: pa.Array | None


@dataclass(frozen=True)
class Mapped:
    """A mapped batch and its row numbers; `flaws` are values that could not be cast or computed, which are null in it."""

    batch: pa.RecordBatch
    rows: pa.Array
    source: pa.RecordBatch
    flaws: list[Flaw] = field(default_factory=list)


@dataclass(frozen=True)
class _Column:
    name: str
    term: Term
    kind: pa.DataType
    default: pa.Scalar | None


class Mapper:
    """A mapping with the types of one source schema; `schema` is what it delivers.

    Raises:
        MappingError: a column is not there, types do not go together, or a constant is not of its column's type.
    """

    def __init__(self, mapping: Mapping | None, source: pa.Schema) -> None:
        mapping = mapping or Mapping()
        where = "mapping.where"
        self._where = (
            Compiler(source, where).boolean(grammar.parse(mapping.where, where)) if mapping.where is not None else None
        )
        columns = mapping.columns or [MappedColumn(name=name) for name in source.names]
        if mapping.columns and mapping.others is Others.KEEP:
            columns = [*columns, *(MappedColumn(name=name) for name in _unnamed(mapping.columns, source))]
        self._columns = [_compiled(column, source) for column in columns]
        self.schema = pa.schema([(column.name, column.kind) for column in self._columns])
        try:
            check_names(self.schema.names, ReadOptions())
        except SourceError as exc:
            raise MappingError(f"mapping.columns: {exc.message}", field="mapping.columns", column=exc.column) from exc

    def apply(self, batch: pa.RecordBatch, rows: pa.Array) -> Mapped:
        """Return what is delivered of a batch. `rows` are its row numbers; those that `where` leaves out are gone."""
        flaws = []
        if self._where is not None:
            asked = self._where.evaluate(batch)
            stays = pc.fill_null(asked.values, casting.constant("false", BOOL))
            if asked.bad is not None:
                stays = pc.or_(stays, asked.bad)
            if pc.all(stays).as_py() is False:
                batch, rows = batch.filter(stays), rows.filter(stays)
            if asked.bad is not None and pc.any(asked.bad).as_py():
                flaws.append(Flaw(WHERE, "expression", asked.bad.filter(stays), None))
        arrays = []
        for column in self._columns:
            values, found = _values(column, batch)
            arrays.append(values)
            flaws += found
        return Mapped(pa.RecordBatch.from_arrays(arrays, schema=self.schema), rows, batch, flaws)


def _unnamed(columns: list[MappedColumn], source: pa.Schema) -> list[str]:
    named_here = {column.name.casefold() for column in columns}
    named_here |= {column.source.casefold() for column in columns if column.source is not None}
    for column in columns:
        if column.expression is not None:
            read = grammar.columns_of(grammar.parse(column.expression, column.name))
            named_here |= {name.casefold() for name in read}
    return [name for name in source.names if name.casefold() not in named_here]


def _compiled(column: MappedColumn, source: pa.Schema) -> _Column:
    where = f"mapping.columns.{column.name}"
    compiler = Compiler(source, where)
    if column.expression is not None:
        term = compiler.term(grammar.parse(column.expression, where))
    elif column.value is not None:
        term = literal_term(column.value)
    else:
        term = compiler.column(column.source or column.name)
    kind = parse_type(column.type, column=column.name) if column.type is not None else term.kind
    if kind.equals(NULL):
        kind = STRING
    if term.literal is not None:
        term = _literal_as(term, kind, where, column.name)
    try:
        casting.cast(casting.nulls(term.kind, 1), kind)
        default = None if column.default is None else casting.constant_of(column.default, kind)
    except (CastRefusedError, pa.ArrowInvalid) as exc:
        refused = f"{named(term.kind)} cannot become {named(kind)} exactly"
        if column.default is not None and term.kind.equals(kind):
            refused = f"its default {column.default!r} is no {named(kind)}"
        message = f"{where}: {refused} ({exc}); declare another type, or compute it"
        raise MappingError(message, field=where, column=column.name) from exc
    return _Column(column.name, term, kind, default)


def _literal_as(term: Term, kind: pa.DataType, where: str, column: str) -> Term:
    assert term.literal is not None
    value = term.literal[0]
    if value is None:
        return retyped(term, kind)
    try:
        constant = casting.constant_of(value, kind)
    except (CastRefusedError, pa.ArrowInvalid) as exc:
        raise MappingError(f"{where}: {value!r} is no {named(kind)}", field=where, column=column) from exc
    return Term(kind, lambda batch: Computed(pa.repeat(constant, batch.num_rows)))


def _values(column: _Column, batch: pa.RecordBatch) -> tuple[pa.Array, list[Flaw]]:
    found = column.term.evaluate(batch)
    cast = casting.cast(found.values, column.kind)
    values, bad = cast.values, either(found.bad, cast.bad)
    flaws = []
    if found.bad is not None and pc.any(found.bad).as_py():
        flaws.append(Flaw(column.name, "expression", found.bad, None))
    if cast.bad is not None and pc.any(cast.bad).as_py():
        flaws.append(Flaw(column.name, "type", cast.bad, found.values))
    if column.default is not None:
        is_open = pc.is_null(values) if bad is None else pc.and_not(pc.is_null(values), bad)
        values = pc.if_else(is_open, column.default, values)
    return values, flaws
