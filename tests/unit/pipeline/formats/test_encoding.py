"""UTF-8 in blocks: whatever the blocks, the same text, or the same place of what is no UTF-8."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.pipeline.formats.encoding import Utf8Stream
from shared.pipeline.formats.intake import Intake
from shared.pipeline.sources import BytesOpener

_PIECES = ["a", "\n", "é", "€", "😀", "\u0800", "\U0010ffff"]
_BROKEN = [b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xff"]


def _read(data: bytes, size: int) -> bytes | str:
    stream, found = Utf8Stream(Intake(BytesOpener(data)), "utf-8"), b""
    try:
        while part := stream.some(size):
            found += part
    except SourceError as error:
        return error.message
    return found


def _whole(data: bytes) -> bytes | str:
    """By Python's own decoder."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        return f"byte {exc.start} (line {line}) is not valid utf-8"
    return data if data.endswith(b"\n") or not data else data + b"\n"


@given(st.lists(st.sampled_from([piece.encode() for piece in _PIECES] + _BROKEN), max_size=30), st.integers(5, 12))
@settings(max_examples=300, deadline=None)
def test_blocks_of_any_size_give_the_same_text_or_the_same_place(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    found, wanted = _read(data, size), _whole(data)
    assert found == wanted if isinstance(wanted, bytes) else str(found).startswith(wanted)


def test_text_that_needs_many_reads_is_whole() -> None:
    text = "".join(chr(0x20 + number * 7 % 0xD7C0) for number in range(50_000)).replace("\r", "")
    assert _read(text.encode(), 999) == text.encode() + b"\n"


@pytest.mark.parametrize("size", [5, 6, 7, 100])
@pytest.mark.parametrize(
    ("data", "may_be"),
    [
        (b"a\n\nb\n", True),
        (b"a\n\rb\n", True),
        (b"a\r\rb\n", True),
        (b"a\nb\n\r\n", True),
        (b"a\r\nb\r\n", False),
        (b"a\nb\rc\n", False),
        (b"", False),
    ],
)
def test_a_blank_line_is_seen_wherever_a_block_ends(data: bytes, may_be: bool, size: int) -> None:
    stream = Utf8Stream(Intake(BytesOpener(b"xxx" + data)), "utf-8", with_blank_lines=True)
    while stream.some(size):
        pass
    assert stream.may_have_blank_lines is may_be
