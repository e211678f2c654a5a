"""Schedules, their history and the channels of their notices outlive a restart of everything, on the emulators' real clock."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local.demo.api import Api
from infra.local.ports import free_base
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies

from .conftest import Sandbox, fetch, finish_refresh

API = "/api/bi-connectors"
SECRET = "a-secret-of-this-test-0123456789abcdef"
CHANNEL = {"type": "webhook", "url": "https://hooks.example.org/notices/e2e", "secret": SECRET}
LONGEST_S = 150.0
"""Twice the minute that a schedule and the system job may be away, and some."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCloud]:
    """A local cloud that no other test waits for."""
    cloud = LocalCloud(tmp_path / "cloud", free_base())
    cloud.start()
    yield cloud
    cloud.stop()


def admin(cloud: LocalCloud) -> Sandbox:
    return Sandbox(cloud.endpoints["sandbox"]["admin"])


def received(cloud: LocalCloud) -> list[dict[str, Any]]:
    answer = requests.get(f"{cloud.endpoints['sandbox']['admin']}/receivers/notices", timeout=10)
    return [one["body"] for one in answer.json()["notices"]]


def ask(cloud: LocalCloud, path: str) -> Any:
    answer = fetch(cloud, "GET", f"{API}{path}")
    assert answer.ok, answer.text
    return answer.json()


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LONGEST_S
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return found


def test_a_restart_of_everything_keeps_schedules_their_history_and_who_is_told(own: LocalCloud) -> None:
    api = Api(own.endpoints["gateway"])
    bodies = connector_bodies(own.accounts)
    for kind in ("looker", "power_bi"):
        api.register(bodies[kind])
    admin(own).set("receivers", secret=SECRET)
    admin(own).set("power_bi", refresh_outcome="Failed", refresh_seconds=1.0, history_delay_seconds=0.0)
    assert fetch(own, "PUT", f"{API}/channels/e2e", CHANNEL).status_code == 201
    tested = fetch(own, "POST", f"{API}/channels/e2e:test").json()
    assert (tested["ok"], tested["message"]) == (True, None)
    every_minute = api.schedule("looker", "* * * * *")["id"]
    yearly = api.schedule("powerbi", "0 6 1 1 *")["id"]
    occurrence = fetch(own, "POST", f"{API}/schedules/{yearly}:runNow").json()
    failed = finish_refresh(api, ask(own, f"/refresh-runs/{occurrence['run_id']}"))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "refresh_failed")
    before = {
        path: ask(own, path) for path in (f"/schedules/{yearly}/next", "/channels", f"/refresh-runs/{failed['id']}")
    }

    own.stop()
    own.start()

    admin(own).set("receivers", secret=SECRET)
    assert {path: ask(own, path) for path in before} == before
    assert [one["run_id"] for one in ask(own, f"/schedules/{yearly}/occurrences")["occurrences"]] == [failed["id"]]
    planned = [datetime.fromisoformat(one["at"]) for one in ask(own, f"/schedules/{every_minute}/next")["runs"]]
    assert {later - sooner for sooner, later in itertools.pairwise(planned)} == {timedelta(minutes=1)}
    known = {run["id"] for run in api.refresh_runs()}
    (run, *_) = wait_for(lambda: [one for one in api.refresh_runs() if one["id"] not in known])
    assert (run["schedule_id"], run["trigger"]) == (every_minute, "schedule")
    assert finish_refresh(api, run)["status"] == "success"
    (slot,) = [
        one for one in ask(own, f"/schedules/{every_minute}/occurrences")["occurrences"] if one["run_id"] == run["id"]
    ]
    at, began = datetime.fromisoformat(slot["planned_at"]), datetime.fromisoformat(run["created_at"])
    assert (slot["status"], slot["trigger"], at.second, at.microsecond) == ("started", "schedule", 0, 0)
    assert planned[0] - timedelta(minutes=1) <= at <= began < at + timedelta(minutes=3)
    told = wait_for(lambda: [one for one in received(own) if one["event"] == "schedule.failing"])
    assert [one["subject"]["schedule_id"] for one in told] == [yearly]
    assert "ModelRefreshFailed" in told[0]["message"]
