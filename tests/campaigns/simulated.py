"""Part `simulation`: many seeds, and the same seeds without each guard."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.campaigns.report import Report, Row
from tests.campaigns.simulation import play
from tests.campaigns.teeth import TEETH
from tests.campaigns.verdict import Verdict

BATCH = 100


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Send the log lines of the code under test nowhere."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def play_many(
    seeds: Iterable[int], tooth: int | None = None, most_jobs: int = 3
) -> tuple[Verdict, list[tuple[int, list[str], list[str]]], Counter[str]]:
    """Return the sum over the seeds, each failing seed with its notes and log, and how often each point was reached."""
    collaborators = None if tooth is None else TEETH[tooth].collaborators
    total, failing, reached = Verdict(), [], Counter[str]()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1.0)  # threads take turns by themselves; the interpreter need not ask them
    try:
        with silence():
            for seed in seeds:
                one = play(seed, collaborators, most_jobs)
                total.add(one.verdict)
                reached.update(one.reached)
                if not one.verdict.is_clean:
                    failing.append((seed, one.verdict.notes, one.log))
    finally:
        sys.setswitchinterval(interval)
    return total, failing, reached


def run(report: Report, *, first_seed: int, seeds: int, teeth_seeds: int) -> None:
    """Play the seeds on all processors, then each guard's absence until it is noticed."""
    report.start(f"simulation: {seeds} seeds from {first_seed}")
    row = Row("simulation", "in memory", "all")
    reached: Counter[str] = Counter()
    batches = [range(at, min(at + BATCH, first_seed + seeds)) for at in range(first_seed, first_seed + seeds, BATCH)]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for total, failing, points in pool.imap_unordered(play_many, batches):
            row.verdict.add(total)
            reached.update(points)
            for seed, notes, log in failing:
                report.failed(f"make campaign PART=simulation SEED={seed}", notes, log)
    row.points = len(reached)
    report.add(row)
    for number, tooth in enumerate(TEETH):
        found = until_noticed(number, teeth_seeds)
        report.tooth(tooth.guard, found, is_noticed=tooth.is_noticed(found))


def until_noticed(tooth: int, seeds: int) -> Verdict:
    """Play seeds without a guard until its absence shows, at most `seeds` of them."""
    total = Verdict()
    for start in range(0, seeds, 25):
        total.add(play_many(range(start, start + 25), tooth)[0])
        if TEETH[tooth].is_noticed(total):
            break
    return total
