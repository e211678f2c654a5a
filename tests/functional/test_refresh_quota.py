"""The vendor's number of refreshes a day and what schedules come to ask for when their connector, not they, is changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.conftest import POWER_BI, Answer, World
from tests.functional.scheduling import API, SCHEDULE, create

EIGHT_A_DAY = "0 */3 * * *"
SECOND = {**POWER_BI, "name": "second", "refresh_dataset_id": "0e3cbb8f-5ee7-4b1c-a2a5-8b9dd5a4d8a5"}
ONTO_THE_FIRST = {"refresh_dataset_id": POWER_BI["refresh_dataset_id"]}


@pytest.fixture
def two(schedules: World) -> World:
    """Two connectors to two datasets; the first one's schedule asks for all that the vendor allows."""
    assert schedules.call("register", "POST", f"{API}/register", SECOND).status == 201
    create(schedules, cron_expression=EIGHT_A_DAY)
    return schedules


def patch(world: World, changes: dict[str, Any], name: str = "second") -> Answer:
    etag = world.call("register", "GET", f"{API}/{name}").headers["ETag"]
    return world.call("register", "PATCH", f"{API}/{name}", changes, If_Match=etag)


def test_a_connector_may_not_bring_its_schedules_onto_a_dataset_that_has_no_room_for_them(two: World) -> None:
    paused = create(two, connector_name="second", cron_expression="@daily")
    answer = patch(two, ONTO_THE_FIRST)
    assert (answer.status, answer.body["code"]) == (400, "refresh_quota")
    asked = "ask for 1 refreshes in 24 hours beside 8 of other connectors' schedules that refresh the same; the vendor allows 8"
    assert asked in answer.body["detail"]
    shown = two.call("register", "GET", f"{API}/second").body["config"]
    assert shown["refresh_dataset_id"] == SECOND["refresh_dataset_id"]
    assert two.call("refresh", "POST", f"{API}/schedules/{paused}:pause").status == 200
    assert patch(two, ONTO_THE_FIRST).status == 200
    assert two.call("refresh", "POST", f"{API}/schedules/{paused}:resume").body["code"] == "refresh_quota"


def test_a_connector_without_schedules_may_go_to_a_dataset_that_others_refresh_more_often_than_it_could(
    two: World,
) -> None:
    assert patch(two, {"capacity": "premium"}, "ymca_powerbi").status == 200
    create(two, cron_expression="@hourly")
    assert patch(two, ONTO_THE_FIRST).status == 200


def test_a_connector_may_not_leave_premium_with_more_than_a_shared_workspace_is_refreshed(two: World) -> None:
    assert patch(two, {"capacity": "premium"}).status == 200
    create(two, connector_name="second", cron_expression="@hourly")
    answer = patch(two, {"capacity": None})
    assert (answer.status, answer.body["code"]) == (400, "refresh_quota")
    assert "ask for 24 refreshes in 24 hours; the vendor allows 8" in answer.body["detail"]
    assert two.call("register", "GET", f"{API}/second").body["config"]["capacity"] == "premium"


def test_what_changes_nothing_of_the_refreshes_is_not_counted_again(two: World) -> None:
    """Too many may be there already, from before they were counted; the connector's other fields stay free to change."""
    two.fakes.documents.update("connectors/second", {"config": {**_config(two), **ONTO_THE_FIRST}})
    create(two, connector_name="second", cron_expression="@daily", enabled=False)
    (left,) = [path for path, (data, _) in two.fakes.documents._documents.items() if data.get("enabled") is False]
    two.fakes.documents.update(left, {"enabled": True})
    assert patch(two, {"client_id": "another"}).status == 200


def test_a_new_credential_of_a_refused_change_is_not_kept(two: World) -> None:
    create(two, connector_name="second", cron_expression="@daily")
    before = two.fakes.documents.get("connectors/second")
    assert patch(two, {**ONTO_THE_FIRST, "client_secret": "another-s3cret-value"}).status == 400
    assert two.fakes.documents.get("connectors/second") == before


def test_a_rhythm_that_asks_for_too_much_when_clocks_go_back_is_refused(schedules: World) -> None:
    havana = {**SCHEDULE, "timezone": "America/Havana"}  # its clocks go from 1:00 back to midnight
    answer = schedules.call("refresh", "POST", f"{API}/schedules", {**havana, "cron_expression": EIGHT_A_DAY})
    assert (answer.status, answer.body.get("code")) == (400, "refresh_quota")
    assert "more than 8 refreshes in 24 hours when clocks go back (hours that are listed" in answer.body["detail"]
    create(schedules, havana, cron_expression="0 0,3,6,9,12,15,18,21 * * *")


def test_a_repeated_request_for_a_schedule_is_not_its_own_rival(schedules: World) -> None:
    body = {**SCHEDULE, "cron_expression": EIGHT_A_DAY}
    first, again = (
        schedules.call("refresh", "POST", f"{API}/schedules", body, Idempotency_Key="one") for _ in range(2)
    )
    assert (first.status, again.status, again.body.get("id")) == (201, 201, first.body["id"])


def _config(world: World) -> dict[str, Any]:
    found = world.fakes.documents.get("connectors/second")
    assert found is not None
    return dict(found.data["config"])
