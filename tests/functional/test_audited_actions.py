"""Each place of the code that audits is driven once, and its entry found: who, what, in which request, and how it ended."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.data.__main__ import main
from shared.errors import InvalidRequestError
from tests.functional.auditing import places
from tests.functional.conftest import POWER_BI, Answer, World
from tests.functional.receiving import SLACK
from tests.functional.scheduling import DONE, RUNNING, SCHEDULE, create

API = "/api/bi-connectors"
REQUEST, DEVELOPER = "the-request-7", "developer@localhost"
ROWS = [{"id": 1, "mail": "rina@example.org"}, {"id": 2, "mail": "ada@example.org"}]


@dataclass(frozen=True)
class Entry:
    """What is to be found; `request` None where a task acts later, in a request of its own, and "" where no request does."""

    resource: str
    outcome: str = "done"
    actor: str = DEVELOPER
    request: str | None = REQUEST


DRIVES: dict[str, Callable[[World], Entry]] = {}


def drives(name: str) -> Callable[[Callable[[World], Entry]], Callable[[World], Entry]]:
    """Say which place a function drives, and behind a comma in which way if there are more."""

    def note(drive: Callable[[World], Entry]) -> Callable[[World], Entry]:
        DRIVES[name] = drive
        return drive

    return note


def send(world: World, function: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Ask in the request whose entry is looked for."""
    answer = world.call(function, method, f"{API}{path}", body, X_Request_Id=REQUEST, **headers)
    assert answer.status < 300, answer.body
    return answer


def etag(world: World, function: str, path: str) -> str:
    return world.call(function, "GET", f"{API}{path}").headers["ETag"]


def start(world: World, **changes: Any) -> str:
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": ROWS, **changes}
    return f"export_jobs/{send(world, 'export', 'POST', '/export', body).body['id']}"


def done(world: World, **changes: Any) -> str:
    job = start(world, **changes)
    world.work()
    return job


def job(world: World, of: str, verb: str, body: Any = None) -> Answer:
    return send(world, "export", "POST", f"/export-jobs/{of.split('/')[1]}:{verb}", body)


def refresh(world: World) -> str:
    return f"refresh_runs/{send(world, 'refresh', 'POST', '/ymca_powerbi/refresh').body['id']}"


def cancel(world: World, run: str) -> Answer:
    return send(world, "refresh", "POST", f"/refresh-runs/{run.split('/')[1]}:cancel")


def refuse(world: World) -> None:
    """Let Cloud Scheduler refuse what it is told next."""

    def put(_: object) -> None:
        raise InvalidRequestError("Cloud Scheduler refused the schedule", field="cron_expression")

    world.fakes.cron_jobs.__dict__["put"] = put


def entries(world: World) -> list[dict[str, Any]]:
    return list(world.call("register", "GET", f"{API}/audit?page_size=100").body["entries"])


@drives("connector.register by connectors")
def _(world: World) -> Entry:
    send(world, "register", "POST", "/register", {**POWER_BI, "name": "another"})
    return Entry("connectors/another")


@drives("connector.change by connectors")
def _(world: World) -> Entry:
    version = etag(world, "register", "/ymca_powerbi")
    send(world, "register", "PATCH", "/ymca_powerbi", {"client_id": "other"}, If_Match=version)
    return Entry("connectors/ymca_powerbi")


@drives("connector.delete by connectors")
def _(world: World) -> Entry:
    send(world, "register", "DELETE", "/ymca_powerbi")
    return Entry("connectors/ymca_powerbi")


@drives("connector.test by connectors")
def _(world: World) -> Entry:
    send(world, "register", "POST", "/ymca_powerbi/test")
    return Entry("connectors/ymca_powerbi", "success")


@drives("channel.put by channels")
def _(world: World) -> Entry:
    send(world, "register", "PUT", "/channels/team", SLACK)
    return Entry("channels/team")


@drives("channel.delete by channels")
def _(world: World) -> Entry:
    send(world, "register", "PUT", "/channels/team", SLACK)
    send(world, "register", "DELETE", "/channels/team")
    return Entry("channels/team")


@drives("channel.test by channels")
def _(world: World) -> Entry:
    """Its URL is gone, so nothing is called."""
    send(world, "register", "PUT", "/channels/team", SLACK)
    world.fakes.secrets.payloads["projects/fake/secrets/bi-channel-team/versions/1"] = None
    send(world, "register", "POST", "/channels/team:test")
    return Entry("channels/team", "failed")


@drives("table.put by tables")
def _(world: World) -> Entry:
    send(world, "export", "PUT", "/tables/people", {"source": {"uri": "gs://tables/people.csv"}})
    return Entry("tables/people")


@drives("table.delete by tables")
def _(world: World) -> Entry:
    send(world, "export", "PUT", "/tables/people", {"source": {"uri": "gs://tables/people.csv"}})
    send(world, "export", "DELETE", "/tables/people")
    return Entry("tables/people")


@drives("job.start by exports")
def _(world: World) -> Entry:
    return Entry(start(world))


@drives("job.start by job_operations")
def _(world: World) -> Entry:
    return Entry(f"export_jobs/{job(world, done(world), 'republish').body['id']}")


@drives("job.start by rejects")
def _(world: World) -> Entry:
    rows = [{"id": 1, "hrs": "8"}, {"id": 2, "hrs": "much"}]
    hours = {"columns": [{"name": "id"}, {"name": "Hours", "from": "hrs", "type": "decimal(10,2)"}]}
    first = done(world, rows=rows, mapping=hours, contract={"on_breach": "discard_row"})
    return Entry(f"export_jobs/{job(world, first, 'replayRejects').body['id']}")


@drives("job.end by lease")
def _(world: World) -> Entry:
    return Entry(done(world), "success", request=None)


@drives("job.cancel by job_operations")
def _(world: World) -> Entry:
    of = start(world)
    job(world, of, "cancel")
    return Entry(of)


@drives("job.approve by job_operations")
def _(world: World) -> Entry:
    done(world)
    held = done(world, rows=[])
    job(world, held, "approve")
    return Entry(held)


@drives("job.reject by job_operations")
def _(world: World) -> Entry:
    done(world)
    held = done(world, rows=[])
    job(world, held, "reject")
    return Entry(held)


@drives("job.erase by job_operations")
def _(world: World) -> Entry:
    of = done(world)
    send(world, "export", "DELETE", f"/export-jobs/{of.split('/')[1]}")
    return Entry(of, "success")


@drives("database.erase_rows by erasure")
def _(world: World) -> Entry:
    """Also where nothing is found."""
    assert main(["erase", "people", "mail", "rina@example.org"], world.services) == 0
    return Entry("database", actor=runs_as(), request="")


@drives("job.erase_rows by erasure")
def _(world: World) -> Entry:
    """A command on somebody's machine: no request asks for it."""
    of = done(world)
    assert main(["erase", "people", "mail", "rina@example.org"], world.services) == 0
    return Entry(of, actor=runs_as(), request="")


def runs_as() -> str:
    return f"shared.data as {pwd.getpwuid(os.getuid()).pw_name}"


def restored(world: World, *, changed: bool = False) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "backup"
        assert main(["backup", str(place)], world.services) == 0
        if changed:
            world.fakes.documents.update("connectors/ymca_sheets", {"name": "changed"})
        return main(["restore", str(place)], world.services)


@drives("database.begin_restore by restore")
@drives("database.restore by restore")
def _(world: World) -> Entry:
    assert restored(world) == 0
    return Entry("database", actor=runs_as(), request="")


@drives("database.resume by restore")
def _(world: World) -> Entry:
    assert restored(world, changed=True) == 1
    assert main(["resume"], world.services) == 0
    return Entry("database", actor=runs_as(), request="")


@drives("job.link_file by file_links")
def _(world: World) -> Entry:
    of = done(world, export_format="csv")
    job(world, of, "linkFile")
    return Entry(of)


@drives("refresh.start by refreshes")
def _(world: World) -> Entry:
    return Entry(refresh(world))


@drives("refresh.start by refreshes, of a run by hand that had to wait")
def _(world: World) -> Entry:
    of = create(world, overlap="queue_one")
    world.vendor.refreshes = [DONE] * 2
    for _ in range(2):
        send(world, "refresh", "POST", f"/schedules/{of}:runNow")
    world.work()
    world.minute()
    (waited,) = (
        run
        for run in world.call("refresh", "GET", f"{API}/refresh-runs").body["refresh_runs"]
        if run["status"] == "pending"
    )
    return Entry(f"refresh_runs/{waited['id']}", request=None)


@drives("refresh.end by refreshes")
def _(world: World) -> Entry:
    run = refresh(world)
    cancel(world, run)
    return Entry(run, "cancelled")


@drives("refresh.end by refresh_following")
def _(world: World) -> Entry:
    world.vendor.refreshes = [DONE]
    run = refresh(world)
    world.work()
    return Entry(run, "success", request=None)


@drives("refresh.cancel by refreshes")
def _(world: World) -> Entry:
    world.vendor.refreshes = [RUNNING] * 3
    run = refresh(world)
    world.work_once()
    cancel(world, run)
    return Entry(run)


@drives("refresh.cancel by refreshes, of one that is being started")
def _(world: World) -> Entry:
    """It has no id of the vendor's yet. Asked twice, it is told of once: the second changes nothing."""
    world.vendor.refreshes = [VendorRefresh("v", RefreshStatus.CANCELLED, "Cancelled")]
    run = refresh(world)
    world.vendor.during["start_refresh"] = lambda: (cancel(world, run), cancel(world, run))
    world.work()
    return Entry(run)


@drives("schedule.create by schedules")
def _(world: World) -> Entry:
    return Entry(f"schedules/{send(world, 'refresh', 'POST', '/schedules', SCHEDULE).body['id']}")


@drives("schedule.change by schedules")
def _(world: World) -> Entry:
    of = create(world)
    send(world, "refresh", "POST", f"/schedules/{of}:pause")
    return Entry(f"schedules/{of}")


@drives("schedule.change by schedule_changes")
def _(world: World) -> Entry:
    of = create(world)
    headers = {"If_Match": etag(world, "refresh", f"/schedules/{of}"), "X_Request_Id": REQUEST}
    refuse(world)
    change = {"cron_expression": "0 7 * * 1"}
    assert world.call("refresh", "PATCH", f"{API}/schedules/{of}", change, **headers).status == 400
    return Entry(f"schedules/{of}", "taken_back")


@drives("schedule.delete by schedules")
def _(world: World) -> Entry:
    of = create(world)
    send(world, "refresh", "DELETE", f"/schedules/{of}")
    return Entry(f"schedules/{of}")


@drives("schedule.delete by schedule_changes")
def _(world: World) -> Entry:
    refuse(world)
    assert world.call("refresh", "POST", f"{API}/schedules", SCHEDULE, X_Request_Id=REQUEST).status == 400
    (made,) = (one["resource"] for one in entries(world) if one["action"] == "schedule.create")
    return Entry(made, "taken_back")


@drives("schedule.adopt by configuration")
def _(world: World) -> Entry:
    send(world, "refresh", "POST", "/apply", {"schedules": [{"name": "morning", **SCHEDULE}]})
    (made,) = (one["resource"] for one in entries(world) if one["action"] == "schedule.create")
    return Entry(made)


@drives("schedule.reconcile by reconciler")
def _(world: World) -> Entry:
    of = create(world)
    del world.fakes.cron_jobs.jobs[of]
    send(world, "refresh", "POST", "/schedules:reconcile")
    return Entry(f"schedules/{of}")


@drives("schedule.run_now by occurrence_attempt")
def _(world: World) -> Entry:
    """One that waits has no run yet whose entry could say who asked."""
    of = create(world, overlap="queue_one")
    world.call("refresh", "POST", f"{API}/schedules/{of}:runNow")
    waits = send(world, "refresh", "POST", f"/schedules/{of}:runNow").body
    assert waits["status"] == "queued"
    return Entry(f"occurrences/{waits['id']}", "queued")


def test_every_place_that_audits_is_driven() -> None:
    """One that is missing here is new: drive it above, so that its entry is looked for."""
    found = [place.name for place in places()]
    assert len(set(found)) == len(found) > 20, "two places of a file with one action: let both call one function"
    assert {name.split(",")[0] for name in DRIVES} == set(found)


@pytest.mark.parametrize("name", DRIVES)
def test_the_entry_is_found(registered: World, name: str) -> None:
    action, wanted = name.split(" by ")[0], DRIVES[name](registered)
    found = [
        one
        for one in entries(registered)
        if (one["action"], one["resource"], one["outcome"]) == (action, wanted.resource, wanted.outcome)
    ]
    assert len(found) == 1, f"{len(found)} entries of {action} on {wanted.resource}, {wanted.outcome}; expected one"
    assert found[0]["actor"] == wanted.actor
    asked = found[0]["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", asked) if wanted.request is None else (asked or "") == wanted.request
