"""A connector cannot be taken from under a job whose publish nobody knows the outcome of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.errors import VendorUnavailableError
from tests.fakes.connector import InMemoryDelivery
from tests.functional.conftest import World
from tests.functional.test_exports import API, ROWS, job, start
from tests.functional.test_job_operations import at_step, do

NEW = [{"id": 9, "name": "Zoe"}]
CONNECTOR = f"{API}/ymca_sheets"


@pytest.fixture
def unanswered(registered: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The vendor's first answer to a publish is lost."""
    publish, lost = InMemoryDelivery.publish, []

    def once(delivery: InMemoryDelivery) -> Any:
        published = publish(delivery)
        if not lost:
            lost.append(1)
            raise VendorUnavailableError("no answer while publishing", retry_after_s=60.0)
        return published

    start(registered)
    registered.work()
    monkeypatch.setattr(InMemoryDelivery, "publish", once)
    return registered


def change(world: World, body: dict[str, Any]) -> Any:
    etag = world.call("register", "GET", CONNECTOR).headers["ETag"]
    return world.call("register", "PATCH", CONNECTOR, body, If_Match=etag)


@pytest.mark.parametrize("way", ["delete", "patch"])
def test_a_connector_keeps_its_target_while_a_job_publishes(unanswered: World, way: str) -> None:
    job_id = start(unanswered, mode="append", rows=NEW)
    unanswered.work_once(newest=True)
    if way == "delete":
        refused = unanswered.call("register", "DELETE", f"{CONNECTOR}?force=true")
    else:
        refused = change(unanswered, {"spreadsheet_id": "another"})
    assert (refused.status, refused.body["code"]) == (409, "job_publishing")
    assert job_id in refused.body["detail"]
    unanswered.work()
    assert job(unanswered, job_id)["status"] == "success"
    assert unanswered.vendor.live["people"] == ROWS + NEW
    assert change(unanswered, {"spreadsheet_id": "another"}).status == 200
    assert unanswered.call("register", "DELETE", f"{CONNECTOR}?force=true").status == 204


def test_credentials_can_be_rotated_while_a_job_publishes(unanswered: World) -> None:
    job_id = start(unanswered, mode="append", rows=NEW)
    unanswered.work_once(newest=True)
    key = {"type": "service_account", "client_email": "new@x.iam.gserviceaccount.com", "private_key": "k"}
    assert change(unanswered, {"service_account_key": key}).status == 200
    unanswered.work()
    assert job(unanswered, job_id)["status"] == "success"
    assert unanswered.vendor.live["people"] == ROWS + NEW


def test_no_job_begins_to_publish_while_its_connector_is_changed(registered: World) -> None:
    """The change's process dies in the middle: the job goes on once the hold is over."""
    until = registered.fakes.clock.now() + timedelta(seconds=60)
    hold = {"publish_hold": {"id": "somebody", "until": until}}
    at_step(registered, "read_back", lambda: registered.fakes.documents.update("connectors/ymca_sheets", hold))
    job_id = start(registered)
    registered.work_once()
    waiting = job(registered, job_id)
    assert (waiting["status"], "being changed" in str(waiting["waiting"])) == ("running", True)
    assert "publish" not in registered.vendor.calls
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert registered.fakes.clock.now() >= until


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda world: change(world, {"spreadsheet_id": "another"}), "connector_changed"),
        (lambda world: world.call("register", "DELETE", f"{CONNECTOR}?force=true"), "not_found"),
    ],
)
def test_a_connector_that_changes_just_before_publishing_ends_the_job_untouched(
    registered: World, act: Any, code: str
) -> None:
    """The job has its connector open and would still reach the former target."""
    start(registered)
    registered.work()
    answers = []
    at_step(registered, "read_back", lambda: answers.append(act(registered).status))
    job_id = start(registered, mode="append", rows=NEW)
    registered.work()
    ended = job(registered, job_id)
    assert answers[0] in (200, 204)
    assert (ended["status"], ended["error"]["code"]) == ("failed", code)
    assert registered.vendor.live["people"] == ROWS
    assert do(registered, job_id, "retry").status in (202, 404)
