"""What Apache's parquet-testing files try, with files that say the same: no package on the index carries that repository's.

Each case is named after the file (github.com/apache/parquet-testing, data/ and bad_data/) and expects what its README or .md
says; rows that the text there does not give are our own. Written by pyarrow, polars and DuckDB, or byte by byte.
`test_parquet_shapes` is the second half.
"""

from __future__ import annotations

import base64
import gzip
import io
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats import parquet_maker as maker
from tests.unit.pipeline.formats.parquet_maker import Column, Element, Page, made, page, plain
from tests.unit.pipeline.formats.rig import columns, refused, table

PARQUET = Format.PARQUET
INT32, INT64, INT96, BYTES, OPTIONAL = maker.INT32, maker.INT64, maker.INT96, maker.BYTE_ARRAY, maker.OPTIONAL
UTF8, ENUM, DECIMAL, JSON, BSON = 0, 4, 5, 19, 20
TEXT = {"a": "string"}


def _file(column: pa.Array, **settings: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": column}), out, **settings)
    return out.getvalue()


def _read(data: bytes, **options: Any) -> Any:
    return columns(PARQUET, data, **options)["a"]


NUMBERS = pa.array([0, -1, 2**31 - 1, -(2**31), None, *range(300)], pa.int32())
LONG = pa.array([0, -1, 2**63 - 1, -(2**63), None, *range(300)], pa.int64())
WORDS = pa.array(["", "Adelaide", "Adele", None, "Zoë", *(f"customer {n:05}" for n in range(300))])
TRUTHS = pa.array([True, None, False] * 100)
FLOATS = pa.array(np.random.default_rng(0).normal(size=300))


@pytest.mark.parametrize("page_version", ["1.0", "2.0"])
@pytest.mark.parametrize(
    ("encoding", "column"),
    [
        ("PLAIN", NUMBERS), ("PLAIN", WORDS), ("PLAIN", TRUTHS), ("PLAIN", FLOATS), ("RLE", TRUTHS),
        ("DELTA_BINARY_PACKED", NUMBERS), ("DELTA_BINARY_PACKED", LONG), ("DELTA_LENGTH_BYTE_ARRAY", WORDS),
        ("DELTA_BYTE_ARRAY", WORDS), ("BYTE_STREAM_SPLIT", FLOATS), ("BYTE_STREAM_SPLIT", NUMBERS), ("BYTE_STREAM_SPLIT", LONG),
        ("BYTE_STREAM_SPLIT", pa.array([1.5, None, -0.25], pa.float32())),
        ("BYTE_STREAM_SPLIT", pa.array([np.float16(1.5), None], pa.float16())),
        ("BYTE_STREAM_SPLIT", pa.array([Decimal("1.250"), None], pa.decimal128(7, 3))),
    ],
)  # fmt: skip
def test_every_encoding_gives_the_values_that_plain_gives(encoding: str, column: pa.Array, page_version: str) -> None:
    data = _file(column, use_dictionary=False, column_encoding={"a": encoding}, data_page_version=page_version)
    assert encoding in pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).encodings
    assert _read(data)[1] == column.to_pylist()


@pytest.mark.parametrize("page_version", ["1.0", "2.0"])
@pytest.mark.parametrize("version", ["1.0", "2.6"])
def test_dictionaries_of_both_spellings_give_the_values(version: str, page_version: str) -> None:
    for column in (NUMBERS, WORDS, FLOATS):
        data = _file(column, use_dictionary=True, version=version, data_page_version=page_version)
        assert _read(data)[1] == column.to_pylist()


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_every_codec_that_writers_have_is_read(codec: str) -> None:
    assert _read(_file(WORDS, compression=codec))[1] == WORDS.to_pylist()


def _hadoop_lz4(body: bytes) -> bytes:
    packed = pa.compress(body, codec="lz4_raw", asbytes=True)
    return struct.pack(">II", len(body), len(packed)) + packed


def test_hadoop_lz4_compressed_and_concatenated_gzip_members_are_read() -> None:
    pages = [page(INT32, [1, 2, 3], pack=_hadoop_lz4)]
    assert _read(made([Element("a", INT32)], [Column(("a",), INT32, pages, 3, codec=maker.LZ4)], 3))[1] == [1, 2, 3]
    body = plain(INT64, range(513))
    pages = [Page(gzip.compress(body[:2_000]) + gzip.compress(body[2_000:]), 513, len(body))]
    data = made([Element("a", INT64)], [Column(("a",), INT64, pages, 513, codec=maker.GZIP)], 513)
    assert _read(data)[1] == list(range(513))


def test_lzo_is_refused_by_its_name() -> None:
    column = Column(("a",), INT32, [page(INT32, [1])], 1, codec=maker.LZO)
    error = refused(PARQUET, made([Element("a", INT32)], [column], 1))
    assert (error.code, "LZO" in error.message) == ("source_format", True)


class _Keys(pe.KmsClient):  # type: ignore[misc]
    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize("has_plain_footer", [False, True])
def test_an_encrypted_file_is_refused_by_its_name(has_plain_footer: bool) -> None:
    plan = pe.EncryptionConfiguration(footer_key="kf", column_keys={"kc": ["a"]}, plaintext_footer=has_plain_footer)
    secrets = pe.CryptoFactory(lambda _: _Keys()).file_encryption_properties(pe.KmsConnectionConfig(), plan)
    out, rows = io.BytesIO(), pa.table({"a": [1]})
    with pq.ParquetWriter(out, rows.schema, encryption_properties=secrets) as file:
        file.write_table(rows)
    error = refused(PARQUET, out.getvalue())
    assert (error.code, "encrypted" in error.message) == ("source_format", True)


DAY_ZERO = 2_440_588
"""1970-01-01 as a Julian day."""


def _int96(*times: tuple[int, int] | None) -> bytes:
    """A file of days since 1970 and nanoseconds."""
    values = [struct.pack("<qi", one[1], DAY_ZERO + one[0]) for one in times if one]
    body = page(INT96, values, defs=[int(one is not None) for one in times], widths=(0, 1))
    return made([Element("a", INT96, OPTIONAL)], [Column(("a",), INT96, [body], len(times))], len(times))


FAR = (2_932_896, 10_800 * 10**9)
"""9999-12-31T03:00:00."""


def test_int96_from_spark_keeps_times_beyond_the_reach_of_nanoseconds() -> None:
    spark = _int96((19_723, 45_296_123_456_000), (19_723, 3_600 * 10**9), FAR, (20_087, 82_800 * 10**9), None)
    assert _read(spark) == (
        "timestamp",
        [
            datetime(2024, 1, 1, 12, 34, 56, 123_456),
            datetime(2024, 1, 1, 1),
            datetime(9999, 12, 31, 3),
            datetime(2024, 12, 30, 23),
            None,
        ],
    )
    after = table(PARQUET, _int96((105_919_000, 0))).column("a")  # the year of about 290000
    assert after.cast(pa.int64()).to_pylist() == [105_919_000 * 86_400_000_000]
    assert _read(spark, schema=TEXT)[1][2] == "9999-12-31T03:00:00"


def test_int96_finer_than_a_microsecond_is_refused_or_text_of_nine_digits() -> None:
    fine = _int96((0, 1_000), (0, 1_001), None)
    error = refused(PARQUET, fine)
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "a")
    assert _read(fine, schema=TEXT)[1] == ["1970-01-01T00:00:00.000001000", "1970-01-01T00:00:00.000001001", None]
    assert "9999-12-31" in refused(PARQUET, _int96((0, 1), FAR), schema=TEXT).message


def test_int96_inside_lists_keeps_its_times_too() -> None:
    many = pa.array([[datetime(2024, 1, 1)], None, []], pa.list_(pa.timestamp("us")))
    data = _file(many, use_deprecated_int96_timestamps=True)
    assert _read(data, schema=TEXT)[1] == ['["2024-01-01T00:00:00.000000"]', None, "[]"]


@pytest.mark.parametrize("file", ["int32_decimal", "int64_decimal", "fixed_length_decimal", "byte_array_decimal"])
def test_decimals_of_every_storage_are_the_same(file: str) -> None:
    expected = [Decimal(n).scaleb(-2) for n in (100, 200, -2_400)]
    precision = {"int32_decimal": 4, "int64_decimal": 10, "fixed_length_decimal": 25, "byte_array_decimal": 4}[file]
    if file == "byte_array_decimal":
        values = [b"\x64", b"\x00\xc8", b"\xf6\xa0"]
        element = Element("a", BYTES, converted=DECIMAL, scale=2, precision=4)
        data = made([element], [Column(("a",), BYTES, [page(BYTES, values)], 3)], 3)
    else:
        data = _file(pa.array(expected, pa.decimal128(precision, 2)), store_decimal_as_integer=file.startswith("int"))
    assert _read(data) == (f"decimal({precision},2)", expected)


ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([ID.bytes, None], pa.uuid()), "string", ["00112233-4455-6677-8899-aabbccddeeff", None]),
        (pa.array(['{"a":1}', '{"a":1,"b":null}', "[1,null,3]", None], pa.json_()), "string",
         ['{"a":1}', '{"a":1,"b":null}', "[1,null,3]", None]),
        (pa.array([np.float16(1), None, np.float16(-2), np.float16(0)], pa.float16()), "double", [1.0, None, -2.0, 0.0]),
        (pa.array([1, 0, None], pa.int8()).cast(pa.bool8()), "bool", [True, False, None]),
        (pa.array([datetime(2024, 3, 31, 2, 30)], pa.timestamp("ms")), "timestamp", [datetime(2024, 3, 31, 2, 30)]),
        (pa.array([datetime(2024, 3, 31, 2, 30, 0, 7)], pa.timestamp("us")), "timestamp", [datetime(2024, 3, 31, 2, 30, 0, 7)]),
        (pa.array([datetime(2024, 3, 31, 2, 30)], pa.timestamp("ns", "UTC")), "timestamp_tz",
         [datetime(2024, 3, 31, 2, 30, tzinfo=UTC)]),
        (pa.array([date(1, 1, 1), date(9999, 12, 31)]), "date", [date(1, 1, 1), date(9999, 12, 31)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("settings", [{}, {"store_schema": False}])
def test_logical_types_are_what_they_are_called(
    column: pa.Array, kind: str, expected: list[Any], settings: dict[str, Any]
) -> None:
    if pa.types.is_int8(getattr(column, "storage", column).type) and settings:
        kind, expected = "int64", [1, 0, None]  # bool8 is known by the Arrow schema alone
    assert _read(_file(column, **settings)) == (kind, expected)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([ID.bytes], pa.uuid()), str(ID)),
        (pa.array([np.float16(1.5)], pa.float16()), "1.5"),
        (pa.array([time(12, 30, 0, 1_000)], pa.time32("ms")), "12:30:00.001"),
        (pa.array([time(12, 30)], pa.time64("ns")), "12:30:00"),
        (pa.array([timedelta(hours=1)], pa.duration("ms")), "PT3600S"),
        (pa.array([b"abc"], pa.binary(3)), "abc"),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "[1,2]"),
        (pa.array([[("k", None)]], pa.map_(pa.string(), pa.int32())), '{"k":null}'),
        (pa.array([[("a", [1.5, None])]], pa.map_(pa.string(), pa.list_(pa.float64()))), '{"a":[1.5,null]}'),
        (pa.array([{"x": [{"y": None}, None], "z": None}]), '{"x":[{"y":null},null],"z":null}'),
        (pa.array([[ID.bytes]], pa.list_(pa.binary(16))).cast(pa.list_(pa.uuid())), f'["{ID}"]'),
    ],
)
def test_types_without_a_column_type_are_carried_as_text(column: pa.Array, text: str) -> None:
    assert _read(_file(column), schema=TEXT)[1] == [text]


def _one(element: Element, *values: Any, nulls: int = 0) -> bytes:
    """A file of one optional column of plain values and, after them, nulls."""
    count = len(values) + nulls
    body = page(element.type or 0, values, defs=[1] * len(values) + [0] * nulls, widths=(0, 1))
    return made([element], [Column((element.name,), element.type or 0, [body], count)], count)


@pytest.mark.parametrize("by", ["converted", "logical"])
def test_json_and_enum_by_either_annotation_are_text(by: str) -> None:
    for converted, logical in ((JSON, 12), (ENUM, 4), (UTF8, 1)):
        said = {"converted": converted} if by == "converted" else {"logical": logical}
        assert _read(_one(Element("a", BYTES, OPTIONAL, **said), b"[1,null]", nulls=1)) == (
            "string",
            ["[1,null]", None],
        )


def test_bson_and_unknown_logical_type_are_binary_and_refused_unless_declared() -> None:
    bson = _one(Element("a", BYTES, OPTIONAL, converted=BSON), bytes.fromhex("0c0000001061000100000000"))
    assert refused(PARQUET, bson).column == "a"
    unknown = _one(Element("a", BYTES, OPTIONAL, logical=2_000), b"unknown string 1", nulls=1)
    assert refused(PARQUET, unknown).column == "a"
    assert _read(unknown, schema=TEXT)[1] == ["unknown string 1", None]


def test_binary_without_an_annotation_as_impala_writes_text_is_read_where_it_is_declared() -> None:
    impala = _one(Element("a", BYTES, OPTIONAL), b"03/01/09", b"0", nulls=1)
    assert refused(PARQUET, impala).column == "a"
    assert _read(impala, schema=TEXT)[1] == ["03/01/09", "0", None]


def test_null_pages_many_pages_and_many_row_groups_keep_their_order() -> None:
    values = [None if n // 100 % 3 == 1 else n for n in range(40_000)]
    column = pa.array(values, pa.int32())
    small = _file(column, data_page_size=1, write_batch_size=1, use_dictionary=False)  # overflow_i16_page_cnt
    assert _read(small)[1] == values
    groups = _file(column.slice(0, 3_000), row_group_size=1)
    assert pq.ParquetFile(io.BytesIO(groups)).num_row_groups == 3_000
    assert _read(groups)[1] == values[:3_000]


@pytest.mark.parametrize("by", ["pyarrow", "polars", "duckdb"])
def test_zero_rows_have_their_columns(by: str, tmp_path: Path) -> None:
    assert columns(PARQUET, WRITERS[by](MIXED.slice(0, 0), tmp_path))["n"] == ("int64", [])


MIXED = pa.table(
    {
        "n": pa.array([1, None, -(2**63)], pa.int64()),
        "small": pa.array([2**32 - 1, None, 0], pa.uint32()),
        "x": pa.array([0.1, None, -1e300]),
        "is_x": pa.array([True, None, False]),
        "word": pa.array(["=1+1", None, "שלום"]),
        "day": pa.array([date(1, 1, 1), None, date(9999, 12, 31)]),
        "at": pa.array([datetime(2024, 10, 27, 2, 30), None, datetime(1, 1, 1)], pa.timestamp("us")),
        "zoned": pa.array([datetime(2024, 2, 29, tzinfo=UTC), None, datetime(9999, 12, 31, tzinfo=UTC)]),
        "price": pa.array([Decimal("0.10"), None, Decimal("-123456789012345.67")], pa.decimal128(17, 2)),
    }
)


def _by_pyarrow(source: pa.Table, _: Path) -> bytes:
    out = io.BytesIO()
    pq.write_table(source, out)
    return out.getvalue()


def _by_polars(source: pa.Table, _: Path) -> bytes:
    out, frame = io.BytesIO(), pl.from_arrow(source)
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(out)
    return out.getvalue()


def _by_duckdb(source: pa.Table, folder: Path, version: str = "v1") -> bytes:
    with duckdb.connect() as database:
        database.register("source", source)
        database.execute(f"COPY source TO '{folder / 'x.parquet'}' (FORMAT parquet, PARQUET_VERSION {version})")
    return (folder / "x.parquet").read_bytes()


WRITERS: dict[str, Callable[[pa.Table, Path], bytes]] = {
    "pyarrow": _by_pyarrow,
    "polars": _by_polars,
    "duckdb": _by_duckdb,
}


@pytest.mark.parametrize("by", WRITERS)
def test_three_writers_tables_are_the_same_table(by: str, tmp_path: Path) -> None:
    found = table(PARQUET, WRITERS[by](MIXED, tmp_path))
    assert found.to_pydict() == MIXED.to_pydict()
    assert str(found.schema.field("small").type) == "int64"


def test_duckdb_s_second_version_is_read(tmp_path: Path) -> None:
    source = MIXED.drop_columns(["small"])  # pyarrow 26 cannot read DuckDB's deltas of 32 bits that pass 2^31
    assert table(PARQUET, _by_duckdb(source, tmp_path, "v2")).to_pydict() == source.to_pydict()
