"""What a campaign prints: one row per target and mode, every failing run with how to replay it, one last line."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from tests.campaigns.verdict import Verdict

FIGURES = f"{'points':>6} {'runs':>6} {'lost':>5} {'dupl.':>5} {'stuck':>5} {'mixed':>5}"
HEADER = f"{'part':<11} {'target':<22} {'mode':<8} {FIGURES}  excepted by name"
MOST_SHOWN = 10


@dataclass
class Row:
    """One target in one mode. `excepted` counts what a target that cannot be atomic showed, apart from the zeros."""

    part: str
    target: str
    mode: str
    points: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    excepted: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        v = self.verdict
        said = ", ".join(f"{count} {what}" for what, count in self.excepted.items() if count)
        figures = f"{v.runs:>6} {v.lost:>5} {v.duplicated:>5} {v.stuck:>5} {v.mixed:>5}"
        return f"{self.part:<11} {self.target:<22} {self.mode:<8} {self.points:>6} {figures}  {said or '-'}"


@dataclass
class Report:
    """All of a campaign. `teeth` maps a guard to whether the campaign noticed that it was gone."""

    rows: list[Row] = field(default_factory=list)
    teeth: dict[str, bool] = field(default_factory=dict)
    failures: int = 0

    def say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def start(self, part: str) -> None:
        self.say(f"\n{part}\n{HEADER}")

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.say(str(row))

    def failed(self, replay: str, notes: list[str], log: list[str]) -> None:
        """Show a failing run, and how to see it again; only the first few in full."""
        self.failures += 1
        if self.failures <= MOST_SHOWN:
            self.say(f"  FAILED, replay with: {replay}")
            for line in [*notes[:4], *log[-20:]]:
                self.say(f"    {line[:300]}")

    def tooth(self, guard: str, verdict: Verdict, *, is_noticed: bool) -> None:
        self.teeth[guard] = is_noticed
        found = "noticed" if self.teeth[guard] else "NOT NOTICED"
        self.say(f"  without {guard}: {found} ({verdict})")

    def end(self) -> int:
        """Print the last line; return the exit code."""
        total = Verdict()
        for row in self.rows:
            total.add(row.verdict)
        bitten = sum(self.teeth.values())
        self.say(f"campaign: {total} teeth={bitten}/{len(self.teeth)}")
        return 0 if total.is_clean and bitten == len(self.teeth) else 1
