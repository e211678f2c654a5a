"""Keys that an earlier row has: exact, over any number of rows, in bounded memory. DuckDB sorts and, beyond its share, spills."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MEMORY = "128MB"  # our choice: beside one batch and one row group, well inside an instance of 512 MB
MAX_SPILL = "8GB"  # our choice; about 100 million keys


class KeyCheck:
    """Collects the keys of rows, then tells which rows have a key that an earlier one has. Null is never the same as null."""

    def __init__(self, columns: list[str]) -> None:
        import duckdb  # 0.2 s of a cold start, which only jobs with unique keys pay

        self.columns = columns
        self._closing = ExitStack()
        folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="keys-"))
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": "1",
            "temp_directory": folder,
            "max_temp_directory_size": MAX_SPILL,
        }
        self._database = self._closing.enter_context(duckdb.connect(f"{folder}/keys.db", config=options))
        self._is_made = False

    def __enter__(self) -> KeyCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, batch: pa.RecordBatch, rows: pa.Array) -> None:
        """Take the keys of a batch's rows."""
        keys = [batch.column(name) for name in self.columns]
        has_key = pc.is_valid(keys[0])
        for column in keys[1:]:
            has_key = pc.and_(has_key, pc.is_valid(column))
        names = ["r", *(f"k{index}" for index in range(len(keys)))]
        found = pa.Table.from_arrays([rows, *keys], names=names).filter(has_key)
        self._database.register("batch", found)
        self._database.execute("insert into keys from batch" if self._is_made else "create table keys as from batch")
        self._database.unregister("batch")
        self._is_made = True

    def add_delivered(self, schema: pa.Schema, delivered: Iterable[pa.Table]) -> None:
        """Take the keys of rows that were delivered before all of these, as if they came first: number 0, which is never told.

        Called before `add`, with the schema of the batches to come: a key of another type is compared as one of theirs.
        """
        none = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema=schema)
        self.add(none, pa.nulls(0, pa.int64()))
        kinds = [row[1] for row in self._database.execute("describe keys").fetchall()[1:]]
        keys = ", ".join(f"try_cast(k{index} as {kind})" for index, kind in enumerate(kinds))
        for table in delivered:
            held = table.select(self.columns).rename_columns([f"k{index}" for index in range(len(self.columns))])
            self._database.register("delivered", held)
            self._database.execute(f"insert into keys select 0, {keys} from delivered")  # noqa: S608 - names are ours
            self._database.unregister("delivered")

    def forget(self, rows: pa.Array) -> None:
        """Leave out rows that another key has discarded."""
        if self._is_made and len(rows):
            self._database.register("gone", pa.Table.from_arrays([rows], names=["r"]))
            self._database.execute("delete from keys using gone where keys.r = gone.r")
            self._database.unregister("gone")

    def doubled(self, most: int | None) -> pa.Array:
        """The numbers of the rows whose key an earlier row has, ascending; at most `most`."""
        if not self._is_made:
            return pa.nulls(0, pa.int64())
        names = ", ".join(f"k{index}" for index in range(len(self.columns)))
        limit = "" if most is None else f"limit {most}"
        query = f"""
            with twice as (select {names}, min(r) as first from keys group by {names} having count(*) > 1)
            select r from keys join twice using ({names}) where r > first order by r {limit}
        """  # noqa: S608 - names are ours, the limit is a number
        found: Any = self._database.sql(query).to_arrow_table()
        return found.column("r").combine_chunks()
