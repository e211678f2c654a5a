"""Apache's parquet-testing, second half: old shapes of lists and maps, odd pages, and bad data. See `test_parquet_testing`."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats import parquet_maker as maker
from tests.unit.pipeline.formats.parquet_maker import Column, Element, Page, levels, made, page, plain, runs
from tests.unit.pipeline.formats.rig import columns, refused, table

PARQUET = Format.PARQUET
INT32, FLOAT, BYTES = maker.INT32, maker.FLOAT, maker.BYTE_ARRAY
OPTIONAL, REPEATED = maker.OPTIONAL, maker.REPEATED
UTF8, MAP, MAP_KEY_VALUE, LIST = 0, 1, 2, 3
TEXT = {"a": "string"}


def _file(column: pa.Array, **settings: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": column}), out, **settings)
    return out.getvalue()


def _read(data: bytes, **options: Any) -> Any:
    return columns(PARQUET, data, **options)["a"]


def test_nulls_at_every_level_stay_apart() -> None:
    column = pa.array([None, [], [None], [{"x": None}], [{"x": []}], [{"x": [None, 1]}]])
    texts = [None, "[]", "[null]", '[{"x":null}]', '[{"x":[]}]', '[{"x":[null,1]}]']
    for page_version in ("1.0", "2.0"):
        assert _read(_file(column, data_page_version=page_version), schema=TEXT)[1] == texts


def test_text_inside_structs_is_read_over_many_row_groups() -> None:
    column = pa.array([{"x": "a"}, {"x": None}, None, {"x": "b"}] * 5)
    assert _read(_file(column, row_group_size=3), schema=TEXT)[1] == ['{"x":"a"}', '{"x":null}', None, '{"x":"b"}'] * 5


def test_old_list_structure_is_a_list_of_lists() -> None:
    schema = [
        Element("a", None, OPTIONAL, 1, converted=LIST),
        Element("array", None, REPEATED, 1, converted=LIST),
        Element("array", INT32, REPEATED),
    ]
    body = page(INT32, [1, 2, 3, 4], reps=[0, 2, 1, 2], defs=[3] * 4, widths=(2, 2))
    assert _read(made(schema, [Column(("a", "array", "array"), INT32, [body], 4)], 1), schema=TEXT)[1] == [
        "[[1,2],[3,4]]"
    ]


def test_repeated_primitive_no_list_is_a_list_never_null() -> None:
    body = page(INT32, [1, 2, 3], reps=[0, 1, 0, 0], defs=[1, 1, 0, 1], widths=(1, 1))
    data = made([Element("a", INT32, REPEATED)], [Column(("a",), INT32, [body], 4)], 3)
    assert _read(data, schema=TEXT)[1] == ["[1,2]", "[]", "[3]"]
    word = page(BYTES, [b"foo", b"zero"], reps=[0, 1], defs=[1, 1], widths=(1, 1))
    group = [Element("a", None, children=1), Element("words", BYTES, REPEATED, converted=UTF8)]
    assert _read(made(group, [Column(("a", "words"), BYTES, [word], 2)], 1), schema=TEXT)[1] == [
        '{"words":["foo","zero"]}'
    ]


def test_null_list_is_an_empty_list() -> None:
    schema = [
        Element("a", None, OPTIONAL, 1, converted=LIST),
        Element("list", None, REPEATED, 1),
        Element("element", INT32, OPTIONAL),
    ]
    body = page(INT32, [], reps=[0], defs=[1], widths=(1, 2))
    assert _read(made(schema, [Column(("a", "list", "element"), INT32, [body], 1)], 1), schema=TEXT)[1] == ["[]"]


def test_map_no_value_is_a_list_of_its_keys() -> None:
    schema = [
        Element("a", None, children=1, converted=MAP),
        Element("key_value", None, REPEATED, 1),
        Element("key", INT32),
    ]
    body = page(INT32, range(1, 10), reps=[0, 1, 1] * 3, defs=[1] * 9, widths=(1, 1))
    data = made(schema, [Column(("a", "key_value", "key"), INT32, [body], 9)], 3)
    assert _read(data, schema=TEXT)[1] == ["[1,2,3]", "[4,5,6]", "[7,8,9]"]


def test_incorrect_map_schema_of_presto_is_refused_with_what_is_wrong_with_it() -> None:
    schema = [
        Element("a", None, OPTIONAL, 1, converted=MAP),
        Element("key_value", None, REPEATED, 2, converted=MAP_KEY_VALUE),
        Element("key", BYTES, OPTIONAL, converted=UTF8),
        Element("value", BYTES, OPTIONAL, converted=UTF8),
    ]
    halves = [
        Column(("a", "key_value", name), BYTES, [page(BYTES, [b"x"], reps=[0], defs=[3], widths=(1, 2))], 1)
        for name in ("key", "value")
    ]
    assert "Map keys must be annotated as required" in refused(PARQUET, made(schema, halves, 1)).message


def test_pages_of_nothing_but_nulls_are_read_with_nothing_to_unpack() -> None:
    three = runs([0] * 3, 1)
    nothing = pa.compress(b"", codec="zstd", asbytes=True)
    zstd = Page(three + nothing, 3, len(three), is_v2=True, nulls=3, level_bytes=(0, len(three)))
    data = made([Element("a", INT32, OPTIONAL)], [Column(("a",), INT32, [zstd], 3, codec=maker.ZSTD)], 3)
    assert _read(data)[1] == [None, None, None]
    one = runs([0], 1)
    snappy = Page(one, 1, len(one), is_v2=True, nulls=1, level_bytes=(0, len(one)))
    data = made([Element("a", FLOAT, OPTIONAL)], [Column(("a",), FLOAT, [snappy], 1, codec=maker.SNAPPY)], 1)
    assert _read(data) == ("double", [None])


def _checked(*off_by: int) -> bytes:
    pages = [page(INT32, [1, 2], has_checksum=True, checksum_off_by=off) for off in off_by]
    return made([Element("a", INT32)], [Column(("a",), INT32, pages, 4)], 4)


def test_checksums_of_pages_are_kept_to() -> None:
    assert _read(_checked(0, 0))[1] == [1, 2, 1, 2]
    assert refused(PARQUET, _checked(0, 1)).code == "source_damaged"
    assert refused(PARQUET, _checked(1, 0)).code == "source_damaged"


def _by_dictionary(words: Page, width: int, places: bytes) -> bytes:
    body = bytes([width]) + places
    rows = Page(body, 3, len(body), encoding=maker.RLE_DICTIONARY)
    return made([Element("a", INT32)], [Column(("a",), INT32, [words, rows], 3)], 3)


def _words(count: int = 2, **more: Any) -> Page:
    body = plain(INT32, [7, 8])
    return Page(body, count, len(body), is_dictionary=True, **more)


def test_a_dictionary_of_width_zero_is_its_first_word() -> None:
    assert _read(_by_dictionary(_words(), 1, runs([0, 1, 1], 1)))[1] == [7, 8, 8]
    assert _read(_by_dictionary(_words(), 0, b"\x06"))[1] == [7, 7, 7]  # ARROW-GH-43605


def test_a_dictionary_that_gave_way_to_deltas_is_read() -> None:
    """As parquet-mr writes version 2; pyarrow cannot keep the dictionary of such a column."""
    words = plain(BYTES, [b"seven", b"eight"])
    dictionary = Page(words, 2, len(words), is_dictionary=True)
    places = bytes([1]) + runs([0, 1], 1)
    one_length = bytes([128, 1, 4, 1, 2 * len("nine")])  # blocks of 128 in 4, one value, its zigzag
    rest = one_length + b"nine"
    pages = [
        dictionary,
        Page(places, 2, len(places), encoding=maker.RLE_DICTIONARY),
        Page(rest, 1, len(rest), encoding=maker.DELTA_LENGTH_BYTE_ARRAY),
    ]
    encodings = (maker.PLAIN, maker.RLE_DICTIONARY, maker.DELTA_LENGTH_BYTE_ARRAY)
    column = Column(("a",), BYTES, pages, 3, encodings=encodings)
    data = made([Element("a", BYTES, converted=UTF8)], [column], 3)
    assert _read(data)[1] == ["seven", "eight", "nine"]
    assert table(PARQUET, data, start_row=1).column("a").to_pylist() == ["eight", "nine"]


BAD: dict[str, Callable[[], bytes]] = {
    "rle-dict-uncompressed-corrupt-checksum": lambda: _by_dictionary(
        _words(has_checksum=True, checksum_off_by=1), 1, runs([0, 1, 1], 1)
    ),
    "ARROW-RS-GH-6229-DICTHEADER": lambda: _by_dictionary(_words(-2), 1, runs([0, 1, 1], 1)),
    "a place beyond the dictionary": lambda: _by_dictionary(_words(), 3, runs([0, 1, 5], 3)),
    "ARROW-RS-GH-6229-LEVELS": lambda: made(
        [Element("a", INT32, REPEATED)],
        [Column(("a",), INT32, [Page(levels([0, 1], 1) + levels([1] * 4, 1) + plain(INT32, range(4)), 4, 38)], 4)],
        3,
    ),
    "ARROW-GH-41321": lambda: made(
        [Element("a", INT32, OPTIONAL)],
        [Column(("a",), INT32, [Page(levels([1, 1], 1) + plain(INT32, range(4)), 4, 24)], 4)],
        4,
    ),
    "ARROW-GH-45185": lambda: made(
        [Element("a", INT32, REPEATED)],
        [Column(("a",), INT32, [page(INT32, [1, 2, 3], reps=[1, 1, 0], defs=[1] * 3, widths=(1, 1))], 3)],
        1,
    ),
    "ARROW-GH-41317": lambda: made(
        [Element("a", INT32), Element("b", INT32)],
        [Column(("a",), INT32, [page(INT32, [1, 2])], 2), Column(("b",), INT32, [page(INT32, [1])], 1)],
        2,
    ),
    "PARQUET-1481": lambda: made(
        [Element("a", -7)], [Column(("a",), -7, [Page(plain(INT32, [1]), 1, 4)], 1)], 1
    ),
    "a page of less than nothing": lambda: made(
        [Element("a", INT32)], [Column(("a",), INT32, [Page(plain(INT32, [1]), 1, -4)], 1)], 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("file", BAD)
def test_bad_data_is_refused_as_damaged(file: str) -> None:
    assert refused(PARQUET, BAD[file](), schema=TEXT).code == "source_damaged"
