"""CSV as real programs write it: each dialect read as its author means it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats.rig import columns, refused, table

CSV = Format.CSV


@dataclass(frozen=True)
class Dialect:
    """A file as a program writes it, how it is declared, and what its author means."""

    program: str
    data: bytes
    expected: dict[str, tuple[str, list[Any]]]
    options: dict[str, Any] = field(default_factory=dict)


_PLAIN = {"id": ("int64", [1, 2]), "name": ("string", ["Zoë", "Bo, Jr."]), "price": ("double", [1.5, -2.25])}

DIALECTS = [
    Dialect("RFC 4180", b'id,name,price\r\n1,Zo\xc3\xab,1.5\r\n2,"Bo, Jr.",-2.25\r\n', _PLAIN),
    Dialect(
        "Excel in German: semicolons, decimal commas, points between thousands, cp1252",
        "id;name;price;total\r\n1;Zoë;1,5;1.234.567,89\r\n2;Bo, Jr.;-2,25;-12\r\n".encode("cp1252"),
        {**_PLAIN, "total": ("double", [1234567.89, -12.0])},
        {"encoding": "cp1252", "decimal": ",", "thousands": "."},
    ),
    Dialect(
        "Excel: Unicode text (UTF-16 with a mark, tabs)",
        b"\xff\xfe" + "id\tname\tprice\r\n1\tZoë\t1.5\r\n2\tBo, Jr.\t-2.25\r\n".encode("utf-16-le"),
        _PLAIN,
    ),
    Dialect(
        "Excel: CSV UTF-8 with a mark, and the line sep=;",
        "\ufeffsep=;\r\nid;name;price\r\n1;Zoë;1.5\r\n2;Bo, Jr.;-2.25\r\n".encode(),
        _PLAIN,
    ),
    Dialect("Excel on an old Macintosh: CR", 'id,name,price\r1,Zoë,1.5\r2,"Bo, Jr.",-2.25\r'.encode(), _PLAIN),
    Dialect(
        "pandas.to_csv: line breaks and doubled quotes in quotes, LF, no break at the end",
        b'id,text\n1,"two\nlines"\n2,"say ""hi"", then\r\nleave"',
        {"id": ("int64", [1, 2]), "text": ("string", ["two\nlines", 'say "hi", then\r\nleave'])},
    ),
    Dialect(
        "MySQL: SELECT … INTO OUTFILE (tabs, a backslash before a tab or a break in a value, \\N, no header)",
        b"1\ta\\\tb\\\\c\t\\N\n2\tline\\\nbreak\t2024-02-29\n3\t\t\\N\n",
        {
            "column_1": ("int64", [1, 2, 3]),
            "column_2": ("string", ["a\tb\\c", "line\nbreak", ""]),
            "column_3": ("date", [None, date(2024, 2, 29), None]),
        },
        {"delimiter": "\t", "quote": "", "escape": "\\", "header_rows": 0},
    ),
    Dialect(
        "mysql --batch (letters for tabs and breaks in a value, NULL as a word, a header)",
        b"id\ttext\n1\ta\\tb\\\\c\\nd\n2\tNULL\n",
        {"id": ("int64", [1, 2]), "text": ("string", ["a\tb\\c\nd", None])},
        {"delimiter": "\t", "quote": "", "escape": "\\", "null_values": ("NULL",)},
    ),
    Dialect(
        "Postgres: COPY … TO, its own text format",
        b"1\ta\\tb\\\\c\\nd\t\\N\n2\t\\r\\b\tx\n",
        {
            "column_1": ("int64", [1, 2]),
            "column_2": ("string", ["a\tb\\c\nd", "\r\b"]),
            "column_3": ("string", [None, "x"]),
        },
        {"delimiter": "\t", "quote": "", "escape": "\\", "header_rows": 0},
    ),
    Dialect(
        "MySQL with OPTIONALLY ENCLOSED BY: quotes and backslashes",
        b'id,text\n1,"say \\"hi\\", \\\\"\n2,\\N\n3,"two\\\nlines"\n',
        {"id": ("int64", [1, 2, 3]), "text": ("string", ['say "hi", \\', None, "two\nlines"])},
        {"escape": "\\"},
    ),
    Dialect(
        "Postgres: COPY … WITH (FORMAT csv, HEADER): null is empty, empty text is quoted",
        b'id,text\n1,\n2,""\n3,"a ""b"""\n',
        {"id": ("int64", [1, 2, 3]), "text": ("string", [None, "", 'a "b"'])},
    ),
    Dialect(
        "a mainframe: bars, no quotes at all, NULL as a word",
        b'id|text\n1|5" nail\n2|NULL\n',
        {"id": ("int64", [1, 2]), "text": ("string", ['5" nail', None])},
        {"delimiter": "|", "quote": "", "null_values": ("NULL",)},
    ),
    Dialect(
        "a bank: title lines, a header of two lines, blank lines, thousands in apostrophes (Swiss)",
        b"Report of May\n\n;Amount;Amount\nDay;net;gross\n\n2024-05-01;1'234.50;1'300\n2024-05-02;-5.25;7\n",
        {
            "Day": ("date", [date(2024, 5, 1), date(2024, 5, 2)]),
            "Amount net": ("double", [1234.5, -5.25]),
            "Amount gross": ("int64", [1300, 7]),
        },
        {"skip_rows": 1, "header_rows": 2, "thousands": "'"},
    ),
    Dialect(
        "a till: a delimiter at the end of every line",
        b"id,text,\n1,x,\n2,y,\n",
        {"id": ("int64", [1, 2]), "text": ("string", ["x", "y"])},
    ),
    Dialect(
        "a logger: a delimiter at the end of every row, none at the header",
        b"id;text\n1;x;\n2;y;\n",
        {"id": ("int64", [1, 2]), "text": ("string", ["x", "y"])},
    ),
    Dialect(
        "BigQuery: CSV export, gzip",
        gzip.compress(b'id,name,price\n1,Zo\xc3\xab,1.5\n2,"Bo, Jr.",-2.25\n'),
        _PLAIN,
    ),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.program for dialect in DIALECTS])
def test_a_dialect_is_read_as_its_author_means_it(dialect: Dialect) -> None:
    assert columns(CSV, dialect.data, **dialect.options) == dialect.expected
    rows = len(next(iter(dialect.expected.values()))[1])
    for start in range(1, rows):
        rest = table(CSV, dialect.data, start_row=start, batch_rows=1, **dialect.options)
        assert rest.to_pydict() == {name: values[start:] for name, (_, values) in dialect.expected.items()}


def test_numbers_spelled_in_another_way_stay_text() -> None:
    data = b"a;b;c\n1.5;1.23;12.34.567\n2,5;1,5;1.234\n"
    kinds = {name: kind for name, (kind, _) in columns(CSV, data, decimal=",", thousands=".").items()}
    assert kinds == {"a": "string", "b": "string", "c": "string"}


def test_a_declared_number_spelled_in_another_way_is_refused_with_its_place() -> None:
    error = refused(CSV, b"a;b\n1;2,5\n2;2.5\n", decimal=",", schema={"b": "double"})
    assert (error.code, error.row, error.column) == ("value_invalid", 2, "b")
    assert "'2.5' is no number with the decimal mark ','" in error.message


def test_a_declared_decimal_is_read_with_a_decimal_comma() -> None:
    kind, values = columns(CSV, b"a;b\n1;1.234,50\n", decimal=",", thousands=".", schema={"b": "decimal(10,2)"})["b"]
    assert (kind, [str(value) for value in values]) == ("decimal(10,2)", ["1234.50"])


def test_exponents_without_a_sign_are_numbers_beside_clear_fractions_only() -> None:
    assert columns(CSV, b"a,b\n1.5,1\n1e300,1e300\n")["a"] == ("double", [1.5, 1e300])
    assert columns(CSV, b"a,b\n1.5,1\n1e300,1e300\n")["b"] == ("string", ["1", "1e300"])
    assert columns(CSV, b"a,b\n1.0E10,2\n2.5e5,3\n")["a"] == ("double", [1e10, 2.5e5])


def test_a_value_in_a_column_without_a_name_is_refused() -> None:
    error = refused(CSV, b"id,text,\n1,x,\n2,y,z\n")
    assert (error.code, error.row) == ("columns_invalid", 2)


def test_a_header_that_is_not_whole_is_refused() -> None:
    assert refused(CSV, b"a;b\n", header_rows=2).code == "columns_invalid"
    assert refused(CSV, b"a,b\n1,2\n", skip_rows=5).code == "columns_invalid"


@pytest.mark.parametrize("data", [b'id,text\n1,"open\n2,x\n', b'id,text\n1,"a"b\n'])
def test_an_open_quote_is_refused_with_backslash_escapes_too(data: bytes) -> None:
    assert refused(CSV, data, escape="\\").code == "source_damaged"


def test_rows_with_backslashes_stream_over_many_blocks() -> None:
    data = b"id,text\n" + b"".join(b'%d,"line \\"%d\\"\\\n, end"\n' % (n, n) for n in range(120_000))
    found = table(CSV, data, escape="\\")
    assert found.num_rows == 120_000
    assert found.column("text")[119_999].as_py() == 'line "119999"\n, end'
    assert found.column("id").to_pylist() == list(range(120_000))


_ROWS = b"".join(b'{"id": %d, "name": "Zo\xc3\xab"}\n' % n for n in range(50_000))
_TABLE = b"id,name\n" + b"".join(b"%d,Zo\xc3\xab\n" % n for n in range(50_000))


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize(
    ("fmt", "data"),
    [(CSV, _TABLE), (Format.JSONL, _ROWS), (Format.JSON, b"[" + _ROWS.replace(b"}\n{", b"},\n{") + b"]")],
)
def test_compressed_text_is_read_as_its_content(fmt: Format, data: bytes, codec: str) -> None:
    found = table(fmt, _packed(data, codec), start_row=49_998)
    assert found.to_pydict() == {"id": [49_998, 49_999], "name": ["Zoë", "Zoë"]}


def _packed(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as packed:
        packed.write(data)
    return sink.getvalue().to_pybytes()


def test_several_gzip_members_are_one_file() -> None:
    data = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert columns(CSV, data) == {"a": ("int64", [1, 3]), "b": ("int64", [2, 4])}


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_file_that_is_cut_off_is_refused(codec: str) -> None:
    assert refused(CSV, _packed(_TABLE, codec)[:-20]).code == "source_damaged"


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_file_that_unpacks_to_a_multiple_beyond_reason_is_refused(codec: str) -> None:
    bomb = _packed(b"a,b\n" + (b"1," + b"x" * 100_000 + b"\n") * 1_500, codec)
    error = refused(CSV, bomb)
    assert (error.code, "unpack to more than" in error.message) == ("source_too_large", True)
