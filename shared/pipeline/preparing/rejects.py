"""The rejects of a job: a file for people, one line for each broken rule, and the discarded rows as they came, for a replay."""

from __future__ import annotations

from array import array
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.pipeline.formats.column_types import BOOL, INT
from shared.pipeline.formats.sink import CountingSink
from shared.pipeline.preparing.casting import as_text
from shared.pipeline.preparing.contract import Broken
from shared.ports import ObjectInfo, Objects

EXACT = 2**53


class Rejects:
    """Writes both files while rows stream, each only if there is something in it. `paths` are object names in `bucket`."""

    def __init__(self, objects: Objects, bucket: str, lines: str, rows: str) -> None:
        self._objects = objects
        self._bucket = bucket
        self._names = (lines, rows)
        self._closing = ExitStack()
        self._lines: BinaryIO | None = None
        self._rows: pq.ParquetWriter | None = None
        self.discarded_rows = 0
        self.discarded_values = 0

    def __enter__(self) -> Rejects:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def add(self, source: pa.RecordBatch, broken: list[Broken]) -> None:
        """Write what a batch broke. `source` has its rows before the mapping; `Broken.index` counts in it."""
        if not broken:
            return
        if self._lines is None:
            self._lines = self._open(self._names[0], "application/x-ndjson")
        indexes = sorted({one.index for one in broken})
        records = dict(zip(indexes, _records(source.take(_ints(indexes))), strict=True))
        out = [orjson.dumps({**_line(one), "record": records[one.index]}) for one in broken]
        self._lines.write(b"\n".join(out) + b"\n")
        gone = sorted({one.index for one in broken if one.discards_row})
        self.discarded_rows += len(gone)
        self.discarded_values += sum(not one.discards_row for one in broken)
        if gone:
            self._keep(source.take(_ints(gone)))

    def found(self) -> tuple[ObjectInfo | None, ObjectInfo | None]:
        """After the end: the file of lines and the file of rows, None where there was nothing to write."""
        return (
            self._objects.stat(self._bucket, self._names[0]) if self._lines else None,
            self._objects.stat(self._bucket, self._names[1]) if self._rows else None,
        )

    def _keep(self, rows: pa.RecordBatch) -> None:
        if self._rows is None:
            sink = CountingSink(self._open(self._names[1], "application/vnd.apache.parquet"))
            self._rows = self._closing.enter_context(pq.ParquetWriter(pa.PythonFile(sink, mode="w"), rows.schema))
        self._rows.write_batch(rows)

    def _open(self, name: str, media: str) -> BinaryIO:
        writer: AbstractContextManager[BinaryIO] = self._objects.writer(self._bucket, name, content_type=media)
        return self._closing.enter_context(writer)


def _line(one: Broken) -> dict[str, Any]:
    return {
        "row": one.row,
        "column": one.column,
        "rule": one.rule,
        "value": one.value,
        "discarded": "row" if one.discards_row else "value",
    }


def _records(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as JSON objects: numbers where JSON readers keep them exact, true and false, else text."""
    columns = []
    for values in rows.columns:
        is_plain = values.type.equals(BOOL) or (values.type.equals(INT) and _is_small(values))
        columns.append((values if is_plain else as_text(values)).to_pylist())
    return [dict(zip(rows.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _is_small(values: pa.Array) -> bool:
    reach = pc.min_max(values)
    return not reach["min"].is_valid or (reach["min"].as_py() >= -EXACT and reach["max"].as_py() <= EXACT)


def _ints(indexes: list[int]) -> pa.Array:
    return pa.Array.from_buffers(INT, len(indexes), [None, pa.py_buffer(array("q", indexes))])  # no pandas
