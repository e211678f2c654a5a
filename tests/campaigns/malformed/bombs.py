"""Small files that become large, or deep, when they are read."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaigns.malformed.files import rezipped

MIB = 1 << 20


def bombs(fmt: str, only: frozenset[str] = frozenset()) -> Iterator[tuple[str, bytes]]:
    """Yield (kind, file) of a format's bombs, or only those of these kinds."""
    for kind, make in BOMBS[fmt].items():
        if not only or kind in only:
            yield kind, make()


def _gzip(head: bytes, block: bytes, times: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([packer.compress(head), *(packer.compress(block) for _ in range(times)), packer.flush()])


def _zstd(head: bytes, block: bytes, times: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(head)
        for _ in range(times):
            packed.write(block)
    return sink.getvalue().to_pybytes()


def _sheet(rows: bytes) -> bytes:
    names = b'<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    body = rows if b'r="1"' in rows else names + rows
    return _part("sheet1.xml", head + body + b"</sheetData></worksheet>")


def _part(name: str, content: bytes) -> bytes:
    """The sound workbook with the content of one part replaced."""
    return rezipped(lambda path, data: content if path.endswith(name) else data)


def _far_cell() -> bytes:
    """The least that is a workbook: a header, and one value in the last row of its column."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    link = '<Relationships xmlns="{}/relationships"><Relationship Id="r1" Type="{}/{}" Target="{}"/></Relationships>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": link.format(package, office, "officeDocument", "xl/w.xml"),
        "xl/w.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/w.xml.rels": link.format(package, office, "worksheet", "s.xml"),
        "xl/s.xml": f'<worksheet xmlns="{main}"><dimension ref="A1:A1048576"/><sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>'
        '<row r="1048576"><c r="A1048576"><v>1</v></c></row></sheetData></worksheet>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return out.getvalue()


def _endless_texts() -> bytes:
    return b"<sst>" + (b"<si><t>" + b"y" * (MIB // 2) + b"</t></si>") * 400 + b"</sst>"


def _laughs() -> bytes:
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{lines}]><worksheet>&l9;</worksheet>'.encode()


def _many_parts() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for number in range(20_000):
            book.writestr(f"xl/part{number}.xml", b"")
    return out.getvalue()


def _parquet(values: pa.Array, rows: int) -> bytes:
    out = io.BytesIO()
    block = pa.table(
        {"a": pa.DictionaryArray.from_arrays(pa.nulls(MIB, pa.int32()).fill_null(0), values).dictionary_decode()}
    )
    with pq.ParquetWriter(out, block.schema, compression="zstd") as file:
        for _ in range(-(-rows // MIB)):
            file.write_table(block, row_group_size=MIB)
    return out.getvalue()


def _words(size: int, rows: int) -> bytes:
    out = io.BytesIO()
    words = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()).fill_null(0), pa.array(["x" * size]))
    pq.write_table(pa.table({"a": words}), out)
    return out.getvalue()


def _wide_page() -> bytes:
    out = io.BytesIO()
    text = pa.array(["x" * MIB]).take(pa.nulls(300, pa.int64()).fill_null(0))
    pq.write_table(pa.table({"a": text}), out, compression="zstd", use_dictionary=False, data_page_size=2**31 - 1)
    return out.getvalue()


def _nested(depth: int) -> bytes:
    out = io.BytesIO()
    values = pa.array([1])
    for _ in range(depth):
        values = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)
    pq.write_table(pa.table({"a": values}), out)
    return out.getvalue()


BOMBS: dict[str, dict[str, Callable[[], bytes]]] = {
    "csv": {
        "gzip bomb of one line": lambda: _gzip(b"a,b\n", b"x" * MIB, 600),
        "gzip bomb of rows": lambda: _gzip(b"a,b\n", b"1," + b"y" * (MIB // 8) + b"\n", 4_000),
        "zstd bomb of rows": lambda: _zstd(b"a,b\n", b"1," + b"y" * (MIB // 8) + b"\n", 4_000),
        "zstd bomb of zeros": lambda: _zstd(b"a,b\n", b"\0" * MIB, 600),
        "one open quote": lambda: b'a,b\n1,"' + b"x\n" * (40 * MIB),
        "a column for each byte": lambda: b"," * MIB + b"\n",
        "a cell beyond the limit": lambda: b"a,b\n1," + b"y" * 2_000_000 + b"\n",
    },
    "json": {
        "deep array": lambda: b"[" * 200_000,
        "deep object": lambda: b'[{"a":' * 100_000,
        "deep value in a row": lambda: b'[{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}]",
        "one endless string": lambda: b'[{"a":"' + b"x" * (70 * MIB),
        "a number of a million digits": lambda: b'[{"a":' + b"9" * MIB + b"}]",
        "a key for each row": lambda: b"[" + b",".join(b'{"k%d":1}' % n for n in range(20_000)) + b"]",
        "gzip bomb of spaces": lambda: _gzip(b"[", b" " * MIB, 600),
        "gzip bomb of rows": lambda: _gzip(
            b'[{"a":1}', b"," + b",".join([b'{"a":"' + b"y" * 2_000 + b'"}'] * 50), 6_000
        ),
    },
    "xlsx": {
        "1.4 KB that claim a million rows": _far_cell,
        "a cell at the far end without a header": lambda: _sheet(
            b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="IV1048576"><v>1</v></c></row>'
        ),
        "a sheet of zeros": lambda: _part("sheet1.xml", b"\0" * (300 * MIB)),
        "a sheet of spaces that never ends": lambda: _sheet(b" " * (200 * MIB) + b"<row"),
        "texts without end": lambda: _part("sharedStrings.xml", _endless_texts()),
        "more parts than a workbook has": _many_parts,
        "entities that multiply": lambda: _part("sheet1.xml", _laughs()),
        "a styles part of 100 MiB": lambda: _part("styles.xml", b"<a>" + b" " * (100 * MIB)),
        "deep elements": lambda: _sheet(b"<row>" * 500_000),
    },
    "parquet": {
        "one value a hundred million times and more": lambda: _parquet(pa.array([0]), 200_000_000),
        "a long text ten thousand times": lambda: _words(900_000, 10_000),
        "a text beyond the limit": lambda: _words(2_000_000, 1),
        "a page of 300 MiB": _wide_page,
        "lists in lists": lambda: _nested(60),
    },
}
"""By format; built when asked for."""
