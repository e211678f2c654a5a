"""A column declared double, or cast to it, holds the numbers of its source or is refused."""

from __future__ import annotations

import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.pipeline.formats import Format
from shared.pipeline.formats.column_types import DOUBLE
from shared.pipeline.preparing import casting
from tests.unit.pipeline.formats.rig import columns, refused

KEPT = {"0.1": 0.1, "-1.50": -1.5, "9007199254740992": 2.0**53, "1e22": 1e22, "0.30000000000000004": 0.1 + 0.2}
LOST = ["9007199254740993", "12345678901234.5678901", "1e400", "1e-400", "1.23456789e-320"]
LONG = [
    "0.1000000000000000000000000000001",
    "-1.00000000000000000000000000000000000001",
    "9" * 38,
    "5" + "0" * 30 + "1e-5",
]
"""Of more than the 28 digits that Python's decimals have unless told otherwise."""
DECLARED = {"x": "double"}


def _parquet(values: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": values}), sink)
    return sink.getvalue()


@pytest.mark.parametrize("number", [*LOST, *LONG])
def test_csv_refuses_what_a_declared_double_does_not_hold(number: str) -> None:
    error = refused(Format.CSV, f"x,y\n0.5,1\n{number},2\n".encode(), schema=DECLARED)
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "x")
    assert number[:20] in str(error)


def test_csv_keeps_what_a_declared_double_holds() -> None:
    text = "\n".join(["x,y", *(f"{number},1" for number in KEPT)])
    assert columns(Format.CSV, text.encode(), schema=DECLARED)["x"] == ("double", list(KEPT.values()))


@pytest.mark.parametrize("number", LONG)
def test_a_number_of_many_digits_is_text_in_csv_and_refused_in_json_unless_declared(number: str) -> None:
    assert columns(Format.CSV, f"x,y\n0.5,1\n{number},2\n".encode())["x"] == ("string", ["0.5", number])
    for fmt, data in ((Format.JSON, '[{"x":0.5},{"x":%s}]'), (Format.JSONL, '{"x":0.5}\n{"x":%s}\n')):
        assert refused(fmt, (data % number).encode()).row == 2
        assert columns(fmt, (data % number).encode(), schema={"x": "string"})["x"] == ("string", ["0.5", number])


@pytest.mark.parametrize("fmt", [Format.JSON, Format.JSONL])
@pytest.mark.parametrize("first", ["0.5", "7", "null"])
def test_json_refuses_an_integer_that_a_declared_double_does_not_hold(fmt: Format, first: str) -> None:
    for number in ("9007199254740993", "18446744073709551617", "-" + "9" * 38):
        rows = [f'{{"x":{first}}}', f'{{"x":{number}}}']
        data = "\n".join(rows) if fmt is Format.JSONL else f"[{','.join(rows)}]"
        error = refused(fmt, data.encode(), schema=DECLARED)
        assert (error.code, error.row) == ("value_invalid", 2)
        assert number[:20] in str(error)
    kept = [f'{{"x":{first}}}', '{"x":1e300}', '{"x":100000000000000000000000}']
    data = "\n".join(kept) if fmt is Format.JSONL else f"[{','.join(kept)}]"
    assert columns(fmt, data.encode(), schema=DECLARED)["x"][1][1:] == [1e300, 1e23]


def test_parquet_refuses_what_a_declared_type_does_not_hold() -> None:
    decimals = pa.array([Decimal("0.10000000000000000000"), Decimal("0.12345678901234567890")], pa.decimal128(28, 20))
    assert refused(Format.PARQUET, _parquet(decimals), schema=DECLARED).row == 2
    assert refused(Format.PARQUET, _parquet(pa.array([0, 1, 2])), schema={"x": "bool"}).row == 3
    assert columns(Format.PARQUET, _parquet(decimals[:1]), schema=DECLARED)["x"] == ("double", [0.1])
    assert columns(Format.PARQUET, _parquet(pa.array([0, 1])), schema={"x": "bool"})["x"] == ("bool", [False, True])


def test_a_cast_of_text_is_bad_where_a_double_does_not_hold_it() -> None:
    found = casting.cast(pa.array([*KEPT, *LOST, *LONG]), DOUBLE)
    assert found.values.to_pylist() == [*KEPT.values(), *(None for _ in LOST + LONG)]
