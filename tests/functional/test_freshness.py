"""How fresh the schedules keep what readers see, over HTTP on fakes. The clock stands at 12:00 UTC, Monday 5 January 2026."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.ports import Query
from tests.functional.conftest import World

API = "/api/bi-connectors"
DONE = VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")
DAILY = {
    "connector_name": "ymca_sheets",
    "cron_expression": "0 13 * * *",
    "action": "export_and_refresh",
    "export": {"connector_name": "ymca_sheets", "table_name": "people"},
    "max_age": "26h",
}


@pytest.fixture
def daily(registered: World) -> tuple[World, str]:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    answer = registered.call("refresh", "POST", f"{API}/schedules", DAILY)
    return registered, str(answer.body["id"])


def state(world: World) -> dict[str, Any]:
    (found,) = world.call("refresh", "GET", f"{API}/freshness").body["freshness"]
    return dict(found)


def events(world: World) -> list[str]:
    return [item.data["event"] for item in world.fakes.documents.query(Query("notices"))]


def run(world: World, schedule_id: str, at: str) -> None:
    world.go_to(f"{at}+00:00")
    assert world.fire(schedule_id, f"{at}Z").status == 200
    world.work()
    world.minute()


def test_what_was_delivered_is_fresh_with_every_time_of_its_way(daily: tuple[World, str]) -> None:
    world, schedule_id = daily
    world.minute()
    assert state(world)["state"] == "unknown"
    run(world, schedule_id, "2026-01-05T13:00:00")
    found = state(world)
    assert (found["state"], found["table_name"], found["max_age"]) == ("fresh", "people", "26h")
    assert found["source_as_of"] <= found["exported_at"] <= found["published_at"]
    assert found["refreshed_at"] is None  # what is published to a sheet is live
    assert events(world) == []


def test_an_objective_missed_because_nothing_ran_is_told_once_and_its_recovery_once(daily: tuple[World, str]) -> None:
    world, schedule_id = daily
    run(world, schedule_id, "2026-01-05T13:00:00")
    # from here on no job can run: the file is gone, and nobody fires anything either
    world.fakes.objects.delete("tables", "people.csv")
    world.fakes.documents.update(f"schedules/{schedule_id}", {"handled_until": datetime(2026, 1, 8, tzinfo=UTC)})
    for hour in range(24, 32):
        world.go_to(f"2026-01-0{5 + (13 + hour) // 24}T{(13 + hour) % 24:02}:00:00+00:00")
        world.minute()
    assert (state(world)["state"], events(world)) == ("late", ["freshness.late"])
    world.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:runNow")
    world.work()
    world.minute()
    world.minute()
    assert state(world)["state"] == "fresh"
    assert events(world) == ["freshness.late", "freshness.recovered"]


def test_a_schedule_that_never_delivered_anything_is_late_too(registered: World) -> None:
    registered.call("refresh", "POST", f"{API}/schedules", {**DAILY, "cron_expression": "0 0 1 * *"})
    registered.go_to("2026-01-06T15:00:00+00:00")
    registered.minute()
    assert (state(registered)["state"], events(registered)) == ("late", ["freshness.late"])


@pytest.mark.parametrize("age", ["26h\n", "0h", "26", "h"])
def test_an_age_of_another_form_is_refused(registered: World, age: str) -> None:
    body = {"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *", "max_age": age}
    answer = registered.call("refresh", "POST", f"{API}/schedules", body)
    assert (answer.status, answer.body["field"]) == (400, "$.max_age")
    answer = registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh", {"timeout": age})
    assert (answer.status, answer.body["field"]) == (400, "$.timeout")


def test_a_record_that_cannot_be_read_hides_no_other(daily: tuple[World, str]) -> None:
    world, schedule_id = daily
    other = world.call("refresh", "POST", f"{API}/schedules", DAILY).body["id"]
    world.fakes.documents.update(f"schedules/{schedule_id}", {"max_age": "26h\n"})
    run(world, other, "2026-01-05T13:00:00")
    answer = world.call("refresh", "GET", f"{API}/freshness")
    assert answer.status == 200
    states = {item["schedule_id"]: item["state"] for item in answer.body["freshness"]}
    assert states == {schedule_id: "unknown", other: "fresh"}


def test_a_paused_schedule_raises_no_alert(daily: tuple[World, str]) -> None:
    world, schedule_id = daily
    world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:pause")
    world.go_to("2026-01-09T12:00:00+00:00")
    world.minute()
    assert events(world) == []


def test_data_counts_as_delivered_only_when_the_bi_tool_has_computed_anew(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    body = {**DAILY, "connector_name": "ymca_powerbi", "export": export}
    schedule_id = str(registered.call("refresh", "POST", f"{API}/schedules", body).body["id"])
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="no memory"), DONE]
    run(registered, schedule_id, "2026-01-05T13:00:00")
    assert (state(registered)["state"], state(registered)["published_at"]) == ("unknown", None)
    run(registered, schedule_id, "2026-01-06T13:00:00")
    assert state(registered)["state"] == "fresh"
    assert state(registered)["refreshed_at"] >= state(registered)["published_at"]


@pytest.fixture
def late(registered: World) -> tuple[World, str]:
    """A schedule whose time does not come, and which is late."""
    answer = registered.call("refresh", "POST", f"{API}/schedules", {**DAILY, "cron_expression": "0 0 1 * *"})
    registered.go_to("2026-01-06T15:00:00+00:00")
    registered.minute()
    assert events(registered) == ["freshness.late"]
    registered.fakes.clock.sleep(60)
    return registered, str(answer.body["id"])


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("POST", ":pause", None, "was paused"),
        ("DELETE", "", None, "was deleted"),
        ("PATCH", "", {"max_age": None}, "has no max_age any more"),
    ],
)
def test_an_alert_ends_once_when_its_schedule_is_not_judged_any_more(
    late: tuple[World, str], method: str, path: str, body: dict[str, Any] | None, why: str
) -> None:
    world, schedule_id = late
    place = f"{API}/schedules/{schedule_id}"
    headers = {"If_Match": world.call("refresh", "GET", place).headers["ETag"]} if method == "PATCH" else {}
    assert world.call("refresh", method, place + path, body, **headers).status in (200, 204)
    world.minute()
    assert events(world) == ["freshness.late", "freshness.ended"]
    ended = max(world.fakes.documents.query(Query("notices")), key=lambda item: item.path).data
    assert ended["message"] == f"the age of table 'people' on 'ymca_sheets' is not judged any more: its schedule {why}"


def test_an_alert_ends_when_the_schedule_may_wait_longer(late: tuple[World, str]) -> None:
    world, schedule_id = late
    place = f"{API}/schedules/{schedule_id}"
    etag = world.call("refresh", "GET", place).headers["ETag"]
    assert world.call("refresh", "PATCH", place, {"max_age": "5d"}, If_Match=etag).status == 200
    world.minute()
    assert (state(world)["state"], events(world)) == ("unknown", ["freshness.late", "freshness.ended"])


def test_an_alert_ends_without_a_recovery_when_the_schedule_is_led_to_another_table(late: tuple[World, str]) -> None:
    world, schedule_id = late
    world.fakes.objects.put("tables", "other.csv", b"id\n1\n")
    place = f"{API}/schedules/{schedule_id}"
    etag = world.call("refresh", "GET", place).headers["ETag"]
    assert world.call("refresh", "PATCH", place, {"export": {"table_name": "other"}}, If_Match=etag).status == 200
    for _ in range(3):
        world.minute()
        world.fakes.clock.sleep(60)
    assert (state(world)["state"], events(world)) == ("unknown", ["freshness.late", "freshness.ended"])
    world.go_to("2026-01-07T18:00:00+00:00")
    for _ in range(3):
        world.minute()
        world.fakes.clock.sleep(60)
    assert events(world) == ["freshness.late", "freshness.ended", "freshness.late"]


def test_a_judgement_that_another_call_overtook_is_not_written(late: tuple[World, str]) -> None:
    world, schedule_id = late
    documents, freshness = world.fakes.documents, world.services.freshness

    def overtaken(query: Query) -> list[Any]:
        found = type(documents).query(documents, query)
        if query.collection == "export_jobs":
            del documents.__dict__["query"]
            world.fakes.objects.put("tables", "people.csv", b"id\n1\n")
            world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:runNow")
            world.work()
            freshness.evaluate_all()
        return found

    documents.__dict__["query"] = overtaken
    freshness.evaluate_all()
    freshness.evaluate_all()
    assert events(world) == ["freshness.late", "freshness.recovered"]


def test_a_good_delivery_counts_however_many_failed_after_it(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.deliveries.LOOKED_AT", 2)
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    export = {"connector_name": "ymca_powerbi", "table_name": "people"}
    body = {**DAILY, "connector_name": "ymca_powerbi", "export": export, "cron_expression": "0 */3 * * *"}
    schedule_id = str(registered.call("refresh", "POST", f"{API}/schedules", body).body["id"])
    failed = VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="no memory")
    registered.vendor.refreshes = [DONE, failed, failed, failed]
    for at in ("2026-01-05T15:00:00", "2026-01-05T18:00:00", "2026-01-05T21:00:00", "2026-01-06T15:00:00"):
        registered.go_to(f"{at}+00:00")
        registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
        run(registered, schedule_id, at)
    assert (state(registered)["state"], state(registered)["age_s"] // 3600) == ("fresh", 24)
    assert "freshness.late" not in events(registered)


def test_failing_runs_are_told_once_and_so_is_their_recovery(registered: World) -> None:
    body = {"connector_name": "ymca_powerbi", "cron_expression": "0 */6 * * *"}
    schedule_id = str(registered.call("refresh", "POST", f"{API}/schedules", body).body["id"])
    failed = VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="ModelRefreshFailed")
    registered.vendor.refreshes = [failed, failed, DONE, DONE]
    for at in ("2026-01-05T18:00:00", "2026-01-06T00:00:00", "2026-01-06T06:00:00", "2026-01-06T12:00:00"):
        run(registered, schedule_id, at)
    assert events(registered) == ["schedule.failing", "schedule.recovered"]
    notices = [item.data for item in registered.fakes.documents.query(Query("notices"))]
    assert (notices[0]["message"], notices[0]["subject"]["schedule_id"]) == ("ModelRefreshFailed", schedule_id)
