"""Part `cron`: when expressions fire, against an oracle that walks minute by minute and shares nothing with the code under test.

The oracle looks at the clock on the wall at every minute of UTC. It knows neither folds nor gaps: a wall time that was there
before is a repeat, a minute after which the wall clock jumps forward has skipped what lies between.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from shared.services.cron import Cron
from tests.campaigns.report import Report, Row
from tests.campaigns.verdict import Verdict

MINUTE = timedelta(minutes=1)
ZONES = {
    "Europe/Berlin": 2024,
    "Europe/London": 2024,
    "America/New_York": 2024,
    "America/St_Johns": 2024,
    "Australia/Lord_Howe": 2024,  # half an hour
    "Pacific/Apia": 2011,  # 30 December 2011 does not exist
    "Africa/Casablanca": 2024,  # back for Ramadan
    "Antarctica/Troll": 2024,  # two hours
    "Pacific/Chatham": 2024,
    "America/Sao_Paulo": 2016,  # at midnight
    "America/Havana": 2024,  # at midnight
    "Asia/Tehran": 2020,  # at midnight, half-hour zone
    "Africa/Cairo": 2023,  # at the end of a day
    "Asia/Kathmandu": 2024,
    "UTC": 2024,
}
"""Zone to the first of its three years."""
EXPRESSIONS = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 */2 * * *",
    "*/10 4 * * *",
    "*/20 0-3 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "15 1 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "30 2 * * *",
    "15,45 2 * * *",
    "5 2,3 * * *",
    "59 23 * * *",
    "0 6 * * 1-5",
    "30 2 * * SUN",
    "0 0 1 * *",
    "45 1 29 2 *",
    "0 3 13 * 5",
    "10 12 31 12 *",
    "0 0 * * 7",
    "*/15 * 30 12 *",
    "20-40/5 1-2 * 3,10,11 *",
)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
WORDS = {word: number for number, word in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])}


@dataclass(frozen=True)
class Wanted:
    """What the five fields of an expression allow, read by rules of our own."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    is_rhythm: bool

    @classmethod
    def read(cls, expression: str) -> Wanted:
        fields = expression.split()
        sets = [frozenset(_numbers(text, *bounds)) for text, bounds in zip(fields, RANGES, strict=True)]
        weekdays = frozenset(number % 7 for number in sets[4])
        either = fields[2][0] != "*" and fields[4][0] != "*"
        return cls(*sets[:4], weekdays, either, fields[0][0] == "*" or fields[1][0] == "*")

    def is_day(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((of_month or of_week) if self.either_day else (of_month and of_week))

    def is_time(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours and self.is_day(wall.date())


@dataclass
class Walk:
    """What an oracle found, by expression."""

    found: dict[str, list[datetime]] = field(default_factory=dict)


def walk(zone_name: str, first_year: int, expressions: tuple[str, ...] = EXPRESSIONS, years: int = 3) -> Walk:
    """Look at every minute of the years."""
    zone = ZoneInfo(zone_name)
    wanted = {expression: Wanted.read(expression) for expression in expressions}
    result = Walk({expression: [] for expression in expressions})
    moment = datetime(first_year, 1, 1, tzinfo=UTC)
    end = datetime(first_year + years, 1, 1, tzinfo=UTC)
    furthest = (moment - MINUTE).astimezone(zone).replace(tzinfo=None)
    today, by_time = None, {}
    while moment < end:
        wall = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if wall.date() != today:
            today, by_time = wall.date(), _by_time(wanted, wall.date())
        hits = by_time.get((wall.hour, wall.minute), ())
        is_repeat = wall <= furthest
        for expression in hits:
            if wanted[expression].is_rhythm or not is_repeat:
                result.found[expression].append(moment)
        if wall - furthest > MINUTE:
            for expression, one in wanted.items():
                if not one.is_rhythm and expression not in hits and _any_between(one, furthest, wall):
                    result.found[expression].append(moment)
        furthest = max(furthest, wall)
        moment += MINUTE
    return result


def _by_time(wanted: dict[str, Wanted], day: date) -> dict[tuple[int, int], tuple[str, ...]]:
    """Return the expressions by the times of one day at which they are wanted."""
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    for expression, one in wanted.items():
        if one.is_day(day):
            for hour in one.hours:
                for minute in one.minutes:
                    found[hour, minute] = (*found.get((hour, minute), ()), expression)
    return found


def _any_between(one: Wanted, after: datetime, before: datetime) -> bool:
    wall = after + MINUTE
    while wall < before:
        if one.is_time(wall):
            return True
        wall += MINUTE
    return False


def _numbers(text: str, low: int, high: int) -> Iterator[int]:
    for part in text.split(","):
        span, _, step = part.partition("/")
        start, _, stop = span.partition("-")
        if start == "*":
            first, last = low, high
        else:
            first = WORDS[start] if start in WORDS else int(start)
            last = (WORDS[stop] if stop in WORDS else int(stop)) if stop else first
        yield from range(first, last + 1, int(step or 1))


Reader = Callable[[str, str, datetime, datetime], list[datetime]]


def ours(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The code under test."""
    return list(Cron(expression, zone).between(start - MINUTE, end - MINUTE))


def cronsims(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """cronsim's own walk, without ours."""
    found, steps = [], CronSim(expression, (start - MINUTE).astimezone(ZoneInfo(zone)))
    while (moment := next(steps).astimezone(UTC)) < end:
        found.append(moment)
    return found


def in_utc(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The zone forgotten."""
    return ours(expression, "UTC", start, end)


def by_the_wall(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Every time on the wall by itself: nothing for those that are skipped, two for those that come twice."""
    cron = Cron(expression, zone)
    cron._is_rhythm = True
    return list(cron.between(start - MINUTE, end - MINUTE))


def compare(zone: str, first_year: int, reader: Reader = ours, years: int = 3) -> tuple[Verdict, int, list[str]]:
    """Return the verdict over all expressions of a zone, how many times were compared, and the first differences."""
    start, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(first_year + years, 1, 1, tzinfo=UTC)
    verdict, compared, notes = Verdict(runs=1), 0, []
    for expression, expected in walk(zone, first_year, years=years).found.items():
        found = reader(expression, zone, start, end)
        compared += len(expected)
        missed, doubled = set(expected) - set(found), set(found) - set(expected)
        verdict.missed += len(missed)
        verdict.doubled += len(doubled) + len(found) - len(set(found))
        for kind, moments in (("missed", missed), ("too many", doubled)):
            if moments:
                notes.append(f"{expression!r} in {zone}: {len(moments)} {kind}, the first at {min(moments)}")
    return verdict, compared, notes


def run(report: Report, *, zones: int) -> None:
    """Compare every zone, then show that the comparison notices other readings."""
    report.start("cron: three years of every zone, minute by minute")
    row = Row("cron", "in memory", f"{zones} zones")
    chosen = (
        list(ZONES.items())[:zones] if zones >= len(ZONES) else [("Australia/Lord_Howe", 2024), ("Pacific/Apia", 2011)]
    )
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for (zone, year), (verdict, compared, notes) in zip(chosen, pool.starmap(compare, chosen), strict=True):
            row.verdict.add(verdict)
            row.points += compared
            if not verdict.is_clean:
                report.failed(f"make campaign PART=cron  ({zone} from {year})", notes, [])
    report.add(row)
    for name, zone, reader in TEETH:
        verdict, _, _ = compare(zone, ZONES[zone], reader)
        report.tooth(name, verdict, is_noticed=bool(verdict.missed or verdict.doubled))


TEETH: tuple[tuple[str, str, Reader], ...] = (
    ("our walk over the days (cronsim's instead)", "Australia/Lord_Howe", cronsims),
    ("the time zone", "Africa/Casablanca", in_utc),
    ("the rules at the edges of summer time", "Antarctica/Troll", by_the_wall),
)
