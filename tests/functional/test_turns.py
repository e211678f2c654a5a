"""Jobs on one physical target take turns and count their rows together, whichever connector they go through."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from shared import connectors as kinds
from shared.pipeline.lease import TURN
from tests.functional.conftest import SHEETS, World
from tests.functional.test_exports import ROWS, job, start
from tests.functional.test_job_operations import at_step, do

OTHER = {**SHEETS, "name": "other_sheets"}


@pytest.fixture
def twice(registered: World) -> World:
    """Two connectors to one spreadsheet."""
    assert registered.call("register", "POST", "/api/bi-connectors/register", OTHER).status == 201
    return registered


def test_two_connectors_on_one_tab_take_turns(twice: World) -> None:
    start(twice)
    second = start(twice, connector_name="other_sheets", mode="append", rows=[{"id": 4, "name": "Di"}])
    twice.work_once(newest=True)
    waiting = job(twice, second)
    assert (waiting["status"], waiting["phase"]) == ("pending", "queued")
    assert str(waiting["waiting"]).startswith("for its turn: job ")
    twice.work()
    assert job(twice, second)["waiting"] is None
    assert [row["id"] for row in twice.vendor.live["people"]] == [1, 2, 3, 4]


def test_who_stands_further_back_in_line_looks_more_seldom(twice: World) -> None:
    start(twice)
    now = twice.fakes.clock.now()
    for place in (1, 2):
        waiting = start(twice, mode="append", rows=[{"id": 3 + place, "name": "Di"}])
        twice.work_once(newest=True)
        found = twice.fakes.documents.get(f"export_jobs/{waiting}")
        assert found is not None
        assert found.data["next_task_at"] - now == TURN * place
    twice.work()
    assert [row["id"] for row in twice.vendor.live["people"]] == [1, 2, 3, 4, 5]


def test_two_tabs_of_one_spreadsheet_do_not_wait_for_each_other(twice: World) -> None:
    start(twice)
    second = start(twice, connector_name="other_sheets", table_name="dogs")
    twice.work_once(newest=True)
    assert job(twice, second)["status"] == "success"


def test_rows_that_one_connector_published_are_guarded_against_another_that_empties_them(twice: World) -> None:
    start(twice)
    twice.work()
    emptying = start(twice, connector_name="other_sheets", rows=[])
    twice.work()
    assert job(twice, emptying)["status"] == "held"
    assert twice.vendor.live == {"people": ROWS}


def test_a_job_whose_connector_leads_elsewhere_by_now_touches_nothing(registered: World) -> None:
    job_id = start(registered)
    lead_elsewhere(registered)
    registered.work()
    ended = job(registered, job_id)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "connector_changed")  # type: ignore[index]
    assert registered.vendor.calls == []
    again = do(registered, job_id, "retry")
    registered.work()
    assert job(registered, again.body["id"])["status"] == "success"


def lead_elsewhere(world: World) -> None:
    path = "/api/bi-connectors/ymca_sheets"
    read = world.call("register", "GET", path)
    changed = world.call("register", "PATCH", path, {"spreadsheet_id": "another"}, If_Match=read.headers["ETag"])
    assert changed.status == 200, changed.body


WAREHOUSE = {"host": "db.example.com", "database": "bi", "user": "load"}
LOOKER = {"connector_type": "looker", "warehouse": WAREHOUSE}
PUSH = {"connector_type": "power_bi", "workspace_id": "W"}


@pytest.mark.parametrize(
    ("one", "options", "other", "other_options"),
    [
        (LOOKER, {}, {**LOOKER, "base_url": "https://other", "warehouse": {**WAREHOUSE, "user": "x"}}, {}),
        (LOOKER, {}, {**LOOKER, "warehouse": {**WAREHOUSE, "host": "DB.example.com.", "port": 5432}}, {}),
        (LOOKER, {"table": "t"}, {**LOOKER, "warehouse": {**WAREHOUSE, "schema": "public"}}, {}),
        (PUSH, {}, {**PUSH, "workspace_id": "w", "client_id": "other"}, {"round_times": True}),
        ({**PUSH, "dataset_id": "D"}, {}, {**PUSH, "dataset_id": "d"}, {"dataset_name": "not used"}),
        (SHEETS, {}, SHEETS, {"worksheet": "T"}),
    ],
)
def test_the_same_place_has_one_name(
    one: dict[str, Any], options: dict[str, Any], other: dict[str, Any], other_options: dict[str, Any]
) -> None:
    assert kinds.place_of(one, "t", options) == kinds.place_of(other, "t", other_options)


@pytest.mark.parametrize(
    ("one", "options", "other", "other_options"),
    [
        (LOOKER, {}, {**LOOKER, "warehouse": {**WAREHOUSE, "schema": "other"}}, {}),
        (LOOKER, {}, {**LOOKER, "warehouse": {**WAREHOUSE, "port": 5433}}, {}),
        (LOOKER, {}, LOOKER, {"table": "u"}),
        (PUSH, {}, PUSH, {"dataset_name": "other"}),
        ({**PUSH, "dataset_id": "d"}, {}, {**PUSH, "dataset_id": "e"}, {}),
        (SHEETS, {}, {**SHEETS, "spreadsheet_id": "other"}, {}),
    ],
)
def test_different_places_have_different_names(
    one: dict[str, Any], options: dict[str, Any], other: dict[str, Any], other_options: dict[str, Any]
) -> None:
    assert kinds.place_of(one, "t", options) != kinds.place_of(other, "t", other_options)


@pytest.mark.parametrize("step", ["preflight", "begin", "write", "read_back", "publish", "abandon"])
def test_the_lease_is_kept_alive_in_every_step_and_not_after(registered: World, step: str) -> None:
    seen: list[bool] = []
    at_step(registered, step, lambda: seen.append(_has_heartbeat()))
    registered.vendor.corrupt = step == "abandon"
    start(registered)
    registered.work()
    assert seen == [True]
    assert not _has_heartbeat()


def _has_heartbeat() -> bool:
    return any(thread.name == "lease" for thread in threading.enumerate())
