"""Handlers of the refresh function: schedules. Their ETag is the revision, which only a change by people raises."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.errors import PreconditionRequiredError
from shared.ports import Document
from shared.services.records import Page
from shared.services.schedules import shown

NEXT = 10


def create_schedule(call: Call) -> Reply:
    """Create a schedule: 201 and the schedule with its next run."""
    document = call.services.schedules.create(call.body, call.caller.email, call.idempotency())
    return _schedule(call, document, Location=f"{API}/schedules/{document.data['id']}")


def get_schedule(call: Call) -> Reply:
    """Get one schedule."""
    return _schedule(call, call.services.schedules.get(call.path["id"]))


def list_schedules(call: Call) -> Reply:
    """List schedules, oldest first."""
    return Reply(call.services.schedules.list_schedules(call.query.get("connector_name"), _page(call)))


def change_schedule(call: Call) -> Reply:
    """Change one schedule; If-Match says which revision the caller read, and is required."""
    revision = call.if_match()
    if revision is None:
        raise PreconditionRequiredError("send If-Match with the ETag that you read")
    return _schedule(call, call.services.schedules.change(call.path["id"], call.body, revision))


def delete_schedule(call: Call) -> Reply:
    """Delete a schedule and its Cloud Scheduler job."""
    call.services.schedules.delete(call.path["id"])
    return Reply(status=204)


def pause_schedule(call: Call) -> Reply:
    """Pause: nothing starts until it is resumed; what runs goes on."""
    return _schedule(call, call.services.schedules.set_enabled(call.path["id"], enabled=False))


def resume_schedule(call: Call) -> Reply:
    """Resume from now on."""
    return _schedule(call, call.services.schedules.set_enabled(call.path["id"], enabled=True))


def run_schedule(call: Call) -> Reply:
    """Run now, under the overlap policy: 202 and the occurrence."""
    call.services.schedules.get(call.path["id"])
    return Reply(call.services.occurrences.run_now(call.path["id"], call.caller.email, call.idempotency()))


def next_runs(call: Call) -> Reply:
    """List the next runs, days on which the clocks change marked."""
    return Reply(call.services.schedules.next_runs(call.path["id"], call.query.get("count", NEXT)))


def list_occurrences(call: Call) -> Reply:
    """List what became of the planned times, newest first."""
    return Reply(call.services.occurrences.list_of(call.path["id"], _page(call)))


def list_freshness(call: Call) -> Reply:
    """List how old what readers see is, for every schedule."""
    return Reply(call.services.freshness.page(call.query.get("connector_name"), _page(call)))


def reconcile_schedules(call: Call) -> Reply:
    """Compare with Cloud Scheduler and mend; with `dry_run` only compare."""
    return Reply(call.services.reconciler.reconcile(dry_run=bool(call.query.get("dry_run"))))


def _schedule(call: Call, document: Document, **headers: str) -> Reply:
    headers |= etag(str(document.data["revision"]))
    return Reply(shown(document, call.services.clock.now()), headers=headers)


def _page(call: Call) -> Page:
    return Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
