"""How the rows of a frame get in: as JSON in the request, or as a Parquet file in a bucket of the caller's."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 1_000


def rows_of(table: pa.Table, most_bytes: int) -> list[dict[str, Any]] | None:
    """The rows as a request holds them; None if they take more than `most_bytes`, or JSON has no form for a value, or none at all
    would say which columns there are."""
    if table.num_rows == 0 or table.nbytes > most_bytes:
        return None
    found: list[dict[str, Any]] = []
    size = 0
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        rows = [{name: _plain(value) for name, value in row.items()} for row in batch.to_pylist()]
        if any(isinstance(value, float) and not math.isfinite(value) for row in rows for value in row.values()):
            return None
        size += len(orjson.dumps(rows, option=orjson.OPT_PASSTHROUGH_SUBCLASS))
        if size > most_bytes:
            return None
        found += rows
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value


class Uploads:
    """Files below one `gs://bucket/folder/`, written with this machine's own credentials."""

    def __init__(self, folder: str) -> None:
        bucket, _, path = folder.removeprefix("gs://").partition("/")
        if not folder.startswith("gs://") or not bucket:
            raise ValueError(f"upload_to is {folder!r}; expected gs://bucket/folder/")
        from google.cloud import storage

        self._bucket = storage.Client().bucket(bucket)
        self._path = path.rstrip("/") + "/" if path else ""

    def put(self, table: pa.Table, name: str) -> str:
        """Write a table as Parquet; returns its URI."""
        blob = self._bucket.blob(f"{self._path}{name}.parquet")
        with blob.open("wb", content_type="application/vnd.apache.parquet", ignore_flush=True) as sink:
            pq.write_table(table, sink, compression="zstd")
        return f"gs://{self._bucket.name}/{blob.name}"

    def forget(self, uri: str) -> None:
        """Delete what `put` wrote: a job freezes a copy of its own."""
        from google.api_core.exceptions import NotFound

        try:
            self._bucket.blob(uri.removeprefix(f"gs://{self._bucket.name}/")).delete()
        except NotFound:
            pass  # gone already, which is what was asked
