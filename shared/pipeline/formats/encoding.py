"""Text files as clean UTF-8: any encoding in, positions of what is wrong in the error."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shared.errors import SourceError

if TYPE_CHECKING:
    from shared.pipeline.formats.intake import Intake

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_BLANK_LINES = (b"\n\n", b"\n\r", b"\r\r")
_TAIL_BYTES = 4
_NEWLINE, _RETURN = ord("\n"), ord("\r")
Numbers = np.ndarray[Any, Any]


class Utf8Stream(io.RawIOBase):
    """UTF-8 without a byte order mark, ending in a line break, from a file in `encoding`.

    Attributes:
        tail: the last bytes of the stream (after the end was read).
        may_have_blank_lines: False when certainly no line is blank; looked for only `with_blank_lines`.
    """

    def __init__(self, intake: Intake, encoding: str, *, with_blank_lines: bool = False) -> None:
        self._intake = intake
        self._encoding = encoding
        try:
            self._codec = codecs.lookup(encoding).name
            self._decoder = codecs.getincrementaldecoder(encoding)()
        except LookupError:
            message = f"the encoding {encoding!r} is not known; use a name like utf-8, utf-16, cp1252 or iso-8859-1"
            raise SourceError(message, code="encoding_invalid") from None
        self._held = b""
        self._ready = b""
        self._raw_bytes = 0
        self._lines = 0
        self._is_start = True
        self._is_done = False
        self.tail = b""
        self.may_have_blank_lines = False
        self._seeks_blank_lines = with_blank_lines

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        wanted = None if size is None or size < 0 else size
        parts, count = [self._ready], len(self._ready)
        while not self._is_done and (wanted is None or count < wanted):
            part = self._next(1 << 16 if wanted is None else max(wanted - count, 4096))
            parts.append(part)
            count += len(part)
        data = b"".join(parts)
        self._ready = b"" if wanted is None else data[wanted:]
        return data if wanted is None else data[:wanted]

    def some(self, size: int) -> bytes:
        """The next bytes, some four more or less than `size`; fewer only at the end. Not to be mixed with `read`, which copies more."""
        parts: list[bytes] = []
        left = size
        while left > _TAIL_BYTES and not self._is_done:
            parts.append(self._next(left))
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self, size: int) -> bytes:
        raw = self._intake.read(size)
        data = self._decoded(raw)
        self._raw_bytes += len(raw)
        if self._is_start and data:
            data = data.removeprefix(_BOM)
            self._is_start = False
        if b"\0" in data:
            line = self._lines + data.count(b"\n", 0, data.index(b"\0")) + 1
            message = f"line {line} holds a NUL byte; a file in UTF-16 needs encoding 'utf-16', otherwise remove it"
            raise SourceError(message, code="encoding_invalid")
        if not raw:
            self._is_done = True
            if not (self.tail + data).endswith((b"\n", b"\r")) and (self.tail or data):
                data += b"\n"
        letters = np.frombuffer(data, np.uint8)
        are_ends = letters == _NEWLINE
        self._lines += int(np.count_nonzero(are_ends))
        if self._seeks_blank_lines and not self.may_have_blank_lines:
            seam = self.tail[-1:] + data[:1]
            self.may_have_blank_lines = seam in _BLANK_LINES or _has_blank_line(letters, are_ends)
        self.tail = (self.tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return data

    def _decoded(self, raw: bytes) -> bytes:
        """The next bytes as UTF-8; raises `SourceError` with the byte offset and the line of what is not valid."""
        try:
            if self._codec != "utf-8":
                return self._decoder.decode(raw, final=not raw).encode("utf-8")
            held = self._held + raw if self._held else raw
            end = _whole_letters(held) if raw else len(held)
            if not _is_utf8(held, end):
                end = codecs.utf_8_decode(held, "strict", not raw)[1]
            self._held = held[end:]
            return held[:end]
        except UnicodeError as exc:
            start = getattr(exc, "start", 0)
            data = getattr(exc, "object", raw)
            data = data if isinstance(data, bytes) else raw
            offset = self._raw_bytes + len(raw) - len(data) + start
            line = self._lines + data[:start].count(b"\n") + 1
            message = (
                f"byte {offset:,} (line {line:,}) is not valid {self._encoding}; "
                "name the file's real encoding (cp1252 is common for files from Excel), or save it as UTF-8"
            )
            raise SourceError(message, code="encoding_invalid") from exc


def _has_blank_line(letters: Numbers, are_newlines: Numbers) -> bool:
    """Whether one of `_BLANK_LINES` is there; looking for them as bytes took a quarter of the time of reading CSV."""
    newlines, returns = np.flatnonzero(are_newlines[:-1]), np.flatnonzero(letters[:-1] == _RETURN)
    after = letters[newlines + 1]
    return bool(((after == _NEWLINE) | (after == _RETURN)).any() or (letters[returns + 1] == _RETURN).any())


def _whole_letters(data: bytes) -> int:
    """The length of UTF-8 text without a letter at its end that goes on in the next bytes."""
    for back in range(1, min(len(data), 3) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a letter of 2, 3 or 4
            return len(data) - back * ((2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) > back)
        if byte < 0x80:
            break
    return len(data)


def _is_utf8(data: bytes, size: int) -> bool:
    """Whether the first `size` bytes are valid UTF-8, asked of Arrow, which takes a quarter of the time that Python does."""
    ends = pa.py_buffer(np.array([0, size], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
