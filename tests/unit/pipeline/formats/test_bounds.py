"""Small files that claim or unpack to more than is taken: the bounds, each met by a file that passes that one alone."""

from __future__ import annotations

import gzip
import io
import zipfile

import pyarrow as pa
import pytest
import xlsxwriter

from shared.pipeline.formats import Format, intake, workbook
from tests.unit.pipeline.formats.rig import refused, table, written

ROWS = pa.table({"id": pa.array(range(60)), "name": [f"name {index}" for index in range(60)]})


def workbook_of(more_parts: int = 0) -> bytes:
    packed = io.BytesIO(written(Format.XLSX, ROWS))
    with zipfile.ZipFile(packed, "a") as book:
        for number in range(more_parts):
            book.writestr(f"xl/more{number}.xml", b"")
    return packed.getvalue()


@pytest.mark.parametrize("ratio", [2, 1000])
def test_text_that_unpacks_to_too_many_times_its_size_is_refused(ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_FREE_UNPACKED_BYTES", 0)
    monkeypatch.setattr(intake, "_MAX_UNPACKED_RATIO", ratio)
    data = gzip.compress(b"a\n" + b"1\n" * 1_000)
    if ratio == 2:
        assert "unpack to more than 2 times" in refused(Format.CSV, data).message
    else:
        assert table(Format.CSV, data).num_rows == 1_000


def test_a_workbook_of_too_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "_MAX_PARTS", 30)
    assert table(Format.XLSX, workbook_of()).num_rows == 60
    error = refused(Format.XLSX, workbook_of(30))
    assert (error.code, "parts" in error.message) == ("source_too_large", True)


def test_a_workbook_that_claims_to_unpack_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "_MAX_UNPACKED_BYTES", 2_000)
    assert refused(Format.XLSX, workbook_of()).code == "source_too_large"


def test_a_part_that_is_read_whole_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "_MAX_PART_BYTES", 100)
    error = refused(Format.XLSX, workbook_of())
    assert (error.code, "larger than 100 bytes" in error.message) == ("source_too_large", True)


def test_the_texts_of_a_workbook_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with xlsxwriter.Workbook(packed) as book:  # with shared strings, which our writer does without
        book.add_worksheet().write_column(0, 0, ["name", "a text that is shared"])
    assert table(Format.XLSX, packed.getvalue()).num_rows == 1
    monkeypatch.setattr(workbook, "_MAX_SHARED_CHARS", 10)
    error = refused(Format.XLSX, packed.getvalue())
    assert (error.code, "distinct texts" in error.message) == ("source_too_large", True)
