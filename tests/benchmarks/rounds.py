"""CPU seconds of ours and of pandas, in turn in one process on one processor (as a function of one vCPU has), and their ratio.

The least of several rounds counts on both sides: what else the machine does can only add to either. Each turn is three times the
same, as a job has chunk after chunk: the first of them finds only the other side's data in the processor's caches.

What is judged is pandas with its frame ready: making the frame from Arrow costs the baseline time that it need not spend. The ratio
with that step is printed beside it, for those whose data come as Arrow.

Import this before anything that imports Polars: it takes its number of threads then.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS, TURNS = 4, 3
os.environ["POLARS_MAX_THREADS"] = "1"
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@dataclass(frozen=True)
class Contest:
    """One thing done twice: by the shipped code, and as a user of pandas writes it, who wants the same values.

    Attributes:
        pandas: the judged work, from a frame that is there already.
        converted: the same work with the step from Arrow to the frame; None where pandas takes no such step.
    """

    name: str
    rows: int
    ours: Callable[[], object]
    pandas: Callable[[], object]
    wanted: float
    converted: Callable[[], object] | None = None


def run(contests: list[Contest], rounds: int = ROUNDS) -> bool:
    """Print the least time of each side of each contest and whether the wanted ratio is met; return whether all are."""
    print(
        f"{'':28} {'rows':>8} {'ours, CPU ms':>13} {'pandas':>9} {'ratio':>7} {'wanted':>7}   with the step from Arrow"
    )
    met = True
    for contest in contests:
        sides = {"ours": contest.ours, "pandas": contest.pandas}
        if contest.converted is not None:
            sides["converted"] = contest.converted
        least = _least(sides, rounds)
        ratio = least["pandas"] / least["ours"]
        is_met = ratio >= contest.wanted
        met = met and is_met
        told = (
            f" {least['converted']:>9.1f} {least['converted'] / least['ours']:>6.1f}x" if "converted" in least else ""
        )
        told += "" if is_met else "  NOT MET"
        print(
            f"{contest.name:28} {contest.rows:>8,} {least['ours']:>13.1f} {least['pandas']:>9.1f}"
            f" {ratio:>6.1f}x {contest.wanted:>6.1f}x{told}"
        )
        sys.stdout.flush()
    return met


def _least(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least CPU milliseconds of each side; a round more than said, the first of which warms up."""
    seconds: dict[str, list[float]] = {who: [] for who in sides}
    for number in range(rounds + 1):
        for who, work in sides.items():
            for _ in range(TURNS if number else 1):
                gc.collect()
                start = time.process_time()
                work()
                if number:
                    seconds[who].append(time.process_time() - start)
    return {who: min(found) * 1_000 for who, found in seconds.items()}
