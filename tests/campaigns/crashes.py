"""Parts `kill`, `pause` and `pairs`: real workers on real targets die or stop at every commit point of a job."""

from __future__ import annotations

import itertools
import random
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shared.connectors._base import Mode
from tests.campaigns.blunt import BLUNT
from tests.campaigns.course import Course, Signals, register
from tests.campaigns.machine import Machine
from tests.campaigns.reader import Reader
from tests.campaigns.report import Report, Row
from tests.campaigns.spot import ANYWHERE, Spot, replay
from tests.campaigns.targets import TARGETS, Make, Target
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop, warm
from tests.canaries import left_in

BITTEN_RUNS = 12
"""Runs without a guard until that must have been noticed."""
SCRIPTS: dict[str, Callable[[int], Sequence[Signals]]] = {
    "kill": lambda point: [{point: signal.SIGKILL}],
    "pause": lambda point: [{point: signal.SIGSTOP}],
}


@dataclass(frozen=True)
class Plan:
    """How much of a part is run: every n-th point, or a number of pairs a course; where; and whether guards are taken away, too."""

    every: int = 1
    pairs: int = 0
    spot: Spot = ANYWHERE
    has_teeth: bool = True


@contextmanager
def machine() -> Iterator[Machine]:
    """Yield a running machine in a folder that Postgres' own account can enter."""
    warm()
    with tempfile.TemporaryDirectory(prefix="campaign") as folder:
        Path(folder).chmod(0o755)
        with Machine(Path(folder)) as running:
            yield running
        if left := left_in(Path(folder)):
            raise RuntimeError(f"the campaign left a secret: {left[0]}")


def run(report: Report, part: str, plan: Plan) -> None:
    """Run one part on every target in every mode that its kind declares; and, where all is run, on each kind without its guards."""
    report.start(part)
    with machine() as running:
        workshop = Workshop(running)
        for name, make in TARGETS.items():
            if not plan.spot.takes(name):
                continue
            target = make(running)
            register(workshop, target)
            if name in BLUNT and plan.has_teeth and not plan.spot.what:
                bite(report, part, workshop, target)
            for mode in target.modes:
                if plan.spot.takes(name, mode.value):
                    course = Course(workshop, target, mode, f"{part}_{name}_{mode.value}")
                    report.add(_one(report, part, make, course, plan))


def _one(report: Report, part: str, make: Make, course: Course, plan: Plan) -> Row:
    target, mode = course.target, course.mode
    points = course.points()
    row = Row(part, target.name, mode.value, points=len(points))
    with Reader(course.workshop.machine, make, course.table, mode) as reader:
        for what, script in _scripts(part, points, plan, f"{target.name} {mode.value}"):
            verdict = course.run(script)
            row.verdict.add(verdict)
            if not verdict.is_clean:
                report.failed(replay(part, target.name, mode.value, what), verdict.notes, [])
        row.reads = reader.reads
        if target.is_atomic:
            row.verdict.mixed += reader.mixed
        else:
            row.excepted = {"part seen": reader.mixed, "put back": course.repaired}
    return row


def _scripts(part: str, points: Sequence[int], plan: Plan, name: str) -> Iterator[tuple[str, Sequence[Signals]]]:
    """Yield what happens to the first workers, with the word that names it in `Spot.what`."""
    if plan.spot.what:
        chosen = [int(point) for point in plan.spot.what.split("+")]
        yield plan.spot.what, _deaths(*chosen) if part == "pairs" else SCRIPTS[part](chosen[0])
    elif part == "pairs":
        rng = random.Random(name)
        for _ in range(plan.pairs):
            first, second = rng.choice(points), rng.choice(points)
            yield f"{first}+{second}", _deaths(first, second)
    else:
        for point in points[:: plan.every]:
            yield str(point), SCRIPTS[part](point)


def _deaths(first: int, second: int) -> Sequence[Signals]:
    return [{first: signal.SIGKILL}, {second: signal.SIGKILL}]


def bite(report: Report, part: str, workshop: Workshop, target: Target) -> None:
    """Append to the target with a delivery that has no guard, until rows come twice; the part must notice."""
    course = Course(workshop, target, Mode.APPEND, f"{part}_{target.name}_bitten")
    course.points()
    blunt, names, total = BLUNT[target.name], list[str](), Verdict()
    course.workshop = replace(workshop, wrap=lambda delivery: blunt(delivery, workshop.machine))
    if not (clean := course.run([], names)).is_clean:
        raise RuntimeError(f"a job without guards that nothing happened to failed: {clean.notes}")
    for point in _before_checkpoints(names)[:BITTEN_RUNS]:
        total.add(course.run(_deaths(point, point) if part == "pairs" else SCRIPTS[part](point)))
        if total.duplicated:
            break
    report.tooth(f"the guards of {target.name} ({part})", total, is_noticed=total.duplicated > 0)


def _before_checkpoints(names: Sequence[str]) -> list[int]:
    """Return the points right after a call of the vendor that a checkpoint follows: its effect is there, and nobody knows it."""
    following = itertools.pairwise(names)
    return [
        number
        for number, (name, after) in enumerate(following, 1)
        if name.startswith(("vendor", "postgres"))
        and name.endswith(":after")
        and after.startswith("documents.transact")
    ]
