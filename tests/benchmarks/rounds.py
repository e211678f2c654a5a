"""CPU seconds of ours and of pandas, in turn in one process on one processor (as a function of one vCPU has), and their ratio.

The least of several rounds counts on both sides: what else the machine does can only add to either. Each turn is three times the
same, as a job has chunk after chunk: the first of them finds only the other side's data in the processor's caches.

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
    """One thing done twice: by the shipped code, and as a user of pandas writes it, who wants the same values."""

    name: str
    rows: int
    ours: Callable[[], object]
    pandas: Callable[[], object]
    wanted: float


def run(contests: list[Contest], rounds: int = ROUNDS) -> bool:
    """Print the least time of each side of each contest and whether the wanted ratio is met; return whether all are."""
    print(f"{'':28} {'rows':>8} {'ours, CPU ms':>13} {'pandas':>9} {'ratio':>7} {'wanted':>7}")
    met = True
    for contest in contests:
        seconds: dict[str, list[float]] = {"ours": [], "pandas": []}
        for number in range(rounds + 1):
            for who, work in (("ours", contest.ours), ("pandas", contest.pandas)):
                for _ in range(TURNS if number else 1):  # the first round warms up
                    gc.collect()
                    start = time.process_time()
                    work()
                    if number:
                        seconds[who].append(time.process_time() - start)
        ours, theirs = (min(seconds[who]) * 1_000 for who in ("ours", "pandas"))
        is_met = theirs / ours >= contest.wanted
        met = met and is_met
        told = "" if is_met else "  NOT MET"
        print(
            f"{contest.name:28} {contest.rows:>8,} {ours:>13.1f} {theirs:>9.1f} {theirs / ours:>6.1f}x {contest.wanted:>6.1f}x{told}"
        )
        sys.stdout.flush()
    return met
