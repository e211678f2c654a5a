"""Reading and writing in one call, for the tests of the formats."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest

from shared.errors import SourceError
from shared.pipeline import formats
from shared.pipeline.formats import Format, ReadOptions, Scan
from shared.pipeline.formats.column_types import type_name
from shared.pipeline.sources import BytesOpener


def table(fmt: Format, data: bytes, *, start_row: int = 0, batch_rows: int = 10_000, **options: Any) -> pa.Table:
    """The whole source as a table, through a scan that went to JSON and back as in a job's record."""
    opener = BytesOpener(data)
    scan = formats.reader(fmt).scan(opener, ReadOptions(**options))
    scan = Scan.from_json(json.loads(json.dumps(scan.to_json())))
    batches = list(formats.reader(fmt).batches(opener, scan, start_row, batch_rows))
    assert all(batch.num_rows == batch_rows for batch in batches[:-1])
    found = pa.Table.from_batches(batches, scan.schema)
    found.validate(full=True)
    assert found.num_rows == max(scan.rows - start_row, 0)
    return found


def columns(fmt: Format, data: bytes, **options: Any) -> dict[str, tuple[str, list[Any]]]:
    """Per column its type name and its values."""
    found = table(fmt, data, **options)
    return {field.name: (type_name(field.type), found.column(field.name).to_pylist()) for field in found.schema}


def refused(fmt: Format, data: bytes, **options: Any) -> SourceError:
    """The error that reading raises."""
    with pytest.raises(SourceError) as caught:
        table(fmt, data, **options)
    return caught.value


def written(fmt: Format, source: pa.Table, batch_rows: int = 10_000) -> bytes:
    """The table in a format."""
    sink = io.BytesIO()
    size = formats.writer(fmt).write(source.schema, iter(source.to_batches(max_chunksize=batch_rows)), sink)
    assert size == len(sink.getvalue())
    return sink.getvalue()
