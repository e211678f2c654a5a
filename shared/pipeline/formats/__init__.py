"""The five file formats: each read as a stream of Arrow record batches, each written from one.

Whatever the format, `Scan.schema` holds only the eight column types of `ReadOptions.schema`:

| name | Arrow | read from |
|---|---|---|
| `int64` | int64 | whole numbers |
| `double` | float64 | numbers with a fraction, where the float is that number |
| `bool` | bool | true and false |
| `string` | string | everything else; nested JSON as compact JSON text |
| `date` | date32 | ISO dates in CSV, date cells at midnight, Parquet dates |
| `timestamp` | timestamp[us] | times without a zone |
| `timestamp_tz` | timestamp[us, UTC] | times with a zone or offset; the instant is kept, the offset is not |
| `decimal(p,s)` | decimal128 | Parquet decimals, or declared |

Reading is two passes over the same pinned bytes: `scan` finds types, counts rows and meets every malformed value, so that a
bad file fails before a target is touched; `batches` yields the rows and may start anywhere. Importing this module is cheap:
the modules of the formats, and pyarrow, are imported by `reader` and `writer`.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from shared.models import ExportFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa


Format = ExportFormat
"""The formats, by the ending that their files carry: one list for the API and the pipeline."""

_MODULES = {
    Format.CSV: "shared.pipeline.formats.delimited",
    Format.JSON: "shared.pipeline.formats.json_rows",
    Format.JSONL: "shared.pipeline.formats.json_lines",
    Format.PARQUET: "shared.pipeline.formats.parquet",
    Format.XLSX: "shared.pipeline.formats.spreadsheet",
}
CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.JSONL: "application/x-ndjson",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True)
class ReadOptions:
    """How to read one source. The limits are our choice: they bound memory and time, no vendor takes more.

    Attributes:
        schema: declared column types by name, see the table above; other columns keep the found type.
        is_one_of_many: the file is one of several of a table: a declared column that it lacks is no mistake.
        delimiter: CSV only; None finds it among comma, semicolon, tab and bar in the header line.
        encoding: CSV only; a Python codec name. The other formats are UTF-8 by definition.
        quote: CSV only; one character, doubled inside quotes; empty for none.
        escape: CSV only; a backslash, where the file has backslash escapes: then `\\N` is null and an empty cell empty text.
        decimal, thousands: CSV only; the marks in numbers. Numbers spelled otherwise are text.
        formula_safe: CSV only; the file was written by `CsvWriter`: take the apostrophes that it put before formulas away again.
        header_rows: CSV and XLSX; lines that name the columns, several are joined by a blank; 0 for column_1, column_2 …
        skip_rows: CSV and XLSX; lines (rows of the sheet) before the header that are not read.
        sheet: XLSX only; the sheet's name, None for the first that is not hidden.
        null_values: CSV only; unquoted cells of these texts are null. A quoted empty cell is empty text in a text column.
        max_rows, max_columns: refuse the file beyond these.
        max_cell_chars: refuse the file if one text is longer.
        max_decoded_bytes: refuse the file if its rows take more in Arrow memory, all batches together.
    """

    schema: Mapping[str, str] | None = None
    is_one_of_many: bool = False
    delimiter: str | None = None
    encoding: str = "utf-8"
    quote: str = '"'
    escape: str | None = None
    decimal: str = "."
    thousands: str | None = None
    formula_safe: bool = False
    header_rows: int = 1
    skip_rows: int = 0
    sheet: str | None = None
    null_values: tuple[str, ...] = ("",)
    max_rows: int = 100_000_000
    max_columns: int = 1_000
    max_cell_chars: int = 1_000_000
    max_decoded_bytes: int = 64 * 2**30


@dataclass(frozen=True)
class Scan:
    """What one pass over a source found: the schema, the number of rows, and what reading it again needs.

    `hints` holds JSON values only, so a scan survives in a job's record: see `to_json`. `kept` is the rows themselves, if they are
    few and this process read them (JSON and JSON Lines, up to 32 MiB): `batches` then need not read the source again.
    """

    schema: pa.Schema
    rows: int
    options: ReadOptions = ReadOptions()
    hints: dict[str, Any] = field(default_factory=dict)
    kept: tuple[pa.RecordBatch, ...] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The scan as JSON values; `from_json` gives an equal scan."""
        from shared.pipeline.formats.column_types import type_name

        columns = [[column.name, type_name(column.type)] for column in self.schema]
        return {"columns": columns, "rows": self.rows, "options": asdict(self.options), "hints": self.hints}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scan:
        """The scan that `to_json` gave."""
        from shared.pipeline.formats.column_types import schema_of

        options = dict(data["options"])
        options["null_values"] = tuple(options["null_values"])
        schema = schema_of(dict(data["columns"]))
        return cls(schema=schema, rows=data["rows"], options=ReadOptions(**options), hints=dict(data["hints"]))


class Opener(Protocol):
    """A binary source that never changes and can be opened again: a pinned generation of an object, or bytes."""

    @property
    def size_bytes(self) -> int: ...

    def open(self) -> BinaryIO:
        """A fresh seekable handle at the start. The caller closes it."""


class Reader(Protocol):
    """Reads one format. Both methods raise `SourceError` for whatever is wrong with the data, and nothing else for it;

    an error of the opener itself (storage out of reach) passes through unchanged.
    """

    def scan(self, opener: Opener, options: ReadOptions) -> Scan:
        """Read the source once, at most: names, types, number of rows."""

    def batches(
        self, opener: Opener, scan: Scan, start_row: int = 0, batch_rows: int = 10_000
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of exactly `scan.schema` in source order from the zero-based `start_row` on.

        Each has exactly `batch_rows` rows, except the last; nothing is yielded when no rows are left.
        """


class Writer(Protocol):
    """Writes one format."""

    def write(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> int:
        """Write the batches (of the eight types above) to `sink`, which stays open. Returns the bytes written.

        Raises `SourceError` for a value that the format cannot hold unchanged.
        """


def reader(fmt: Format) -> Reader:
    """The reader of a format; imports its libraries on first use."""
    return cast("Reader", _module(fmt).READER)


def writer(fmt: Format) -> Writer:
    """The writer of a format; imports its libraries on first use."""
    return cast("Writer", _module(fmt).WRITER)


def _module(fmt: Format) -> Any:
    return importlib.import_module(_MODULES[Format(fmt)])
