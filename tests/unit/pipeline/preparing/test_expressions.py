"""Expressions against the row-by-row reference, and what the grammar refuses."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MappingError, SourceError
from shared.pipeline.preparing import grammar
from shared.pipeline.preparing.compute import compile_expression
from tests.unit.pipeline.preparing import reference

SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("m", pa.int64()),
        ("x", pa.float64()),
        ("d", pa.decimal128(10, 2)),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("day", pa.date32()),
    ]
)
INTS = st.one_of(
    st.none(), st.integers(-9, 9), st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**62])
)
TEXTS = st.text("aAbé7-😀 ש", max_size=6)
ROW = st.fixed_dictionaries(
    {
        "n": INTS,
        "m": INTS,
        "x": st.one_of(st.none(), st.floats(allow_subnormal=False, width=32), st.sampled_from([0.0, -0.0, 1.5])),
        "d": st.one_of(st.none(), st.decimals(-99999999, 99999999, places=2)),
        "s": st.one_of(st.none(), TEXTS),
        "b": st.one_of(st.none(), st.booleans()),
        "day": st.one_of(st.none(), st.dates()),
    }
)


def texts() -> st.SearchStrategy[str]:
    numbers, words, days, truths = _operands()
    return st.one_of(numbers, words, days, truths)


def _operands() -> tuple[st.SearchStrategy[str], ...]:
    number = st.sampled_from(["n", "m", "x", "d", "3", "-1", "0", "1.5", "n", "m"])
    word = st.one_of(st.just("s"), TEXTS.map(repr))
    day, truth = st.just("day"), st.sampled_from(["b", "True", "False"])
    for _ in range(2):
        number, word, day, truth = _deeper(number, word, day, truth)
    return number, word, day, truth


def _deeper(n: Any, w: Any, d: Any, t: Any) -> tuple[st.SearchStrategy[str], ...]:
    def make(pattern: str, *parts: Any) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda found: pattern.format(*found))

    numbers = [make(f"({{}} {op} {{}})", n, n) for op in "+-*/"]
    numbers += [make(f"{name}({{}}, {{}})", n, n) for name in ("coalesce", "null_if", "least", "greatest")]
    numbers += [make("abs({})", n), make("length({})", w), make("year({})", d), make("days_between({}, {})", d, d)]
    numbers += [make("({} if {} else {})", n, t, n), make("(-{})", st.sampled_from(["n", "d", "x"]))]
    words = [make("concat({}, {})", w, w), make("upper({})", w), make("substring({}, 2, 2)", w)]
    words += [make("replace({}, 'a', 'bb')", w), make("split_part({}, '-', 2)", w), make("pad_left({}, 4, '0')", w)]
    words += [make("coalesce({}, {})", w, w), make("({} if {} else None)", w, t)]
    days = [make("add_days({}, {})", d, st.sampled_from(["n", "1", "-400"])), make("start_of({}, 'month')", d)]
    truths = [make(f"({{}} {op} {{}})", n, n) for op in ("==", "!=", "<", ">=")]
    truths += [make(f"({{}} {op} {{}})", t, t) for op in ("and", "or")]
    truths += [make("({} < {})", w, w), make("({} <= {})", d, d), make("(not {})", t), make("({} is None)", n)]
    truths += [
        make("({} in ['a', 'é', ''])", w),
        make("({} not in [1, 2])", st.just("n")),
        make("contains({}, '-')", w),
    ]
    return st.one_of(n, *numbers), st.one_of(w, *words), st.one_of(d, *days), st.one_of(t, *truths)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


@settings(max_examples=400, deadline=None)
@given(texts(), st.lists(ROW, min_size=1, max_size=8))
def test_an_expression_gives_what_the_reference_gives_row_by_row(text: str, rows: list[dict[str, Any]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    try:
        term = compile_expression(text, SCHEMA, "test")
    except MappingError as refused:
        assert "go together" in refused.message or "not divided" in refused.message, refused.message  # noqa: PT017
        return
    found = term.evaluate(batch)
    assert found.values.type.equals(term.kind)
    bad = [False] * len(rows) if found.bad is None else found.bad.to_pylist()
    for row, value, is_bad in zip(rows, found.values.to_pylist(), bad, strict=True):
        expected = reference.evaluate(text, row)
        if expected is reference.BAD:
            assert is_bad is True, (text, row, value)
            assert value is None, (text, row, value)
        else:
            assert is_bad is False, (text, row, expected)
            assert same(value, expected), (text, row, value, expected)


BATCH = pa.RecordBatch.from_pydict(
    {
        "text": ["5", "007", "0x1F", "", None, "1.5", "2024-02-30", "true"],
        "t": pa.array(
            [dt.datetime(2024, 3, 31, 2, 30)] * 3 + [dt.datetime(2024, 10, 27, 2, 30)] * 5, pa.timestamp("us")
        ),
        "z": pa.array([dt.datetime(2024, 3, 31, 0, 30)] * 8, pa.timestamp("us", "UTC")),
        "big": pa.array([Decimal("9" * 29 + ".5")] * 8, pa.decimal128(38, 9)),
        "col a": pa.array(range(8), pa.int64()),
    }
)


def computed(text: str) -> tuple[list[Any], list[bool]]:
    found = compile_expression(text, BATCH.schema, "test").evaluate(BATCH)
    return found.values.to_pylist(), [False] * 8 if found.bad is None else found.bad.to_pylist()


def test_a_cast_is_exact_or_bad_and_try_cast_gives_null() -> None:
    values, bad = computed("cast(text, 'int64')")
    assert values == [5, 7, None, None, None, None, None, None]
    assert bad == [False, False, True, False, False, True, True, True]
    assert computed("try_cast(text, 'int64')") == (values, [False] * 8)
    assert computed("cast(text, 'date')")[1] == [True, True, True, False, False, True, True, True]
    assert computed("cast(t, 'date')")[1] == [True] * 8, "a time of day would be lost"


def test_a_decimal_beyond_38_digits_is_bad_and_one_that_fits_is_exact() -> None:
    assert computed("big + big")[1] == [True] * 8
    assert computed("big + 0.25")[0] == [Decimal("9" * 29 + ".750000000")] * 8
    assert computed("big * 3")[1] == [True] * 8


def test_what_is_bad_is_null_though_the_kernel_gave_a_value() -> None:
    values, bad = computed("null_if(col('col a'), cast(text, 'int64'))")
    assert (values[2], bad[2]) == (None, True)
    assert computed("coalesce(null_if(col('col a'), cast(text, 'int64')), 9)")[1][2] is True


def test_local_times_follow_the_zone_and_are_bad_where_the_clock_shows_them_never_or_twice() -> None:
    assert computed("instant(t, 'Europe/Berlin')")[1] == [True] * 8
    instants = computed("instant(t, 'Asia/Tokyo')")[0]
    assert instants[0] == dt.datetime(2024, 3, 30, 17, 30, tzinfo=dt.UTC)
    assert computed("local_time(z, 'Europe/Berlin')")[0][0] == dt.datetime(2024, 3, 31, 1, 30)


def test_a_column_of_any_name_is_read_with_col() -> None:
    assert computed("col('col a') + 1")[0] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_text_that_grows_without_end_is_stopped_before_it_is_made() -> None:
    batch = pa.RecordBatch.from_pydict({"s": ["x" * 1_000_000] * 50})
    text = "s"
    for _ in range(4):
        text = f"concat({text}, {text})"
    with pytest.raises(SourceError, match="makes more than"):
        compile_expression(text, batch.schema, "test").evaluate(batch)
    with pytest.raises(SourceError, match="makes more than"):
        compile_expression(f"replace(s, 'x', '{'y' * 100}')", batch.schema, "test").evaluate(batch)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("__import__('os').system('true')", "no function"),
        ("n.__class__", "not part of an expression"),
        ("(lambda: 1)()", "no function"),
        ("[x for x in n]", "not part of an expression"),
        ("f'{n}'", "not part of an expression"),
        ("n ** 9999999", "not part of an expression"),
        ("n if", "not an expression"),
        ("1; 2", "not an expression"),
        ("n := 5", "not an expression"),
        ("concat(*s)", "by position"),
        ("lower(s, s)", "takes 1 arguments"),
        ("s in t", "a list of literals"),
        ("n is 5", "for None"),
        ("b'x' == s", "not part of an expression"),
        ("1j", "not part of an expression"),
        ("..." , "not part of an expression"),
        ("cast(n, s)", "must be a literal"),
        ("(" * 500 + "n" + ")" * 500, "not an expression"),
        ("-" * 60 + "n", "nested more than"),
        ("+".join(["n"] * 400), "more than 300 parts"),
        ("n" * 3000, "has 3000 characters"),
        ("a\x00b", "not an expression"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused(text: str, why: str) -> None:
    with pytest.raises(MappingError, match=why) as refused:
        grammar.parse(text, "mapping.where")
    assert refused.value.details["field"] == "mapping.where"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gone + 1", "no column 'gone'"),
        ("s + s", "join texts with concat"),
        ("not n", "true or false is expected"),
        ("d / 2", "not divided"),
        ("d + x", "do not go together"),
        ("day > 'soon'", "is no date"),
        ("matches(s, '(')", "missing"),
        ("cast(b, 'date')", "cannot become"),
        ("cast(n, 'int32')", "is no type"),
        ("hour(day)", "expected timestamp"),
        ("instant(n, 'Europe/Berlin')", "expected timestamp"),
        ("pad_left(s, 100000, '0')", "from 0 to 1000"),
        ("n in [None]", "ask `is None`"),
        ("coalesce(n, s)", "do not go together"),
        ("s > 9", "letter by letter"),
        ("9.5 <= s", "letter by letter"),
        ("least(s, 5)", "letter by letter"),
        ("n + " + "9" * 40, "more than 38 digits"),
        ("d in [" + "9" * 40 + "]", "more than 38 digits"),
    ],
)
def test_types_that_do_not_fit_are_refused_before_any_row_is_read(text: str, why: str) -> None:
    with pytest.raises(MappingError, match=why):
        compile_expression(text, SCHEMA, "mapping.where")


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MappingError, match="no time zone"):
        compile_expression("instant(t, 'Mars/Olympus')", BATCH.schema, "test")
