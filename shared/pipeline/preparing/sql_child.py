"""One SELECT over one table, in a process of its own that can be ended: DuckDB alone neither counts every byte nor stops at once.

Run as a script by `sql`, with an empty environment. It reads the file of the source, that alone, and hands its batches to
DuckDB, which may open nothing itself. SQL comes on stdin, the result leaves on stdout as Parquet, a refusal on stderr as JSON.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 10_000
BUFFER_BYTES = 1 << 18
OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": "1",
}


UNFAITHFUL, HUGE = re.compile(r"\bUHUGEINT\b"), re.compile(r"\bHUGEINT\b")
"""Also within lists and structs. Through Arrow the first leaves DuckDB as another value, 2^128 - 1 as -1; the second becomes a decimal
of 38 digits and may have 39."""


class RefusedError(Exception):
    """The SQL is not one SELECT, or makes what does not leave DuckDB as it is."""


class Source:
    """The rows of the source as an Arrow stream; DuckDB asks for one each time that the SQL reads the table."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._schema = pq.read_schema(path)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=BUFFER_BYTES)
        yield from file.iter_batches(batch_size=BATCH_ROWS, use_threads=False)


def connect(memory_bytes: int) -> duckdb.DuckDBPyConnection:
    """A database in memory that can open nothing and whose settings the SQL cannot change."""
    database = duckdb.connect(":memory:", config={**OPTIONS, "memory_limit": f"{memory_bytes // 10**6}MB"})
    database.execute("set lock_configuration = true")
    return database


def select(database: duckdb.DuckDBPyConnection, text: str) -> pa.RecordBatchReader:
    """The result of one SELECT as a stream of batches. Reading raises `pa.ArrowInvalid` at a number of more than 38 digits."""
    statements = database.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = ", ".join(str(one.type).rpartition(".")[2] for one in statements) or "nothing"
        raise RefusedError(f"it is {found}; expected one SELECT over the table source")
    result = database.sql(statements[0].query)
    kinds = [str(kind) for kind in result.types]
    for name, kind in zip(result.columns, kinds, strict=True):
        if UNFAITHFUL.search(kind):
            raise RefusedError(f"column {name!r} is {kind}, which would not come out as it is; cast it to varchar")
    huge = [index for index, kind in enumerate(kinds) if HUGE.search(kind)]
    reader: pa.RecordBatchReader = result.to_arrow_reader(BATCH_ROWS)
    return pa.RecordBatchReader.from_batches(reader.schema, _checked(reader, huge)) if huge else reader


def _checked(reader: pa.RecordBatchReader, huge: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        for index in huge:
            batch.column(index).validate(full=True)
        yield batch


def main() -> int:
    path, data_bytes, memory_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    try:
        database = connect(memory_bytes)
        database.register("source", Source(path))
        found = select(database, sys.stdin.read())
        with pq.ParquetWriter(sys.stdout.buffer, found.schema, compression="zstd", compression_level=1) as writer:
            for batch in found:
                writer.write_batch(batch)
        sys.stdout.flush()
    except (MemoryError, duckdb.OutOfMemoryException) as exc:
        return _refuse("memory", exc)
    except OSError as exc:  # DuckDB's own, through the stream
        return _refuse("memory" if "Out of Memory" in str(exc) else "fault", exc)
    except (RefusedError, duckdb.Error, pa.ArrowException) as exc:
        return _refuse("sql", exc)
    return 0


def _refuse(kind: str, error: BaseException) -> int:
    sys.stderr.write(json.dumps({"kind": kind, "message": str(error)}))
    return 3


if __name__ == "__main__":
    sys.exit(main())
