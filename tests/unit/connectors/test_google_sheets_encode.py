"""What becomes of Arrow values in a sheet's cells, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from shared.connectors._fingerprint import row_fingerprint
from shared.connectors.google_sheets import encode
from shared.errors import TargetError


def cells(array: pa.Array) -> list[Any]:
    columns = encode.encode(pa.table({"x": array}), 0)
    found: list[Any] = orjson.loads(orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY))[0]
    return found


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None, -3], pa.int16()), [1, "", -3]),
        (pa.array([2**53, -(2**53)], pa.int64()), [9007199254740992, -9007199254740992]),
        (pa.array([0, 255], pa.uint8()), [0, 255]),
        (pa.array([0.1, None, -2.5], pa.float64()), [0.1, "", -2.5]),
        (pa.array([0.1], pa.float32()), [0.10000000149011612]),
        (pa.array([True, None, False]), [True, "", False]),
        (pa.array(["=1+1", "", None, "007"]), ["=1+1", "", "", "007"]),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", "b", ""]),
        (pa.array([Decimal("1.10"), None], pa.decimal128(9, 2)), [1.1, ""]),
        (pa.array([dt.date(1899, 12, 30), dt.date(2024, 2, 29), None], pa.date32()), [0, 45351, ""]),
        (pa.array([dt.date(1899, 12, 29)], pa.date64()), [-1]),
        (pa.array([dt.datetime(2024, 2, 29, 18)], pa.timestamp("s")), [45351.75]),
        (pa.array([dt.datetime(1899, 12, 29, 12)], pa.timestamp("us")), [-0.5]),
        (pa.nulls(2), ["", ""]),
        (pa.array([], pa.int64()), []),
        (pa.array([7, None, 9, 10], pa.int64())[1:3], ["", 9]),
    ],
)
def test_cells_hold_the_values(array: pa.Array, expected: list[Any]) -> None:
    assert cells(array) == expected


def test_zoned_times_become_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=-5))
    array = pa.array([dt.datetime(2024, 2, 29, 19, tzinfo=zone)], pa.timestamp("us", tz="America/New_York"))
    assert cells(array) == [45352.0]


@pytest.mark.parametrize(
    ("array", "row", "rule"),
    [
        (pa.array([1, None, 2**53 + 1], pa.int64()), 103, "exact up to 9,007,199,254,740,992"),
        (pa.array([-(2**53) - 1], pa.int64()), 101, "exact up to"),
        (pa.array([1, 2**63], pa.uint64()), 102, "exact up to"),
        (pa.array([1.0, float("nan")]), 102, "no NaN"),
        (pa.array([float("-inf")]), 101, "no infinity"),
        (
            pa.array([Decimal("0.1"), Decimal("12345678901234567.89")], pa.decimal128(30, 2)),
            102,
            "give this decimal back",
        ),
        (pa.array([None, dt.datetime(2024, 1, 1, 0, 0, 0, 1)], pa.timestamp("us")), 102, "to the millisecond"),
        (pa.array(["x", "y" * 50_001]), 102, "50,000 characters"),
        (pa.array(["😀" * 25_001]), 101, "50,000 characters"),
        (pa.array(["a", "b\0"]), 102, "NUL"),
        (pa.array([0, -719_163], pa.int32()).cast(pa.date32()), 102, "a year outside 1 to 9999"),
        (pa.array([0, 253_402_300_800_000_000]).cast(pa.timestamp("us")), 102, "a year outside 1 to 9999"),
    ],
)
def test_what_a_cell_cannot_hold_is_refused_with_row_and_column(array: pa.Array, row: int, rule: str) -> None:
    with pytest.raises(TargetError, match=rule) as caught:
        encode.encode(pa.table({"x": array}), 100)
    assert caught.value.code == "value_not_exact"
    assert (caught.value.details["row"], caught.value.details["column"]) == (row, "x")
    assert f"and the value is {caught.value.details['value']}; " in caught.value.message
    assert caught.value.message.startswith(f"row {row}, column 'x': ")


def test_longest_text_fits() -> None:
    assert cells(pa.array(["y" * 50_000, "😀" * 25_000])) == ["y" * 50_000, "😀" * 25_000]


def test_milliseconds_survive_up_to_the_year_9999() -> None:
    moments = [
        dt.datetime(year, 7, 1, 13, 59, 59, 999000) + dt.timedelta(milliseconds=n)
        for year in (1900, 2024, 9998)
        for n in range(2000)
    ]
    table = pa.table({"x": pa.array(moments, pa.timestamp("us"))})
    numbers = cells(table["x"].combine_chunks())
    epoch = dt.datetime(1899, 12, 30)
    assert [epoch + dt.timedelta(milliseconds=round(number * 86_400_000)) for number in numbers] == moments


def test_source_and_cells_of_the_same_rows_have_one_fingerprint() -> None:
    table = pa.table(
        {
            "t": ["a", "", None],
            "n": [1, None, 3],
            "f": [-0.0, 0.5, None],
            "at": pa.array([dt.datetime(2013, 1, 1, 5)] * 3, pa.timestamp("us")),
        }
    )
    source = row_fingerprint(encode.canonical_source(table, 0))
    found = row_fingerprint(
        encode.canonical_cells([["a"], [1, "", 3], [0, 0.5], [41275.208333333336] * 3], table.schema, 3)
    )
    assert source.differences(found) == []


@pytest.mark.parametrize(
    "changed", [[["b"], [1]], [["a"], ["1"]], [["a"], [True]], [["a"], [1.0000000000000002]], [["a"]]]
)
def test_any_other_cell_has_another_fingerprint(changed: list[list[Any]]) -> None:
    table = pa.table({"t": ["a"], "n": [1]})
    source = row_fingerprint(encode.canonical_source(table, 0))
    assert source.differences(row_fingerprint(encode.canonical_cells(changed, table.schema, 1))) != []


def test_bodies_stay_below_two_megabytes_and_cover_every_row() -> None:
    columns = encode.encode(pa.table({"x": ["y" * 1000] * 5000, "n": list(range(5000))}), 0)
    parts = list(encode.bodies(columns, 5000, 1))
    assert [(top, bottom) for top, bottom, _ in parts] == [(1, 1668), (1668, 3335), (3335, 5001)]
    assert all(len(body) <= 2_000_000 for _, _, body in parts)
    assert orjson.loads(parts[1][2])["values"][1][:2] == [1667, 1668]


def test_encoding_does_not_import_pandas() -> None:
    code = (
        "import sys, io, pyarrow as pa, pyarrow.csv as c; from shared.connectors.google_sheets import encode\n"
        "t = c.read_csv(io.BytesIO(b'a,b,d,t,s\\n1,1.5,2024-01-01,2024-01-01 10:00:00,x\\n,,,,\\n'))\n"
        "list(encode.canonical_source(t, 0)); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_decimals_of_15_digits_are_the_doubles_that_give_them_back() -> None:
    digits = [10**15 - 1, -(10**15) + 1, 1, 0, *(7**power % 10**15 for power in range(2_000))]
    for scale in (0, 4, 15):
        values = [None, *(Decimal(number).scaleb(-scale) for number in digits)]
        found = cells(pa.array(values, pa.decimal128(30, scale)).slice(1))
        assert found == [float(value) for value in values[1:]]
        assert [Decimal(repr(number)) for number in found] == values[1:]


def test_large_bodies_are_cut_without_losing_a_row() -> None:
    columns = encode.encode(pa.table({"n": list(range(9_000)), "t": ["é" * (n % 700) for n in range(9_000)]}), 0)
    parts = list(encode.bodies(columns, 9_000, 5))
    assert [part[0] for part in parts] == [5, *(part[1] for part in parts[:-1])]
    assert max(len(part[2]) for part in parts) <= encode.MAX_PAYLOAD_BYTES
    assert [n for part in parts for n in json.loads(part[2])["values"][0]] == list(range(9_000))
