"""How far a deployment goes: a day of N schedules against every quota. `make bench BENCH=scale` prints infra/COST.md's tables.

Each schedule exports 10,000 rows once a day, a third to each kind, ten tables a connector, every connector with an account of its
own. Work, calls, tasks and writes of a job are the cost model's (`shared.pipeline.costs`), which also writes the receipt on each job;
vendors' quotas are those that the connectors share out, five sixths used; Google's are the published ones.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.connectors._quota import Limit
from shared.connectors.google_sheets.client import CALLS_A_MINUTE_OF_PROJECT, CALLS_A_MINUTE_OF_USER
from shared.connectors.power_bi.limits import QUERIES_A_MINUTE
from shared.pipeline.costs import WORKERS, Receipt, of_work

ROWS, STORED_BYTES, TABLES_A_CONNECTOR = 10_000, 750_000, 10
SCHEDULER_JOB_MONTH = (
    0.10  # cloud.google.com/scheduler/pricing, from memory; the first three of a billing account are free
)
KINDS = tuple(WORKERS)
SCALES = (10, 1_000, 100_000)
DAY = 24 * 60
SHAPES = {"all at 06:00": 1, "over the day": DAY}
"""Over how many minutes the schedules are spread."""


def _ours(a_minute: int) -> int:
    """Return what the connectors use of a vendor's quota."""
    return int(Limit("any", "account", "any", a_minute, 60.0).ours or 0)


@dataclass(frozen=True)
class Rate:
    """A limit that makes jobs wait. `a_minute` for the whole deployment, or for each account where `of_account` names its kind."""

    name: str
    a_minute: float
    unit: str
    of_account: str | None = None


@dataclass(frozen=True)
class Count:
    """A limit that refuses: at most so many, of which there are `for_schedules(n)`."""

    name: str
    most: int
    what: str


MAX_WORKERS, TASKS_A_SECOND = 20, 50
"""As infra/terraform sets them by default: variable `max_workers`, queues.tf."""

RATES = (
    Rate("workers (`max_workers` = 20)", MAX_WORKERS * 60, "worker_s"),
    Rate("Cloud Tasks, our queue: 50 a second", TASKS_A_SECOND * 60, "tasks"),
    Rate(
        "Firestore: 500 writes a second at first", 500 * 60, "writes"
    ),  # firebase.google.com/docs/firestore/best-practices
    Rate("Secret Manager: 90,000 reads of secrets a minute", 90_000, "tasks"),  # cloud.google.com/secret-manager/quotas
    Rate("Google Sheets: 300 calls a minute for one project", _ours(CALLS_A_MINUTE_OF_PROJECT), "google_sheets"),
    Rate(
        "Google Sheets: 60 calls a minute for one account",
        _ours(CALLS_A_MINUTE_OF_USER),
        "google_sheets",
        "google_sheets",
    ),
    Rate("Power BI: 120 queries a minute for one account", _ours(QUERIES_A_MINUTE), "power_bi", "power_bi"),
)
COUNTS = (
    Count(
        "Cloud Scheduler: 1,000 jobs a region (5,000 on request)", 1_000, "schedules"
    ),  # cloud.google.com/scheduler/quotas
    Count("Secret Manager: 600 other reads a minute, one a connector in each sweep", 600, "connectors"),
)


def job(kind: str) -> Receipt:
    """Return what one export costs by the model."""
    return of_work(kind, ROWS, chunks=1, tasks=1, stored_bytes=STORED_BYTES)


def demand(kind: str, unit: str) -> float:
    """Return how much of a unit one job of a kind takes."""
    receipt, work = job(kind), WORKERS[kind]
    calls = work.calls_per_job + work.calls_per_million * ROWS / 1e6
    taken = {"worker_s": receipt.worker_s, "tasks": float(receipt.tasks), "writes": float(receipt.documents_written)}
    return taken.get(unit, calls if unit == kind else 0.0)


def accounts(schedules: int) -> int:
    """Return how many connectors of each kind there are."""
    return math.ceil(schedules / len(KINDS) / TABLES_A_CONNECTOR)


def refused(schedules: int) -> list[Count]:
    """Return the limits that do not let so many schedules be."""
    there = {"schedules": schedules + 2, "connectors": accounts(schedules) * len(KINDS) + 1}
    return [count for count in COUNTS if there[count.what] > count.most]


@dataclass(frozen=True)
class Day:
    """How a day went: the longest that a job waited, and what held jobs back, most first."""

    longest_wait_min: int
    held_back: tuple[str, ...]


def simulate(schedules: int, spread_min: int, rates: Sequence[Rate] = RATES) -> Day:
    """Let a day pass in which each limit gives each minute what it has; those who wait go on in the order in which they came."""
    each = schedules / len(KINDS)
    waiting, due, done = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    held: Counter[str] = Counter()
    longest = minute = 0
    while minute < spread_min or any(waiting[kind] > 1e-6 for kind in KINDS):
        if minute < spread_min:
            for kind in KINDS:
                waiting[kind] += each / spread_min
                due[kind] += each / spread_min
        for kind, jobs, by in _served(waiting, accounts(schedules), rates):
            if by:
                held[by] += waiting[kind] - jobs
            waiting[kind] -= jobs
            done[kind] += jobs
            if waiting[kind] > 1e-6:
                since = minute - min(minute, int(done[kind] / each * spread_min))
                longest = max(longest, since + 1)
        minute += 1
    return Day(longest, tuple(name for name, _ in held.most_common()))


def _served(
    waiting: dict[str, float], connectors: int, rates: Sequence[Rate]
) -> Iterator[tuple[str, float, str | None]]:
    """Yield (kind, jobs served in this minute, what held the others back)."""
    served, by = dict(waiting), dict.fromkeys(KINDS, "")
    for rate in rates:
        kinds = [kind for kind in KINDS if demand(kind, rate.unit)]
        given = rate.a_minute * (connectors if rate.of_account else 1)
        wanted = sum(served[kind] * demand(kind, rate.unit) for kind in kinds)
        if wanted > given * (1 + 1e-9):
            for kind in kinds:
                served[kind] *= given / wanted
                by[kind] = rate.name
    for kind in KINDS:
        yield kind, served[kind], by[kind] or None


def carried(rate: Rate, minutes: int) -> int:
    """Return how many schedules a limit lets through in so many minutes."""
    a_job = sum(demand(kind, rate.unit) for kind in KINDS) / len(KINDS)
    if rate.of_account:  # more schedules bring more accounts: what counts is the ten tables of one
        return sys.maxsize if TABLES_A_CONNECTOR * a_job * len(KINDS) <= rate.a_minute * minutes else 0
    return math.floor(rate.a_minute * minutes / a_job)


def tables() -> Sequence[str]:
    """Return the lines of COST.md's three tables of scale."""
    lines = ["| schedules | jobs | Cloud Scheduler |", "|---|---|---|"]
    for schedules in SCALES:
        usd = 30 * schedules * sum(job(kind).usd for kind in KINDS) / len(KINDS)
        lines.append(f"| {schedules:,} | {usd:,.2f} USD | {schedules * SCHEDULER_JOB_MONTH:,.0f} USD |")
    lines.append("")
    heads = [f"longest wait, {shape} | held back most by" for shape in SHAPES]
    lines.append(f"| schedules | {' | '.join(heads)} | refused by |")
    lines.append("|---|---|---|---|---|---|")
    for schedules in SCALES:
        days = [simulate(schedules, spread) for spread in SHAPES.values()]
        cells = [
            cell
            for day in days
            for cell in (f"{day.longest_wait_min:,} min", day.held_back[0] if day.held_back else "nothing")
        ]
        no = "; ".join(count.name for count in refused(schedules)) or "nothing"
        lines.append(f"| {schedules:,} | {' | '.join(cells)} | {no} |")
    lines += ["", "| limit | schedules at one time, done within an hour | schedules over the day |", "|---|---|---|"]
    counted = [
        (count.most - 2 if count.what == "schedules" else (count.most - 1) * TABLES_A_CONNECTOR, count.name)
        for count in COUNTS
    ]
    rows = [(number, number, name) for number, name in counted]
    rows += [(carried(rate, 60), carried(rate, DAY), rate.name) for rate in RATES]
    for hour, day, name in sorted(rows):
        lines.append(f"| {name} | {_number(hour)} | {_number(day)} |")
    return lines


def _number(value: int) -> str:
    return "any" if value == sys.maxsize else f"{value:,}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(tables()) + "\n")
