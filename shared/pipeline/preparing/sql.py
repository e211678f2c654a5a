"""SQL over a frozen source: one SELECT in DuckDB, in a child process without network and files, with bounded memory and time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from shared.errors import MappingError, SourceError
from shared.pipeline.formats import Format, ReadOptions, reader, writer
from shared.pipeline.freezing import FrozenSource, PinnedObject
from shared.pipeline.preparing import sql_child
from shared.ports import Objects

CHILD = Path(sql_child.__file__)  # imported, so that it is packaged with what needs it
DATABASE_BYTES = 200 * 10**6  # our choice: what DuckDB may take for joins and sorts
CHILD_BYTES = (
    700 * 2**20
)  # our choice: all that the process may take, so that it and the worker fit in an instance of 1 GiB
LIMIT_S = 240.0  # our choice: half a box of work
MAX_SOURCE_BYTES = 2 * 2**30  # our choice: the source lies on the instance's disk, which is its memory
SHOWN = 600


def run_sql(
    objects: Objects, frozen: FrozenSource, text: str, place: tuple[str, str], beat: Callable[[int], None]
) -> FrozenSource:
    """Write the rows of the SELECT as one Parquet object at `place` (bucket, name) and return it as a source.

    Raises:
        MappingError: it is not one SELECT, names what is not there, or a type of the result has no column type.
        SourceError: (`sql_limit`) it took too much memory or time, or (`source_too_large`) the source is too large for it.
    """
    with tempfile.TemporaryDirectory(prefix="sql-") as folder:
        path = Path(folder) / "source.parquet"
        _write_source(frozen, path, beat)
        with (
            _child(path, text) as output,
            objects.writer(*place, content_type="application/vnd.apache.parquet") as sink,
        ):
            shutil.copyfileobj(output, sink, 1 << 20)
    info = objects.stat(*place)
    assert info is not None
    try:
        scan = reader(Format.PARQUET).scan(PinnedObject(objects, info), ReadOptions())
    except SourceError as exc:
        message = f"mapping.sql: the result cannot be delivered: {exc.message}"
        raise MappingError(message, field="mapping.sql", column=exc.column) from exc
    return FrozenSource.single(objects, info, Format.PARQUET, scan, frozen.as_of)


def _write_source(frozen: FrozenSource, path: Path, beat: Callable[[int], None]) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        done = 0
        for table in frozen.tables(0, 10_000):
            done += table.num_rows
            beat(done)
            if path.stat().st_size > MAX_SOURCE_BYTES:
                message = f"the source takes more than {MAX_SOURCE_BYTES:,} bytes, too much for SQL here; use columns and where"
                raise SourceError(f"{message}, or a BigQuery source", code="source_too_large")
            yield from table.to_batches()

    with path.open("wb") as sink:
        writer(Format.PARQUET).write(frozen.scan.schema, batches(), sink)


@contextmanager
def _child(path: Path, text: str) -> Iterator[BinaryIO]:
    """The child's output. At the end of the block it has ended well, or its refusal is raised."""
    command = [sys.executable, "-P", str(CHILD), str(path), str(CHILD_BYTES), str(DATABASE_BYTES)]
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1",
    }
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and script; the SQL is data on stdin
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=path.parent
        )
        assert child.stdin is not None
        assert child.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(LIMIT_S, end)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended before it read the SQL; it said why
                child.stdin.write(text.encode())
                child.stdin.close()
            with child.stdout as output:
                yield output  # type: ignore[misc] # IO[bytes] is what BinaryIO says
                code = child.wait()
                errors.seek(0)
                if code != 0:
                    raise _refusal(code, errors.read().decode(errors="replace"), is_late=is_late.is_set())
        finally:
            timer.cancel()
            child.kill()
            child.wait()


def _refusal(code: int, said: str, *, is_late: bool) -> MappingError | SourceError:
    try:
        found = json.loads(said)
    except ValueError:
        found = {"kind": "memory" if code < 0 or "MemoryError" in said or "bad_alloc" in said else "fault"}
    if is_late:
        why = f"it ran longer than {LIMIT_S:.0f} s"
    elif found["kind"] == "memory":
        why = f"it needs more memory than the {DATABASE_BYTES // 10**6} MB that it may take"
    elif found["kind"] == "sql":
        return MappingError(f"mapping.sql: {' '.join(found['message'].split())[:SHOWN]}", field="mapping.sql")
    else:
        said = found.get("message") or (said.split("\n\n")[0].strip().splitlines() or ["it said nothing"])[-1]
        return SourceError(f"mapping.sql could not be run: {said[:SHOWN]}; report it", code="sql_limit")
    return SourceError(
        f"mapping.sql: {why}; make it smaller, or let BigQuery do it with a BigQuery source", code="sql_limit"
    )
