"""Lines cut by position, against a slow and obvious reader of the same lines: what is cut is what it reads, or nothing."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.pipeline.formats.json_cutting import cut

SCHEMA = pa.schema(
    [("id", pa.int64()), ("a text", pa.string()), ("é", pa.float64()), ("is_on", pa.bool_()), ("t", pa.string())]
)
_TYPES: dict[pa.DataType, tuple[type, ...]] = {
    pa.int64(): (int,), pa.string(): (str,), pa.float64(): (int, float), pa.bool_(): (bool,),
}  # fmt: skip
_WORDS = r""" " \ \" \\ ": :" , "," { } null true é 😀 "id":1 {"id":1} 0 -0 1.5 ":" """
HOSTILE = (*_WORDS.split(), "", "\n", "\t", "\x7f", "\u2028", "\ufeff", ", ", " ")
_PIECES = rb""" " \ : , { } [ ] \" ": 0 1 - + . e E5 0x1 00 n t null true nan inf "id": "x":1, ,"x":1 \u0041 \ud800 """
PIECES = (*_PIECES.split(), b"", b" ", b"\n", b"\r", b"\t", b"\0")
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
hostile_text = st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join)
edges = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 10**18]
integers = st.sampled_from(edges) | st.integers(-(2**63), 2**63 - 1)
fractions = st.sampled_from([0.0, -0.0, 1e-7, 5e-324, 1.0, 0.1, 1e16, 9007199254740993.0])
doubles = fractions | st.floats(allow_nan=False, allow_infinity=False)
texts = any_text | hostile_text
rows = st.tuples(*(st.none() | values for values in (integers, texts, doubles, st.booleans(), texts)))
edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.sampled_from(PIECES)), max_size=3)


def slow(text: bytes) -> list[list[Any]] | None:
    """The rows of lines that are objects with the keys of the schema in its order; None if one is not, or a value is of another type."""
    found = []
    for line in text.removesuffix(b"\n").split(b"\n"):
        try:
            pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
            orjson.loads(line)  # stricter: no NaN, no half of a letter
        except ValueError:
            return None
        if (
            type(pairs) is not list
            or any(type(pair) is not tuple for pair in pairs)
            or [key for key, _ in pairs] != SCHEMA.names
        ):
            return None
        for (_, value), kind in zip(pairs, SCHEMA.types, strict=True):
            if value is not None and type(value) not in _TYPES[kind]:
                return None
            if kind.equals(pa.int64()) and value is not None and not -(2**63) <= value < 2**63:
                return None
        found.append([value for _, value in pairs])
    return found


def same(first: Any, second: Any) -> bool:
    return repr(float(first)) == repr(float(second)) if isinstance(second, float) else bool(first == second)


def agree(text: bytes) -> bool:
    """Whether the lines were cut; raises AssertionError if what was cut is not what the slow reader reads."""
    batch = cut(text, SCHEMA)
    if batch is None:
        return False
    batch.validate(full=True)
    wanted = slow(text)
    assert wanted is not None, text
    got = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    assert len(got) == len(wanted)
    assert all(
        same(value, read) for row, line in zip(got, wanted, strict=True) for value, read in zip(line, row, strict=True)
    ), text
    return True


def dumped(row: tuple[Any, ...], style: int) -> bytes:
    item = dict(zip(SCHEMA.names, row, strict=True))
    if style == 0:
        return orjson.dumps(item)
    return json.dumps(item, ensure_ascii=False, separators=((", ", ": ") if style == 1 else (",", ":"))).encode()


_LINE = '{"id":1,"a text":"x","é":1.5,"is_on":true,"t":"y"}'
_VALUES = {
    '"id":1': [
        "01",
        "-",
        "-01",
        "1.5",
        "1e3",
        '"1"',
        "+1",
        "0x1",
        "9223372036854775808",
        "nul",
        "nulL",
        "true",
        "",
        " 1",
        "1 ",
        "1-2",
    ],
    '"a text":"x"': [
        '"x"x"',
        '"x"\\"',
        '"',
        "x",
        "5",
        "[1]",
        '{"u":1}',
        r'"\x"',
        r'"\ud800"',
        "'x'",
        '"x" ',
        "nulll",
        '"\t"',
        '"\x01"',
    ],
    '"é":1.5': [
        "1.",
        ".5",
        "01.5",
        "-.5",
        "-",
        "1.5.2",
        "1e",
        "1e400",
        "-1e999",
        "inf",
        "nan",
        "NaN",
        '"1.5"',
        "1.5 ",
        "1,5",
        "0x1p3",
    ],
    '"is_on":true': ["tru", "True", "1", '"true"', "truee", "falsy", "fals", "t", "f", "", "false "],
}
_OTHERS = [
    r'{"id":1,"a text":"x\","é":1.5,"is_on":true,"t":","y\n"}',
    '{"a text":"x","id":1,"é":1.5,"is_on":true,"t":"y"}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true,"t":"y","u":1}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true,"t":"y","t":"z"}',
    '{"id":1,"id":1,"a text":"x","é":1.5,"is_on":true}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true,"t" :"y"}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true,"u" :1,"t":"y"}',
    '{"id":1,"a text":"x","é":1.5,"is_on":true,"T":"y"}',
    *(f"{before}{_LINE}{after}" for before, after in [(" ", ""), ("", " "), ("", ","), ("[", "]"), ("", _LINE), ("", "\n"), ("\n", "")]),
    _LINE[:-1], _LINE[1:], _LINE.replace("{", "[").replace("}", "]"), _LINE.replace(',"é"', ',\r"é"'), _LINE.replace("x", "x\0"),
]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [_LINE.replace(was, was.split(":")[0] + ":" + value) for was, values in _VALUES.items() for value in values]
    + _OTHERS,
)
def test_a_line_that_is_not_exactly_of_the_schema_leaves_its_block_to_a_parser(line: str) -> None:
    assert agree(f"{_LINE}\n".encode() * 3)
    assert not agree(f"{_LINE}\n{line}\n{_LINE}\n".encode())
    assert not agree(f"{_LINE}\n{line}\n".encode())


@given(st.lists(rows, min_size=1, max_size=4), st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_lines_as_machines_write_them_are_cut_and_are_what_they_say(table: list[tuple[Any, ...]], style: int) -> None:
    text = b"".join(dumped(row, style) + b"\n" for row in table)
    assert agree(text)


@given(st.lists(rows, min_size=1, max_size=3), st.integers(0, 2), edits)
@settings(max_examples=600, deadline=None)
def test_lines_that_somebody_changed_are_what_they_say_or_left_to_a_parser(
    table: list[tuple[Any, ...]], style: int, changes: list[tuple[int, int, bytes]]
) -> None:
    text = b"".join(dumped(row, style) + b"\n" for row in table)
    for at, gone, piece in changes:
        at %= len(text)
        text = text[:at] + piece + text[at + gone :]
    text = text.removesuffix(b"\n") + b"\n"
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    agree(text)
