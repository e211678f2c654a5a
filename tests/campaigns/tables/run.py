"""Runs the tables: each as a job of the real engine with the real connector, then read back and compared with the reference."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.config import read_settings
from shared.connectors._quota import NoQuota
from shared.models import ExportRequest
from shared.services.connectors import Connectors
from shared.stores.clock import SystemClock
from tests.campaigns.crashes import machine
from tests.campaigns.machine import Machine
from tests.campaigns.report import Report, Row
from tests.campaigns.simulated import silence
from tests.campaigns.tables import listed, reference
from tests.campaigns.tables.files import NO_FORM, WRITE, declared, read_kept
from tests.campaigns.tables.targets import Read, reader_of_looker, reader_of_power_bi, reader_of_sheets
from tests.campaigns.tables.values import Table, tables
from tests.campaigns.targets import TARGETS
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import SmallChunks
from tests.fakes.stores import InMemoryStores

FORMATS = tuple(WRITE)
KINDS = ("power_bi", "looker", "google_sheets")


@dataclass
class Count:
    """What became of the tables of one format and target."""

    delivered: int = 0
    refused: int = 0
    unwritable: int = 0
    kept: int = 0
    rows: int = 0
    wrong: list[str] = field(default_factory=list)

    @contextmanager
    def judging(self, table: Table) -> Iterator[None]:
        """Note what is asserted in vain, and of which table."""
        try:
            yield
        except AssertionError as error:
            types = json.dumps(table.types, ensure_ascii=False)
            self.wrong.append(f"{error}; types {types}, {len(table.rows)} rows"[:600])


class Bench:
    """One target with its connector, and stores in memory."""

    def __init__(self, machine: Machine, kind: str) -> None:
        self.kind, self._number = kind, 0
        self._fakes = InMemoryStores()
        self._fakes.clock = self._fakes.objects.clock = SystemClock()  # type: ignore[assignment]  # vendors' tokens live by real time
        stores = self._fakes.stores()
        self._services = Services(read_settings(), stores)
        # A quota that is used up would be waited for; this part is about values, and the sandboxes' own quotas are off.
        runtime = replace(self._services.connectors._runtime, quota=NoQuota())

        def load(*arguments: Any) -> SmallChunks:
            return SmallChunks(kinds.load(*arguments), lambda delivery: delivery)

        self._services.__dict__["connectors"] = Connectors(stores, "bi", runtime, load=load)
        body = TARGETS[kind](machine).registration
        self._services.connectors.register(kind, msgspec.convert(body, kinds.DECLARATIONS[kind].Config), None)
        at, accounts = machine.accounts.warehouse, machine.accounts
        readers: dict[str, Callable[[], Read]] = {
            "looker": lambda: reader_of_looker(machine.postgres.dsn(at.user), at.schema),
            "google_sheets": lambda: reader_of_sheets(accounts),
            "power_bi": lambda: reader_of_power_bi(accounts),
        }
        self._read = readers[kind]()

    def check(self, fmt: str, table: Table, keep: str, count: Count, *, all_declared: bool = True) -> None:
        """Export a table; raise AssertionError unless it arrived as the reference says, or was refused at a place that it names."""
        try:
            data = WRITE[fmt](table)
        except NO_FORM:
            count.unwritable += 1  # the format has no form for a value: there is no such file
            return
        source = reference.as_the_file_has_it(fmt, table)
        self._number += 1
        name = f"t{self._number}_{fmt}_{self.kind}"
        job = self._run(name, fmt, data, declared(fmt, table, all_columns=all_declared), keep)
        rows, refused = reference.expected(source, reference.TARGETS[self.kind])
        kept, not_kept = reference.expected(source, lambda value, kind: reference.kept(keep, value, kind))
        found = self._read(name, source)
        if refused or not_kept:
            _check_refusal(job, refused | not_kept, found)
            count.refused += 1
            return
        assert job["status"] == "success", job["error_message"]
        assert found is not None, "the target has no table"
        _same(rows, found, "target")
        place = job["export_uri"].removeprefix("gs://").split("/", 1)
        file = self._fakes.objects.open(self._fakes.objects.stat(*place)).read()
        _same(kept, [tuple(row.values()) for row in read_kept(keep, file, source)], f"kept as {keep}")
        count.delivered += 1
        count.kept += 1
        count.rows += len(rows)

    def _run(self, name: str, fmt: str, data: bytes, columns: dict[str, str], keep: str) -> dict[str, Any]:
        self._fakes.objects.put("tables", f"{name}.{fmt}", data)
        wanted = {
            "connector_name": self.kind,
            "table_name": name,
            "columns": columns,
            "export_format": keep,
            "max_shrink": 1.0,
        }
        jobs = self._services.exports
        job_id = jobs.start(msgspec.convert(wanted, ExportRequest), "ann@example.com")["id"]
        tasks = self._fakes.tasks.pending
        while tasks:
            task = tasks.pop(0)
            assert task.at is None or task.at <= datetime.now(UTC), f"the job waits {jobs.get(job_id).data['waiting']}"
            jobs.run(task.url.rsplit("/", 1)[1].removesuffix(":run"), task.body["seq"])
        found: dict[str, Any] = jobs.get(job_id).data
        return found


def _check_refusal(job: dict[str, Any], places: set[tuple[int, str]], found: Any) -> None:
    assert job["status"] == "failed", f"delivered, though {sorted(places)[:3]} must be refused"
    details = job["error"]["details"]
    if job["error"]["code"] == "encoding_invalid":  # NUL in CSV is met before there are cells: by its line
        assert "NUL byte" in job["error"]["message"]
        assert "line " in job["error"]["message"]
        return
    assert (details.get("row"), details.get("column")) in places, (
        f"refused {details}, not one of {sorted(places)[:3]}: {job['error']}"
    )
    assert found is None, "the job failed, and the target has a table"


def _same(expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]], where: str) -> None:
    assert len(found) == len(expected), f"{where}: {len(found)} rows of {len(expected)}"
    for number, (wanted, got) in enumerate(zip(expected, found, strict=True), 1):
        for column, (one, other) in enumerate(zip(wanted, got, strict=True)):
            is_nan = isinstance(one, float) and one != one and isinstance(other, float) and other != other
            same_kind = isinstance(one, bool) == isinstance(other, bool)
            assert (one == other and same_kind) or is_nan, (
                f"{where}, row {number}, column {column}: {one!r} became {other!r}"
            )


def play(bench: Bench, fmt: str, *, examples: int, first_seed: int) -> Count:
    """Run that many tables of a format to a bench's target."""
    count = Count()

    @seed(first_seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(table=tables(), keep=st.sampled_from(FORMATS), all_declared=st.booleans())
    def one(table: Table, keep: str, all_declared: bool) -> None:
        with count.judging(table):
            bench.check(fmt, table, keep, count, all_declared=all_declared)

    with silence():
        one()
    return count


def play_listed(bench: Bench, fmt: str, *, keeps: tuple[str, ...] = FORMATS) -> Count:
    """Run every listed value of every type: those that are held in one table for each kept format, each of the others alone."""
    count = Count()
    with silence():
        for keep in keeps:
            table = listed.held(fmt, bench.kind, keep)
            with count.judging(table):
                bench.check(fmt, table, keep, count)
                assert count.refused + count.unwritable == 0, "not one of these values is refused"
        for table, keep in listed.refused(fmt, bench.kind):
            with count.judging(table):
                bench.check(fmt, table, keep, count)
    return count


def run(report: Report, *, examples: int, first_seed: int) -> None:
    """Send every listed value, and that many made tables, of every format to every target."""
    report.say(
        f"\ntables: all listed values, and {examples} made tables, of each format to each target, each also kept as a file"
    )
    report.say(
        f"{'target':<14} {'format':<8} {'tables':<7}"
        + "".join(f" {name:>9}" for name in ("delivered", "refused", "no file", "rows", "wrong"))
    )
    with machine() as running:
        for number, (kind, fmt) in enumerate(itertools.product(KINDS, FORMATS)):
            bench = Bench(running, kind)
            found = {
                "listed": play_listed(bench, fmt),
                "made": play(bench, fmt, examples=examples, first_seed=100 * first_seed + number),
            }
            for name, count in found.items():
                figures = (count.delivered, count.refused, count.unwritable, count.rows, len(count.wrong))
                report.say(f"{kind:<14} {fmt:<8} {name:<7}" + "".join(f" {figure:>9}" for figure in figures))
                verdict = Verdict(runs=count.delivered + count.refused, mixed=len(count.wrong))
                report.rows.append(Row("tables", kind, f"{fmt} {name}", verdict=verdict))
                for note in count.wrong:
                    report.failed(f"make campaign PART=tables SEED={first_seed}", [note], [])
