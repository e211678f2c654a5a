"""The functions of expressions, with the types that each takes and gives.

| function | takes → gives |
|---|---|
| `lower upper trim` | string → string |
| `length` | string → int64, in characters |
| `concat(a, b, …)` | strings → string; null if one is |
| `substring(a, start, length)` | string, from the one-based `start`, to the end without `length` |
| `replace(a, 'old', 'new')`, `pad_left(a, n, '0')` | string → string |
| `split_part(a, '-', n)` | string → string; `n` is one-based, a missing part is null |
| `contains starts_with ends_with (a, 'b')`, `matches(a, 'regular expression')` | string → bool; RE2, anywhere in the text |
| `abs floor ceil` | number → the same type; of a double a double |
| `round(a, n)` | number → the same type, halves away from zero, `n` places (0) |
| `least greatest (a, b, …)` | one type → that type; null if one is |
| `coalesce(a, b, …)`, `null_if(a, b)` | one type → that type |
| `year month day` | date or time → int64 |
| `hour minute second` | time → int64 (whole seconds); of a time with a zone in UTC |
| `date(a)` | date or time → date; the time of day goes |
| `start_of(a, 'month')` | date or time → the same; `day week month quarter year`, weeks begin on Monday; `hour minute` of times |
| `add_days(a, n)`, `days_between(a, b)` | date, int64 → date; dates → int64 |
| `local_time(a, 'Europe/Paris')` | timestamp_tz → timestamp, as the clocks there show it |
| `instant(a, 'Europe/Paris')` | timestamp → timestamp_tz; bad where the clocks show it twice or never |
| `cast(a, 'type')`, `try_cast(a, 'type')` | exact, see `casting`; bad, or null, where it fails |
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    EMPTY,
    INT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_TZ,
    parse_type,
)
from shared.pipeline.preparing import casting, grammar
from shared.pipeline.preparing.casting import Computed, either, nulls
from shared.pipeline.preparing.compute import Compiler, Term, applied, named

MAX_TEXT_BYTES = 1 << 28
"""Text of one column in one batch that an expression makes. Our choice; `concat(a, a)` of long texts, repeated, has no end."""
MAX_PAD = 1_000
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999, as days since 1970."""
DATE_UNITS = ("day", "week", "month", "quarter", "year")
TIME_UNITS = (*DATE_UNITS, "hour", "minute")


def _argument(compiler: Compiler, node: ast.Call, position: int, *kinds: pa.DataType) -> Term:
    """An argument of one of the types; the literal None, and literals of text, take the first."""
    term = compiler.term(node.args[position])
    if any(term.kind.equals(kind) for kind in kinds):
        return term
    if term.literal is not None:
        return compiler.converted(term, kinds[0], node)
    able = " or ".join(named(kind) for kind in kinds)
    raise compiler.refused(node, f"argument {position + 1} is {named(term.kind)}, expected {able}")


def _number(compiler: Compiler, node: ast.Call) -> Term:
    term = compiler.term(node.args[0])
    if not (term.kind.equals(INT) or term.kind.equals(DOUBLE) or pa.types.is_decimal(term.kind)):
        raise compiler.refused(node, f"argument 1 is {named(term.kind)}, expected a number")
    return term


def _text(kernel: Callable[[pa.Array], pa.Array], kind: pa.DataType = STRING) -> Callable[[Compiler, ast.Call], Term]:
    return lambda compiler, node: applied(kind, kernel, _argument(compiler, node, 0, STRING))


def _text_option(compiler: Compiler, node: ast.Call, position: int) -> str:
    value = grammar.literal(node.args[position])
    if not isinstance(value, str) or not value:
        raise compiler.refused(node, f"argument {position + 1} must be a text that is not empty")
    return value


def _whole_option(compiler: Compiler, node: ast.Call, position: int, least: int, most: int) -> int:
    value = grammar.literal(node.args[position])
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise compiler.refused(node, f"argument {position + 1} must be a whole number from {least} to {most}")
    return value


def _bounded(size: int | None) -> None:
    if (size or 0) > MAX_TEXT_BYTES:
        message = f"an expression makes more than {MAX_TEXT_BYTES:,} bytes of text of one column in one batch; make it shorter"
        raise SourceError(message, code="source_too_large")


def _concat(compiler: Compiler, node: ast.Call) -> Term:
    terms = [_argument(compiler, node, position, STRING) for position in range(len(node.args))]

    def kernel(*columns: pa.Array) -> pa.Array:
        _bounded(sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in columns))
        return pc.binary_join_element_wise(*columns, EMPTY)

    return applied(STRING, kernel, *terms)


def _replace(compiler: Compiler, node: ast.Call) -> Term:
    old, new = _text_option(compiler, node, 1), grammar.literal(node.args[2])
    if not isinstance(new, str):
        raise compiler.refused(node, "argument 3 must be text")

    def kernel(column: pa.Array) -> pa.Array:
        grown = (pc.sum(pc.count_substring(column, old)).as_py() or 0) * len(new.encode())
        _bounded(grown + (pc.sum(pc.binary_length(column)).as_py() or 0))
        return pc.replace_substring(column, old, new)

    return applied(STRING, kernel, _argument(compiler, node, 0, STRING))


def _pad_left(compiler: Compiler, node: ast.Call) -> Term:
    width, fill = _whole_option(compiler, node, 1, 0, MAX_PAD), _text_option(compiler, node, 2)
    if len(fill) != 1:
        raise compiler.refused(node, "argument 3 must be one character")
    return applied(STRING, lambda column: pc.utf8_lpad(column, width, fill), _argument(compiler, node, 0, STRING))


def _split_part(compiler: Compiler, node: ast.Call) -> Term:
    separator, part = _text_option(compiler, node, 1), _whole_option(compiler, node, 2, 1, 1_000)

    def kernel(column: pa.Array) -> pa.Array:
        parts = pc.split_pattern(column, separator)
        enough = pc.greater_equal(pc.list_value_length(parts), casting.constant(str(part), pa.int32()))
        at = pc.add(pc.cast(parts.offsets.slice(0, len(parts)), INT), casting.constant(str(part - 1), INT))
        return parts.values.take(pc.if_else(enough, at, nulls(INT, 1)[0]))

    return applied(STRING, kernel, _argument(compiler, node, 0, STRING))


def _substring(compiler: Compiler, node: ast.Call) -> Term:
    start = _whole_option(compiler, node, 1, 1, 1_000_000) - 1
    stop = start + _whole_option(compiler, node, 2, 0, 1_000_000) if len(node.args) == 3 else None
    return applied(
        STRING, lambda column: pc.utf8_slice_codeunits(column, start, stop), _argument(compiler, node, 0, STRING)
    )


def _text_test(kernel: Callable[..., pa.Array]) -> Callable[[Compiler, ast.Call], Term]:
    def build(compiler: Compiler, node: ast.Call) -> Term:
        pattern = _text_option(compiler, node, 1)
        try:
            kernel(pa.repeat(EMPTY, 1), pattern)
        except pa.ArrowInvalid as exc:
            raise compiler.refused(node, f"{exc}") from exc
        return applied(BOOL, lambda column: kernel(column, pattern), _argument(compiler, node, 0, STRING))

    return build


def _same_number(kernel: Callable[[pa.Array], pa.Array]) -> Callable[[Compiler, ast.Call], Term]:
    def build(compiler: Compiler, node: ast.Call) -> Term:
        term = _number(compiler, node)
        return term if term.kind.equals(INT) else applied(term.kind, kernel, term)

    return build


def _abs(compiler: Compiler, node: ast.Call) -> Term:
    term = _number(compiler, node)
    return applied(term.kind, pc.abs_checked, term)


def _round(compiler: Compiler, node: ast.Call) -> Term:
    term = _number(compiler, node)
    places = _whole_option(compiler, node, 1, 0, 38) if len(node.args) == 2 else 0
    if term.kind.equals(INT):
        return term
    kind = wide = term.kind
    if pa.types.is_decimal(kind):
        if places >= kind.scale:
            return term
        kind, wide = pa.decimal128(min(kind.precision + 1, 38), kind.scale), pa.decimal256(76, kind.scale)

    def kernel(column: pa.Array) -> pa.Array:
        found = pc.round(pc.cast(column, wide), ndigits=places, round_mode="half_towards_infinity")
        return pc.cast(found, kind)

    return applied(kind, kernel, term)


def _same_typed(compiler: Compiler, node: ast.Call) -> list[Term]:
    return compiler.same_type([compiler.term(argument) for argument in node.args], node)


def _extreme(kernel: Callable[..., pa.Array]) -> Callable[[Compiler, ast.Call], Term]:
    def build(compiler: Compiler, node: ast.Call) -> Term:
        terms = compiler.in_one_order([compiler.term(argument) for argument in node.args], node)
        return applied(terms[0].kind, lambda *columns: kernel(*columns, skip_nulls=False), *terms)

    return build


def _coalesce(compiler: Compiler, node: ast.Call) -> Term:
    terms = _same_typed(compiler, node)

    def evaluate(batch: pa.RecordBatch) -> Computed:
        found = terms[0].evaluate(batch)
        values, bad = found.values, found.bad
        for term in terms[1:]:
            other = term.evaluate(batch)
            open_rows = pc.is_null(values) if bad is None else pc.and_not(pc.is_null(values), bad)
            values = pc.if_else(open_rows, other.values, values)
            bad = either(bad, None if other.bad is None else pc.and_(open_rows, other.bad))
        return Computed(values, bad)

    return Term(terms[0].kind, evaluate)


def _null_if(compiler: Compiler, node: ast.Call) -> Term:
    one, other = _same_typed(compiler, node)

    def kernel(value: pa.Array, unwanted: pa.Array) -> pa.Array:
        is_same = pc.fill_null(pc.equal(value, unwanted), casting.constant("false", BOOL))
        return pc.if_else(is_same, nulls(value.type, 1)[0], value)

    return applied(one.kind, kernel, one, other)


def _date_part(kernel: Callable[[pa.Array], pa.Array], *kinds: pa.DataType) -> Callable[[Compiler, ast.Call], Term]:
    return lambda compiler, node: applied(INT, kernel, _argument(compiler, node, 0, *kinds))


def _date(compiler: Compiler, node: ast.Call) -> Term:
    term = _argument(compiler, node, 0, DATE, TIMESTAMP, TIMESTAMP_TZ)
    return term if term.kind.equals(DATE) else applied(DATE, lambda column: pc.cast(column, DATE), term)


def _start_of(compiler: Compiler, node: ast.Call) -> Term:
    term = _argument(compiler, node, 0, DATE, TIMESTAMP, TIMESTAMP_TZ)
    units = DATE_UNITS if term.kind.equals(DATE) else TIME_UNITS
    unit = grammar.literal(node.args[1])
    if unit not in units:
        raise compiler.refused(node, f"argument 2 must be one of {', '.join(units)}")
    return applied(term.kind, lambda column: pc.floor_temporal(column, unit=unit), term)


def _add_days(compiler: Compiler, node: ast.Call) -> Term:
    def kernel(day: pa.Array, days: pa.Array) -> pa.Array:
        number = pc.add_checked(pc.cast(pc.cast(day, pa.int32()), INT), days)
        reach = pc.min_max(number)
        if reach["min"].is_valid and (reach["min"].as_py() < FIRST_DAY or reach["max"].as_py() > LAST_DAY):
            raise pa.ArrowInvalid("outside the years 1 to 9999")
        return pc.cast(pc.cast(number, pa.int32()), DATE)

    return applied(DATE, kernel, _argument(compiler, node, 0, DATE), _argument(compiler, node, 1, INT))


def _zone(compiler: Compiler, node: ast.Call) -> str:
    zone = _text_option(compiler, node, 1)
    if zone not in available_timezones():
        raise compiler.refused(node, f"there is no time zone {zone!r}; name one such as Europe/Paris")
    return zone


def _local_time(compiler: Compiler, node: ast.Call) -> Term:
    there = pa.timestamp("us", _zone(compiler, node))
    return applied(
        TIMESTAMP,
        lambda column: pc.local_timestamp(pc.cast(column, there)),
        _argument(compiler, node, 0, TIMESTAMP_TZ),
    )


def _instant(compiler: Compiler, node: ast.Call) -> Term:
    zone = _zone(compiler, node)

    def kernel(column: pa.Array) -> pa.Array:
        found = pc.assume_timezone(column, zone, ambiguous="raise", nonexistent="raise")
        return pc.cast(found, TIMESTAMP_TZ)

    return applied(TIMESTAMP_TZ, kernel, _argument(compiler, node, 0, TIMESTAMP))


def _cast(compiler: Compiler, node: ast.Call) -> Term:
    term = compiler.term(node.args[0])
    try:
        kind = parse_type(_text_option(compiler, node, 1), column=ast.unparse(node)[:80])
        casting.cast(nulls(term.kind, 1), kind)
    except (SourceError, casting.CastRefusedError) as exc:
        raise compiler.refused(node, str(exc)) from exc
    if term.literal is not None and term.literal[0] is None:
        return compiler.converted(term, kind, node)
    return compiler.converted(Term(term.kind, term.evaluate), kind, node)


def _try_cast(compiler: Compiler, node: ast.Call) -> Term:
    term = compiler.term(node.args[0])
    strict = _cast(compiler, node)

    def evaluate(batch: pa.RecordBatch) -> Computed:
        return Computed(strict.evaluate(batch).values, term.evaluate(batch).bad)

    return Term(strict.kind, evaluate)


FUNCTIONS: dict[str, Callable[[Compiler, ast.Call], Term]] = {
    "abs": _abs,
    "add_days": _add_days,
    "cast": _cast,
    "ceil": _same_number(pc.ceil),
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": _text_test(pc.match_substring),
    "date": _date,
    "day": _date_part(pc.day, DATE, TIMESTAMP, TIMESTAMP_TZ),
    "days_between": lambda compiler, node: applied(
        INT, pc.days_between, _argument(compiler, node, 0, DATE), _argument(compiler, node, 1, DATE)
    ),
    "ends_with": _text_test(pc.ends_with),
    "floor": _same_number(pc.floor),
    "greatest": _extreme(pc.max_element_wise),
    "hour": _date_part(pc.hour, TIMESTAMP, TIMESTAMP_TZ),
    "instant": _instant,
    "least": _extreme(pc.min_element_wise),
    "length": _text(pc.utf8_length, INT),
    "local_time": _local_time,
    "lower": _text(pc.utf8_lower),
    "matches": _text_test(pc.match_substring_regex),
    "minute": _date_part(pc.minute, TIMESTAMP, TIMESTAMP_TZ),
    "month": _date_part(pc.month, DATE, TIMESTAMP, TIMESTAMP_TZ),
    "null_if": _null_if,
    "pad_left": _pad_left,
    "replace": _replace,
    "round": _round,
    "second": _date_part(pc.second, TIMESTAMP, TIMESTAMP_TZ),
    "split_part": _split_part,
    "start_of": _start_of,
    "starts_with": _text_test(pc.starts_with),
    "substring": _substring,
    "trim": _text(pc.utf8_trim_whitespace),
    "try_cast": _try_cast,
    "upper": _text(pc.utf8_upper),
    "year": _date_part(pc.year, DATE, TIMESTAMP, TIMESTAMP_TZ),
}
