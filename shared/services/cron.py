"""When a cron expression fires in a time zone: five fields, the names `@hourly` …, both edges of summer time.

cronsim reads the fields; the walk over the days is ours, because cronsim 2.8 loses times after a shift of half an hour
(Australia/Lord_Howe, `*/10 4 * * *` on the day of the change). The rules at the edges are Debian cron's:

- an expression with fixed minutes and hours means times on the clock: one that is skipped fires when the clocks have moved, one
  that comes twice fires the first time;
- an expression whose minute or hour begins with `*` means a rhythm: it fires at whatever the clock really shows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from shared.errors import InvalidRequestError
from shared.redaction import hinted

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
PLAIN = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*,-/")
LONGEST = 500  # our choice, characters: every minute, hour, day, month and weekday listed one by one are 356
LONGEST_WAIT = timedelta(days=366 * 9)  # 29 February is at most eight years away (1896 to 1904, 2096 to 2104)
WEEKDAYS_COME_AGAIN = 28  # years after which the days of the week fall on the same dates
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


class Cron:
    """One expression in one zone. Times that come in and go out are aware, UTC."""

    def __init__(self, expression: str, timezone: str) -> None:
        """Read an expression.

        Raises:
            InvalidRequestError: not five fields, an impossible value, a date that never comes, or no such zone.
        """
        self.zone = _zone(timezone)
        self.expression = five_fields(expression)
        try:
            self._fields: Any = CronSim(self.expression, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as exc:
            raise _invalid(expression, f"{exc}") from exc
        minute, hour = self.expression.split()[:2]
        self._is_rhythm = minute.startswith("*") or hour.startswith("*")
        self._times = [time(h, m) for h in sorted(self._fields.hours) for m in sorted(self._fields.minutes)]
        if next(self.after(datetime(2024, 3, 1, tzinfo=UTC)), None) is None:
            raise _invalid(expression, "that date never comes")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after `moment`, in order; ends if none comes within nine years of the one before."""
        last, day = moment, moment.astimezone(self.zone).date() - DAY
        while datetime.combine(day, time(), UTC) < last + LONGEST_WAIT:
            for found in self._on(day):
                if found > last:
                    last = found
                    yield found
            day += DAY

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the times after `start` and not after `end`."""
        for found in self.after(start):
            if found > end:
                return
            yield found

    @property
    def times_a_day(self) -> int:
        """How often it fires on a day that it fires on, of 24 hours."""
        return len(self._times)

    def most_in_a_day(self, now: datetime) -> int:
        """Return the largest number of times within any 24 hours of the years to come, but for those in which clocks go forward.

        Every day that fires has the same times, and one day at least fires, be it 29 February; when clocks go back, a rhythm fires
        twice at what comes twice. When they go forward, 24 hours reach into the times of the next day: that is not counted, else
        every three hours would be nine a day in most zones.
        """
        most, seen = self.times_a_day, set()
        for fold in _folds(self.zone, now.year) if self._is_rhythm else ():
            days = [fold.day + n * DAY for n in (-1, 0, 1)]
            alike = (fold.start, fold.end, *map(self._is_on, days))
            if self._is_on(fold.day) and alike not in seen:
                seen.add(alike)
                times = sorted(found for day in days for found in self._on(day))
                most = max([most, *(bisect_left(times, one + DAY) - n for n, one in enumerate(times))])
        return most

    def words(self) -> str:
        """Return the expression in words, with the zone."""
        return f"{self._fields.explain()}, {self.zone.key} time"

    def note(self, moment: datetime) -> str | None:
        """Say what the clocks do on the local day of one of the times, None if nothing."""
        local = moment.astimezone(self.zone)
        start = datetime.combine(local.date(), time(), self.zone)
        shift = (start + DAY).utcoffset() - start.utcoffset()  # type: ignore[operator]  # aware: both have an offset
        if not shift:
            return None
        minutes = int(abs(shift) / MINUTE)
        said = f"clocks go {'forward' if shift > timedelta(0) else 'back'} by {minutes} minutes on this day"
        if not self._is_rhythm and local.time().replace(tzinfo=None) not in self._times:
            return f"{said}; the time asked for is skipped, so it runs when the clocks have moved"
        if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            return f"{said}; this time comes twice, " + ("both run" if self._is_rhythm else "the first runs")
        return said

    def _on(self, day: date) -> list[datetime]:
        """Return the times whose local date is `day`, sorted, each once."""
        if not self._is_on(day):
            return []
        is_plain = _offsets(self.zone, day) == 1
        found: set[datetime] = set()
        for clock in self._times:
            first = datetime.combine(day, clock, self.zone)
            utc = first.astimezone(UTC)
            if is_plain:
                found.add(utc)
                continue
            second = first.replace(fold=1).astimezone(UTC)
            is_real = utc.astimezone(self.zone).replace(tzinfo=None) == first.replace(tzinfo=None)
            if is_real:
                found |= {utc, second} if self._is_rhythm else {utc}
            elif not self._is_rhythm:
                found.add(_change(self.zone, second, utc))
        return sorted(found)

    def _is_on(self, day: date) -> bool:
        return bool(day.month in self._fields.months and self._fields.match_day(day))


def five_fields(expression: str) -> str:
    """Return an expression as Cloud Scheduler takes it: five fields with single spaces; `@daily` and the like written out.

    Raises:
        InvalidRequestError: another number of fields, signs that only some programs know (`L`, `#`, `?`, `5/10`), or too long.
    """
    if len(expression) > LONGEST:
        raise _invalid(f"{expression[:40]}…", f"it has more than {LONGEST} characters")
    text = " ".join(NAMES.get(expression.strip().lower(), expression).upper().split())
    fields = text.split(" ")
    if len(fields) != 5:
        raise _invalid(expression, f"{len(fields)} fields, and no name that is known ({', '.join(sorted(NAMES))})")
    for field in fields:
        if not set(field) <= PLAIN or "L" in field.replace("JUL", ""):
            raise _invalid(expression, f"{field!r} has signs that Cloud Scheduler does not know")
        for part in field.split(","):
            if "/" in part and "*" not in part and "-" not in part:
                start, _, step = part.partition("/")
                raise _invalid(
                    expression, f"{part!r} means different things to different programs: write {start}-<last>/{step}"
                )
    day, weekday = fields[2], fields[4]
    if (day.startswith("*/") and weekday != "*") or (weekday.startswith("*/") and day != "*"):
        raise _invalid(
            expression, "a step of days beside the other day field means different things to different programs"
        )
    return text


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise InvalidRequestError(
            f"there is no time zone {hinted(timezone)!r}; expected an IANA name such as Europe/Berlin", field="timezone"
        ) from exc


def _invalid(expression: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"cron_expression {expression!r} cannot be used: {why}; expected five fields, e.g. 0 6 * * 1",
        field="cron_expression",
    )


@lru_cache(maxsize=4096)
def _offsets(zone: ZoneInfo, day: date) -> int:
    """Return how many UTC offsets a zone has around a local date: one on all but the days of a change."""
    noon = datetime.combine(day, time(12), UTC)
    hours = islice((noon + timedelta(hours=h) for h in range(-36, 37, 12)), 7)
    return len({moment.astimezone(zone).utcoffset() for moment in hours})


def _change(zone: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """Return the moment between two at which the zone's offset changes."""
    offset = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


@dataclass(frozen=True)
class Fold:
    """What comes twice on a day of a zone: the times of the clock from `start` on and before `end`."""

    day: date
    start: time
    end: time


@lru_cache(maxsize=256)
def _folds(zone: ZoneInfo, year: int) -> tuple[Fold, ...]:
    """Return the folds of a zone in the years from `year` on, until dates have gone through all the days of the week."""
    found: list[Fold] = []
    early, last = datetime(year, 1, 1, tzinfo=UTC), datetime(year + WEEKDAYS_COME_AGAIN, 1, 1, tzinfo=UTC)
    before = _offset(early, zone)
    while early < last:
        late = early + DAY
        offset = _offset(late, zone)
        if offset < before:
            change = _change(zone, early, late).replace(tzinfo=None)
            found += _of_days(change + offset, change + before)
        early, before = late, offset
    return tuple(found)


def _of_days(start: datetime, end: datetime) -> Iterator[Fold]:
    """Cut what comes twice at midnight."""
    while start.date() < end.date():
        yield Fold(start.date(), start.time(), time.max)
        start = datetime.combine(start.date() + DAY, time())
    if start < end:
        yield Fold(start.date(), start.time(), end.time())


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
