"""Registered tables and where their rows come from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class ExportFormat(StrEnum):
    """File formats, read as a source and written as a kept copy."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


class FileSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file in a bucket.

    Attributes:
        uri: `gs://bucket/name`.
        format: needed only where the name does not end in it.
        columns: declared types by column name: `int64 double bool string date timestamp timestamp_tz decimal(p,s)`.
        sheet: XLSX only, by default the first.
        delimiter, encoding: CSV only, by default a comma and UTF-8.
    """

    uri: str
    format: ExportFormat | None = None
    columns: dict[str, str] | None = None
    sheet: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"


class TableBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `table_name` stands for."""

    source: FileSource
    description: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A registered table, so that `table_name` alone is enough to export."""

    name: str
    source: FileSource
    description: str
    updated_at: datetime


class TablePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tables by name."""

    tables: list[Table]
    next_page_token: str | None = None
