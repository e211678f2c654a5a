"""Due times that meet a change of their schedule, or trouble of another one, over HTTP on fakes; the clock stands at 12:00 UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from shared.errors import VendorUnavailableError
from shared.services.deliveries import Deliveries
from shared.services.occurrences import Occurrences
from tests.functional.conftest import World
from tests.functional.scheduling import API, HOURLY, create, get, jobs, occurrences, statuses


def patch(world: World, schedule_id: str, changes: dict[str, Any]) -> None:
    etag = get(world, schedule_id).headers["ETag"]
    answer = world.call("refresh", "PATCH", f"{API}/schedules/{schedule_id}", changes, **{"If-Match": etag})
    assert answer.status == 200, answer.body


def pause_and_resume(world: World, schedule_id: str) -> None:
    for verb in ("pause", "resume"):
        assert world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:{verb}").status == 200


@pytest.mark.parametrize("way", ["change", "pause"])
def test_a_change_just_before_a_time_that_ran_already_does_not_bring_it_back(schedules: World, way: str) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T12:59:57+00:00")
    assert len(schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]) == 1
    schedules.work()
    schedules.go_to("2026-01-05T12:59:58+00:00")
    if way == "change":
        patch(schedules, schedule_id, {"cron_expression": "0,30 * * * *"})
    else:
        pause_and_resume(schedules, schedule_id)
    schedules.go_to("2026-01-05T14:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T14:00:00Z").status == 200
    assert statuses(schedules, schedule_id)[-1] == ("14:00", "started")
    assert ("13:00", "started") in statuses(schedules, schedule_id)


def test_a_time_that_is_on_record_counts_as_handled_whatever_the_schedule_says(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY)
    path = f"schedules/{schedule_id}"
    before = schedules.fakes.documents.get(path)
    assert before is not None
    schedules.go_to("2026-01-05T13:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T13:00:00Z")
    schedules.work()
    schedules.fakes.documents.update(path, {"handled_until": before.data["handled_until"]})
    schedules.go_to("2026-01-05T14:00:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T14:00:00Z").status == 200
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("14:00", "started")]


@pytest.mark.parametrize("change", [{"cron_expression": "30 * * * *"}, {"timezone": "Asia/Kolkata"}])
def test_what_was_due_before_a_change_runs_before_it(schedules: World, change: dict[str, Any]) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T13:00:20+00:00")
    patch(schedules, schedule_id, change)
    schedules.go_to("2026-01-05T13:00:30+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"] == []
    assert statuses(schedules, schedule_id) == [("13:00", "started")]
    assert len(jobs(schedules)) == 1


def test_what_was_due_before_a_pause_does_not_start_and_is_on_record(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY, missed="run_all")
    schedules.go_to("2026-01-05T15:00:20+00:00")
    pause_and_resume(schedules, schedule_id)
    schedules.go_to("2026-01-05T15:00:30+00:00")
    schedules.fire(schedule_id, "2026-01-05T15:00:00Z")
    assert [(status, reason) for _, status, reason in occurrences(schedules, schedule_id)] == [
        ("skipped", "had not started when the schedule was paused")
    ] * 3


def test_what_could_not_start_before_a_change_is_on_record(schedules: World, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T13:00:20+00:00")

    def down(bucket: str, name: str) -> None:
        raise VendorUnavailableError("the bucket gave no answer")

    monkeypatch.setattr(schedules.fakes.objects, "stat", down)
    patch(schedules, schedule_id, {"cron_expression": "30 * * * *"})
    assert [(status, reason) for _, status, reason in occurrences(schedules, schedule_id)] == [
        ("skipped", "had not started when the schedule was changed")
    ]


@pytest.mark.parametrize("overlap", ["skip", "queue_one", "cancel_running"])
def test_run_all_runs_all_one_after_the_other_whatever_the_overlap(schedules: World, overlap: str) -> None:
    schedule_id = create(schedules, HOURLY, missed="run_all", overlap=overlap)
    schedules.go_to("2026-01-05T18:30:00+00:00")
    for _ in range(8):
        schedules.minute()
        schedules.minute()  # the run goes on
        schedules.work()
    assert statuses(schedules, schedule_id) == [(f"{hour}:00", "started") for hour in range(13, 19)]
    assert [job["status"] for job in jobs(schedules)] == ["success"] * 6


def test_a_time_that_is_due_while_missed_ones_wait_follows_the_overlap(schedules: World) -> None:
    schedule_id = create(schedules, HOURLY, missed="run_all")
    schedules.go_to("2026-01-05T15:30:00+00:00")
    schedules.minute()
    schedules.go_to("2026-01-05T16:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T16:00:00Z")
    schedules.fire(schedule_id, "2026-01-05T16:00:00Z")
    assert statuses(schedules, schedule_id) == [("13:00", "started"), ("16:00", "skipped")]
    schedules.go_to("2026-01-05T16:20:00+00:00")
    for _ in range(4):
        schedules.work()
        schedules.minute()
    started = [(f"{hour}:00", "started") for hour in (13, 14, 15)]
    assert statuses(schedules, schedule_id) == [*started, ("16:00", "skipped")]
    schedules.go_to("2026-01-05T17:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    assert statuses(schedules, schedule_id)[-1] == ("17:00", "started")


def test_one_schedules_trouble_does_not_keep_the_others(schedules: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = create(schedules, HOURLY), create(schedules, HOURLY)
    tend = Occurrences.tend

    def contended(self: Occurrences, schedule: Mapping[str, Any]) -> None:
        if schedule["id"] == broken:
            raise ValueError("Failed to commit transaction in 20 attempts.")
        tend(self, schedule)

    monkeypatch.setattr(Occurrences, "tend", contended)
    schedules.go_to("2026-01-05T13:05:00+00:00")
    schedules.minute()
    assert statuses(schedules, sound) == [("13:00", "started")]


def test_one_schedules_trouble_does_not_keep_the_alerts_of_the_others(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = create(schedules, HOURLY, max_age="30m"), create(schedules, HOURLY, max_age="30m")
    last_of = Deliveries.last_of

    def contended(self: Deliveries, schedule: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
        if schedule["id"] == broken:
            raise ValueError("Failed to commit transaction in 20 attempts.")
        return last_of(self, schedule, now)

    monkeypatch.setattr(Deliveries, "last_of", contended)
    schedules.go_to("2026-01-05T12:40:00+00:00")
    schedules.minute()
    notices = schedules.call("refresh", "GET", f"{API}/notices").body["notices"]
    assert [(one["event"], one["subject"]["schedule_id"]) for one in notices] == [("freshness.late", sound)]
