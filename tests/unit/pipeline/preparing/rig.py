"""A frozen table on the fakes, prepared as a job's rows are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from shared.models import Contract, Mapping
from shared.pipeline.formats import Format, ReadOptions, reader
from shared.pipeline.freezing import FrozenSource, PinnedObject
from shared.pipeline.preparing.prepare import Plan, Prepared, prepare
from shared.ports import ObjectInfo
from tests.fakes.stores import InMemoryStores


@dataclass
class Outcome:
    """What preparing gave: the delivered rows, and the lines and the whole rows of the rejects."""

    prepared: Prepared
    rows: list[dict[str, Any]] | None
    rejects: list[dict[str, Any]]
    rejected_rows: list[dict[str, Any]]

    @property
    def broken(self) -> list[tuple[int, str, str, str]]:
        """(row, column, rule, what was discarded) of each line."""
        return [(line["row"], line["column"], line["rule"], line["discarded"]) for line in self.rejects]


def freeze(objects: Any, table: pa.Table, name: str = "jobs/j/source.parquet") -> FrozenSource:
    with objects.writer("frozen", name, content_type="") as sink:
        pq.write_table(table, sink, row_group_size=7)
    info = objects.stat("frozen", name)
    scan = reader(Format.PARQUET).scan(PinnedObject(objects, info), ReadOptions())
    return FrozenSource.single(objects, info, Format.PARQUET, scan)


def run(
    table: pa.Table,
    mapping: dict[str, Any] | None = None,
    contract: dict[str, Any] | None = None,
    before: list[tuple[str, str]] | None = None,
    max_rejects: int | None = None,
) -> Outcome:
    """Prepare a table under a mapping and a contract as JSON has them."""
    objects = InMemoryStores().stores().objects
    plan = Plan(
        bucket="frozen",
        folder="jobs/j/1-",
        mapping=None if mapping is None else msgspec.json.decode(json.dumps(mapping), type=Mapping),
        contract=msgspec.json.decode(json.dumps(contract or {}), type=Contract),
        before=before,
        max_rejects=max_rejects,
        beat=lambda rows: None,
    )
    found = prepare(objects, freeze(objects, table), plan)
    rows = None
    if found.source is not None:
        rows = [row for part in found.source.tables(0, 5) for row in part.to_pylist()]
        assert len(rows) == found.source.scan.rows
    return Outcome(found, rows, _lines(objects, found.rejects), _rows(objects, found.rejected_rows))


def _lines(objects: Any, info: ObjectInfo | None) -> list[dict[str, Any]]:
    if info is None:
        return []
    with objects.open(info) as handle:
        return [json.loads(line) for line in handle.read().splitlines()]


def _rows(objects: Any, info: ObjectInfo | None) -> list[dict[str, Any]]:
    if info is None:
        return []
    with objects.open(info) as handle:
        found: list[dict[str, Any]] = pq.read_table(handle).to_pylist()
        return found
