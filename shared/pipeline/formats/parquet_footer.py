"""The footer of a Parquet file, read and checked before pyarrow sees it.

pyarrow aborts the whole process on some damaged footers (seen with 26.0 on column metadata that is missing or contradicts the
schema), so what it will rely on is checked here first. Format: parquet.apache.org/docs/file-format/metadata, Thrift compact.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import SourceError

if TYPE_CHECKING:
    from shared.pipeline.formats.intake import Intake

_TRAILER_BYTES = 8
_MAX_FOOTER_BYTES = 1 << 27
_MAX_DEPTH = 16
_PAGE_HEADER_BYTES = 1 << 20
_BYTE_ARRAY = 6
_INT96 = 3
_TEXT_OR_UNSAID = (None, 0)  # converted types of byte arrays; a decimal is 5
_ENUM = 4
_DELTAS_OF_TEXT = {6, 7}
_ENCRYPTION = 8  # the footer's field `encryption_algorithm`, where the footer itself is plain
_TYPES, _CODECS, _LZO = range(8), range(8), 3
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one row group.

    `is_text_by_dictionary`: pyarrow can hand over its dictionary; `is_text_spread_out`: it has one, but pyarrow cannot, because
    the column is nested or the dictionary gave way to deltas.
    """

    path: str
    is_text_by_dictionary: bool
    is_text_spread_out: bool
    is_enum: bool
    is_int96: bool
    unpacked_bytes: int
    start: int
    packed_bytes: int


@dataclass(frozen=True)
class Footer:
    """Rows of each row group, and the column chunks of all."""

    group_rows: list[int]
    chunks: list[ColumnChunk]


def read_footer(intake: Intake) -> Footer:
    """The checked footer. Raises ValueError, IndexError or struct.error (damage, for `opened`) if anything is amiss."""
    intake.seek(max(intake.size_bytes - _TRAILER_BYTES, 0))
    (size,) = struct.unpack("<I", intake.read(_TRAILER_BYTES)[:4])
    if size > min(_MAX_FOOTER_BYTES, intake.size_bytes - _TRAILER_BYTES):
        raise ValueError(f"a footer of {size} bytes")
    intake.seek(intake.size_bytes - _TRAILER_BYTES - size)
    try:
        return _checked(_Thrift(intake.read(size)).struct(0), intake.size_bytes)
    except AttributeError as exc:
        raise ValueError("the footer has a field of another type than it should") from exc


def _checked(footer: dict[int, Any], file_bytes: int) -> Footer:
    if _ENCRYPTION in footer:
        raise SourceError(
            "the Parquet file is encrypted; write it without Parquet's own encryption", code="source_format"
        )
    leaves = _leaves(footer[2])
    groups = footer.get(4, [])
    chunks = [_chunk(item, leaf, file_bytes) for group in groups for item, leaf in zip(group[1], leaves, strict=True)]
    rows = [_natural(group[3]) for group in groups]
    if sum(rows) != footer[3]:
        raise ValueError(f"the footer promises {footer[3]} rows and its row groups {sum(rows)}")
    return Footer(rows, chunks)


def _leaves(elements: list[dict[int, Any]]) -> list[dict[int, Any]]:
    """The columns with values, after a check that the tree of the schema is whole."""
    open_children = 1
    for element in elements:
        if open_children < 1:
            raise ValueError("the schema has more elements than its tree")
        open_children += _natural(element.get(5, 0)) - 1
        element[4].decode()
    if open_children:
        raise ValueError("the schema has fewer elements than its tree")
    leaves = [element for element in elements[1:] if not element.get(5)]
    if any(leaf[1] not in _TYPES for leaf in leaves):
        raise ValueError("the schema has a column of no known type")
    return leaves


def _chunk(column: dict[int, Any], leaf: dict[int, Any], file_bytes: int) -> ColumnChunk:
    meta = column[3]
    path = [part.decode() for part in meta[3]]
    if meta[1] != leaf[1] or meta[4] not in _CODECS or path[-1] != leaf[4].decode():
        raise ValueError(f"the metadata of column {'.'.join(path)} contradicts the schema")
    if meta[4] == _LZO:
        message = f"column {'.'.join(path)!r} is compressed with LZO, which is not read here; write the file with zstd or snappy"
        raise SourceError(message, code="source_format")
    start = min(meta[9], meta.get(11, meta[9]))
    if not 0 <= start <= start + _natural(meta[7]) <= file_bytes:
        raise ValueError(f"column {'.'.join(path)} lies outside the file")
    is_text = meta[1] == _BYTE_ARRAY and leaf.get(6) in _TEXT_OR_UNSAID and 11 in meta
    is_spread = is_text and (len(path) > 1 or not _DELTAS_OF_TEXT.isdisjoint(meta[2]))
    is_enum = leaf.get(6) == _ENUM or _ENUM in leaf.get(10, {})
    is_int96 = meta[1] == _INT96
    name, unpacked, packed = ".".join(path), _natural(meta[6]), _natural(meta[7])
    return ColumnChunk(name, is_text, is_spread, is_enum, is_int96, unpacked, start, packed)


def largest_page(intake: Intake, chunk: ColumnChunk) -> int:
    """The most bytes that a page of the chunk unpacks to, by the pages' headers. Raises as `read_footer`."""
    at, largest = chunk.start, 0
    while at < chunk.start + chunk.packed_bytes:
        intake.seek(at)
        head = _Thrift(intake.read(_PAGE_HEADER_BYTES))
        page = head.struct(0)
        largest = max(largest, _natural(page[2]))
        at += head.at + _natural(page[3])
    return largest


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} where a count belongs")
    return value


class _Thrift:
    """Reads Thrift's compact protocol into dicts by field number, lists and plain values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            step, kind = header >> 4, header & 15
            number = number + step if step else self._zigzag()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):  # inside a list a truth value takes a byte
            return self._byte() == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind < _DOUBLE and kind != _STOP:
            return self._zigzag()
        if kind == _DOUBLE:
            return self._taken(8)
        if kind == _BINARY:
            return self._taken(self._varint())
        if kind in (_LIST, _SET):
            header = self._byte()
            size = header >> 4 if header >> 4 < 15 else self._varint()
            return [self._value(header & 15, depth + 1) for _ in range(min(size, len(self._data)))]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"a field of Thrift type {kind}")

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _taken(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self._data):
            raise ValueError("the footer ends early")
        return self._data[self.at - size : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
