"""Parts `kill`, `pause` and `pairs`: real workers on real targets die or stop at every commit point of a job."""

from __future__ import annotations

import random
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from shared import connectors as kinds
from shared.connectors._base import Chunk, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint
from tests.campaigns.course import Course, Signals, register
from tests.campaigns.machine import Machine
from tests.campaigns.reader import Reader
from tests.campaigns.report import Report, Row
from tests.campaigns.targets import TARGETS, Target
from tests.campaigns.teeth import Agreeing
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop, warm

PARTLY = "reads of a part (not atomic)"
REPAIRED = "rows gone by a late DELETE, put back by the sweeper"
SCRIPTS: dict[str, Callable[[int], Sequence[Signals]]] = {
    "kill": lambda point: [{point: signal.SIGKILL}],
    "pause": lambda point: [{point: signal.SIGSTOP}],
}


@dataclass(frozen=True)
class Plan:
    """How much of a part is run: every n-th point, or a number of pairs with a seed; and which targets."""

    every: int = 1
    pairs: int = 0
    seed: int = 0
    kinds: frozenset[str] = frozenset(kinds.DECLARATIONS)


@contextmanager
def machine() -> Iterator[Machine]:
    """Yield a running machine in a folder that Postgres' own account can enter."""
    warm()
    with tempfile.TemporaryDirectory(prefix="campaign") as folder:
        Path(folder).chmod(0o755)
        with Machine(Path(folder)) as running:
            yield running


def run(report: Report, part: str, plan: Plan) -> None:
    """Run one part on every target in every mode that its kind declares."""
    report.start(part)
    with machine() as running:
        workshop = Workshop(running)
        for make in TARGETS:
            target = make(running)
            if target.kind not in plan.kinds:
                continue
            register(workshop, target)
            if part in SCRIPTS and target.kind == "looker":
                bite(report, part, workshop, target, every=7)
            for mode in sorted(kinds.capabilities(target.kind).modes):
                course = Course(workshop, target, mode, f"{part}_{mode.value}")
                report.add(_one(report, part, make, course, plan))


def _one(report: Report, part: str, make: Callable[[Machine], Target], course: Course, plan: Plan) -> Row:
    row = Row(part, course.target.kind, course.mode.value)
    points = course.points()
    row.points = len(points)
    with Reader(course.workshop.machine, make, course.table, course.mode) as reader:
        for name, script in _scripts(part, points, plan, course.target.kind):
            verdict = course.run(script)
            row.verdict.add(verdict)
            if not verdict.is_clean:
                report.failed(
                    f"make campaign PART={part}, {course.target.kind} {course.mode.value}, {name}", verdict.notes, []
                )
        if course.target.is_atomic:
            row.verdict.mixed += reader.mixed
        else:
            row.excepted = {PARTLY: reader.mixed, REPAIRED: course.repaired}
    return row


def _scripts(part: str, points: Sequence[int], plan: Plan, kind: str) -> Iterator[tuple[str, Sequence[Signals]]]:
    """Yield (name, what happens to the first workers)."""
    if part in SCRIPTS:
        for point in points[:: plan.every]:
            yield f"point {point} of {points[-1]}", SCRIPTS[part](point)
        return
    rng = random.Random(f"{plan.seed} {kind}")
    for number in range(plan.pairs):
        first, second = rng.choice(points), rng.choice(points)
        yield f"pair {number}: points {first} and {second}", [{first: signal.SIGKILL}, {second: signal.SIGKILL}]


class Naive:
    """A delivery to Postgres without staging, positions or token: every chunk goes straight into the live table."""

    def __init__(self, inner: Any, dsn: str) -> None:
        self._inner, self._dsn = inner, dsn
        self.chunk_rows: int = inner.chunk_rows
        self.is_staged: bool = inner.is_staged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, chunk: Chunk) -> Written:
        table = self._inner._plan.table_name
        with psycopg.connect(self._dsn, autocommit=True) as connection, connection.cursor() as cursor:
            rows = [tuple(row.values()) for row in chunk.table.to_pylist()]
            cursor.executemany(f'INSERT INTO bi."{table}" (id, version, name) VALUES (%s, %s, %s)', rows)
        return Written(0)

    def read_back(self) -> Fingerprint:
        return Agreeing()

    def is_published(self) -> bool:
        return False

    def publish(self) -> Published:
        return Published("postgres")


def bite(report: Report, part: str, workshop: Workshop, target: Target, every: int) -> None:
    """Run the part on Looker's warehouse in append mode without the target's guards, until that is noticed."""
    course = Course(workshop, target, Mode.APPEND, f"{part}_bitten")
    points = course.points()
    dsn = workshop.machine.postgres.dsn(workshop.machine.accounts.warehouse.user)
    course.workshop = replace(workshop, wrap=lambda delivery: Naive(delivery, dsn))
    total = Verdict()
    for point in points[::every]:
        total.add(course.run(SCRIPTS[part](point)))
        if total.duplicated:
            break
    name = f"staging, positions and token in the target ({part})"
    report.tooth(name, total, is_noticed=total.duplicated > 0)
