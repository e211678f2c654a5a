"""JSON: an array of objects, or `{"rows": [...]}`, UTF-8, read as a stream.

The rows are cut out of the text by their brackets, skipping over strings, and each is then parsed on its own: memory holds one
block, not the file, and a message can name the row.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shared.errors import SourceError
from shared.pipeline.formats.intake import describe
from shared.pipeline.formats.json_reading import READ_BYTES, RowsReader, RowsWriter, refuse_long_row
from shared.pipeline.formats.json_spelling import STRING
from shared.pipeline.formats.json_values import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.pipeline.formats.encoding import Utf8Stream

_WHAT = 'a JSON file (an array of objects, or {"rows": [...]})'
_SPACE = b" \t\r\n"
_OPENING = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*"rows"[ \t\r\n]*:[ \t\r\n]*)?\[')
_FLAT_OBJECT = rb'\{(?:[^{}\[\]"]++|' + STRING + rb")*+\}"
_MARK = re.compile(_FLAT_OBJECT + b"|" + STRING + rb'|[{}\[\],]|"', re.DOTALL)
_MAX_OPENING_BYTES = 1 << 16


def _items(stream: Utf8Stream) -> Iterator[Chunk]:
    """Yield the array's items, block by block. Raises `SourceError` if the array is not closed."""
    text, is_wrapped = _opened_array(stream)
    rows = 0
    while True:
        items, rest, is_closed = _cut(text, rows)
        rows += len(items)
        if items:
            yield Chunk(raw=items)
        if is_closed:
            break
        refuse_long_row(len(rest))
        data = stream.read(max(READ_BYTES, len(rest)))
        if not data:
            message = f"the file ends inside the array, after {rows} complete rows: it is cut off; write it again"
            raise SourceError(message, code="source_damaged", row=rows + 1)
        text = rest + data
    left = (rest + stream.read(READ_BYTES)).strip(_SPACE)
    left = (
        left[1:].strip(_SPACE)
        if is_wrapped and left.startswith(b"}")
        else (left or b"" if not is_wrapped else b"?" + left)
    )
    if left:
        message = f"after the array of {rows} rows the file goes on; it must hold nothing but the rows"
        raise SourceError(message, code="source_damaged")


def _opened_array(stream: Utf8Stream) -> tuple[bytes, bool]:
    """The text after the opening bracket, and whether it stands in an object under `rows`."""
    text = stream.read(READ_BYTES)
    match = _OPENING.match(text, 0, _MAX_OPENING_BYTES)
    if match is None:
        message = f"expected {_WHAT}, found {describe(text[:16])}; one object a line is the format jsonl"
        raise SourceError(message, code="source_format")
    return text[match.end() :], bool(match[1])


def _cut(text: bytes, rows_before: int) -> tuple[list[bytes], bytes, bool]:
    """The complete items that a comma or the closing bracket follows, what is left, and whether the array was closed."""
    items: list[bytes] = []
    start = depth = 0
    for mark in _MARK.finditer(text):
        found = text[mark.start()]
        if found == 0x22:  # a string, or the start of one that the block does not hold in full
            if mark.end() - mark.start() == 1:
                break
        elif found in b"{[":
            depth += mark.end() - mark.start() == 1  # else an object without nested ones, in full
        elif depth and found in b"}]":
            depth -= 1
        elif not depth:
            item = text[start : mark.start()].strip(_SPACE)
            is_end = found != 0x2C
            if item or not (is_end and rows_before + len(items) == 0):
                items.append(item)
            start = mark.end()
            if is_end:
                return items, (text[start:] if found == 0x5D else b"?"), True
    return items, text[start:], False


READER = RowsReader(_WHAT, _items)
WRITER = RowsWriter(b"[\n", b",\n", b"\n]\n")
