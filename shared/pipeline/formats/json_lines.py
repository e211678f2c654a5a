"""JSON Lines: one JSON object a line, UTF-8. Blank lines are skipped.

LF ends a line. CR is white space, as JSON and jsonlines.org have it: before an LF it means nothing, and two objects with only a CR
between them are no row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.pipeline.formats.json_native import count_objects
from shared.pipeline.formats.json_reading import RowsReader, RowsWriter, refuse_long_row
from shared.pipeline.formats.json_values import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats.encoding import Utf8Stream

_FIRST_BYTES, _GROWTH, _MOST_BYTES = 1 << 14, 16, 1 << 22


def _lines(stream: Utf8Stream) -> Iterator[Chunk]:
    """Yield the complete lines of each block, without blank ones. The first is short, for its columns are not known yet."""
    rest: list[bytes] = []
    held = 0
    size = _FIRST_BYTES
    while data := stream.some(size):
        end = data.rfind(b"\n") + 1
        if end:
            yield _chunk(b"".join((*rest, memoryview(data)[:end])))
            rest, held = [], 0
        rest.append(data[end:])
        held += len(data) - end
        refuse_long_row(held)
        size = min(size * _GROWTH, _MOST_BYTES)
    if held:  # a CR stands where the last line break should
        yield _chunk(b"".join((*rest, b"\n")))


def _chunk(text: bytes) -> Chunk:
    """The lines of a text that ends in a line break."""
    if count := count_objects(text):
        return Chunk(text=text, count=count)
    return Chunk(raw=[line for line in text.split(b"\n") if line and not line.isspace()])


READER = RowsReader("a JSON Lines file (one object a line)", _lines, (b"<", b"["))
WRITER = RowsWriter(b"", b"\n", b"\n")
