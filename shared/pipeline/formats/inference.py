"""Types of untyped text: the narrowest type that every value of a column has exactly, over the whole file.

A type is taken only when writing its value back gives the same thing, because that is where others lose data:

- `int64`: the text is what printing the integer gives: no `007`, no `+5`, no `-0`, nothing beyond 64 bits;
- `double`: plain decimals (`-1.50`) and exponents (`1e-05`, `2.5E+20`), and only if the double is that number (up to 15 digits
  always are, longer ones if they are the shortest text of their double). Exponents without a sign (`1e5`, `2E10`) are numbers
  only in a column where another value has a point or a signed exponent; else they stay text, for they are more often part
  numbers. Texts like NaN and inf stay text;
- with `decimal` or `thousands`, `int64` and `double` are numbers spelled that way (`1.234,50`), and no others;
- `bool`: true and false in one style of case over the column;
- `date`, `timestamp`, `timestamp_tz`: ISO 8601 calendar dates; date-times with `T` or a blank, with minutes at least and at
  most six decimals of seconds, either all or none with an offset;
- anything else, and a column without values: `string`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError, shown
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    EMPTY,
    EXACT_INT,
    INT,
    LONG_OR_EXPONENT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_TZ,
    is_exact_double,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.pipeline.formats import ReadOptions

_INT = r"^-?[0-9]{1,19}$"
_DOUBLE = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
_BARE_EXPONENT = "[eE][0-9]"
_CLEAR_FRACTION = r"\.|[eE][+-]"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_TIMESTAMP = _TIME + "$"
_TIMESTAMP_TZ = _TIME + r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_YEAR_ZERO = "^0000"
_BOOL_STYLES = ("^(true|false)$", "^(True|False)$", "^(TRUE|FALSE)$")


class TextColumn:
    """What one column of text can be, narrowed batch by batch.

    `is_plain` is whether no empty text was seen (quoted, for a null) and numbers are spelled as programs do.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.is_plain = options.decimal == "." and not options.thousands
        self._has_bare_exponents = self._has_clear_fractions = False
        self._is_empty = True
        self._largest_int = 0
        self._styles = list(_BOOL_STYLES)
        self._tests: dict[pa.DataType, Callable[[pa.Array], bool]] = {
            INT: self._are_ints,
            DOUBLE: self._are_doubles,
            BOOL: self._are_bools,
            DATE: lambda values: _are_times(values, _DATE, DATE),
            TIMESTAMP: lambda values: _are_times(values, _TIMESTAMP, TIMESTAMP),
            TIMESTAMP_TZ: lambda values: _are_times(values, _TIMESTAMP_TZ, TIMESTAMP_TZ),
        }

    def observe(self, values: pa.Array) -> None:
        """Narrow by the next values (strings; null and empty text say nothing)."""
        if not self._tests:
            return
        is_filled = pc.not_equal(values, EMPTY)
        self.is_plain = self.is_plain and pc.all(is_filled).as_py() is not False
        values = values.filter(is_filled)
        if not len(values):
            return
        self._is_empty = False
        if INT in self._tests:
            if self._are_ints(values):
                self._tests = {kind: test for kind, test in self._tests.items() if kind in (INT, DOUBLE)}
                return
            del self._tests[INT]
            if self._largest_int > EXACT_INT:
                self._tests.pop(DOUBLE, None)
        self._tests = {kind: test for kind, test in self._tests.items() if test(values)}

    def result(self) -> pa.DataType:
        """The narrowest type of all values seen."""
        found = STRING if self._is_empty else next(iter(self._tests), STRING)
        return STRING if found == DOUBLE and self._has_bare_exponents and not self._has_clear_fractions else found

    def _are_ints(self, values: pa.Array) -> bool:
        values = _plain(values, self._options)
        if values is None or not _ends_match(values, _INT):
            return False
        try:
            numbers = pc.cast(values, INT)
        except pa.ArrowInvalid:
            return False
        if not pc.cast(numbers, STRING).equals(values):
            return False
        bounds = pc.min_max(numbers)
        self._largest_int = max(self._largest_int, abs(bounds["min"].as_py()), abs(bounds["max"].as_py()))
        return True

    def _are_doubles(self, values: pa.Array) -> bool:
        values = _plain(values, self._options)
        if values is None or not _ends_match(values, _DOUBLE):
            return False
        try:
            numbers = pc.cast(values, DOUBLE)
        except pa.ArrowInvalid:
            return False
        if not pc.all(pc.is_finite(numbers)).as_py():
            return False
        self._has_clear_fractions = self._has_clear_fractions or _any_match(values, _CLEAR_FRACTION)
        other = values.filter(
            pc.not_equal(pc.cast(numbers, STRING), values)
        )  # the rest is the shortest text of a double
        if not len(other):
            return True
        if not _all_match(other, _DOUBLE):
            return False
        self._has_bare_exponents = self._has_bare_exponents or _any_match(other, _BARE_EXPONENT)
        risky = other.filter(pc.match_substring_regex(other, LONG_OR_EXPONENT))
        return all(is_exact_double(text) for text in risky.to_pylist())

    def _are_bools(self, values: pa.Array) -> bool:
        self._styles = [style for style in self._styles if _all_match(values, style)]
        return bool(self._styles)


def _are_times(values: pa.Array, pattern: str, kind: pa.DataType) -> bool:
    if not _all_match(values, pattern) or pc.any(pc.match_substring_regex(values, _YEAR_ZERO)).as_py():
        return False
    try:
        pc.cast(values, kind)
    except pa.ArrowInvalid:
        return False
    return True


@dataclass(frozen=True)
class Place:
    """Where values stand, for messages: the column, and the one-based row of the first."""

    column: str
    first_row: int


def plain_numbers(values: pa.Array, options: ReadOptions, place: Place) -> pa.Array:
    """Numbers as programs spell them. Raises `SourceError` at the first value that the options' spelling does not have."""
    if (plain := _plain(values, options)) is not None:
        return plain
    is_other = pc.invert(pc.match_substring_regex(values, _spelling(options)))
    index = pc.index(pc.and_kleene(is_other, pc.not_equal(values, EMPTY)), True).as_py()
    row = place.first_row + index
    message = (
        f"row {row}, column {place.column!r}: {shown(values[index])} is no number with the decimal mark {options.decimal!r} and "
        f"{options.thousands or 'nothing'!r} between thousands; correct it, or declare the column string"
    )
    raise SourceError(message, code="value_invalid", row=row, column=place.column)


def _spelling(options: ReadOptions) -> str:
    mark, group = re.escape(options.decimal), re.escape(options.thousands or "")
    whole = rf"([0-9]+|[0-9]{{1,3}}({group}[0-9]{{3}})+)" if group else "[0-9]+"
    return rf"^-?{whole}({mark}[0-9]+)?$"


def _plain(values: pa.Array, options: ReadOptions) -> pa.Array | None:
    """The numbers as programs spell them, None if one is no number in the options' spelling; empty texts stay."""
    if options.decimal == "." and not options.thousands:
        return values
    fits = pc.or_kleene(pc.match_substring_regex(values, _spelling(options)), pc.equal(values, EMPTY))
    if pc.all(fits).as_py() is False:
        return None
    if options.thousands:
        values = pc.replace_substring(values, options.thousands, "")
    return pc.replace_substring(values, options.decimal, ".")


def _any_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())


def _ends_match(values: pa.Array, pattern: str) -> bool:
    """The first and the last value match: a cheap look that spares most columns the full one."""
    return all(re.search(pattern, values[index].as_py()) for index in (0, len(values) - 1))


def _all_match(values: pa.Array, pattern: str) -> bool:
    return _ends_match(values, pattern) and bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())
