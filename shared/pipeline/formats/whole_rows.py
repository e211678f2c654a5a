"""The rows of a CSV file in blocks of whole rows, for pyarrow to read one by one.

The blocks are cut here because pyarrow's own stream reads ahead in threads of its own. They held the file and its bytes, which are
Python's, for a moment after the last row was out: a process that ended in that moment was aborted, as no thread may ask for the
lock of an interpreter that ends. A reader left before its end stood still while such a thread waited for the lock. One block given
as bytes is read to its end by the caller.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import numpy as np

from shared.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from shared.pipeline.formats.dialect import Text

    Turns = list[int] | tuple[()] | np.ndarray[Any, Any]

_READ_BYTES = 1 << 20
"""Our choice: keeps memory flat."""
_MAX_ROW_BYTES = 1 << 25
"""Our choice: bounds the memory for one row."""
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Rows(Protocol):
    """A stream of rows that tells where they end.

    Attributes:
        row_end: where the last row ends that is certainly whole, from the start of what was read last, which may lie before it; None
            if no row is known to end there.
    """

    row_end: int | None

    def read(self, size: int) -> bytes:
        """Some bytes; none only at the end."""


def whole_rows(stream: Rows) -> Iterator[memoryview]:
    """Yield the text in blocks that each end where a row ends. Raises `SourceError` if a row is too long."""
    held: list[bytes] = []
    held_bytes = 0
    while data := stream.read(_READ_BYTES):
        held.append(data)
        end = None if stream.row_end is None else held_bytes + stream.row_end
        held_bytes += len(data)
        if end:
            text = b"".join(held)
            yield memoryview(text)[:end]
            held, held_bytes = [text[end:]], held_bytes - end
        if held_bytes > _MAX_ROW_BYTES:
            message = f"a row is longer than {_MAX_ROW_BYTES >> 20} MiB; a quote is probably not closed: check the file's quotes"
            raise SourceError(message, code="source_damaged")
    if held_bytes:
        yield memoryview(b"".join(held))


class Below:
    """A stream without its first lines."""

    def __init__(self, stream: Text, skip_lines: int) -> None:
        self._stream, self._lines = stream, skip_lines
        self._ready = b""

    def read(self, size: int) -> bytes:
        """Some bytes; none only at the end."""
        while self._lines:
            self._skip()
        data, self._ready = self._ready, b""
        return data or self._stream.read(size)

    def _skip(self) -> None:
        """Drop lines of one more block; what follows the last of them is ready."""
        data = self._stream.read(_READ_BYTES)
        if data.endswith(b"\r"):
            data += self._stream.read(1)
        if not data:
            self._lines = 0
        for match in _LINE_END.finditer(data):
            self._lines -= 1
            if not self._lines:
                self._ready = data[match.end() :]
                break


class Unquoted:
    """Rows without quotes: each line is one."""

    is_cut = is_open = False

    def __init__(self, stream: Below) -> None:
        self._stream = stream
        self.row_end: int | None = None

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.row_end = _last_end(data, 0, len(data))
        return data


class Closed:
    """A stream that ends behind the first closing quote that text follows: a quote was lost, and would swallow rows silently.

    A quote inside an unquoted cell is a letter like any other.

    Attributes:
        is_cut: whether the stream ended there; the last row is the damaged one.
        is_open: whether a quote is open where the stream is now; at its end, which is a line break, that is certain.
        row_end: see `Rows`.
    """

    def __init__(self, stream: Text | Below, delimiter: str, quote: str) -> None:
        self._stream, self._quote = stream, quote.encode()
        self._is_edge = np.isin(np.arange(256), list((delimiter + quote + "\r\n").encode()))
        self._before = b"\n"  # what is not judged yet: quotes up to the end of a block, and the byte before them
        self.is_open = False
        self.is_cut = False
        self.row_end: int | None = None

    def read(self, size: int) -> bytes:
        """At most what the stream gives; nothing at the end only."""
        data = b"" if self.is_cut else self._stream.read(size)
        self.row_end = None
        if not data:
            return data
        known = len(self._before)
        text = self._before + data
        whole = text.rstrip(self._quote)
        self._before = text[len(whole) - 1 :]
        end, turns = self._judged(whole) if self._quote in whole else (None, ())
        if end is not None:
            self.is_cut = True
            return text[known:end]
        row_end = self._row_end(whole, turns)
        self.row_end = None if row_end is None else row_end - known
        return data

    def _judged(self, text: bytes) -> tuple[int | None, Turns]:
        """Where the first closing quote ends that text follows, and the quotes that open or close a cell.

        `text` starts and ends with another byte than a quote.
        """
        letters = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(letters == self._quote[0])
        before, after = self._is_edge[letters[places - 1]], self._is_edge[letters[places + 1]]
        is_open = int(self.is_open)
        if (
            before[is_open::2].all() and after[1 - is_open :: 2].all()
        ):  # opening and closing in turn; a doubled one does both
            self.is_open = bool((is_open + len(places)) % 2)
            return None, places
        turns: list[int] = []
        last = -1  # of a doubled quote, which ends nothing
        for place, starts, ends in zip(places.tolist(), before.tolist(), after.tolist(), strict=True):
            if not self.is_open:
                if starts and text[place - 1] != self._quote[0]:
                    self.is_open = True
                    turns.append(place)
            elif place == last:
                continue
            elif text[place + 1] == self._quote[0]:
                last = place + 1
            elif ends:
                self.is_open = False
                turns.append(place)
            else:
                return place + 1, turns
        return None, turns

    def _row_end(self, text: bytes, turns: Turns) -> int | None:
        """Where the last row ends in a text, by the quotes in it that open or close a cell."""
        stop, is_outside = len(text), not self.is_open
        for place in reversed(turns):
            if is_outside and (end := _last_end(text, place + 1, stop)) is not None:
                return end
            stop, is_outside = place, not is_outside
        return _last_end(text, 0, stop) if is_outside else None


def _last_end(text: bytes, start: int, stop: int) -> int | None:
    """Where the last line ends that ends between two places. A CR at the end of the text may be half of a line break."""
    end = text.rfind(b"\n", start, stop) + 1
    carriage = text.rfind(b"\r", max(start, end), min(stop, len(text) - 1)) + 1
    return carriage or end or None
