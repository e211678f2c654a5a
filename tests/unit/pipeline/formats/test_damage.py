"""Whatever happened to a file: it is read in full, or refused with a `SourceError`; no library's error gets out."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import UTC, date, datetime
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import SourceError
from shared.pipeline import formats
from shared.pipeline.formats import Format, ReadOptions
from tests.unit.pipeline.formats.rig import refused, table, written

_VARIANTS = 300
_SOURCE = pa.table(
    {
        "id": pa.array(range(60)),
        "name": pa.array([f"näme {index % 7}" for index in range(60)]),
        "score": pa.array([index / 4 for index in range(60)]),
        "born": pa.array([date(2000, 1, 1 + index % 28) for index in range(60)]),
        "seen": pa.array(
            [datetime(2024, 5, 6, index % 24, tzinfo=UTC) for index in range(60)], pa.timestamp("us", "UTC")
        ),
    }
)


def _damaged(data: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        start = chance.randrange(len(data))
        return data[:start] + data[start + chance.randrange(1, 40) :]
    changed = bytearray(data)
    for _ in range(1 if kind == 2 else 8):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("fmt", list(Format))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(fmt: Format) -> None:
    data, chance = written(fmt, _SOURCE), random.Random(f"damage {fmt}")
    refusals = 0
    for _ in range(_VARIANTS):
        try:
            table(fmt, _damaged(data, chance))
        except SourceError:
            refusals += 1
    assert refusals > _VARIANTS // 4


def test_damage_inside_the_parts_of_a_workbook_is_refused_or_read() -> None:
    with zipfile.ZipFile(io.BytesIO(written(Format.XLSX, _SOURCE))) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    chance = random.Random("damage parts")
    for _ in range(_VARIANTS):
        name = chance.choice(list(parts))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as book:
            for other, data in parts.items():
                book.writestr(other, _damaged(data, chance) if other == name else data)
        try:
            table(Format.XLSX, packed.getvalue())
        except SourceError:
            pass


_ALSO_CSV = {Format.JSON, Format.JSONL}  # text, and so a CSV file of sorts


@pytest.mark.parametrize(
    ("fmt", "other"),
    [
        (fmt, other)
        for fmt in Format
        for other in Format
        if fmt is not other and not (fmt is Format.CSV and other in _ALSO_CSV)
    ],
)
def test_a_file_of_another_format_is_refused(fmt: Format, other: Format) -> None:
    refused(fmt, written(other, _SOURCE))


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        (Format.CSV, "a CSV file"),
        (Format.JSON, 'a JSON file (an array of objects, or {"rows": [...]})'),
        (Format.PARQUET, "a Parquet file"),
        (Format.XLSX, "an XLSX workbook"),
    ],
)
def test_an_empty_file_is_named_as_such(fmt: Format, expected: str) -> None:
    assert refused(fmt, b"").message.startswith(f"expected {expected}, found an empty file (0 bytes)")


def test_an_old_excel_file_is_named_as_such() -> None:
    error = refused(Format.XLSX, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
    assert error.code == "source_format"
    assert "found an old Excel .xls file or a password-protected workbook" in error.message


def test_a_parquet_file_cut_off_is_named_as_such() -> None:
    assert "cut off" in refused(Format.PARQUET, written(Format.PARQUET, _SOURCE)[:-10]).message


class _FailingStore:
    """A store that stops answering after its first bytes."""

    size_bytes = 10_000_000

    def open(self) -> BinaryIO:
        return _FailingHandle()


class _FailingHandle(io.BytesIO):
    def __init__(self) -> None:
        super().__init__(b"a,b\n1,2\n")

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 0:
            raise ConnectionError("the store hung up")
        return super().read(4)


@pytest.mark.parametrize("fmt", [Format.CSV, Format.JSONL])
def test_an_error_of_the_store_is_not_mistaken_for_damaged_data(fmt: Format) -> None:
    with pytest.raises(ConnectionError, match="the store hung up"):
        formats.reader(fmt).scan(_FailingStore(), ReadOptions())


def test_a_small_parquet_file_that_unpacks_to_gigabytes_is_refused_while_it_streams() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * 900_000]))
    packed = io.BytesIO()
    pq.write_table(pa.table({"text": text}), packed)
    assert len(packed.getvalue()) < 1_000_000
    assert refused(Format.PARQUET, packed.getvalue()).code == "source_too_large"


def test_a_parquet_file_of_more_rows_than_allowed_is_refused_by_its_footer() -> None:
    assert refused(Format.PARQUET, written(Format.PARQUET, _SOURCE), max_rows=59).code == "source_too_large"


@pytest.mark.parametrize("fmt", [Format.CSV, Format.JSON, Format.JSONL, Format.XLSX])
def test_limits_hold_in_every_streaming_format(fmt: Format) -> None:
    data = written(fmt, _SOURCE)
    assert refused(fmt, data, max_rows=59).code == "source_too_large"
    assert refused(fmt, data, max_columns=4).code == "source_too_large"
    assert refused(fmt, data, max_decoded_bytes=500).code == "source_too_large"
    error = refused(fmt, data, max_cell_chars=5)
    assert (error.code, error.row, error.column) == ("source_too_large", 1, "name")


class _CarelessHandle(io.BytesIO):
    """A store's reader that takes a place before the start of the file, and fails at the next read (as google's does)."""

    def seek(self, offset: int, whence: int = 0) -> int:
        self._wrong = {0: 0, 1: self.tell(), 2: len(self.getvalue())}[whence] + offset < 0
        return 0 if self._wrong else super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if getattr(self, "_wrong", False):
            raise ValueError("a starting value cannot be negative")
        return super().read(size)


@pytest.mark.parametrize("fmt", list(Format))
def test_a_file_of_a_few_bytes_is_damaged_and_not_out_of_reach(fmt: Format) -> None:
    class Opener:
        size_bytes = 7

        def open(self) -> BinaryIO:
            return _CarelessHandle(b"PK\x03\x04abc")

    with pytest.raises(SourceError):
        formats.reader(fmt).scan(Opener(), ReadOptions())
