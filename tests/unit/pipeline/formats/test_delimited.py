"""CSV: what is inferred, what stays text, what is refused."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from shared.pipeline.formats import Format
from shared.pipeline.formats.whole_rows import Closed
from tests.unit.pipeline.formats.rig import columns, refused, table

CSV = Format.CSV


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "-5", "0"], "int64", [1, -5, 0]),
        (["9223372036854775807"], "int64", [9223372036854775807]),
        (["9223372036854775808"], "string", ["9223372036854775808"]),
        (["007", "1"], "string", ["007", "1"]),
        (["+5"], "string", ["+5"]),
        (["-0"], "double", [-0.0]),
        ([" 1"], "string", [" 1"]),
        (["0x1F"], "string", ["0x1F"]),
        (["1_000"], "string", ["1_000"]),
        (["1,5"], "string", ["1,5"]),
        (["1.5", "2"], "double", [1.5, 2.0]),
        (["1.50"], "double", [1.5]),
        (["1e-05", "2.5E+20"], "double", [1e-05, 2.5e20]),
        (["1e5"], "string", ["1e5"]),
        (["2E10"], "string", ["2E10"]),
        ([".5"], "string", [".5"]),
        (["01.5"], "string", ["01.5"]),
        (["NaN", "1.5"], "string", ["NaN", "1.5"]),
        (["inf"], "string", ["inf"]),
        (["1e+999"], "string", ["1e+999"]),
        (["1e-999"], "string", ["1e-999"]),
        (["0.30000000000000004"], "double", [0.30000000000000004]),
        (["0.3000000000000000400"], "double", [0.30000000000000004]),
        (["0.10000000000000000555"], "string", ["0.10000000000000000555"]),
        (["9007199254740993", "0.5"], "string", ["9007199254740993", "0.5"]),
        (["true", "false"], "bool", [True, False]),
        (["TRUE"], "bool", [True]),
        (["True", "FALSE"], "string", ["True", "FALSE"]),
        (["yes"], "string", ["yes"]),
        (["2024-02-29"], "date", [date(2024, 2, 29)]),
        (["2023-02-29"], "string", ["2023-02-29"]),
        (["2024-1-2"], "string", ["2024-1-2"]),
        (["0000-01-01"], "string", ["0000-01-01"]),
        (["01/02/2024"], "string", ["01/02/2024"]),
        (["2024-01-02 03:04"], "timestamp", [datetime(2024, 1, 2, 3, 4)]),
        (["2024-01-02T03:04:05.123456"], "timestamp", [datetime(2024, 1, 2, 3, 4, 5, 123456)]),
        (["2024-01-02T03:04:05.1234567"], "string", ["2024-01-02T03:04:05.1234567"]),
        (["2024-01-02T03:04:05Z"], "timestamp_tz", [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)]),
        (["2024-01-02T03:04:05+02:00"], "timestamp_tz", [datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)]),
        (["2024-01-02T03:04:05Z", "2024-01-02T03:04:05"], "string", ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05"]),
        (["2024-01-02", "2024-01-02T03:04:05"], "string", ["2024-01-02", "2024-01-02T03:04:05"]),
        (["1", "true"], "string", ["1", "true"]),
        (["1", "x"], "string", ["1", "x"]),
    ],
)
def test_a_type_is_taken_only_where_nothing_changes(values: list[str], kind: str, expected: list[object]) -> None:
    lines = "".join(f'{index},"{value}"\n' for index, value in enumerate(values))
    found = columns(CSV, f"n,v\n{lines}".encode())["v"]
    assert found == (kind, expected)
    assert list(map(str, found[1])) == list(map(str, expected))  # -0.0 and 0.0 are equal otherwise


def test_one_value_at_the_end_of_a_long_file_decides_the_type() -> None:
    data = b"a\n" + b"1\n" * 300_000 + b"1.5\n"
    assert columns(CSV, data)["a"][0] == "double"
    assert columns(CSV, data + b"x\n")["a"][0] == "string"


def test_nulls_and_empty_text_are_told_apart_in_text_and_are_one_in_numbers() -> None:
    found = columns(CSV, b't,i\nx,1\n,""\n"",2\n')
    assert found == {"t": ("string", ["x", None, ""]), "i": ("int64", [1, None, 2])}


def test_a_column_without_values_is_text() -> None:
    assert columns(CSV, b"a,b\n1,\n2,\n")["b"] == ("string", [None, None])


def test_named_null_values_are_null_unless_quoted() -> None:
    assert columns(CSV, b'a,b\nNA,1\n"NA",NA\n', null_values=("NA",)) == {
        "a": ("string", [None, "NA"]),
        "b": ("int64", [1, None]),
    }


def test_quotes_line_breaks_bom_and_crlf() -> None:
    data = '\ufeffname,note\r\n"Zoë ""Z""","two\r\nlines, one cell"\r\n'.encode()
    assert columns(CSV, data) == {"name": ("string", ['Zoë "Z"']), "note": ("string", ["two\r\nlines, one cell"])}


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_the_delimiter_is_found_in_the_header(delimiter: str) -> None:
    data = delimiter.join(["a", "b", "c"]) + "\n" + delimiter.join(["1", "x y", "2.5"])
    assert columns(CSV, data.encode()) == {"a": ("int64", [1]), "b": ("string", ["x y"]), "c": ("double", [2.5])}


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig", "iso-8859-1"])
def test_other_encodings_are_read_when_named(encoding: str) -> None:
    assert columns(CSV, "näme,n\nZoë,1\n".encode(encoding), encoding=encoding) == {
        "näme": ("string", ["Zoë"]),
        "n": ("int64", [1]),
    }


def test_a_wrong_encoding_is_refused_with_its_place() -> None:
    error = refused(CSV, b"a,b\n1,x\n2,\xff\n")
    assert error.code == "encoding_invalid"
    assert error.message.startswith("byte 10 (line 3) is not valid utf-8")


def test_a_wrong_encoding_far_into_a_file_is_refused_with_its_place() -> None:
    data = b"a,b\n" + b"1,\xc3\xa4\n" * 500_000 + b"1,\xe4\n"
    assert refused(CSV, data).message.startswith("byte 2,500,006 (line 500,002) is not valid utf-8")


def test_a_nul_byte_is_refused_with_its_line() -> None:
    assert refused(CSV, b"a,b\n1,\0\n").message.startswith("line 2 holds a NUL byte")


@pytest.mark.parametrize(
    ("data", "row", "cells"),
    [(b"a,b\n1,2\n3\n", 2, 1), (b"a,b\n1,2,3\n", 1, 3), (b"a,b\n\n1,2\n\n\n3,4,5\n", 2, 3)],
)
def test_a_row_of_another_width_is_refused_with_its_number(data: bytes, row: int, cells: int) -> None:
    error = refused(CSV, data)
    assert (error.code, error.row) == ("row_ragged", row)
    assert error.message.startswith(f"row {row} has {cells} cells, the header has 2")


def test_a_ragged_row_far_into_a_file_is_refused_with_its_number() -> None:
    assert refused(CSV, b"a,b\n" + b"1,2\n" * 700_000 + b"1\n").row == 700_001


@pytest.mark.parametrize("data", [b'a,b\n1,"x\n', b'a,b\n1,"x', b'a,b\n1,"x\n2,y\n', b'a\n"x\n'])
def test_a_quote_left_open_is_refused(data: bytes) -> None:
    error = refused(CSV, data)
    assert error.code in ("source_damaged", "row_ragged")


@pytest.mark.parametrize("data", [b'a,b\n1,"x\n"', b'a,b\n1,"x\n"\n', b'a,b\n1,"x\r\n"\r\n'])
def test_a_cell_that_ends_in_a_line_break_is_read(data: bytes) -> None:
    assert columns(CSV, data)["b"][1][0].rstrip("\r\n") == "x"


@pytest.mark.parametrize(
    ("header", "names"), [("a,b,a", "'a', 'a'"), ("Name,name,x", "'Name', 'name'"), ("Ä,ä", "'Ä', 'ä'")]
)
def test_names_that_occur_twice_are_refused_by_name(header: str, names: str) -> None:
    error = refused(CSV, f"{header}\n".encode())
    assert error.code == "columns_invalid"
    assert f"): {names}; rename them" in error.message


def test_a_column_without_a_name_is_refused() -> None:
    assert refused(CSV, b"a,,c\n1,2,3\n").message.startswith("column 2 of 3 has no name")


@pytest.mark.parametrize("data", [b"a,b\n", b"a,b", b"a,b\r\n"])
def test_a_header_alone_is_a_table_without_rows(data: bytes) -> None:
    found = table(CSV, data)
    assert (found.num_rows, found.column_names) == (0, ["a", "b"])


def test_blank_lines_are_skipped_but_are_nulls_in_a_single_column() -> None:
    assert columns(CSV, b"a,b\n\n1,2\n\n")["a"] == ("int64", [1])
    assert columns(CSV, b"a\n1\n\n2\n")["a"] == ("int64", [1, None, 2])


@pytest.mark.parametrize("data", [b"a,b\n1,x\n2,y\n3,z\n", b"a,b\n1,x\n\n2,y\n3,z\n", b'a,b\n1,"\n\n"\n2,y\n3,z\n'])
def test_reading_from_a_row_skips_exactly_the_rows_before(data: bytes) -> None:
    assert table(CSV, data, start_row=1, batch_rows=1).column("a").to_pylist() == [2, 3]


def test_declared_types_are_kept() -> None:
    data = b"zip,price,day\n00501,1.10,2024-01-02\n,,\n"
    assert columns(CSV, data, schema={"zip": "string", "price": "decimal(10,2)", "day": "string"}) == {
        "zip": ("string", ["00501", None]),
        "price": ("decimal(10,2)", [Decimal("1.10"), None]),
        "day": ("string", ["2024-01-02", None]),
    }


def test_a_value_that_is_not_of_its_declared_type_is_refused_with_its_row() -> None:
    error = refused(CSV, b"a,b\n" + b"1,2\n" * 4_321 + b"x,2\n", schema={"a": "int64"})
    assert (error.row, error.column) == (4_322, "a")
    assert error.message.startswith("row 4322, column 'a': 'x' is not a value of type int64")


def test_a_declared_column_that_is_missing_or_of_no_known_type_is_refused() -> None:
    assert refused(CSV, b"a\n1\n", schema={"b": "int64"}).message.startswith(
        "the declared column 'b' is not in the source"
    )
    assert "which is no type" in refused(CSV, b"a\n1\n", schema={"a": "integer"}).message


def test_a_row_longer_than_a_block_is_read() -> None:
    text = "x" * 900_000
    data = f'a,b,c\n"{text}","{text}","{text}"\n1,2,3\n'.encode()
    assert table(CSV, data).column("c").to_pylist() == [text, "3"]


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (b'a,b\n1,"abc\n2,"def"\n3,x\n', 1),
        (b'a,b\n0,"fine ""so"""\n1,"abc\n2,"def",\n3,x\n', 2),
        (b'a,b\n1,5" pipe\n2,"x" y\n', 2),
        (b'a,b\n1,""x\n', 1),
        (
            b"a,b\n"
            + b"".join(b"%d,%sx%d%s\n" % (n, b'"' * (n in (10, 900)), n, b'"' * (n == 900)) for n in range(1, 1001)),
            10,
        ),
    ],
)
def test_text_after_a_closed_quote_is_refused(data: bytes, row: int) -> None:
    error = refused(CSV, data)
    assert (error.code, error.row) == ("source_damaged", row)
    assert f"row {row}: text follows a closed quote" in str(error)


def test_quotes_inside_unquoted_cells_and_doubled_ones_are_letters() -> None:
    data = b'a,b\n5" pipe,"x""y"\n"""","a,\n""b"""\na""b,""\n"c",6" x 8"\n'
    found = columns(CSV, data)
    assert found["a"][1] == ['5" pipe', '"', 'a""b', "c"]
    assert found["b"][1] == ['x"y', 'a,\n"b"', "", '6" x 8"']


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_where_a_block_ends_does_not_matter_to_quotes(size: int) -> None:
    def read(data: bytes) -> tuple[bytes, bool]:
        stream = Closed(io.BytesIO(data), ",", '"')
        return b"".join(iter(lambda: stream.read(size), b"")), stream.is_cut

    good = b'a,"b""",""\n"""c""",5" x,""""\n'
    assert read(good) == (good, False)
    text, is_cut = read(good + b'"d"""e"f,g\n')
    assert is_cut
    assert text.startswith(good)
