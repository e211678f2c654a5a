"""Where the rows of a CSV file are cut into blocks, and that no thread but the caller's has to do with a file."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.pipeline.formats import Format, ReadOptions, reader, whole_rows
from shared.pipeline.formats.whole_rows import Below, Closed, Unquoted
from shared.pipeline.sources import BytesOpener
from tests.unit.pipeline.formats.rig import written

CELL = st.text('"",,\r\nab\ufeff', max_size=5)


class Few:
    """A stream that gives a few bytes at a time, whatever is asked for."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def read(self, size: int | None = -1) -> bytes:
        return self._data.read(self._size)


def blocks(data: bytes, size: int, quote: str = '"') -> list[bytes]:
    below = Below(Few(data, size), 0)
    stream = Closed(below, ",", quote) if quote else Unquoted(below)
    return [bytes(block) for block in whole_rows.whole_rows(stream)]


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 9),
)
def test_every_block_ends_where_a_row_ends(rows: list[list[str]], line_end: str, size: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    found = blocks(text.getvalue().encode(), size)
    assert b"".join(found).decode() == text.getvalue()
    assert [row for block in found for row in csv.reader(io.StringIO(block.decode(), newline=""))] == rows


def test_rows_are_cut_as_soon_as_they_are_whole() -> None:
    assert blocks(b'a,"x\n"\nb,5" y\nc,z\n', 8) == [b'a,"x\n"\n', b'b,5" y\n', b"c,z\n"]
    assert blocks(b"a\r\nb\rc\rd\n", 2) == [b"a\r\n", b"b\r", b"c\r", b"d\n"]
    assert blocks(b'a,"\nb,"\nc', 4, quote="") == [b'a,"\n', b'b,"\n', b"c"]


def test_a_row_is_not_held_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "_MAX_ROW_BYTES", 1_000)
    assert len(blocks(b'"' + b"x" * 990 + b'"\n', 10)) == 1
    with pytest.raises(SourceError, match="a quote is probably not closed"):
        blocks(b'"' + b"x" * 2_000, 10)


ONE = 't\n\ufeffa\n\n\ufeff\ufeffb\n"\ufeffc\n"\n\nd\n'.encode()
ONE_CELLS = ["\ufeffa", None, "\ufeff\ufeffb", "\ufeffc\n", None, "d"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 1_000])
def test_what_is_read_does_not_depend_on_the_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "_READ_BYTES", size)
    opener, fmt = BytesOpener(ONE), reader(Format.CSV)
    scan = fmt.scan(opener, ReadOptions())
    assert scan.rows == 6
    for start in range(7):
        found = [cell for batch in fmt.batches(opener, scan, start, 4) for cell in batch.column(0).to_pylist()]
        assert found == ONE_CELLS[start:]


@pytest.mark.parametrize("size", [3, 10, 1_000])
def test_rows_are_numbered_through_all_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "_READ_BYTES", size)
    good = b"a,b\n" + b"".join(b"%d,%d\n" % (row, row) for row in range(40))
    opener, fmt = BytesOpener(good), reader(Format.CSV)
    scan = fmt.scan(opener, ReadOptions())
    for start in (0, 1, 7, 39):
        assert [v for batch in fmt.batches(opener, scan, start) for v in batch.column(0).to_pylist()] == list(
            range(start, 40)
        )
    for bad, code in ((b"1,2,3\n", "row_ragged"), (b'1,"x"y\n', "source_damaged")):
        with pytest.raises(SourceError) as caught:
            fmt.scan(BytesOpener(good + bad + b"1,2\n"), ReadOptions())
        assert (caught.value.code, caught.value.row) == (code, 41)


@pytest.mark.parametrize("size", [1, 2, 5, 1_000])
@pytest.mark.parametrize("data", [b'c\nx\n"\n', b'c\nx\n"', b'c\r\nx\r\n"\r\n', b'c,d\n1,"\n"",\n'])
def test_a_quote_that_is_open_at_the_end_is_never_a_cell(
    data: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_rows, "_READ_BYTES", size)
    with pytest.raises(SourceError, match="a quote is open at the end of the file") as caught:
        reader(Format.CSV).scan(BytesOpener(data), ReadOptions())
    assert caught.value.code == "source_damaged"


@pytest.mark.parametrize("size", [1, 2, 5, 1_000])
@pytest.mark.parametrize("end", ["\n\n\n\n\n", "\r\n\r\n\r\n", "\r\r\r\r\r\r"])
def test_a_last_cell_that_ends_in_a_line_break_is_closed_whatever_follows(
    end: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_rows, "_READ_BYTES", size)
    opener = BytesOpener(f'c,d\n1,"x\r\n"{end}'.encode())
    scan = reader(Format.CSV).scan(opener, ReadOptions())
    rows = [row for batch in reader(Format.CSV).batches(opener, scan) for row in batch.to_pylist()]
    assert rows == [{"c": 1, "d": "x\r\n"}]


class Watched(BytesOpener):
    """Bytes that note which threads read them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.threads: set[int] = set()

    def open(self) -> BinaryIO:
        note: Callable[[], None] = lambda: self.threads.add(threading.get_ident())  # noqa: E731 - the class below has its own self

        class Handle(io.BytesIO):
            def read(self, *size: Any) -> bytes:
                note()
                return super().read(*size)

        with super().open() as plain:
            return Handle(plain.read())


@pytest.mark.parametrize("fmt", list(Format))
def test_a_file_is_read_by_the_thread_of_the_caller_alone(fmt: Format) -> None:
    """A thread of pyarrow's that holds what is Python's aborts a process that ends meanwhile."""
    opener = Watched(written(fmt, pa.table({"i": range(200_000) if fmt is not Format.XLSX else range(2_000)})))
    scan = reader(fmt).scan(opener, ReadOptions())
    batches = reader(fmt).batches(opener, scan)
    assert next(batches).num_rows + sum(batch.num_rows for batch in batches) == scan.rows
    assert opener.threads == {threading.get_ident()}
