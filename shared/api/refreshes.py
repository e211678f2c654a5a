"""Handlers of the refresh function: refresh runs and schedules."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.models import RefreshRun
from shared.services.records import Page, from_record
from shared.services.schedules import shown


def start_refresh(call: Call) -> Reply:
    """Accept one refresh: 202 and the run."""
    document = call.services.refreshes.start(
        call.path["name"], call.body.options, call.caller.email, call.idempotency()
    )
    headers = {"Location": f"{API}/refresh-runs/{document.data['id']}", "Retry-After": "2", **etag(document.version)}
    return Reply(from_record(RefreshRun, document.data), headers=headers)


def get_run(call: Call) -> Reply:
    """Get one refresh run."""
    document = call.services.refreshes.get(call.path["id"])
    return Reply(from_record(RefreshRun, document.data), headers=etag(document.version))


def list_runs(call: Call) -> Reply:
    """List refresh runs, newest first."""
    return Reply(call.services.refreshes.list_runs(call.query.get("connector_name"), _page(call)))


def create_schedule(call: Call) -> Reply:
    """Create a schedule: 201 and the schedule with its next run."""
    document = call.services.schedules.create(call.body, call.caller.email, call.idempotency())
    headers = {"Location": f"{API}/schedules/{document.data['id']}", **etag(document.version)}
    return Reply(shown(document, call.services.clock.now()), headers=headers)


def get_schedule(call: Call) -> Reply:
    """Get one schedule."""
    document = call.services.schedules.get(call.path["id"])
    return Reply(shown(document, call.services.clock.now()), headers=etag(document.version))


def list_schedules(call: Call) -> Reply:
    """List schedules, oldest first."""
    return Reply(call.services.schedules.list_schedules(call.query.get("connector_name"), _page(call)))


def delete_schedule(call: Call) -> Reply:
    """Delete a schedule and its Cloud Scheduler job."""
    call.services.schedules.delete(call.path["id"])
    return Reply(status=204)


def _page(call: Call) -> Page:
    return Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
