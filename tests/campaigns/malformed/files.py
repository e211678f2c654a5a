"""Malformed files, made from sound ones by a seeded chance: 250 a format."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

FORMATS = ("csv", "json", "xlsx", "parquet")
ROWS = 400
_NAMES = ("id", "name", "score", "is_active")


@dataclass(frozen=True)
class Malformed:
    """One file. `fmt` is what it is said to be, `kind` what was done to it."""

    fmt: str
    kind: str
    data: bytes


def rows() -> list[dict[str, object]]:
    return [
        {"id": n, "name": f"näme {n % 7}" if n % 5 else None, "score": n / 8, "is_active": n % 3 == 0}
        for n in range(ROWS)
    ]


def sound(fmt: str) -> bytes:
    """The file before anything was done to it. Parquet has checksums in its pages, XLSX in its archive; text has none."""
    if fmt == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows()), out, row_group_size=100, write_page_checksum=True)
        return out.getvalue()
    if fmt == "xlsx":
        out = io.BytesIO()
        with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate([dict(zip(_NAMES, _NAMES, strict=True)), *rows()]):
                sheet.write_row(number, 0, list(row.values()))
        return out.getvalue()
    if fmt == "json":
        return json.dumps(rows(), ensure_ascii=False).encode()
    if fmt == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()).encode()
    cells = [
        [json.dumps(value, ensure_ascii=False) if value is not None else "" for value in row.values()] for row in rows()
    ]
    return "\r\n".join(",".join(row) for row in [_NAMES, *cells]).encode() + b"\r\n"


def truncated(fmt: str, chance: random.Random) -> bytes:
    """Cut off somewhere inside; text inside a quote or an object, since a cut at the end of a row leaves a sound file."""
    data = sound(fmt)
    if fmt == "csv":
        return data[: data.index(b'"n', chance.randrange(30, len(data) - 200)) + 3]
    if fmt == "jsonl":
        return data[: data.index(b'{"id"', chance.randrange(len(data) - 200)) + 4]
    return data[: chance.randrange(1, len(data) - 2)]


def flipped(fmt: str, chance: random.Random) -> bytes:
    """One or more bits turned: in text the highest of a letter, which UTF-8 does not allow; else any of the content."""
    data = bytearray(sound(fmt))
    if fmt in ("csv", "json", "jsonl"):
        letters = [at for at, byte in enumerate(data) if byte < 128 and data[at - 1] < 128]
        data[chance.choice(letters)] ^= 0x80
        return bytes(data)
    for _ in range(chance.choice([1, 2, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def wrong_magic(fmt: str, chance: random.Random) -> bytes:
    heads = [
        b"%PDF-1.7\n",
        b"\x89PNG\r\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"Obj\x01",
        b"PAR1",
        b"PK\x03\x04",
        b"<!DOCTYPE html>",
    ]
    own = {"parquet": b"PAR1", "xlsx": b"PK\x03\x04"}.get(fmt)
    head = chance.choice([magic for magic in heads if magic != own])
    if fmt == "csv" and head.startswith(b"<"):
        head = b"PAR1"  # a page of text is a CSV file of sorts
    return head + chance.randbytes(chance.randrange(50)) + sound(fmt)[len(head) :]


def wrong_encoding(fmt: str, chance: random.Random) -> bytes:
    """Text that is not UTF-8 and does not say so; in workbooks and Parquet the texts inside."""
    if fmt == "parquet":
        broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"fine", b"\xff" * chance.randrange(1, 9)]).buffers())
        out = io.BytesIO()
        pq.write_table(pa.table({"name": broken}), out)
        return out.getvalue()
    if fmt == "xlsx":
        return rezipped(
            lambda name, data: data.replace("ä".encode(), b"\xe4") if name.endswith("sharedStrings.xml") else data
        )
    text = sound(fmt).decode()
    return text.encode(chance.choice(["cp1252", "iso-8859-1", "utf-16-le", "utf-16-be", "utf-32-le"]))


def rezipped(change: Callable[[str, bytes], bytes]) -> bytes:
    """The sound workbook with its parts changed, in a whole archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound("xlsx"))) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def torn(fmt: str, chance: random.Random) -> bytes:
    """A piece in the middle is missing, or a row has another shape."""
    data = sound(fmt)
    if fmt in ("xlsx", "parquet"):
        start = chance.randrange(8, len(data) // 2)
        return data[:start] + data[start + chance.randrange(100, 3_000) :]
    lines = data.split(b"\r\n" if fmt == "csv" else b"\n" if fmt == "jsonl" else b"}, ")
    at = chance.randrange(2, len(lines) - 2)
    lines[at] = {"csv": b"1,2,3,4,5,6", "jsonl": b"[1,2]", "json": b'{"id" 1'}[fmt]
    return (b"\r\n" if fmt == "csv" else b"\n" if fmt == "jsonl" else b"}, ").join(lines)


def compressed(fmt: str, chance: random.Random) -> bytes:
    """A damaged gzip or zstd of a sound file; workbooks and Parquet are not read compressed at all."""
    codec = chance.choice(["gzip", "zstd"])
    data = gzip.compress(sound(fmt)) if codec == "gzip" else pa.compress(sound(fmt), codec="zstd", asbytes=True)
    if fmt in ("xlsx", "parquet"):
        return data
    return data[: chance.randrange(12, len(data) - 9)]


MAKERS: dict[str, Callable[[str, random.Random], bytes]] = {
    "truncated": truncated, "flipped": flipped, "wrong magic": wrong_magic, "wrong encoding": wrong_encoding,
    "torn": torn, "compressed": compressed,
}  # fmt: skip


def footer_lies(chance: random.Random) -> bytes:
    """A Parquet file whose footer is one of random bytes, of a random length."""
    data = sound("parquet")
    size = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, chance.randrange(2**16)])
    return data[:-8] + struct.pack("<I", size) + b"PAR1"


def thousand(first_seed: int, each: int, only: frozenset[str] = frozenset()) -> Iterator[Malformed]:
    """Yield `each` malformed files a format: its bombs first (`only` those of these kinds, if any), then the other kinds in turn."""
    from tests.campaigns.malformed.bombs import bombs

    for fmt in FORMATS:
        made = 0
        for kind, data in bombs(fmt, only):
            if made < each:
                yield Malformed(fmt, kind, data)
                made += 1
        for number in range(each - made):
            chance = random.Random(f"{first_seed} {fmt} {number}")
            kind = list(MAKERS)[number % len(MAKERS)]
            actual = "jsonl" if fmt == "json" and number % 2 else fmt
            if fmt == "parquet" and kind == "torn" and number % 4 == 0:
                yield Malformed(fmt, "footer lies", footer_lies(chance))
            else:
                yield Malformed(actual, kind, MAKERS[kind](actual, chance))
