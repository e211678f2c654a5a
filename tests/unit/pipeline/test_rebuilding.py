"""Rows of several jobs as one source: of several formats, each column of a type that holds all."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import ConflictError
from shared.pipeline.formats import Format, ReadOptions, reader
from shared.pipeline.freezing import FrozenSource, PinnedObject
from shared.pipeline.rebuilding import joined
from tests.fakes.stores import InMemoryObjects


def frozen(objects: InMemoryObjects, name: str, fmt: Format, data: bytes) -> FrozenSource:
    objects.put("frozen", name, data)
    info = objects.stat("frozen", name)
    assert info is not None
    return FrozenSource.single(objects, info, fmt, reader(fmt).scan(PinnedObject(objects, info), ReadOptions()))


def parquet(objects: InMemoryObjects, name: str, table: pa.Table) -> FrozenSource:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return frozen(objects, name, Format.PARQUET, sink.getvalue().to_pybytes())


def test_jobs_of_other_formats_column_orders_and_widths_are_read_as_one_from_any_row_on() -> None:
    objects = InMemoryObjects()
    narrow = pa.array([3, 4], pa.int32())
    sources = [
        frozen(objects, "a.csv", Format.CSV, b"amount,n\n1.5,1\n2.5,2\n"),
        parquet(objects, "b.parquet", pa.table({"n": narrow, "amount": pa.array([0.125, None])})),
        frozen(objects, "c.jsonl", Format.JSONL, b'{"n": 5, "amount": 7.5}\n'),
    ]
    whole = joined(sources)
    assert (whole.scan.rows, whole.scan.schema.names) == (5, ["amount", "n"])
    (table,) = whole.tables(0, 10)
    assert table.to_pydict() == {"amount": [1.5, 2.5, 0.125, None, 7.5], "n": [1, 2, 3, 4, 5]}
    assert [one.column("n").to_pylist() for one in whole.tables(1, 3)] == [[2, 3, 4], [5]]


def test_decimals_and_times_get_the_type_that_holds_all() -> None:
    objects, noon = InMemoryObjects(), datetime(2026, 1, 5, 12)
    first = pa.table({"d": pa.array([Decimal("1.5")], pa.decimal128(3, 1)), "t": pa.array([noon], pa.timestamp("us"))})
    zoned = pa.array([noon.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))
    second = pa.table({"d": pa.array([Decimal("12345.6789")], pa.decimal128(9, 4)), "t": zoned})
    (table,) = joined([parquet(objects, "1", first), parquet(objects, "2", second)]).tables(0, 10)
    assert table.column("d").to_pylist() == [Decimal("1.5"), Decimal("12345.6789")]
    assert table.column("t").to_pylist() == [noon.replace(tzinfo=UTC)] * 2


def test_columns_that_no_type_holds_are_refused_by_a_code() -> None:
    objects = InMemoryObjects()
    sources = [parquet(objects, "1", pa.table({"n": [1]})), parquet(objects, "2", pa.table({"n": ["one"]}))]
    with pytest.raises(ConflictError) as caught:
        joined(sources)
    assert caught.value.code == "repair_impossible"
