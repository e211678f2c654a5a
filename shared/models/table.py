"""Registered tables and where their rows come from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from shared.models._base import MAX_INTEGER, Count
from shared.models.mapping import Contract, DeclaredName, Mapping


class ExportFormat(StrEnum):
    """File formats, read as a source and written as a kept copy."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


class Mode(StrEnum):
    """What becomes of the rows that the target holds already."""

    REPLACE = "replace"
    APPEND = "append"
    UPSERT = "upsert"


class BigQuerySource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table or a query in BigQuery; exactly one of the two.

    Attributes:
        table: `project.dataset.table`, or `dataset.table` of our own project; its rows as of the acceptance of the export.
        query: one SELECT in GoogleSQL; only where an administrator allows it (BIGQUERY_QUERIES).
        location: where the data lies, e.g. `EU`; by default BigQuery finds it.
        maximum_bytes_billed: a smaller limit than the administrator's (BIGQUERY_MAX_BYTES_BILLED).
    """

    table: str | None = None
    query: Annotated[str, msgspec.Meta(max_length=100_000)] | None = None
    location: str | None = None
    maximum_bytes_billed: Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)] | None = None

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise ValueError("a bigquery source takes exactly one of table and query")


class FirestoreSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The documents of a collection at one moment.

    Attributes:
        collection: path of a collection, e.g. `cities` or `cities/SF/landmarks`; with `group` the id of a collection group.
        group: take every collection of that id, wherever it lies.
        project, database: by default our own project and its `(default)` database.
    """

    collection: str
    group: bool = False
    project: str | None = None
    database: str = "(default)"


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rows come from: exactly one of `uri`, `bigquery` and `firestore`.

    Attributes:
        uri: `gs://bucket/name`; ending in `/` all files below it, with `*` (any text without `/`) all files whose name fits:
            columns are matched by name.
        format: needed only where the names do not end in it.
        columns: declared types by column name: `int64 double bool string date timestamp timestamp_tz decimal(p,s)`.
        sheet: XLSX only, by default the first that is not hidden.
        header_rows, skip_rows: CSV and XLSX; lines that name the columns (0: column_1, column_2 …), and lines to leave out before
            them.
        delimiter, encoding, quote: CSV only, by default found in the header line, UTF-8 and `"`.
        escape: CSV only; a backslash where the file has backslash escapes (then `\\N` is null).
        decimal, thousands: CSV only; the marks in numbers, by default a point and none.
        formula_safe: CSV only; the file was kept by `export_format`: take the apostrophes that it has before formulas away.
        null_values: CSV only; unquoted cells of these texts are null, by default the empty one.
    """

    uri: str | None = None
    bigquery: BigQuerySource | None = None
    firestore: FirestoreSource | None = None
    format: ExportFormat | None = None
    columns: dict[DeclaredName, str] | None = None
    sheet: str | None = None
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8"
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    escape: Literal["\\"] | None = None
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'", "\u00a0", "\u202f"] | None = None
    header_rows: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1
    skip_rows: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    formula_safe: bool = False
    null_values: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.uri, self.bigquery, self.firestore)) != 1:
            raise ValueError("a source is exactly one of uri, bigquery and firestore")


class TableDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an export of the table does where its request does not say.

    Attributes:
        key: for the mode `upsert`.
        target: options by connector type, e.g. `{"google_sheets": {"worksheet": "Volunteers"}}`.
    """

    mode: Mode | None = None
    key: list[str] = []
    export_format: ExportFormat | None = None
    max_shrink: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    target: dict[str, dict[str, Any]] = {}


class TableBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `table_name` stands for."""

    source: Source
    description: str = ""
    mapping: Mapping | None = None
    contract: Contract | None = None
    max_rejects: Count | None = None
    defaults: TableDefaults = TableDefaults()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A registered table, so that `table_name` alone is enough to export."""

    name: str
    source: Source
    description: str
    updated_at: datetime
    mapping: Mapping | None = None
    contract: Contract | None = None
    max_rejects: int | None = None
    defaults: TableDefaults = TableDefaults()


class TablePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tables by name."""

    tables: list[Table]
    next_page_token: str | None = None
