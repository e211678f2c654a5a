"""What counts as a delivery of what a schedule keeps fresh: by where it went and what it did, not by names. 12:00 UTC, 5 January 2026."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.connectors import looker
from shared.connectors._base import RefreshStatus, VendorRefresh
from tests.functional.conftest import POWER_BI, SHEETS, World
from tests.functional.scheduling import API, DONE, RUNNING, create

PEOPLE = {"connector_name": "ymca_sheets", "table_name": "people"}
EXPORT = {
    "connector_name": "ymca_sheets",
    "cron_expression": "0 13 * * *",
    "action": "export_and_refresh",
    "export": PEOPLE,
    "max_age": "26h",
}
REFRESH = {"connector_name": "ymca_powerbi", "cron_expression": "0 13 * * *", "max_age": "26h"}
MODEL = {**EXPORT, "connector_name": "ymca_powerbi", "export": {**PEOPLE, "connector_name": "ymca_powerbi"}}


def of(world: World, schedule_id: str) -> dict[str, Any]:
    """How things stand for a schedule, seen over HTTP before and after a minute's look has kept it."""
    seen = []
    for _ in range(2):
        found = world.call("refresh", "GET", f"{API}/freshness").body["freshness"]
        seen.append(next(one for one in found if one["schedule_id"] == schedule_id))
        world.minute()
    assert seen[0] == seen[1]
    return dict(seen[0])


def run(world: World, schedule_id: str) -> None:
    assert world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:runNow").body["status"] == "started"
    world.work()


def export(world: World, body: dict[str, Any], status: str = "success") -> str:
    job_id = str(world.call("export", "POST", f"{API}/export", body).body["id"])
    world.work()
    assert world.call("export", "GET", f"{API}/export-jobs/{job_id}").body["status"] == status
    return job_id


def refresh(world: World, name: str = "ymca_powerbi", **options: str) -> None:
    world.vendor.refreshes = [DONE]
    world.fakes.clock.sleep(60)
    assert world.call("refresh", "POST", f"{API}/{name}/refresh", {"options": options}).status == 202
    world.work()


def register(world: World, body: dict[str, Any]) -> None:
    assert world.call("register", "POST", f"{API}/register", body).status == 201


def test_two_targets_of_one_table_are_judged_apart(schedules: World) -> None:
    first = create(schedules, EXPORT, export={**PEOPLE, "target": {"worksheet": "first"}})
    second = create(schedules, EXPORT, export={**PEOPLE, "target": {"worksheet": "second"}})
    run(schedules, first)
    assert (of(schedules, first)["state"], of(schedules, second)["state"]) == ("fresh", "unknown")


def test_a_connector_that_leads_elsewhere_has_delivered_nothing_there(schedules: World) -> None:
    schedule_id = create(schedules, EXPORT)
    run(schedules, schedule_id)
    assert of(schedules, schedule_id)["state"] == "fresh"
    tag = schedules.call("register", "GET", f"{API}/ymca_sheets").headers["ETag"]
    elsewhere = {"spreadsheet_id": "1AnotherSpreadsheetThatIsSharedWithTheSameAccount000"}
    assert schedules.call("register", "PATCH", f"{API}/ymca_sheets", elsewhere, If_Match=tag).status == 200
    found = of(schedules, schedule_id)
    assert (found["state"], found["published_at"], found["age_s"]) == ("unknown", None, None)


def test_a_schedule_that_is_led_elsewhere_is_late_when_nothing_has_come_there_in_time(schedules: World) -> None:
    schedule_id = create(schedules, EXPORT, cron_expression="0 0 1 * *")
    run(schedules, schedule_id)
    schedules.go_to("2026-01-06T12:00:00+00:00")
    schedules.minute()
    place = f"{API}/schedules/{schedule_id}"
    tag = schedules.call("refresh", "GET", place).headers["ETag"]
    change = {"export": {"target": {"worksheet": "elsewhere"}}}
    assert schedules.call("refresh", "PATCH", place, change, If_Match=tag).status == 200
    schedules.minute()
    states = []
    for at in ("2026-01-06T15:00", "2026-01-07T14:00", "2026-01-07T17:00"):
        schedules.go_to(f"{at}:00+00:00")
        schedules.minute()
        states.append(of(schedules, schedule_id)["state"])
    assert states == ["unknown", "unknown", "late"]


def test_a_table_of_another_name_that_goes_to_the_same_target_keeps_its_history(schedules: World) -> None:
    body = {
        "source": {"uri": "gs://tables/people.csv"},
        "defaults": {"target": {"google_sheets": {"worksheet": "All"}}},
    }
    for name in ("members", "volunteers"):
        assert schedules.call("export", "PUT", f"{API}/tables/{name}", body).status == 201
    schedule_id = create(schedules, EXPORT, export={**PEOPLE, "table_name": "members"})
    run(schedules, schedule_id)
    before = of(schedules, schedule_id)
    place = f"{API}/schedules/{schedule_id}"
    tag = schedules.call("refresh", "GET", place).headers["ETag"]
    renamed = {"export": {"table_name": "volunteers"}}
    assert schedules.call("refresh", "PATCH", place, renamed, If_Match=tag).status == 200
    after = of(schedules, schedule_id)
    assert (after["table_name"], after["state"]) == ("volunteers", "fresh")
    assert after["published_at"] == before["published_at"] is not None


def test_what_another_connector_delivers_to_the_same_place_counts(schedules: World) -> None:
    register(schedules, {**SHEETS, "name": "again"})
    schedule_id = create(schedules, EXPORT)
    export(schedules, {**PEOPLE, "connector_name": "again"})
    assert of(schedules, schedule_id)["state"] == "fresh"


def test_a_job_that_did_not_succeed_delivers_nothing(schedules: World) -> None:
    schedules.vendor.corrupt = True
    schedule_id = create(schedules, EXPORT)
    export(schedules, PEOPLE, status="failed")
    assert of(schedules, schedule_id)["published_at"] is None


def test_rows_sent_in_beside_a_table_do_not_make_it_fresh(schedules: World) -> None:
    replaces = create(schedules, EXPORT)
    appends = create(schedules, EXPORT, export={**PEOPLE, "mode": "append"})
    export(schedules, {**PEOPLE, "rows": [{"id": 1}], "mode": "append"})
    assert (of(schedules, replaces)["state"], of(schedules, appends)["state"]) == ("unknown", "unknown")
    export(schedules, {**PEOPLE, "mode": "append"})
    assert (of(schedules, replaces)["state"], of(schedules, appends)["state"]) == ("unknown", "fresh")


def test_rejected_rows_that_are_replayed_do_not_make_a_table_fresh(schedules: World) -> None:
    appends = create(schedules, EXPORT, export={**PEOPLE, "mode": "append"})
    job_id = export(schedules, {**PEOPLE, "mode": "append"})
    schedules.fakes.documents.update(f"export_jobs/{job_id}", {"replay_of": "another"})
    assert of(schedules, appends)["state"] == "unknown"


@pytest.mark.parametrize(
    ("types", "state"),
    [
        ([None], "fresh"),
        (["Full"], "fresh"),
        (["ClearValues"], "unknown"),
        (["Automatic"], "unknown"),
        (["Defragment"], "unknown"),
        (["Calculate"], "unknown"),
        (["DataOnly"], "unknown"),
        (["DataOnly", "Calculate"], "fresh"),
        (["Full", "ClearValues"], "unknown"),
        (["Full", "ClearValues", "Calculate"], "unknown"),
        (["Full", "Defragment"], "fresh"),
        (["ClearValues", "full"], "fresh"),
    ],
)
def test_only_a_refresh_that_brings_data_to_readers_makes_a_model_fresh(
    schedules: World, types: list[str | None], state: str
) -> None:
    schedule_id = create(schedules, REFRESH)
    for one in types:
        refresh(schedules, **({"type": one} if one else {}))
        schedules.minute()
    found = of(schedules, schedule_id)
    assert (found["state"], found["refreshed_at"] is not None) == (state, state == "fresh")


def test_an_export_is_not_there_any_more_when_its_model_was_emptied(schedules: World) -> None:
    schedule_id = create(schedules, MODEL)
    schedules.vendor.refreshes = [DONE]
    run(schedules, schedule_id)
    assert of(schedules, schedule_id)["state"] == "fresh"
    refresh(schedules, type="ClearValues")
    assert (of(schedules, schedule_id)["state"], of(schedules, schedule_id)["refreshed_at"]) == ("unknown", None)
    refresh(schedules)
    assert of(schedules, schedule_id)["state"] == "fresh"


def test_an_export_whose_refresh_failed_is_there_after_a_later_refresh(schedules: World) -> None:
    schedule_id = create(schedules, MODEL)
    schedules.vendor.refreshes = [VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="no memory")]
    run(schedules, schedule_id)
    assert of(schedules, schedule_id)["state"] == "unknown"
    refresh(schedules)
    found = of(schedules, schedule_id)
    assert (found["state"], found["refreshed_at"] > found["published_at"]) == ("fresh", True)


def export_while_a_refresh_runs(world: World, exports: list[dict[str, Any]]) -> str:
    """Export to a model, refresh it, and export more before the refresh ends; return when what readers see then was published."""
    body = {**PEOPLE, "connector_name": "ymca_powerbi", "refresh_after": False}
    job_id = export(world, body)
    world.fakes.clock.sleep(60)
    world.vendor.refreshes = [RUNNING, DONE]
    assert world.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").status == 202
    world.work_once()
    held, world.fakes.tasks.pending[:] = list(world.fakes.tasks.pending), []
    for more in exports:
        world.fakes.clock.sleep(60)
        export(world, {**body, **more})
    world.fakes.tasks.pending.extend(held)
    world.work()
    return str(world.call("export", "GET", f"{API}/export-jobs/{job_id}").body["completed_at"])


def test_what_a_refresh_brought_counts_however_many_exports_came_while_it_ran(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.deliveries.LOOKED_AT", 2)
    schedule_id = create(schedules, MODEL)
    published_at = export_while_a_refresh_runs(schedules, [{}] * 3)
    found = of(schedules, schedule_id)
    assert (found["state"], found["published_at"]) == ("fresh", published_at)


def test_a_table_is_fresh_however_many_rows_were_sent_in_beside_it_since(
    schedules: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.deliveries.LOOKED_AT", 2)
    schedule_id = create(schedules, EXPORT)
    export(schedules, PEOPLE)
    for _ in range(3):
        schedules.fakes.clock.sleep(60)
        export(schedules, {**PEOPLE, "rows": [{"id": 1}], "mode": "append"})
    assert of(schedules, schedule_id)["state"] == "fresh"


def test_a_refresh_that_had_begun_before_the_export_was_published_did_not_compute_it(schedules: World) -> None:
    """As another's does that was taken for the one after the export, whose start got no answer."""
    schedule_id = create(schedules, MODEL)
    before = schedules.fakes.clock.now()
    schedules.vendor.refreshes = [replace(DONE, started_at=before)]
    schedules.fakes.clock.sleep(20)
    run(schedules, schedule_id)
    assert (of(schedules, schedule_id)["state"], of(schedules, schedule_id)["refreshed_at"]) == ("unknown", None)
    refresh(schedules)
    assert of(schedules, schedule_id)["state"] == "fresh"


def test_a_refresh_counts_for_its_model_through_whatever_connector(schedules: World) -> None:
    register(schedules, {**POWER_BI, "name": "again"})
    register(schedules, {**POWER_BI, "name": "other", "refresh_dataset_id": "0e3cbb8f-5ee7-4b1c-a2a5-8b9dd5a4d8a5"})
    schedule_id = create(schedules, REFRESH)
    refresh(schedules, "other")
    assert of(schedules, schedule_id)["state"] == "unknown"
    refresh(schedules, "again")
    assert of(schedules, schedule_id)["state"] == "fresh"


def test_the_datagroup_and_the_pdt_of_one_looker_connector_are_two_things() -> None:
    config = {"base_url": "https://ACME.cloud.looker.com:19999/", "datagroup_id": "1", "model": "m", "view": "v"}
    assert looker.refreshed(config, {}) == ["acme.cloud.looker.com", "datagroup", "1"]
    assert looker.refreshed(config, {"trigger": "pdt"}) == ["acme.cloud.looker.com", "pdt", "m", "v"]
    assert looker.refreshed({"base_url": "https://acme.cloud.looker.com"}, {}) == []
