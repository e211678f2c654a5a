"""Parts `kill`, `pause` and `pairs`: real workers on real targets die or stop at every commit point of a job."""

from __future__ import annotations

import itertools
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from shared.connectors._base import Mode
from shared.connectors.looker import warehouse
from tests.campaigns.blunt import BLUNT
from tests.campaigns.course import Course, Signals, apart, register
from tests.campaigns.machine import Machine
from tests.campaigns.reader import Reader
from tests.campaigns.report import Report, Row
from tests.campaigns.spot import ANYWHERE, Spot, replay
from tests.campaigns.targets import TARGETS, Make, Target, chosen
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop, warm
from tests.canaries import left_in

BITTEN_RUNS = 12
"""Runs without a guard until that must have been noticed."""
FIRST_DEATHS = 12
"""So many points at which the first worker of a course's pairs dies; what the second one passes then is counted by a run each."""
PAIRS = 1_000
OUTWAITED_EVERY = 4
"""Points at which a rival is held up are told apart by their number: at one of so many it is left to give up, too."""
OUTWAITED = "!"
"""Behind a point's number in `Spot.what`: the run in which the rival gives up."""
LOCK_TIMEOUT_MS = 100
SIGNALS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "pairs": signal.SIGKILL}
STRUCK = {"kill": ("killed", 1), "pause": ("stopped", 1), "pairs": ("killed", 2)}
"""What must have happened to the workers of a run that counts."""


@dataclass(frozen=True)
class Plan:
    """How much of a part is run: every n-th point, or pairs in all; where; and whether guards are taken away, too.

    `third`, 0 to 2, leaves two of three courses out.
    """

    every: int = 1
    pairs: int = PAIRS
    spot: Spot = ANYWHERE
    has_teeth: bool = True
    third: int | None = None


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
        targets = [(make, make(running)) for name, make in TARGETS.items() if plan.spot.takes(name)]
        courses = chosen([target for _, target in targets], plan.spot, plan.third)
        pairs, left = plan.pairs, len(courses)
        for make, target in targets:
            register(workshop, target)
            if target.name in BLUNT and plan.has_teeth and not plan.spot.what:
                bite(report, part, workshop, target)
            for mode in target.modes:
                if (target.name, mode) in courses:
                    course = Course(workshop, target, mode, f"{part}_{target.name}_{mode.value}")
                    row = _one(report, part, make, course, replace(plan, pairs=-(-pairs // left)))
                    report.add(row)
                    pairs, left = pairs - row.verdict.runs, left - 1  # what one lacks the others make up for


def _one(report: Report, part: str, make: Make, course: Course, plan: Plan) -> Row:
    target, mode = course.target, course.mode
    points = course.points()
    row, happened = Row(part, target.name, mode.value, points=len(points)), Counter[str]()
    with Reader(course.workshop.machine, make, course.table, course.expected) as reader:
        for what, verdict in _played(part, course, points, plan):
            figure, times = STRUCK[part]
            verdict.runs = int(course.happened[figure] >= times)
            happened.update(course.happened)
            row.verdict.add(verdict)
            if not verdict.is_clean:
                report.failed(replay(part, target.name, mode.value, what), verdict.notes, [])
        row.reads, row.unread = reader.reads, reader.failed
        if mode in target.excepted:
            row.excepted = {"part seen (push replace and append)": reader.mixed, "put back": course.repaired}
        else:
            row.verdict.mixed += reader.mixed
    if part == "pause":
        row.excepted |= {name: happened[name] for name in ("outslept", "held up")}
    return row


def _played(part: str, course: Course, points: Sequence[int], plan: Plan) -> Iterator[tuple[str, Verdict]]:
    """Run jobs whose workers die or stop; yield each verdict with the word that names the run in `Spot.what`."""
    if what := plan.spot.what:
        with impatient(course) if what.endswith(OUTWAITED) else nullcontext():
            yield what, course.run(_script(part, *map(int, what.rstrip(OUTWAITED).split("+"))))
    elif part == "pairs":
        yield from _pairs(course, points, plan.pairs)
    else:
        for point in points[:: plan.every]:
            yield str(point), course.run(_script(part, point))
            if course.happened["held up"] and point % OUTWAITED_EVERY == 0:
                with impatient(course):
                    yield f"{point}{OUTWAITED}", course.run(_script(part, point))


def _pairs(course: Course, points: Sequence[int], wanted: int) -> Iterator[tuple[str, Verdict]]:
    """Run so many different pairs of deaths: the second is at a point that the second worker passed when only the first one died.

    A run in which fewer than two died does not count, and another is drawn for it, as long as there are points.
    """
    rng = random.Random(f"{course.target.name} {course.mode.value}")
    firsts = rng.sample(list(points), len(points))
    while wanted > 0 and firsts:
        here, firsts = firsts[:FIRST_DEATHS], firsts[FIRST_DEATHS:]
        for number, first in enumerate(here):
            yield f"{first}", course.run(_script("pairs", first))
            seconds = apart(course.passed[0]) if course.passed else []
            rng.shuffle(seconds)
            share = -(-wanted // (len(here) - number))
            for second in seconds:
                if share <= 0:
                    break
                yield f"{first}+{second}", course.run(_script("pairs", first, second))
                died = course.happened["killed"] >= 2
                share, wanted = share - died, wanted - died


@contextmanager
def impatient(course: Course) -> Iterator[None]:
    """Let the rivals of a stopped worker give up their waits for its locks, each of them after a moment."""
    session = warehouse._SESSION
    warehouse._SESSION = session.replace("lock_timeout = '10s'", f"lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
    course.outwaits = True
    try:
        yield
    finally:
        course.outwaits, warehouse._SESSION = False, session


def _script(part: str, *points: int) -> Sequence[Signals]:
    return [{point: SIGNALS[part]} for point in points]


def bite(report: Report, part: str, workshop: Workshop, target: Target) -> None:
    """Append to the target with a delivery that has no guard, until rows come twice; the part must notice."""
    course = Course(workshop, target, Mode.APPEND, f"{part}_{target.name}_bitten")
    course.points()
    blunt, total = BLUNT[target.name], Verdict()
    course.workshop = replace(workshop, wrap=lambda delivery: blunt(delivery, workshop.machine))
    if not (clean := course.run([])).is_clean:
        raise RuntimeError(f"a job without guards that nothing happened to failed: {clean.notes}")
    for point in before_checkpoints(course.passed[0])[:BITTEN_RUNS]:
        total.add(course.run(_script(part, point, point) if part == "pairs" else _script(part, point)))
        if total.duplicated:
            break
    report.tooth(f"the guards of {target.name} ({part})", total, is_noticed=total.duplicated > 0)


def before_checkpoints(names: Sequence[str]) -> list[int]:
    """Return the points right after a call of the vendor that a checkpoint follows: its effect is there, and nobody knows it."""
    following = itertools.pairwise(names)
    return [
        number
        for number, (name, after) in enumerate(following, 1)
        if name.startswith(("vendor", "postgres"))
        and name.endswith(":after")
        and after.startswith("documents.transact")
    ]
