"""Parquet: its own types, narrowed without loss or refused."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats.rig import columns, refused, table

PARQUET = Format.PARQUET


def _file(column: pa.Array, **settings: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": column}), out, **settings)
    return out.getvalue()


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([1, None], pa.int8()), "int64", [1, None]),
        (pa.array([2**32 - 1], pa.uint32()), "int64", [4294967295]),
        (pa.array([2**63 - 1], pa.uint64()), "int64", [9223372036854775807]),
        (pa.array([0.5], pa.float32()), "double", [0.5]),
        (pa.array([True, None]), "bool", [True, None]),
        (pa.array(["x", "", None], pa.large_string()), "string", ["x", "", None]),
        (pa.array(["x", None, "x"]).dictionary_encode(), "string", ["x", None, "x"]),
        (pa.array([1, 2, 1]).dictionary_encode(), "int64", [1, 2, 1]),
        (pa.nulls(2), "string", [None, None]),
        (pa.array([date(2024, 2, 29)], pa.date64()), "date", [date(2024, 2, 29)]),
        (pa.array([datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("ms")), "timestamp", [datetime(2024, 1, 2, 3, 4, 5)]),
        (pa.array([1_000], pa.timestamp("ns")), "timestamp", [datetime(1970, 1, 1, 0, 0, 0, 1)]),
        (
            pa.array([0], pa.timestamp("ms", "Europe/Berlin")),
            "timestamp_tz",
            [datetime(1970, 1, 1, tzinfo=UTC)],
        ),
        (pa.array([Decimal("1.20")], pa.decimal128(38, 2)), "decimal(38,2)", [Decimal("1.20")]),
        (pa.array([Decimal("1.20")], pa.decimal256(20, 2)), "decimal(20,2)", [Decimal("1.20")]),
    ],
)
def test_types_are_narrowed_without_loss(column: pa.Array, kind: str, expected: list[object]) -> None:
    assert columns(PARQUET, _file(column))["a"] == (kind, expected)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1]]),
        pa.array([{"x": 1}]),
        pa.array([b"x"]),
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.duration("us")),
        pa.array([Decimal(1)], pa.decimal256(50, 2)),
    ],
)
def test_types_that_no_target_takes_are_refused_by_column(column: pa.Array) -> None:
    error = refused(PARQUET, _file(column))
    assert (error.code, error.column) == ("schema_invalid", "a")


@pytest.mark.parametrize("column", [pa.array([0, 1], pa.timestamp("ns")), pa.array([0, 2**64 - 1], pa.uint64())])
def test_a_value_that_would_change_is_refused_with_its_row(column: pa.Array) -> None:
    error = refused(PARQUET, _file(column))
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "a")


def test_declared_types_are_converted_exactly_or_refused() -> None:
    assert columns(PARQUET, _file(pa.array(["1", None])), schema={"a": "int64"})["a"] == ("int64", [1, None])
    assert columns(PARQUET, _file(pa.array([0.1])), schema={"a": "decimal(5,2)"})["a"][1] == [Decimal("0.10")]
    assert columns(PARQUET, _file(pa.array([b"x"])), schema={"a": "string"})["a"] == ("string", ["x"])
    assert refused(PARQUET, _file(pa.array(["1", "x"])), schema={"a": "int64"}).row == 2
    assert refused(PARQUET, _file(pa.array([1.5])), schema={"a": "int64"}).row == 1
    assert refused(PARQUET, _file(pa.array([b"\xff"])), schema={"a": "string"}).row == 1


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([[1, None, 3], None, []]), ["[1,null,3]", None, "[]"]),
        (pa.array([{"x": 1.5, "y": {"z": "é"}}, None]), ['{"x":1.5,"y":{"z":"é"}}', None]),
        (pa.array([[("k", Decimal("1.20"))]], pa.map_(pa.string(), pa.decimal128(9, 2))), ['{"k":"1.20"}']),
        (pa.array([[date(2024, 2, 29)]]), ['["2024-02-29"]']),
        (pa.array([[0]], pa.list_(pa.timestamp("ms", "UTC"))), ['["1970-01-01T00:00:00.000Z"]']),
        (pa.array([[b"\xff\x00"]]), ['["/wA="]']),
        (pa.array([45_000_500_000, 0, None], pa.time64("us")), ["12:30:00.5", "00:00:00", None]),
        (pa.array([45_000], pa.time32("s")), ["12:30:00"]),
        (pa.array([5_400_500, -1, 0, None], pa.duration("ms")), ["PT5400.5S", "-PT0.001S", "PT0S", None]),
        (pa.array(["é".encode(), None]), ["é", None]),
        (pa.array([Decimal(10**50 - 1)], pa.decimal256(50, 0)), ["9" * 50]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([0.1, 1e300, 2.0]), ["0.1", "1e+300", "2.0"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
)
def test_a_column_declared_string_carries_any_type_as_text(column: pa.Array, texts: list[str | None]) -> None:
    assert columns(PARQUET, _file(column), schema={"a": "string"})["a"] == ("string", texts)


def test_a_nested_value_that_json_has_no_form_for_is_refused_with_its_row() -> None:
    error = refused(PARQUET, _file(pa.array([[1.0], [float("nan")]])), schema={"a": "string"})
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "a")


def test_damage_inside_a_page_is_found_by_its_checksum() -> None:
    data = bytearray(_file(pa.array(range(5_000)), write_page_checksum=True, use_dictionary=False, compression="none"))
    data[20_000] ^= 1
    assert refused(PARQUET, bytes(data)).code == "source_damaged"


def test_text_that_is_not_utf8_is_refused() -> None:
    binary = pa.array([b"fine", b"\xff\xfe"])
    invalid = pa.Array.from_buffers(pa.string(), 2, binary.buffers())
    for use_dictionary in (True, False):
        assert refused(PARQUET, _file(invalid, use_dictionary=use_dictionary)).code == "source_damaged"


def test_rows_are_read_from_the_middle_of_any_row_group() -> None:
    data = _file(pa.array(range(10_000)), row_group_size=999)
    for start in (0, 998, 999, 5_000, 9_999):
        assert table(PARQUET, data, start_row=start, batch_rows=700).column("a").to_pylist() == list(
            range(start, 10_000)
        )


def test_a_zone_is_neither_dropped_nor_made_up() -> None:
    zoned = _file(pa.array([0], pa.timestamp("us", "Europe/Berlin")))
    assert refused(PARQUET, zoned, schema={"a": "timestamp"}).code == "schema_invalid"
    assert (
        refused(PARQUET, _file(pa.array([0], pa.timestamp("us"))), schema={"a": "timestamp_tz"}).code
        == "schema_invalid"
    )
