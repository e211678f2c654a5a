"""What a push dataset is sent, against a slow and obvious encoder written for this test."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest

from shared.connectors.power_bi import encode
from shared.errors import TargetError

TABLE = pa.table(
    {
        "small": pa.array([1, None, -128, 7], pa.int8()),
        "big": pa.array([2**53 + 1, None, -(2**63) + 1, 2**63 - 2], pa.int64()),
        "unsigned": pa.array([0, None, 2**63 - 2, 1], pa.uint64()),
        "double": pa.array([0.1, None, -1e300, 5e-324], pa.float64()),
        "single": pa.array([0.1, None, 2.0, -0.5], pa.float32()),
        "yes": pa.array([True, None, False, True]),
        "text": pa.array(['"q" \\ \n\té😀', None, "", "=1+1"]),
        "day": pa.array([date(2024, 7, 30), None, date(1, 1, 1), date(9999, 12, 31)], pa.date32()),
        "at": pa.array(
            [
                datetime(2013, 1, 1, 5, 0, 0, 1_667),
                None,
                datetime(1969, 12, 31, 23, 59, 59, 998_000),
                datetime(2000, 1, 1),
            ],
            pa.timestamp("us"),
        ),
        "zoned": pa.array(
            [datetime(2024, 7, 30, tzinfo=UTC), None, datetime(1899, 1, 1, 0, 0, 0, 5_000, tzinfo=UTC), None],
            pa.timestamp("us", "UTC"),
        ),
        "money": pa.array(
            [Decimal("12.30"), None, Decimal("-99999999999999999999.99"), Decimal("0.01")], pa.decimal128(30, 2)
        ),
        "fine": pa.array([Decimal("1.00010000"), None, Decimal("-0.1"), Decimal(0)], pa.decimal128(20, 8)),
        "nothing": pa.array([None, None, None, None], pa.string()),
    }
)


def slow_value(value: Any) -> Any:
    """One Python value as JSON text would be read back exactly."""
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        seconds = Fraction((utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), 1_000_000)
        tick = math.floor(seconds * 300 + Fraction(1, 2))
        milliseconds = round(Fraction(tick * 10, 3))
        held = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        return held.strftime("%Y").zfill(4) + held.strftime("-%m-%dT%H:%M:%S.") + f"{held.microsecond // 1000:03d}Z"
    if isinstance(value, date):
        return f"{value.year:04d}-{value.month:02d}-{value.day:02d}T00:00:00.000Z"
    if isinstance(value, float):
        return Decimal(repr(value))
    return value


def test_rows_are_the_same_as_those_of_a_slow_reference() -> None:
    sent = json.loads(encode.rows_json(encode.held(TABLE)), parse_float=Decimal)
    expected = [{name: slow_value(value) for name, value in row.items()} for row in TABLE.to_pylist()]
    for got, wanted in zip(sent["rows"], expected, strict=True):
        assert got == wanted
    assert list(sent["rows"][0]) == TABLE.column_names


def test_decimals_are_json_numbers_with_every_digit() -> None:
    text = encode.rows_json(encode.held(TABLE.select(["money", "fine"]))).decode()
    assert text == (
        '{"rows":[{"money":12.3000,"fine":1.0001},{"money":null,"fine":null},'
        '{"money":-99999999999999999999.9900,"fine":-0.1},{"money":0.0100,"fine":0.0}]}'
    )


def test_decimals_of_15_digits_are_the_numbers_that_they_were() -> None:
    digits = [10**15 - 1, -(10**15) + 1, 1, 0, *(7**power % 10**15 for power in range(2_000))]
    values = [Decimal(number).scaleb(-4) for number in digits]
    text = encode.rows_json(encode.held(pa.table({"x": pa.array(values, pa.decimal128(28, 4))})))
    assert [row["x"] for row in json.loads(text, parse_float=Decimal)["rows"]] == values


def test_times_are_rounded_to_a_three_hundredth_of_a_second() -> None:
    microseconds = [0, 1_666, 1_667, 3_333, 5_000, 8_333, 998_333, 998_334]
    times = pa.table({"at": pa.array(microseconds, pa.int64()).cast(pa.timestamp("us"))})
    rows = json.loads(encode.rows_json(encode.held(times)))["rows"]
    assert [row["at"][17:] for row in rows] == [
        "00.000Z",
        "00.000Z",
        "00.003Z",
        "00.003Z",
        "00.007Z",
        "00.007Z",
        "00.997Z",
        "01.000Z",
    ]


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        (pa.array([1.0, float("nan")]), "NaN"),
        (pa.array([1.0, float("inf")]), "NaN or infinity"),
        (pa.array([1.0, 1.7976931348623157e308]), "largest"),
        (pa.array([1, 2**63 - 1]), "Int64"),
        (pa.array([1, -(2**63)]), "Int64"),
        (pa.array([1, 2**63], pa.uint64()), "Int64"),
        (pa.array(["x", "x\0"]), "NUL"),
        (pa.array(["x" * 4000, "x" * 4001]), "4,000 is the limit"),
        (pa.array(["😀" * 2000, "😀" * 2001]), "4,000 is the limit"),
        (pa.array([-719_162, -719_163], pa.int32()).cast(pa.date32()), "a year outside 1 to 9999"),
        (pa.array([2_932_896, 2_932_897], pa.int32()).cast(pa.date32()), "a year outside 1 to 9999"),
        (pa.array([Decimal("1.00010"), Decimal("1.00001")], pa.decimal128(10, 5)), "more than 4 places"),
        (pa.array([Decimal(10**24 - 1), Decimal(10**24)], pa.decimal128(38, 0)), "24 digits"),
    ],
)
def test_a_value_that_power_bi_cannot_hold_is_refused_with_row_and_column(column: pa.Array, rule: str) -> None:
    with pytest.raises(TargetError, match=rule) as caught:
        encode.held(pa.table({"fits": pa.array([1, 2]), "odd": column}))
    assert (caught.value.details["row"], caught.value.details["column"]) == (2, "odd")


def test_bodies_hold_at_most_10000_rows_each() -> None:
    frame = encode.held(pa.table({"n": pa.array(range(25_001))}))
    assert [body.rows for body in encode.bodies(frame)] == [10_000, 10_000, 5_001]


def test_large_rows_are_cut_by_bytes_and_none_is_lost() -> None:
    frame = encode.held(pa.table({"n": pa.array(range(5_000)), "text": pa.array(["é" * 2_000] * 5_000)}))
    bodies = list(encode.bodies(frame))
    assert len(bodies) >= 3
    assert max(len(body.data) for body in bodies) <= 8_000_000
    numbers = [row["n"] for body in bodies for row in json.loads(body.data)["rows"]]
    assert numbers == list(range(5_000))


def test_no_rows_give_no_body() -> None:
    assert list(encode.bodies(encode.held(TABLE.slice(0, 0)))) == []


def test_times_between_the_steps_of_power_bi_are_refused_unless_rounding_is_allowed() -> None:
    exact = pa.table({"at": pa.array([datetime(2024, 1, 31, 10, 11, 12, 10_000), None], pa.timestamp("us"))})
    encode.refuse_rounding(exact)
    finer = pa.table({"at": pa.array([None, datetime(2024, 1, 31, 10, 11, 12, 123_456)], pa.timestamp("us"))})
    with pytest.raises(TargetError, match=r"row 102 .* 'at' .* 1/300 s .*round_times"):
        encode.refuse_rounding(finer, 100)
