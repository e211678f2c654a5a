"""What a campaign prints: one row per target and mode, every failing run with how to replay it, its cost, one last line."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.campaigns.verdict import Verdict

FIGURES = ("points", "reads", "unread", "runs", "lost", "dupl.", "stuck", "mixed", "undercut", "missed", "doubled")
EXCEPTED = {
    "part seen (push replace and append)": "reads of a part of a Power BI push dataset, which has no staging",
    "put back": "rows that a late call took or doubled, and the sweeper mended one lease later",
    "left part (push replace and append)": "jobs of a push dataset that failed and left a part of their rows there",
    "repaired": "replaces of a push dataset that failed and that a repair undid, so that it held the rows before",
    "gave up": "jobs that ended as failed with the vendor's trouble as their reason",
    "outslept": "pauses in which the job had ended, by a rival or before, when the sleeper woke",
    "held up": "pauses in which the rival waited for a lock that the sleeper held, and the sleeper woke then",
}
"""Columns beside the zeros: what a target that cannot be atomic showed, and jobs that rightly failed."""
FEWEST: Mapping[str, Mapping[str, int]] = {
    "kill": {"": 500},
    "pause": {"": 500},
    "pairs": {"": 1_000},
    "simulation": {"": 10_000},
    "faults": dict.fromkeys(("looker", "google_sheets", "power_bi"), 200 * 4),
}
"""Runs that a part must come to when all of it is run, by the target; "" for all targets together."""
TOOTH_ONLY = "removed"
"""The part that is nothing but teeth."""
MOST_SHOWN = 30
WIDTHS = f"{'part':<11} {'target':<16} {'mode':<8}"
HEADER = WIDTHS + "".join(f" {name:>8}" for name in FIGURES) + " |" + "".join(f" {name:>9}" for name in EXCEPTED)


@dataclass
class Row:
    """One target in one mode. `reads` is how often the live table was looked at meanwhile, `unread` how often that failed.

    `excepted` has what is counted apart from the zeros, by the names of `EXCEPTED`.
    """

    part: str
    target: str
    mode: str
    points: int = 0
    reads: int = 0
    unread: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    excepted: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        v = self.verdict
        figures = (
            self.points,
            self.reads,
            self.unread,
            v.runs,
            v.lost,
            v.duplicated,
            v.stuck,
            v.mixed,
            v.undercut,
            v.missed,
            v.doubled,
        )
        apart = [f"{self.excepted.get(name, '-'):>{max(9, len(name))}}" for name in EXCEPTED]
        told = "".join(f" {count:>8}" for count in figures) + " |" + "".join(f" {count}" for count in apart)
        return f"{self.part:<11} {self.target:<16} {self.mode:<8}{told}"


@dataclass
class Report:
    """All of a campaign. `teeth` maps a guard to whether the campaign noticed that it was gone; `short` says which parts ran too little."""

    rows: list[Row] = field(default_factory=list)
    teeth: dict[str, bool] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)
    counted: int = 0
    failures: int = 0
    taken: list[Verdict] = field(default_factory=list)
    """Of parts that ran in other processes."""

    def say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def count(self, part: str, runs: int, *, failures: int) -> None:
        """Add a part that has no targets and modes: how often it tried, and how often that failed."""
        self.others[part], self.counted = failures, self.counted + runs
        self.say(f"{part:<11} {runs} runs, {failures} failures")

    def start(self, part: str) -> None:
        self.say(f"\n{part}\n{HEADER}")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Say what the block cost: processor seconds of this process and all its children, which the wall clock cannot tell."""
        started, before = time.monotonic(), cpu_s()
        yield
        used = cpu_s() - before
        self.say(
            f"{name} took {used:.0f} CPU s ({used / 120:.1f} minutes of two processors), {time.monotonic() - started:.0f} s"
        )

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.say(str(row))

    def failed(self, replay: str, notes: list[str], log: list[str]) -> None:
        """Show a failing run, and how to see it again; only the first few in full."""
        self.failures += 1
        self.say(f"  FAILED, replay with: {replay}")
        if self.failures <= MOST_SHOWN:
            for line in [*notes[:4], *log[-20:]]:
                self.say(f"    {line[:300]}")

    def tooth(self, guard: str, verdict: Verdict | str, *, is_noticed: bool) -> None:
        self.teeth[guard] = is_noticed
        found = "noticed" if self.teeth[guard] else "NOT NOTICED"
        self.say(f"  without {guard}: {found} ({verdict})")

    def require(self, part: str, *, is_whole: bool) -> None:
        """Note what the part, the only one of this report, ran too little of: at all, or of what all of it must come to."""
        runs = self.counted + sum(row.verdict.runs for row in self.rows)
        if not runs and not (part == TOOTH_ONLY and self.teeth):
            self.short.append(f"{part}: nothing ran that counts")
        for target, fewest in FEWEST.get(part, {}).items() if is_whole else ():
            found = sum(row.verdict.runs for row in self.rows if target in ("", row.target))
            if found < fewest:
                self.short.append(
                    f"{part}{target and ' of '}{target}: {found} runs, and all of it are {fewest} at least"
                )

    def result(self) -> dict[str, Any]:
        """Return what another process's report needs of this one: JSON."""
        return {
            "verdicts": [asdict(row.verdict) | {"notes": []} for row in self.rows],
            "teeth": self.teeth,
            "others": self.others,
            "short": self.short,
        }

    def take(self, result: dict[str, Any]) -> None:
        """Add what the report of another process found; its rows were shown there."""
        self.taken += [Verdict(**verdict) for verdict in result["verdicts"]]
        self.teeth |= result["teeth"]
        self.others |= result["others"]
        self.short += result["short"]

    def end(self) -> int:
        """Print the last line; return the exit code."""
        total = Verdict()
        for verdict in [*self.taken, *(row.verdict for row in self.rows)]:
            total.add(verdict)
        if total.undercut:
            self.say(f"{total.undercut} calls came before the time that a vendor had named in Retry-After")
        for lack in self.short:
            self.say(f"FAILED: {lack}")
        bitten = sum(self.teeth.values())
        others = "".join(f" {part}_failures={failures}" for part, failures in sorted(self.others.items()))
        others += f" short={len(self.short)}" if self.short else ""
        self.say(f"campaign: {total}{others} teeth={bitten}/{len(self.teeth)}")
        is_clean = total.is_clean and not any(self.others.values()) and not self.short
        return 0 if is_clean and bitten == len(self.teeth) else 1


def cpu_s() -> float:
    """Return user and system seconds of this process and of every child that has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
