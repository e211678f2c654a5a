"""How many times of a cron expression 24 hours hold at most, against the times themselves."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta

import pytest

from shared.services.cron import Cron

NOW, END = datetime(2026, 1, 5, tzinfo=UTC), datetime(2029, 1, 5, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
ZONES = (
    "Africa/Cairo",  # back at the end of a day
    "Africa/Casablanca",
    "America/Havana",  # at midnight
    "America/New_York",
    "Antarctica/Troll",  # two hours
    "Australia/Lord_Howe",  # half an hour
    "Europe/Berlin",
    "Pacific/Easter",
    "UTC",
)


def offset(cron: Cron, moment: datetime) -> timedelta:
    return moment.astimezone(cron.zone).utcoffset() or timedelta(0)


@pytest.mark.parametrize(
    "expression", ["0 */3 * * *", "20 * * * *", "*/15 23,0-2 * * *", "30 */2 * * 0", "0 0,3,21,23 * * *"]
)
@pytest.mark.parametrize("zone", ZONES)
def test_the_most_in_a_day_is_what_the_fullest_24_hours_of_three_years_hold(zone: str, expression: str) -> None:
    cron = Cron(expression, zone)
    times = list(cron.between(NOW, END))
    counts = [
        bisect_left(times, one + DAY) - n
        for n, one in enumerate(times)
        if offset(cron, one + DAY) <= offset(cron, one - MINUTE)
    ]
    assert cron.most_in_a_day(NOW) == max(counts)


@pytest.mark.parametrize(("day", "most"), [(7, 9), (20, 8)])
def test_only_days_that_fire_count_though_they_meet_a_change_of_clocks_years_away(day: int, most: int) -> None:
    """Havana's clocks go back on the first Sunday of November: on the 7th in 2027 first, never on the 20th."""
    assert Cron(f"0 */3 {day} 11 *", "America/Havana").most_in_a_day(NOW) == most
