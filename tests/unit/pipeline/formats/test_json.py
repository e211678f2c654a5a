"""JSON and JSON Lines: types as they are, mixtures refused, text from the file's own spelling."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import BinaryIO

import pyarrow as pa
import pytest

from shared.errors import SourceError
from shared.pipeline import formats
from shared.pipeline.formats import Format, ReadOptions
from shared.pipeline.formats.intake import KEPT_BYTES
from shared.pipeline.sources import BytesOpener, staged_rows
from tests.unit.pipeline.formats.rig import columns, refused, table

JSON, JSONL = Format.JSON, Format.JSONL


def _as(fmt: Format, rows: list[str]) -> bytes:
    return ("\n".join(rows) if fmt is JSONL else f"[{', '.join(rows)}]").encode()


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_types_are_those_of_the_file(fmt: Format) -> None:
    rows = ['{"i": 1, "f": 1.5, "b": true, "t": "2024-01-02", "n": null}', '{"i": -9223372036854775808, "new": "x"}']
    assert columns(fmt, _as(fmt, rows)) == {
        "i": ("int64", [1, -9223372036854775808]),
        "f": ("double", [1.5, None]),
        "b": ("bool", [True, None]),
        "t": ("string", ["2024-01-02", None]),
        "n": ("string", [None, None]),
        "new": ("string", [None, "x"]),
    }


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_objects_and_arrays_become_their_text(fmt: Format) -> None:
    rows = ['{"a": {"k": [1, 1.50, "}]"], "é": null}}', '{"a": [{"x": 123456789012345678901}]}']
    assert columns(fmt, _as(fmt, rows))["a"] == (
        "string",
        ['{"k":[1,1.50,"}]"],"é":null}', '[{"x":123456789012345678901}]'],
    )


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_integers_and_fractions_are_double_where_both_are_exact(fmt: Format) -> None:
    assert columns(fmt, _as(fmt, ['{"a": 9007199254740992}', '{"a": 0.5}']))["a"] == (
        "double",
        [9007199254740992.0, 0.5],
    )
    error = refused(fmt, _as(fmt, ['{"a": 9007199254740993}', '{"a": 0.5}']))
    assert (error.code, error.row, error.column) == ("types_mixed", 1, "a")


@pytest.mark.parametrize("fmt", [JSON, JSONL])
@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "123456789012345678901234567890"])
def test_an_integer_beyond_64_bits_is_refused_unless_declared(fmt: Format, number: str) -> None:
    rows = ['{"a": 1}', f'{{"a": {number}}}']
    error = refused(fmt, _as(fmt, rows))
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "a")
    assert "needs more than 64 bits" in error.message
    assert columns(fmt, _as(fmt, rows), schema={"a": "string"})["a"] == ("string", ["1", number])
    assert columns(fmt, _as(fmt, rows), schema={"a": "decimal(38,0)"})["a"][1] == [Decimal(1), Decimal(number)]


@pytest.mark.parametrize("fmt", [JSON, JSONL])
@pytest.mark.parametrize(
    "number",
    [
        "0.10000000000000001",
        "12345678901234567890.5",
        "1e-400",
        "1.00000000000000000001e5",
        "4.9e-324",
        "9007199254740993.0",
    ],
)
def test_a_fraction_that_no_double_holds_is_refused_unless_declared(fmt: Format, number: str) -> None:
    for rows in ([f'{{"a": {number}}}'], ['{"a": 0.5}'] * 7_000 + [f'{{"a": {number}}}']):  # read with care, and fast
        error = refused(fmt, _as(fmt, rows))
        assert (error.code, error.row, error.column) == ("value_invalid", len(rows), "a")
        assert "has digits that a double does not hold; declare the column decimal(p,s) or string" in error.message
        assert columns(fmt, _as(fmt, rows), schema={"a": "string"})["a"][1][-1] == number
        assert refused(fmt, _as(fmt, rows), schema={"a": "double"}).row == len(rows)


@pytest.mark.parametrize("fmt", [JSON, JSONL])
@pytest.mark.parametrize(
    "number",
    ["0.1", "0.30000000000000004", "1.50000000000000000000", "1e22", "1.7976931348623157e308", "5e-324", "0e-999"],
)
def test_a_fraction_that_is_a_double_is_one(fmt: Format, number: str) -> None:
    for rows in ([f'{{"a": {number}}}'], ['{"a": 0.5}', '{"a": null}'] * 7_000 + [f'{{"a": {number}}}']):
        assert columns(fmt, _as(fmt, rows))["a"][1][-1] == float(number)


def test_digits_inside_of_texts_and_objects_are_not_those_of_a_double() -> None:
    text = '{"a": 0.5, "b": "1.00000000000000000001", "c": {"a": 0.10000000000000000001}}'
    assert columns(JSONL, text.encode())["c"] == ("string", ['{"a":0.10000000000000000001}'])


@pytest.mark.parametrize("fmt", [JSON, JSONL])
@pytest.mark.parametrize(
    "row", ['{"a": 1, "b": 2, "a": 1}', '{"a": 1, "\\u0061": 1}', '{"b": "12:30", "a": {"x": [{"a": ":", "a": 1}]}}']
)
def test_a_key_that_stands_twice_is_refused_with_row_and_key(fmt: Format, row: str) -> None:
    for rows in ([row], ['{"a": 1, "b": 2}'] * 7_000 + [row]):
        error = refused(fmt, _as(fmt, rows))
        assert (error.code, error.row, error.column) == ("row_invalid", len(rows), "a")


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_the_same_key_in_different_objects_is_not_twice(fmt: Format) -> None:
    row = '{"a": {"a": [{"a": 1}, {"a": "\\":"}]}, "b": "a:a"}'
    assert columns(fmt, _as(fmt, [row]))["b"] == ("string", ["a:a"])


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_a_mixture_of_types_is_refused_with_rows_types_and_the_way_out(fmt: Format) -> None:
    rows = ['{"a": 1}', '{"a": null}', '{"a": "x"}']
    error = refused(fmt, _as(fmt, rows))
    assert (error.code, error.row, error.column) == ("types_mixed", 3, "a")
    assert error.message == (
        "column 'a' holds integer in row 1 and text in row 3; make them one type, or declare the column string"
    )
    assert columns(fmt, _as(fmt, rows), schema={"a": "string"})["a"] == ("string", ["1", None, "x"])


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_declared_decimals_never_pass_through_a_float(fmt: Format) -> None:
    rows = ['{"a": 0.1234567890123456789}', '{"a": "2.5"}', '{"a": 3}']
    assert columns(fmt, _as(fmt, rows), schema={"a": "decimal(38,19)"})["a"][1] == [
        Decimal("0.1234567890123456789"), Decimal("2.5"), Decimal(3),
    ]  # fmt: skip


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_declared_dates_are_read_and_a_declared_column_nobody_has_is_null(fmt: Format) -> None:
    found = columns(fmt, _as(fmt, ['{"d": "2024-01-02"}']), schema={"d": "date", "gone": "int64"})
    assert found == {"d": ("date", [date(2024, 1, 2)]), "gone": ("int64", [None])}
    error = refused(fmt, _as(fmt, ['{"d": "2024-01-02"}', '{"d": "soon"}']), schema={"d": "date"})
    assert (error.row, error.column) == (2, "d")


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_one_of_many_files_has_no_declared_column_that_it_lacks(fmt: Format) -> None:
    """Else nobody would see that the files differ: see `files_drift`."""
    data, declared = _as(fmt, ['{"d": "2024-01-02"}']), {"d": "date", "gone": "int64"}
    assert columns(fmt, data, schema=declared, is_one_of_many=True) == {"d": ("date", [date(2024, 1, 2)])}


@pytest.mark.parametrize("fmt", [JSON, JSONL])
@pytest.mark.parametrize("row", ["1", '"x"', "null", "[1]"])
def test_a_row_that_is_no_object_is_refused_with_its_number(fmt: Format, row: str) -> None:
    error = refused(fmt, _as(fmt, ['{"a": 1}', row]))
    assert (error.code, error.row) == ("row_invalid", 2)


@pytest.mark.parametrize("row", ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": 1', "{'a': 1}", '{"a": 01}'])
def test_a_line_that_is_no_json_is_refused_with_its_number(row: str) -> None:
    error = refused(JSONL, _as(JSONL, ['{"a": 1}', row]))
    assert (error.code, error.row) == ("row_invalid", 2)


_PAD = f'"pad": "{"x" * 1_000}"'
"""With it 2,000 rows fill a block that the fast parsers take."""


def test_an_integer_beyond_2_53_is_seen_in_a_block_that_was_read_fast() -> None:
    rows = [f'{{"a": {value}, {_PAD}}}' for value in [1] * 300 + [2**53 + 1] + [2] * 4_000 + [0.5]]
    error = refused(JSONL, _as(JSONL, rows))
    assert (error.code, error.row, error.column) == ("types_mixed", 301, "a")


def test_text_in_a_block_that_was_read_fast_and_an_integer_later_are_a_mixture() -> None:
    rows = [f'{{"a": {value}, {_PAD}}}' for value in ["null"] * 300 + ['"x"'] + ["null"] * 4_000 + ["1"]]
    error = refused(JSONL, _as(JSONL, rows))
    assert (error.code, error.row, error.column) == ("types_mixed", 4_302, "a")
    assert "text in row 301 and integer in row 4302" in error.message


class _CountingOpener(BytesOpener):
    opened = 0

    def open(self) -> BinaryIO:
        self.opened += 1
        return super().open()


@pytest.mark.parametrize("fmt", [JSON, JSONL])
def test_a_few_rows_are_kept_from_the_scan_on_and_are_those_that_reading_again_gives(fmt: Format) -> None:
    rows = [f'{{"a": {value}, {_PAD}}}' for value in ["null"] * 100 + ["1"] * 3_000 + ["0.5"]] + ['{"new": "x"}']
    opener, reader = _CountingOpener(_as(fmt, rows)), formats.reader(fmt)
    scan = reader.scan(opener, ReadOptions())
    kept = pa.Table.from_batches(reader.batches(opener, scan, 50, 1_000), scan.schema)
    assert opener.opened == 1
    read = pa.Table.from_batches(reader.batches(opener, replace(scan, kept=None), 50, 1_000), scan.schema)
    assert opener.opened == 2
    assert kept.equals(read)
    assert kept.num_rows == len(rows) - 50


def test_more_rows_than_fit_are_read_again() -> None:
    rows = [f'{{"a": "{"x" * 900_000}"}}'] * (KEPT_BYTES // 900_000 + 1)
    opener, reader = BytesOpener(_as(JSONL, rows)), formats.reader(JSONL)
    scan = reader.scan(opener, ReadOptions())
    assert scan.kept is None
    assert sum(batch.num_rows for batch in reader.batches(opener, scan)) == len(rows)


def test_names_that_differ_in_case_only_are_refused() -> None:
    assert refused(JSONL, b'{"a": 1}\n{"A": 1}\n').code == "columns_invalid"


def test_a_wrapped_array_is_read() -> None:
    assert columns(JSON, b' {"rows" : [ {"a": 1} ] } \n')["a"] == ("int64", [1])


@pytest.mark.parametrize("data", [b"[]", b" [ ]\n", b'{"rows": []}'])
def test_an_empty_array_is_a_table_without_rows(data: bytes) -> None:
    assert table(JSON, data).num_rows == 0


@pytest.mark.parametrize(
    "data",
    [b'[{"a": 1}', b'[{"a": 1},', b'[{"a": 1},]', b'[{"a": 1}] x', b'[{"a": 1}}', b'{"rows": [{"a": 1}]', b'[{"a": "x',
     b'{"rows": [{"a": 1}], "n": 1}', b'{"data": [{"a": 1}]}', b'[{"a": 1} {"a": 2}]', b"[,]", b'{"a": 1}\n{"a": 2}'],
)  # fmt: skip
def test_an_array_that_is_broken_or_of_another_shape_is_refused(data: bytes) -> None:
    assert refused(JSON, data).code in {"source_damaged", "source_format", "row_invalid"}


def test_rows_across_block_borders_are_whole() -> None:
    rows = [f'{{"id": {index}, "text": "{"]},{" * (index % 50)}", "deep": [{{"a": "}}"}}]}}' for index in range(20_000)]
    for fmt in (JSON, JSONL):
        found = table(fmt, _as(fmt, rows), start_row=7_777)
        assert found.column("id").to_pylist() == list(range(7_777, 20_000))
        assert found.column("deep")[0].as_py() == '[{"a":"}"}]'
        assert found.column("text")[1].as_py() == "]},{" * 28


@pytest.mark.parametrize("end", [b"\r", b"\r\r", b"\r \r"])
def test_the_last_line_is_read_though_its_line_break_is_half(end: bytes) -> None:
    for first in (b'{"a": 1}\n', b'{"a": 1}\r\n', b"" if end == b"\r" else b'\n{"a": 1}\n'):
        rows = [1, 2] if first else [2]
        assert columns(JSONL, first + b'{"a": 2}' + end) == {"a": ("int64", rows)}


@pytest.mark.parametrize("data", [b'{"a": 1}\r{"a": 2}\r', b'{"a": 1}\r{"a": 2}\n', b'{"a": 1}\r{"a": 2}'])
def test_lines_that_end_in_a_carriage_return_alone_are_refused_and_never_left_out(data: bytes) -> None:
    error = refused(JSONL, data)
    assert (error.code, error.row) == ("row_invalid", 1)


def test_a_carriage_return_inside_of_an_object_is_white_space() -> None:
    rows = b'{"a":\r1}\n{\r"a": "x"}\n{"a": 3}\r\n'
    for start in range(3):
        found = table(JSONL, rows, start_row=start, schema={"a": "string"})
        assert found.column("a").to_pylist() == ["1", "x", "3"][start:]


def test_rows_of_a_request_are_staged_as_they_came() -> None:
    rows = [b'{"a" : 9007199254740993.5,\r\n "b": "\\n"}', '{"a": 12345678901234567890, "é": 1.50}'.encode()]
    lines = '{"a" : 9007199254740993.5,   "b": "\\n"}\n{"a": 12345678901234567890, "é": 1.50}\n'
    assert b"".join(staged_rows(rows)) == lines.encode()


@pytest.mark.parametrize("row", [b'{"a": 1, "b": 2, "a": 1}', b'{"b": {"a": 1, "\\u0061": null}}'])
def test_a_row_of_a_request_that_has_a_key_twice_is_refused_with_row_and_key(row: bytes) -> None:
    with pytest.raises(SourceError, match="row 2 has the key 'a' twice") as caught:
        list(staged_rows([b'{"a": 1}', row]))
    assert (caught.value.code, caught.value.row, caught.value.column) == ("row_invalid", 2, "a")
