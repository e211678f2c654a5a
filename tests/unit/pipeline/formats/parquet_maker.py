"""Parquet files byte by byte, for what today's writers do not write any more: old lists, bare repeated fields, odd pages.

Format: parquet.apache.org/docs/file-format and its parquet.thrift; Thrift's compact protocol.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, FIXED = range(8)
REQUIRED, OPTIONAL, REPEATED = range(3)
PLAIN, RLE, DELTA_LENGTH_BYTE_ARRAY, RLE_DICTIONARY = 0, 3, 6, 8
UNCOMPRESSED, SNAPPY, GZIP, LZO, BROTLI, LZ4, ZSTD, LZ4_RAW = range(8)
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass(frozen=True)
class Element:
    """One line of the schema. `logical` is the member of the LogicalType union, an empty struct."""

    name: str
    type: int | None = None
    repetition: int = REQUIRED
    children: int = 0
    length: int = 0
    converted: int | None = None
    logical: int | None = None
    scale: int = 0
    precision: int = 0

    def thrift(self) -> dict[int, Any]:
        return {
            1: _i32(self.type),
            2: _i32(self.length or None),
            3: _i32(self.repetition),
            4: (_BINARY, self.name.encode()),
            5: _i32(self.children or None),
            6: _i32(self.converted),
            7: _i32(self.scale or None),
            8: _i32(self.precision or None),
            10: None if self.logical is None else (_STRUCT, {self.logical: (_STRUCT, {})}),
        }


@dataclass(frozen=True)
class Page:
    """One page: the body as it lies in the file, and what its header says. `is_v2`: levels stand before what is packed."""

    body: bytes
    count: int
    unpacked: int
    encoding: int = PLAIN
    is_dictionary: bool = False
    is_v2: bool = False
    nulls: int = 0
    level_bytes: tuple[int, int] = (0, 0)
    has_checksum: bool = False
    checksum_off_by: int = 0

    def thrift(self) -> dict[int, Any]:
        crc = (zlib.crc32(self.body) + self.checksum_off_by) & 0xFFFFFFFF
        head: dict[int, Any] = {
            1: _i32(2 if self.is_dictionary else 3 if self.is_v2 else 0),
            2: _i32(self.unpacked),
            3: _i32(len(self.body)),
            4: _i32(crc - (1 << 32) if crc >> 31 else crc) if self.has_checksum else None,
        }
        if self.is_dictionary:
            head[7] = (_STRUCT, {1: _i32(self.count), 2: _i32(self.encoding)})
        elif self.is_v2:
            rows = {1: _i32(self.count), 2: _i32(self.nulls), 3: _i32(self.count), 4: _i32(self.encoding)}
            lengths = {5: _i32(self.level_bytes[1]), 6: _i32(self.level_bytes[0])}
            head[8] = (_STRUCT, {**rows, **lengths})
        else:
            head[5] = (_STRUCT, {1: _i32(self.count), 2: _i32(self.encoding), 3: _i32(RLE), 4: _i32(RLE)})
        return head


@dataclass(frozen=True)
class Column:
    """One column chunk. `path` is the leaf's, `count` its values with nulls."""

    path: tuple[str, ...]
    type: int
    pages: Sequence[Page]
    count: int
    codec: int = UNCOMPRESSED
    encodings: Sequence[int] = field(default=(PLAIN, RLE))


def made(schema: Sequence[Element], columns: Sequence[Column], rows: int) -> bytes:
    """A whole file of one row group."""
    out = bytearray(b"PAR1")
    chunks = [_written(out, column) for column in columns]
    size = sum(chunk[3][1][6][1] for chunk in chunks)
    group = {1: (_LIST, (_STRUCT, chunks)), 2: _i64(size), 3: _i64(rows)}
    root = Element("schema", children=sum(1 for _ in _roots(schema)))
    footer = {
        1: _i32(1),
        2: (_LIST, (_STRUCT, [element.thrift() for element in (root, *schema)])),
        3: _i64(rows),
        4: (_LIST, (_STRUCT, [group])),
        6: (_BINARY, b"a test of this project"),
    }
    encoded = _struct(footer)
    return bytes(out) + encoded + struct.pack("<I", len(encoded)) + b"PAR1"


def _roots(schema: Sequence[Element]) -> Sequence[Element]:
    """The elements that are nobody's children."""
    roots, place = [], 0
    while place < len(schema):
        roots.append(schema[place])
        open_children = 1
        while open_children:
            open_children += schema[place].children - 1
            place += 1
    return roots


def _written(out: bytearray, column: Column) -> dict[int, Any]:
    start, unpacked = len(out), 0
    first_data = None
    for page in column.pages:
        if not page.is_dictionary and first_data is None:
            first_data = len(out)
        header = _struct(page.thrift())
        out += header + page.body
        unpacked += len(header) + page.unpacked
    meta = {
        1: _i32(column.type),
        2: (_LIST, (_I32, list(column.encodings))),
        3: (_LIST, (_BINARY, [part.encode() for part in column.path])),
        4: _i32(column.codec),
        5: _i64(column.count),
        6: _i64(unpacked),
        7: _i64(len(out) - start),
        9: _i64(start if first_data is None else first_data),
        11: _i64(start) if column.pages and column.pages[0].is_dictionary else None,
    }
    return {2: _i64(start), 3: (_STRUCT, meta)}


def levels(values: Sequence[int], width: int) -> bytes:
    """Levels of a v1 page: runs of one value each, with their length before them; nothing for a width of 0."""
    return b"" if not width else struct.pack("<I", len(bare := runs(values, width))) + bare


def runs(values: Sequence[int], width: int) -> bytes:
    """RLE runs of one value each; `width` in bits."""
    return b"".join(_varint(1 << 1) + value.to_bytes((width + 7) // 8, "little") for value in values)


def plain(kind: int, values: Sequence[Any]) -> bytes:
    """Values that are no nulls, PLAIN."""
    forms = {INT32: "<i", INT64: "<q", FLOAT: "<f", DOUBLE: "<d"}
    if kind in forms:
        return b"".join(struct.pack(forms[kind], value) for value in values)
    if kind == BYTE_ARRAY:
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return b"".join(values)  # FIXED and INT96


def page(
    kind: int,
    values: Sequence[Any],
    *,
    reps: Sequence[int] = (),
    defs: Sequence[int] = (),
    widths: tuple[int, int] = (0, 0),
    pack: Callable[[bytes], bytes] = bytes,
    **more: Any,
) -> Page:
    """A v1 page of PLAIN values. `widths` in bits, of repetition and definition levels."""
    body = levels(reps, widths[0]) + levels(defs, widths[1]) + plain(kind, values)
    return Page(pack(body), count=len(reps or defs or values), unpacked=len(body), **more)


def _i32(value: int | None) -> tuple[int, int] | None:
    return None if value is None else (_I32, value)


def _i64(value: int) -> tuple[int, int]:
    return _I64, value


def _struct(fields: dict[int, Any]) -> bytes:
    out, before = bytearray(), 0
    for number, typed in sorted(fields.items()):
        if typed is None:
            continue
        kind, value = typed
        step = number - before
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _zigzag(number)
        out += _value(kind, value)
        before = number
    return bytes(out) + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind in (_I32, _I64):
        return _zigzag(value)
    if kind == _BINARY:
        return _varint(len(value)) + bytes(value)
    if kind == _STRUCT:
        return _struct(value)
    item_kind, items = value
    head = bytes([len(items) << 4 | item_kind]) if len(items) < 15 else bytes([0xF0 | item_kind]) + _varint(len(items))
    return head + b"".join(_value(item_kind, item) for item in items)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])
