"""A connector that is led elsewhere while a refresh of it waits or runs: what becomes of the run, over HTTP on fakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from shared.connectors import power_bi
from shared.errors import VendorUnavailableError
from tests.fakes.connector import InMemoryConnector
from tests.functional.conftest import POWER_BI, World
from tests.functional.scheduling import API, DONE, RUNNING

CONNECTOR = f"{API}/ymca_powerbi"
MODEL = POWER_BI["refresh_dataset_id"]
ELSEWHERE = {"refresh_dataset_id": "0e3cbb8f-5ee7-4b1c-a2a5-8b9dd5a4d8a5"}


@pytest.fixture
def opened(registered: World) -> list[tuple[str | None, str]]:
    """What every connector was opened with: the model and the secret."""
    seen = list[tuple[str | None, str]]()

    def load(config: Any, secrets: Mapping[str, Any], _: object) -> InMemoryConnector:
        assert isinstance(config, power_bi.Config)
        seen.append((config.refresh_dataset_id, str(secrets["client_secret"])))
        return InMemoryConnector(registered.vendor)

    registered.services.connectors._load = load
    return seen


def start(world: World) -> str:
    return str(world.call("refresh", "POST", f"{CONNECTOR}/refresh").body["id"])


def change(world: World, changes: dict[str, Any]) -> None:
    tag = world.call("register", "GET", CONNECTOR).headers["ETag"]
    assert world.call("register", "PATCH", CONNECTOR, changes, If_Match=tag).status == 200


def ended(world: World, run_id: str) -> tuple[str, str | None, str]:
    world.work()
    run = world.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    return run["status"], (run["error"] or {}).get("code"), str(run["error_message"])


def test_one_that_was_not_started_yet_is_not_started_elsewhere(registered: World) -> None:
    run_id = start(registered)
    change(registered, ELSEWHERE)
    status, code, message = ended(registered, run_id)
    assert (status, code, registered.vendor.calls) == ("failed", "connector_changed", [])
    assert "so it was not started; refresh again" in message


def test_one_that_runs_goes_on_as_it_was_started_with_the_secret_of_that_place(
    registered: World, opened: list[tuple[str | None, str]]
) -> None:
    """The secret that comes with the new place is not for the former one."""
    registered.vendor.refreshes = [RUNNING, DONE]
    run_id = start(registered)
    registered.work_once()
    change(registered, {**ELSEWHERE, "client_secret": "of-the-new-place"})
    assert ended(registered, run_id)[:2] == ("success", None)
    assert opened == [(MODEL, POWER_BI["client_secret"])] * 3


def test_one_that_runs_goes_on_with_a_renewed_secret_of_the_same_place(
    registered: World, opened: list[tuple[str | None, str]]
) -> None:
    registered.vendor.refreshes = [DONE]
    run_id = start(registered)
    registered.work_once()
    change(registered, {"client_secret": "renewed"})
    assert ended(registered, run_id)[:2] == ("success", None)
    assert opened == [(MODEL, POWER_BI["client_secret"]), (MODEL, "renewed")]


def test_one_whose_start_got_no_answer_is_looked_for_and_not_started_again(registered: World) -> None:
    lost = VendorUnavailableError("no answer", code="vendor_unreachable")
    registered.vendor.errors = [("start_refresh", lost)]
    run_id = start(registered)
    registered.work_once()
    change(registered, ELSEWHERE)
    status, code, message = ended(registered, run_id)
    assert (status, code, registered.vendor.calls.count("start_refresh")) == ("failed", "connector_changed", 1)
    assert registered.vendor.calls.count("find_refresh") == 8
    assert "its start got no answer, and the vendor does not show it" in message


def test_one_whose_connector_was_made_anew_and_leads_elsewhere_is_said_to_be_lost(registered: World) -> None:
    run_id = start(registered)
    registered.work_once()
    registered.fakes.clock.sleep(1)
    assert registered.call("register", "DELETE", f"{CONNECTOR}?force=true").status == 204
    assert registered.call("register", "POST", f"{API}/register", {**POWER_BI, **ELSEWHERE}).status == 201
    status, code, message = ended(registered, run_id)
    assert (status, code, registered.vendor.calls) == ("failed", "connector_changed", ["start_refresh"])
    assert "was started and cannot be followed any more, so nobody knows how it goes on" in message
    cancel = registered.call("refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel")
    assert cancel.status == 409


def test_one_of_an_earlier_release_that_kept_no_way_is_said_to_be_lost(registered: World) -> None:
    run_id = start(registered)
    registered.work_once()
    registered.fakes.documents.update(f"refresh_runs/{run_id}", {"started_through": None})
    change(registered, ELSEWHERE)
    assert ended(registered, run_id)[:2] == ("failed", "connector_changed")


def test_one_of_an_earlier_release_that_kept_no_key_goes_on_as_before(registered: World) -> None:
    registered.vendor.refreshes = [DONE]
    run_id = start(registered)
    registered.fakes.documents.update(f"refresh_runs/{run_id}", {"refresh_key": None})
    assert ended(registered, run_id)[:2] == ("success", None)
