"""What all readers share: telling broken data from a broken store, exact batches, meters."""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO
from xml.parsers.expat import ExpatError

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shared.pipeline.formats import Opener, ReadOptions

_BROKEN = (
    pa.ArrowException,
    zipfile.BadZipFile,
    ExpatError,
    zlib.error,
    struct.error,
    EOFError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    SyntaxError,  # xml.etree's ParseError
    RuntimeError,
    OSError,
    MemoryError,
)
"""What the parsing libraries raise on damaged input: pyarrow OSError and MemoryError too, zipfile nearly all of them."""

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"PARE", "an encrypted Parquet file"),
    (b"PK\x03\x04", "a ZIP archive or an XLSX workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Excel .xls file or a password-protected workbook"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"(\xb5/\xfd", "zstd-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"%PDF", "a PDF"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_PACKED = {b"\x1f\x8b": "gzip", b"(\xb5/\xfd": "zstd"}
_MAX_UNPACKED_RATIO, _FREE_UNPACKED_BYTES = 300, 1 << 26
"""Our choice: tables compress to a tenth or a fiftieth, bombs to a thousandth and less; the first 64 MiB may be anything."""
KEPT_BYTES = 1 << 25
"""Our choice: what one source may take in memory between its scan and its rows."""
BINARY_MAGIC = tuple(magic for magic, _ in _MAGIC if magic not in {b"ORC", b"BZh"})


def describe(head: bytes) -> str:
    """What the first bytes of a file look like, for a message."""
    if not head:
        return "an empty file (0 bytes)"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if text in (b"{", b"["):
        return "JSON text"
    if text == b"<":
        return "an HTML or XML page"
    return f"data that starts with {shown(head[:16].decode('latin-1'))}"


class Intake(io.RawIOBase):
    """The opener's handle, remembering an error of the store so that it is not mistaken for damaged data."""

    def __init__(self, opener: Opener) -> None:
        self._handle: BinaryIO = opener.open()
        self.size_bytes = opener.size_bytes
        self.store_error: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as a file would: a store's reader may take a place before the start, and fail at the next read as if out of reach."""
        base = {0: 0, 1: self._handle.tell(), 2: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place before the start of the file")
        return self._handle.seek(base + offset)

    def tell(self) -> int:
        return self._handle.tell()

    def read(self, size: int | None = -1) -> bytes:
        try:
            return self._handle.read(-1 if size is None else size)
        except Exception as exc:
            self.store_error = exc
            raise

    def head(self, size: int = 16) -> bytes:
        """The first bytes; leaves the position at the start."""
        self.seek(0)
        data = self.read(size)
        self.seek(0)
        return data

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


class Unpacked(Intake):
    """The content of a gzip or zstd file, read forward, or from the start again. Raises `SourceError` at a bomb."""

    def __init__(self, opener: Opener, codec: str) -> None:
        super().__init__(opener)
        self._codec = codec
        self._count = 0
        self._content = self._started()

    def _started(self) -> pa.CompressedInputStream:
        super().seek(0)
        self._count = 0
        return pa.CompressedInputStream(pa.PythonFile(_Packed(super().read)), self._codec)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Start again; no other place can be reached."""
        if offset or whence:
            raise io.UnsupportedOperation("compressed content is read from its start only")
        self._content = self._started()
        return 0

    def tell(self) -> int:
        return self._count

    def read(self, size: int | None = -1) -> bytes:
        data: bytes = self._content.read(size)
        self._count += len(data)
        if self._count > _MAX_UNPACKED_RATIO * self.size_bytes + _FREE_UNPACKED_BYTES:
            raise too_large(f"its {self.size_bytes:,} bytes unpack to more than {_MAX_UNPACKED_RATIO} times as many")
        return data


class _Packed(io.RawIOBase):
    """The compressed bytes, for pyarrow; closing it closes nothing."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._read(size)


@contextmanager
def opened(opener: Opener, what: str, *, may_be_packed: bool = False) -> Iterator[Intake]:
    """The opened source. Errors of the parsing libraries leave as `SourceError`; the store's own errors unchanged.

    Args:
        opener: the source.
        what: the expected format, for messages, e.g. "a Parquet file".
        may_be_packed: whether the content of a gzip or zstd file is to be read instead of the file.
    """
    intake = Intake(opener)
    try:
        if may_be_packed:
            head = intake.head()
            codec = next((codec for magic, codec in _PACKED.items() if head.startswith(magic)), None)
            if codec is not None:
                intake.close()
                intake = Unpacked(opener, codec)
        yield intake
    except SourceError:
        raise
    except _BROKEN as exc:
        if intake.store_error is not None:
            raise intake.store_error from None
        detail = " ".join(str(exc).split())[:200] or type(exc).__name__
        message = f"expected {what}, but the file is damaged or incomplete ({detail}); write it again and export again"
        raise SourceError(message, code="source_damaged") from exc
    finally:
        intake.close()


def refuse(what: str, head: bytes) -> SourceError:
    """The error for a file of another kind than expected."""
    message = f"expected {what}, found {describe(head)}; name the right format, or convert the file"
    return SourceError(message, code="source_format")


def exact_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of exactly `rows`, except the last; nothing if there are none."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            piece = batch.slice(0, rows - count)
            held.append(piece)
            count += piece.num_rows
            batch = batch.slice(piece.num_rows)
            if count == rows:
                yield _joined(held, schema)
                held, count = [], 0
    if count:
        yield _joined(held, schema)


def rows_from(batches: Iterable[pa.RecordBatch], start_row: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows from the zero-based `start_row` on."""
    for batch in batches:
        skipped = min(start_row, batch.num_rows)
        start_row -= skipped
        yield batch.slice(skipped)


def _joined(pieces: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    if len(pieces) == 1:
        return pieces[0]
    columns = [pa.concat_arrays([piece.column(index) for piece in pieces]) for index in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class Meter:
    """Counts what was decoded and refuses what is beyond the limits, while it streams."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.rows = 0
        self.bytes = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Count a batch. Raises `SourceError` (code `source_too_large`) at the first limit it passes."""
        options = self._options
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type):
                check_lengths(column, name, self.rows + 1, options)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self.rows > options.max_rows:
            raise too_large(f"it has more than {options.max_rows:,} rows")
        if self.bytes > options.max_decoded_bytes:
            raise too_large(f"its first {self.rows:,} rows take more than {options.max_decoded_bytes:,} bytes")


class Kept:
    """The rows of a scan, kept if they are few, so that they need not be read again."""

    def __init__(self, meter: Meter) -> None:
        self._batches: list[pa.RecordBatch] | None = []
        self._meter = meter

    def take(self, batch: pa.RecordBatch) -> None:
        """Keep a batch that the meter has counted."""
        if self._meter.bytes > KEPT_BYTES:
            self._batches = None
        if self._batches is not None:
            self._batches.append(batch)

    def batches_in(self, schema: pa.Schema) -> tuple[pa.RecordBatch, ...] | None:
        """The batches with all the columns that were found in the end, in their types; None if there were too many rows."""
        if self._batches is None:
            return None
        fitted = []
        for batch in self._batches:
            columns = [_fitted(batch, field) for field in schema]
            if any(column is None for column in columns):
                return None
            fitted.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        return tuple(fitted)


def _fitted(batch: pa.RecordBatch, field: pa.Field) -> pa.Array | None:
    """A column in the type found in the end: nulls where it came later; None where its values would have to be read otherwise."""
    values = batch.column(field.name) if field.name in batch.schema.names else None
    if values is None or values.null_count == len(values):
        return pa.nulls(batch.num_rows, field.type)
    if pa.types.is_integer(values.type) and pa.types.is_floating(
        field.type
    ):  # none is beyond 2^53: the scan saw to that
        return pc.cast(values, field.type)
    return values if values.type.equals(field.type) else None


def check_lengths(column: pa.Array, name: str, first_row: int, options: ReadOptions) -> None:
    """Raise `SourceError` naming the first text longer than `max_cell_chars`."""
    if _text_bytes(column) <= options.max_cell_chars:
        return
    most = pc.max(pc.binary_length(column)).as_py() if len(column) else None
    if most is None or most <= options.max_cell_chars:
        return
    for index, length in enumerate(pc.utf8_length(column).to_pylist()):
        if length is not None and length > options.max_cell_chars:
            row = first_row + index
            message = (
                f"row {row}, column {name!r} holds a text of {length:,} characters, at most "
                f"{options.max_cell_chars:,} are read; shorten it"
            )
            raise SourceError(message, code="source_too_large", row=row, column=name)


def _text_bytes(column: pa.Array) -> int:
    """How many bytes lie between the start of the first text and the end of the last."""
    offsets = column.buffers()[1]
    if not len(column) or offsets is None:
        return 0
    ends = memoryview(offsets).cast("q" if pa.types.is_large_string(column.type) else "i")
    return int(ends[column.offset + len(column)] - ends[column.offset])


def too_large(reason: str) -> SourceError:
    """The error for a source beyond a limit."""
    return SourceError(f"the source is too large: {reason}; split it, or select fewer columns", code="source_too_large")
