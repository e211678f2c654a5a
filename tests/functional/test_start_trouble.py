"""Starts of schedules that meet trouble that passes, a change at the same moment, or a call that was forced, over HTTP on fakes.

The clock stands at 12:00 UTC.
"""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import VendorUnavailableError
from shared.ports import Query
from shared.services.refreshes import Refreshes
from tests.functional.conftest import World
from tests.functional.scheduling import API, DONE, HOURLY, create, get, jobs, occurrences, statuses

DOWN = VendorUnavailableError("the bucket gave no answer")


def notices(world: World) -> list[tuple[str, str]]:
    found = world.fakes.documents.query(Query("notices"))
    return [(one.data["event"], one.data["message"]) for one in found]


def minutes(world: World, first: str, count: int) -> None:
    world.go_to(f"2026-01-05T{first}:00+00:00")
    for _ in range(count):
        world.minute()
        world.fakes.clock.sleep(60)


def fail_with(monkeypatch: pytest.MonkeyPatch, world: World, trouble: Exception) -> None:
    def down(bucket: str, name: str) -> Any:
        raise trouble

    monkeypatch.setattr(world.fakes.objects, "stat", down)


@pytest.mark.parametrize("missed", ["skip", "run_once", "run_all"])
def test_a_start_that_fails_for_long_is_told_once_with_its_reason_and_so_is_its_recovery(
    schedules: World, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    schedule_id = create(schedules, HOURLY, missed=missed)
    with monkeypatch.context() as outage:
        fail_with(outage, schedules, DOWN)
        schedules.go_to("2026-01-05T13:00:00+00:00")
        assert schedules.fire(schedule_id, "2026-01-05T13:00:00Z").status == 503
        minutes(schedules, "13:02", 8)
        assert (get(schedules, schedule_id).body["health"], notices(schedules)) == ("unknown", [])
        minutes(schedules, "13:10", 30)
    assert get(schedules, schedule_id).body["health"] == "failing"
    assert notices(schedules) == [
        ("schedule.failing", "no run could be started for more than 10 minutes: the bucket gave no answer")
    ]
    schedules.go_to("2026-01-05T14:00:00+00:00")
    schedules.fire(schedule_id, "2026-01-05T14:00:00Z")
    for _ in range(3):
        schedules.work()
        schedules.minute()
    assert [event for event, _ in notices(schedules)] == ["schedule.failing", "schedule.recovered"]


def test_a_fault_of_ours_at_the_start_is_told_too_and_shows_no_value(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(schedules, HOURLY, missed="skip")
    fail_with(monkeypatch, schedules, ValueError("a value that is nobody's business"))
    minutes(schedules, "13:02", 15)
    assert notices(schedules) == [
        ("schedule.failing", "no run could be started for more than 10 minutes: a fault of ours (ValueError)")
    ]


def test_what_was_left_out_because_its_start_failed_says_why(schedules: World, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule_id = create(schedules, HOURLY, missed="skip")
    with monkeypatch.context() as outage:
        fail_with(outage, schedules, DOWN)
        minutes(schedules, "13:02", 10)
    schedules.go_to("2026-01-05T14:20:00+00:00")
    schedules.minute()
    left_out = "missed; the schedule leaves missed occurrences out"
    assert occurrences(schedules, schedule_id) == [
        ("2026-01-05T13:00:00Z", "skipped", f"{left_out}; its start failed: the bucket gave no answer"),
        ("2026-01-05T14:00:00Z", "skipped", left_out),
    ]


@pytest.mark.parametrize("way", ["starts", "is paused"])
def test_trouble_that_passed_is_not_told(schedules: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    schedule_id = create(schedules, HOURLY)
    with monkeypatch.context() as outage:
        fail_with(outage, schedules, DOWN)
        minutes(schedules, "13:02", 3)
        if way == "is paused":
            schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:pause")
            minutes(schedules, "13:20", 1)
            schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:resume")
    minutes(schedules, "13:30", 3)
    assert notices(schedules) == []


def test_an_occurrence_that_waited_and_cannot_start_is_told_of(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_id = create(schedules, HOURLY, overlap="queue_one")
    for hour in (13, 14):
        schedules.go_to(f"2026-01-05T{hour}:00:00+00:00")
        schedules.fire(schedule_id, f"2026-01-05T{hour}:00:00Z")
    schedules.work()
    fail_with(monkeypatch, schedules, DOWN)
    minutes(schedules, "14:05", 15)
    assert [event for event, _ in notices(schedules)] == ["schedule.failing"]


def test_a_run_starts_by_what_its_schedule_says_when_it_starts(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the decision and the start: a refresh must not be kept as the export that the schedule asks for by now."""
    schedule_id = create(schedules)
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    changes = {"action": "export_and_refresh", "export": export}
    start, changed = Refreshes.start, []

    def racing(self: Refreshes, *args: Any, **more: Any) -> Any:
        if not changed:
            changed.append(True)
            etag = get(schedules, schedule_id).headers["ETag"]
            answer = schedules.call("refresh", "PATCH", f"{API}/schedules/{schedule_id}", changes, **{"If-Match": etag})
            assert answer.status == 200, answer.body
        return start(self, *args, **more)

    schedules.go_to("2026-01-05T17:00:00+00:00")
    monkeypatch.setattr(Refreshes, "start", racing)
    (started,) = schedules.fire(schedule_id, "2026-01-05T17:00:00Z").body["occurrences"]
    assert (started["run_kind"], [started["run_id"]]) == ("export", [job["id"] for job in jobs(schedules)])
    assert schedules.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"] == []


def test_a_failure_of_what_a_schedule_no_longer_asks_for_is_not_recorded(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_id = create(schedules, options={"type": "Full"})
    start, mended = Refreshes.start, []

    def racing(self: Refreshes, connector: Any, options: Any, *args: Any, **more: Any) -> Any:
        if not mended:
            mended.append(True)
            etag = get(schedules, schedule_id).headers["ETag"]
            path = f"{API}/schedules/{schedule_id}"
            schedules.call("refresh", "PATCH", path, {"options": None}, **{"If-Match": etag})
            options = {"colour": "blue"}  # what the schedule asked for when it was decided
        return start(self, connector, options, *args, **more)

    schedules.vendor.refreshes = [DONE]
    schedules.go_to("2026-01-05T17:00:00+00:00")
    monkeypatch.setattr(Refreshes, "start", racing)
    schedules.fire(schedule_id, "2026-01-05T17:00:00Z")
    assert statuses(schedules, schedule_id) == [("17:00", "started")]
    assert get(schedules, schedule_id).body["health"] == "unknown"


def test_a_call_forced_in_the_console_runs_though_its_header_carries_the_moment_itself(schedules: World) -> None:
    """No planned time has seconds. Such a header tells one press from another, however late it comes again."""
    schedule_id = create(schedules, HOURLY)
    schedules.go_to("2026-01-05T12:20:08+00:00")
    (forced,) = schedules.fire(schedule_id, "2026-01-05T12:20:07Z").body["occurrences"]
    assert (forced["trigger"], forced["planned_at"]) == ("forced", "2026-01-05T12:20:07Z")
    schedules.work()
    schedules.go_to("2026-01-05T12:40:00+00:00")
    assert schedules.fire(schedule_id, "2026-01-05T12:20:07Z").body["occurrences"] == []
    assert len(schedules.fire(schedule_id, "2026-01-05T12:39:58Z").body["occurrences"]) == 1
    schedules.work()
    schedules.go_to("2026-01-05T13:00:00+00:00")
    assert len(schedules.fire(schedule_id, "2026-01-05T13:00:00Z").body["occurrences"]) == 1
    assert len(jobs(schedules)) == 3


def test_a_person_whose_run_by_hand_cannot_start_hears_it_as_the_answer_alone(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_id = create(schedules, HOURLY)
    with monkeypatch.context() as outage:
        fail_with(outage, schedules, DOWN)
        assert schedules.call("refresh", "POST", f"{API}/schedules/{schedule_id}:runNow").status == 503
    minutes(schedules, "12:30", 2)
    assert notices(schedules) == []


def test_an_expression_longer_than_any_that_says_something_is_refused(schedules: World) -> None:
    """One of 200,000 characters took seconds to read, at every look of every minute."""
    longest = {**HOURLY, "cron_expression": "0" + ",0" * 250 + " * * * *"}
    answer = schedules.call("refresh", "POST", f"{API}/schedules", longest)
    assert (answer.status, answer.body.get("field")) == (400, "cron_expression")
    every = {**HOURLY, "cron_expression": f"{','.join(map(str, range(60)))} {','.join(map(str, range(24)))} * * *"}
    assert schedules.call("refresh", "POST", f"{API}/schedules", every).status == 201
