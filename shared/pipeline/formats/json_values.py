"""Rows that are JSON objects, as typed columns. Shared by JSON and JSON Lines.

JSON has types, so none is guessed: text stays text (dates too, unless declared). Refused with the row and the way out are integers
beyond 64 bits, integers beyond 2^53 in a column that also has fractions, fractions of more digits than a double holds, columns of
mixed types, and keys that stand twice. A column declared `string` keeps the text of every value as the file has it. Objects and
arrays become compact JSON text. A missing key is null.
Columns come in the order of their first appearance.
"""

from __future__ import annotations

import json
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError, shown
from shared.pipeline.formats import Scan
from shared.pipeline.formats.column_types import (
    BOOL,
    DOUBLE,
    EXACT_INT,
    INT,
    STRING,
    cast_column,
    check_names,
    declared_types,
    is_exact_double,
)
from shared.pipeline.formats.intake import Kept, Meter, exact_batches
from shared.pipeline.formats.json_native import Native, count_objects, is_small
from shared.pipeline.formats.json_spelling import key_twice, may_be_inexact
from shared.pipeline.sources import key_twice as refuse_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.pipeline.formats import ReadOptions

_INT64 = range(-(2**63), 2**63)
_BEYOND_INT64 = 2.0**63
_NAMES = {int: "integer", float: "number", bool: "true/false", str: "text", dict: "object", list: "array"}
_ARROW = {"integer": INT, "number": DOUBLE, "true/false": BOOL, "text": STRING, "object or array": STRING}
_PYTHON: dict[pa.DataType, type] = {INT: int, DOUBLE: float, BOOL: bool, STRING: str}
_POLARS = {INT: pl.Int64, DOUBLE: pl.Float64, BOOL: pl.Boolean, STRING: pl.String}


class Literal(str):
    """A JSON number as the file spells it."""

    __slots__ = ()


class Chunk:
    """Some rows in source order, as their bytes: `raw` one by one, or as one `text` of clean lines, an object each.

    Reading `rows` raises `SourceError` naming the row whose bytes are no JSON object. `first_row` is one-based.
    """

    def __init__(
        self, raw: list[bytes] | None = None, *, text: bytes = b"", count: int = 0, first_row: int = 1
    ) -> None:
        self._raw, self._text = raw, text
        self.count = count if raw is None else len(raw)
        self.first_row = first_row

    def placed(self, skipped: int, first_row: int) -> Chunk:
        """The same rows without the first `skipped` ones; `first_row` is the number of the first that is left."""
        if skipped:
            return Chunk(self.raw[skipped:], first_row=first_row)
        return Chunk(self._raw, text=self._text, count=self.count, first_row=first_row)

    @property
    def raw(self) -> list[bytes]:
        """The bytes of each row."""
        if self._raw is None:
            self._raw = self._text.removesuffix(b"\n").split(b"\n")
        return self._raw

    @property
    def clean_text(self) -> bytes:
        """The rows as lines, if each may be one object; else nothing."""
        if self._raw is None:
            return self._text
        text = b"\n".join(self._raw) + b"\n"
        return text if count_objects(text) == self.count else b""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The parsed objects."""
        raw = self.raw
        try:
            rows: list[dict[str, Any]] = list(map(orjson.loads, raw))
        except orjson.JSONDecodeError:
            rows = [self._parsed(index) for index in range(len(raw))]
        if set(map(type, rows)) - {dict}:
            at = next(index for index, row in enumerate(rows) if type(row) is not dict)
            found = _NAMES.get(type(rows[at]), "null")
            row = self.first_row + at
            message = (
                f"row {row} is {found} {shown(raw[at].decode())}; each row must be an object with the columns as keys"
            )
            raise SourceError(message, code="row_invalid", row=row)
        if (twice := key_twice(raw, rows)) is not None:
            raise refuse_key(self.first_row + twice[0], twice[1])
        return rows

    @cached_property
    def inexact(self) -> dict[str, int]:
        """By column the first row (from 0) with a fraction, or a power of ten, whose digits no double holds."""
        found: dict[str, int] = {}
        for index, raw in enumerate(self.raw):
            if may_be_inexact(raw):
                for name, value in json.loads(raw, parse_float=Literal).items():
                    if type(value) is Literal and not is_exact_double(value):
                        found.setdefault(name, index)
        return found

    def _parsed(self, index: int) -> Any:
        try:
            return orjson.loads(self.raw[index])
        except orjson.JSONDecodeError as exc:
            row = self.first_row + index
            message = f"row {row} is not valid JSON ({exc}); it reads {shown(self.raw[index].decode(errors='replace'))}"
            raise SourceError(message, code="row_invalid", row=row) from exc

    def values(self, name: str) -> list[Any]:
        """One column of the chunk; None where the key is missing."""
        try:
            return list(map(itemgetter(name), self.rows))
        except KeyError:
            return [row.get(name) for row in self.rows]

    def literal(self, index: int, name: str) -> Any:
        """One value with its numbers as `Literal`: what the file says, before any float."""
        return json.loads(self.raw[index], parse_int=Literal, parse_float=Literal)[name]

    def has_large_integer(self, name: str, values: list[Any]) -> bool:
        """Whether one of the column's `values` is an integer beyond 64 bits, of which the parser made a double."""
        return any(
            type(value) is float and not -_BEYOND_INT64 < value < _BEYOND_INT64 and _is_whole(self.literal(index, name))
            for index, value in enumerate(values)
        )

    def texts(self, name: str, values: list[Any]) -> list[str | None]:
        """The values as text: strings as they are, numbers as spelled, objects and arrays as compact JSON."""
        return [
            value if value is None or type(value) is str else _text(self, index, name, value)
            for index, value in enumerate(values)
        ]


def _is_whole(number: Literal) -> bool:
    return not set(number) & set(".eE")


def _text(chunk: Chunk, index: int, name: str, value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    exact = chunk.literal(index, name)
    return str(exact) if isinstance(exact, str) else _spelled(exact)


def _spelled(value: Any) -> str:
    """Compact JSON with the numbers as the file spells them."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_spelled(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class _Column:
    """The JSON types that one undeclared column holds so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: dict[str, int] = {}
        self._large_at = 0

    def observe(self, values: list[Any], found_types: set[type], chunk: Chunk) -> None:
        """Take in the values of one chunk. Raises `SourceError` at a mixture, or a number that no type here holds."""
        if float in found_types and self.name in chunk.inexact:
            raise self._inexact(chunk)
        is_small = found_types <= {int, float} and _are_small(values)
        for found in found_types:
            kind = "object or array" if found in (dict, list) else _NAMES[found]
            if kind not in self.kinds:
                self.kinds[kind] = chunk.first_row + next(i for i, value in enumerate(values) if type(value) is found)
            if is_small:
                continue
            if found is int:
                self._check_ints(values, chunk)
            elif found is float:
                self._check_floats(values, chunk)
        self._refuse_mixture()

    def observe_native(self, values: pa.Array, first_row: int) -> None:
        """Take in a whole chunk of the type that is known already, or of text where no value was met before."""
        if not self.kinds and values.null_count < len(values):
            self.kinds["text"] = first_row + pc.is_valid(values).to_pylist().index(True)
        if values.type.equals(INT) and not self._large_at and not is_small(values):
            numbers = enumerate(values.to_pylist(), first_row)
            self._large_at = next(row for row, value in numbers if value is not None and abs(value) > EXACT_INT)

    def _check_ints(self, values: list[Any], chunk: Chunk) -> None:
        for index, value in enumerate(values):
            if type(value) is int and not -EXACT_INT <= value <= EXACT_INT:
                if value not in _INT64:
                    raise self._beyond(chunk.first_row + index, value)
                self._large_at = self._large_at or chunk.first_row + index

    def _check_floats(self, values: list[Any], chunk: Chunk) -> None:
        for index, value in enumerate(values):
            if type(value) is float and not -_BEYOND_INT64 < value < _BEYOND_INT64:
                exact = chunk.literal(index, self.name)
                if _is_whole(exact):
                    raise self._beyond(chunk.first_row + index, exact)

    def _beyond(self, row: int, value: object) -> SourceError:
        message = (
            f"row {row}, column {self.name!r}: the integer {shown(value)} needs more than 64 bits; "
            "declare the column string or decimal(p,s)"
        )
        return SourceError(message, code="value_invalid", row=row, column=self.name)

    def _inexact(self, chunk: Chunk) -> SourceError:
        at = chunk.inexact[self.name]
        row = chunk.first_row + at
        message = (
            f"row {row}, column {self.name!r}: the number {shown(chunk.literal(at, self.name))} has digits that a double does not "
            "hold; declare the column decimal(p,s) or string"
        )
        return SourceError(message, code="value_invalid", row=row, column=self.name)

    def _refuse_mixture(self) -> None:
        kinds = set(self.kinds)
        if kinds == {"integer", "number"}:
            if not self._large_at:
                return
            message = (
                f"column {self.name!r} has fractions (row {self.kinds['number']}) and, in row {self._large_at}, an integer "
                "beyond 2^53 that a double cannot hold; declare the column decimal(p,s) or string"
            )
            raise SourceError(message, code="types_mixed", row=self._large_at, column=self.name)
        if len(kinds) > 1:
            (first, row), (second, other_row) = sorted(self.kinds.items(), key=lambda item: item[1])[:2]
            message = (
                f"column {self.name!r} holds {first} in row {row} and {second} in row {other_row}; "
                "make them one type, or declare the column string"
            )
            raise SourceError(message, code="types_mixed", row=other_row, column=self.name)

    @property
    def is_nested(self) -> bool:
        return "object or array" in self.kinds

    def result(self) -> pa.DataType:
        return DOUBLE if "number" in self.kinds else _ARROW[next(iter(self.kinds))] if self.kinds else STRING


def scan_chunks(chunks: Iterable[Chunk], options: ReadOptions) -> Scan:
    """Find the columns and their types over all rows, and refuse what `batches_of` could not convert."""
    declared = declared_types(options, None)
    columns: dict[str, _Column] = {}
    meter, native = Meter(options), Native()
    kept = Kept(meter)
    for chunk in chunks:
        known = pa.schema([(name, declared.get(name) or column.result()) for name, column in columns.items()])
        is_plain = not any(column.is_nested and name not in declared for name, column in columns.items())
        batch = native.take(chunk, known) if is_plain else None
        if batch is None:
            batch = _observed(chunk, columns, declared, options)
        else:
            for name in columns.keys() - declared.keys():
                columns[name].observe_native(batch.column(name), chunk.first_row)
        meter.take(batch)
        kept.take(batch)
    kinds = {name: column.result() for name, column in columns.items()}
    kinds.update(declared_types(options, list(kinds)) if options.is_one_of_many else declared)
    check_names(list(kinds), options)
    schema = pa.schema(list(kinds.items()))
    return Scan(schema, meter.rows, options, kept=kept.batches_in(schema))


def _observed(
    chunk: Chunk, columns: dict[str, _Column], declared: dict[str, pa.DataType], options: ReadOptions
) -> pa.RecordBatch:
    """The rows of a chunk, after its columns took them in."""
    new = set().union(*chunk.rows) - columns.keys()
    if new:
        for row in chunk.rows:
            columns.update({name: _Column(name) for name in row if name not in columns})
        check_names(list(columns), options)
    arrays = []
    for name, column in columns.items():
        values = chunk.values(name)
        found = set(map(type, values)) - {type(None)}
        if name not in declared:
            column.observe(values, found, chunk)
        kind = declared.get(name) or column.result()
        arrays.append(_array(chunk, name, kind, values, found))
    return _record_batch(arrays, list(columns), len(chunk.rows))


def batches_of(chunks: Iterable[Chunk], scan: Scan, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the chunks in the scan's schema."""
    native = Native()
    found = (native.take(chunk, scan.schema) or _batch(chunk, scan.schema) for chunk in chunks)
    return exact_batches(found, scan.schema, batch_rows)


def _batch(chunk: Chunk, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        values = chunk.values(field.name)
        arrays.append(_array(chunk, field.name, field.type, values, set(map(type, values)) - {type(None)}))
    return _record_batch(arrays, schema.names, len(chunk.rows))


def _record_batch(arrays: list[pa.Array], names: list[str], rows: int) -> pa.RecordBatch:
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.nulls(rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _array(chunk: Chunk, name: str, kind: pa.DataType, values: list[Any], found: set[type]) -> pa.Array:
    direct = _PYTHON.get(kind)
    if direct is float and float in found and (name in chunk.inexact or chunk.has_large_integer(name, values)):
        direct = None
    try:
        if direct is not None and found <= {direct}:
            return arrow_array(values, kind)
        if direct is float and found <= {int, float} and _are_small(values):
            return arrow_array([None if value is None else float(value) for value in values], kind)
    except (OverflowError, TypeError):  # an integer beyond 64 bits in a declared column: refused below with its row
        pass
    return cast_column(arrow_array(chunk.texts(name, values), STRING), kind, name, chunk.first_row)


def _are_small(values: list[Any]) -> bool:
    """Whether no number is beyond 2^53; the values are numbers and null."""
    numbers = [value for value in values if value is not None] if None in values else values
    return not numbers or (min(numbers) >= -EXACT_INT and max(numbers) <= EXACT_INT)


def arrow_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Python values of one type as an Arrow array; through Polars, because `pa.array` imports pandas."""
    array = pl.Series(values, dtype=_POLARS[kind], strict=True).to_arrow()
    return array if array.type.equals(kind) else pc.cast(array, kind)
