"""A slice of the parts `schedules`, `cron` and `reconcile` for `make test`, and every guard missed when it is gone."""

from __future__ import annotations

import pytest

from tests.campaigns import reconciling, schedules, zones


def test_every_planned_time_is_accounted_for_once_whatever_is_delivered() -> None:
    played = [schedules.play(seed) for seed in range(5)]
    assert [note for one in played for note in one.verdict.notes] == []
    assert sum(one.ticks for one in played) == 250
    assert sum(one.deliveries for one in played) > 400
    assert sum(one.deaths for one in played) > 25


@pytest.mark.parametrize("tooth", range(len(schedules.TEETH)), ids=[tooth.guard for tooth in schedules.TEETH])
def test_a_missing_guard_of_occurrences_is_noticed(tooth: int) -> None:
    found = schedules.until_noticed(tooth, 30)
    assert found.missed or found.doubled


@pytest.mark.parametrize(("zone", "year"), [("Australia/Lord_Howe", 2024), ("Antarctica/Troll", 2025)])
def test_a_year_of_a_zone_is_what_a_walk_by_the_minute_finds(zone: str, year: int) -> None:
    verdict, compared, notes = zones.compare(zone, year, years=1)
    assert notes == []
    assert compared > 600_000
    assert (verdict.missed, verdict.doubled) == (0, 0)


@pytest.mark.parametrize(("name", "zone", "reader"), zones.TEETH, ids=[name for name, _, _ in zones.TEETH])
def test_another_reading_of_a_zone_is_noticed(name: str, zone: str, reader: zones.Reader) -> None:
    verdict, _, _ = zones.compare(zone, zones.ZONES[zone], reader, years=1)
    assert verdict.missed or verdict.doubled


@pytest.mark.parametrize("name", list(reconciling.OPERATIONS))
def test_a_death_between_two_writes_leaves_no_orphan_and_no_silent_schedule(name: str) -> None:
    verdict, points = reconciling.play_all(name)
    assert verdict.notes == []
    assert points >= (5 if name in ("refused create", "no change") else 6)  # a put that is refused has no second half


@pytest.mark.parametrize("guard", list(reconciling.TEETH))
def test_a_missing_guard_against_torn_writes_is_noticed(guard: str) -> None:
    assert not reconciling.noticed(guard).is_clean
