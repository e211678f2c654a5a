"""The eight column types: their names, the rules for column names, and strict conversion to a declared type."""

from __future__ import annotations

import re
import struct
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError
from shared.errors import shown as shown  # its old place, which others import it from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.pipeline.formats import ReadOptions

INT, DOUBLE, BOOL, STRING = pa.int64(), pa.float64(), pa.bool_(), pa.string()
DATE, TIMESTAMP, TIMESTAMP_TZ = pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")
_NAMED = {
    "int64": INT,
    "double": DOUBLE,
    "bool": BOOL,
    "string": STRING,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "timestamp_tz": TIMESTAMP_TZ,
}
_DECIMAL = re.compile(r"decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)")
EXACT_INT = 2**53
"""Integers up to here are the same number as a double."""


LONG_OR_EXPONENT = "[eE]|^.{16}"
"""Of numbers as text, those that a double may not hold."""
_LEAST_NORMAL = 2.2250738585072014e-308


def text_scalar(value: str) -> pa.StringScalar:
    """A string constant for compute kernels. `pa.scalar` would import pandas, 0.6 s of CPU."""
    data = value.encode()
    offsets = pa.py_buffer(struct.pack("<ii", 0, len(data)))
    return pa.Array.from_buffers(STRING, 1, [None, offsets, pa.py_buffer(data)])[0]


EMPTY = text_scalar("")
NO_TEXT = pa.nulls(1, STRING)[0]


def parse_type(name: str, *, column: str) -> pa.DataType:
    """The Arrow type of a declared name. Raises `SourceError` naming the column if there is no such type."""
    if name in _NAMED:
        return _NAMED[name]
    match = _DECIMAL.fullmatch(name)
    if match and 1 <= int(match[1]) <= 38 and int(match[2]) <= int(match[1]):
        return pa.decimal128(int(match[1]), int(match[2]))
    message = (
        f"column {column!r} is declared {name!r}, which is no type; use one of {', '.join(_NAMED)}, "
        "or decimal(p,s) with p from 1 to 38 and s from 0 to p"
    )
    raise SourceError(message, code="schema_invalid", column=column)


def type_name(kind: pa.DataType) -> str:
    """The name of one of the eight types; `parse_type` reverses it."""
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    for name, known in _NAMED.items():
        if kind.equals(known):
            return name
    raise ValueError(f"{kind} is not one of the column types")


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of named types, in their order."""
    return pa.schema([(name, parse_type(kind, column=name)) for name, kind in columns.items()])


def declared_types(options: ReadOptions, names: Sequence[str] | None) -> dict[str, pa.DataType]:
    """The declared Arrow types by column. With `names`: raises `SourceError` if a declared column is not among them.

    Of one of many files those that it has.
    """
    declared = {name: parse_type(kind, column=name) for name, kind in (options.schema or {}).items()}
    if names is not None and options.is_one_of_many:
        return {name: kind for name, kind in declared.items() if name in names}
    if names is not None:
        for name in declared:
            if name not in names:
                message = f"the declared column {name!r} is not in the source; its columns are {listed(names)}"
                raise SourceError(message, code="schema_invalid", column=name)
    return declared


def listed(names: Sequence[str]) -> str:
    """Up to 20 names for a message."""
    shown = ", ".join(repr(name[:60]) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"


def check_names(names: Sequence[str], options: ReadOptions) -> None:
    """Raise `SourceError` unless names are present, unique without regard to case, and not too many."""
    if len(names) > options.max_columns:
        message = f"the source has {len(names):,} columns, at most {options.max_columns:,} are read; select fewer"
        raise SourceError(message, code="source_too_large")
    for position, name in enumerate(names, 1):
        if not name.strip():
            message = f"column {position} of {len(names)} has no name; give every column a header"
            raise SourceError(message, code="columns_invalid")
    folded = Counter(name.casefold() for name in names)
    twice = [name for name in names if folded[name.casefold()] > 1]
    if twice:
        message = f"these column names occur more than once (upper and lower case count as the same): {listed(twice)}; rename them"
        raise SourceError(message, code="columns_invalid", column=twice[0])


def cast_column(values: pa.Array, kind: pa.DataType, column: str, first_row: int) -> pa.Array:
    """The values as `kind`, exactly; `first_row` is the one-based row of the first value.

    Empty text is null in any type but `string`. Raises `SourceError` naming the first row whose value is not of that type.
    """
    if values.type.equals(kind):
        return values
    if pa.types.is_string(values.type):
        values = pc.if_else(pc.equal(values, EMPTY), NO_TEXT, values)
    try:
        return _cast(values, kind)
    except pa.ArrowInvalid as exc:
        at = _first_refused(values, kind)
        message = (
            f"row {first_row + at}, column {column!r}: {shown(values[at])} is not a value of type {type_name(kind)}; "
            "correct it, or declare another type for the column (string keeps any value)"
        )
        raise SourceError(message, code="value_invalid", row=first_row + at, column=column) from exc
    except pa.ArrowNotImplementedError as exc:
        message = f"column {column!r} holds {values.type}, which cannot become {type_name(kind)}; declare another type"
        raise SourceError(message, code="schema_invalid", column=column) from exc


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    source = values.type
    if pa.types.is_floating(source) and pa.types.is_decimal(kind):
        values = pc.cast(values, STRING)  # its shortest text: a float's binary digits are nobody's decimal
    if pa.types.is_integer(source) and kind.equals(DOUBLE):
        return pc.cast(pc.cast(values, INT), DOUBLE)
    if pa.types.is_timestamp(source) and pa.types.is_timestamp(kind) and (source.tz is None) != (kind.tz is None):
        raise pa.ArrowNotImplementedError("a time with a zone and one without are different things")
    if pa.types.is_string(source) and kind.equals(DOUBLE):
        return doubles_of(values)
    if pa.types.is_decimal(source) and kind.equals(DOUBLE):
        return doubles_of(pc.cast(values, STRING))  # by its text: the kernel is off by a digit now and then
    if pa.types.is_integer(source) and kind.equals(BOOL):
        return same_back(values, kind, lambda found: pc.cast(found, source))
    return pc.cast(values, kind)


def is_exact_double(text: str) -> bool:
    """Whether a decimal number of at most 15 digits, or the shortest text of a double, stands in `text`."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return False
    try:
        exact = Decimal(text)
    except ArithmeticError:  # an exponent beyond any decimal's
        return False
    if number == 0:
        return exact == 0
    digits = "".join(map(str, exact.as_tuple().digits)).rstrip("0")  # `normalize` would round to 28
    is_short = abs(number) >= _LEAST_NORMAL and len(digits) <= 15
    return is_short or Decimal(repr(number)) == exact


def doubles_of(texts: pa.Array) -> pa.Array:
    """Texts as the doubles that they are. Raises `pa.ArrowInvalid` at a number that no double holds to its last digit."""
    numbers = pc.cast(texts, DOUBLE)
    is_risky = pc.match_substring_regex(texts, LONG_OR_EXPONENT)
    if pc.any(is_risky).as_py():
        risky, found = texts.filter(is_risky), numbers.filter(is_risky)
        other = risky.filter(pc.not_equal(pc.cast(found, STRING), risky))
        if not all(map(is_exact_double, other.to_pylist())):
            raise pa.ArrowInvalid("a number with more digits than a double holds")
    return numbers


def same_back(values: pa.Array, kind: pa.DataType, back: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Cast, and refuse unless casting back gives the same values. Raises `pa.ArrowInvalid`."""
    found = pc.cast(values, kind)
    if pc.all(pc.equal(back(found), values)).as_py() is False:
        raise pa.ArrowInvalid("the cast would lose something")
    return found


def _first_refused(values: pa.Array, kind: pa.DataType) -> int:
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(values.slice(low, middle - low), kind)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low
