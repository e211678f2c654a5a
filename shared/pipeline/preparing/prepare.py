"""From frozen rows to the rows that are delivered: one pass that maps, checks and writes them, before a target is touched."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import pyarrow as pa

from shared.errors import SourceError
from shared.models import Contract, Mapping
from shared.pipeline.formats import Format, Scan, writer
from shared.pipeline.freezing import FrozenSource
from shared.pipeline.preparing.contract import Checker, Kept
from shared.pipeline.preparing.drift import Columns, ContractBrokenError, Policy, columns_of, compare, decide
from shared.pipeline.preparing.mapping import Mapper
from shared.pipeline.preparing.rejects import Rejects
from shared.pipeline.preparing.unique import KeyCheck
from shared.ports import ObjectInfo, Objects

BATCH_ROWS = 10_000
"""Our choice: a batch of 20 columns is a few MB; larger ones are no faster (tests/benchmarks/prepare)."""

Doubled = list[tuple[str, str, pa.Array]]


@dataclass(frozen=True)
class Plan:
    """What is to be made of a job's rows.

    Attributes:
        folder: where in the bucket the files go; another one for each attempt, for a worker that was overtaken may still write.
        before: the columns that the last success on the target delivered; None if there was none.
        max_rejects: more discarded rows or values fail the job; None for any number.
        beat: called after every batch with the rows read so far; may raise to stop.
        delivered: what the jobs delivered whose rejects these rows are: their keys are those of earlier rows.
    """

    bucket: str
    folder: str
    mapping: Mapping | None
    contract: Contract
    before: Columns | None
    max_rejects: int | None
    beat: Callable[[int], None]
    delivered: tuple[FrozenSource, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What came of it. `source` is None where `failure` says why the job must fail; the rejects found so far are kept even then.

    `rejected` are rows, `discarded_values` single values; `rejects` is the file of lines, `rejected_rows` that of whole
    rows, whose columns are those of `read`: the source's, or the SQL's.
    """

    source: FrozenSource | None
    failure: SourceError | None = None
    drift: dict[str, Any] | None = None
    rejected: int = 0
    discarded_values: int = 0
    rejects: ObjectInfo | None = None
    rejected_rows: ObjectInfo | None = None
    read: pa.Schema | None = None


class _TooManyRejectsError(SourceError):
    """More rejects than the job allows."""


def prepare(objects: Objects, frozen: FrozenSource, plan: Plan) -> Prepared:
    """Write what is delivered as one Parquet object, and the rejects beside it. Repeatable; memory is that of one row group.

    The source is read once, and once more only where rows share a key that is to be unique.

    Raises:
        MappingError: the mapping or the contract names what the source does not have.
    """
    if plan.mapping is not None and plan.mapping.sql is not None:
        from shared.pipeline.preparing.sql import run_sql

        place = (plan.bucket, f"{plan.folder}selected.parquet")
        frozen = run_sql(objects, frozen, plan.mapping.sql, place, plan.beat)
    mapper = Mapper(plan.mapping, frozen.scan.schema)
    drift, policy = None, Policy()
    try:
        found = compare(plan.before, _declared(plan.contract, mapper.schema))
        drift = None if found is None else found.to_json()
        policy = decide(found, plan.contract)
    except ContractBrokenError as failure:
        return Prepared(None, failure, drift)
    run = _Run(objects, frozen, plan, mapper, Checker(plan.contract, mapper.schema, policy))
    return run.prepare(drift)


class _Run:
    def __init__(self, objects: Objects, frozen: FrozenSource, plan: Plan, mapper: Mapper, checker: Checker) -> None:
        self._objects = objects
        self._frozen = frozen
        self._plan = plan
        self._mapper = mapper
        self._checker = checker

    def prepare(self, drift: dict[str, Any] | None) -> Prepared:
        with ExitStack() as stack:
            keys = [stack.enter_context(KeyCheck(columns)) for _, columns in self._checker.unique]
            for check, delivered in product(keys, self._plan.delivered):
                if set(check.columns) <= set(delivered.scan.schema.names):
                    check.add_delivered(self._checker.schema, delivered.tables(0, BATCH_ROWS))
            prepared = self._pass(drift, [], keys)
            if prepared.source is None:
                return prepared
            doubled = self._doubled(keys, prepared)
        return self._pass(drift, doubled, []) if doubled else prepared

    def _pass(self, drift: dict[str, Any] | None, doubled: Doubled, keys: list[KeyCheck]) -> Prepared:
        """Read all rows and write what is left of them; `keys` collect those of the rows that stay."""
        plan, rows, failure = self._plan, 0, None
        names = [f"{plan.folder}{name}" for name in ("prepared.parquet", "rejects.jsonl", "rejected.parquet")]
        rejects = Rejects(self._objects, plan.bucket, names[1], names[2])

        def left() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for kept in self._kept(doubled, rejects):
                rows += kept.batch.num_rows
                for check in keys:
                    check.add(kept.batch, kept.rows)
                yield kept.batch

        with rejects:
            try:
                with self._objects.writer(plan.bucket, names[0], content_type="application/vnd.apache.parquet") as sink:
                    writer(Format.PARQUET).write(self._checker.schema, left(), sink)
            except (ContractBrokenError, _TooManyRejectsError) as exc:
                failure = exc
        lines, whole = rejects.found()
        source = None
        if failure is None:
            info = self._objects.stat(plan.bucket, names[0])
            assert info is not None
            source = FrozenSource.single(
                self._objects, info, Format.PARQUET, Scan(self._checker.schema, rows), self._frozen.as_of
            )
        counts = (rejects.discarded_rows, rejects.discarded_values)
        return Prepared(source, failure, drift, *counts, lines, whole, self._frozen.scan.schema)

    def _kept(self, doubled: Doubled, rejects: Rejects) -> Iterator[Kept]:
        done, most = 0, self._plan.max_rejects
        for table in self._frozen.tables(0, BATCH_ROWS):
            for batch in table.combine_chunks().to_batches():
                mapped = self._mapper.apply(batch, numbers(done + 1, batch.num_rows))
                kept = self._checker.apply(mapped, doubled)
                rejects.add(mapped.source, kept.broken)
                done += batch.num_rows
                if most is not None and rejects.discarded_rows + rejects.discarded_values > most:
                    raise _too_many(rejects, most, done)
                self._plan.beat(done)
                if kept.batch.num_rows:
                    yield kept

    def _doubled(self, keys: list[KeyCheck], prepared: Prepared) -> Doubled:
        """Rows whose keys earlier rows have, key by key: what one key discards counts for no other."""
        most = self._plan.max_rejects
        room = None if most is None else most - prepared.rejected - prepared.discarded_values + 1
        found: Doubled = []
        for index, (rule, columns) in enumerate(self._checker.unique):
            rows = keys[index].doubled(room)
            if len(rows):
                found.append((rule, columns[0], rows))
                for later in keys[index + 1 :]:
                    later.forget(rows)
        return found


def numbers(first: int, count: int) -> pa.Array:
    """The row numbers from `first` on. Not `pa.array` of a range, which makes Python objects of them."""
    return pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(array("q", range(first, first + count)))])


def _too_many(rejects: Rejects, most: int, done: int) -> _TooManyRejectsError:
    count = rejects.discarded_rows + rejects.discarded_values
    message = (
        f"{count} rejects in the first {done} rows, and max_rejects is {most}; the rejects file says what and why: mend the "
        "source or the contract, or allow more"
    )
    return _TooManyRejectsError(message, code="too_many_rejects")


def _declared(contract: Contract, mapped: pa.Schema) -> list[tuple[str, str]]:
    """The columns with the types that the contract gives them."""
    rules = contract.columns
    return [(name, rules[name].type or kind if name in rules else kind) for name, kind in columns_of(mapped)]
