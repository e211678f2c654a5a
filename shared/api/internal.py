"""Handlers of what Cloud Tasks and Cloud Scheduler call; no person does."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.api.dispatch import Call, Reply
from shared.errors import InvalidRequestError
from shared.telemetry import bind


def run_job(call: Call) -> Reply:
    """Work on one export job for a time box."""
    bind(job_id=call.path["id"])
    seq = call.body.get("seq")
    call.services.exports.run(call.path["id"], seq if isinstance(seq, int) else None)
    return Reply(status=204)


def look_at_run(call: Call) -> Reply:
    """Trigger or follow one refresh."""
    bind(refresh_run_id=call.path["id"])
    call.services.refreshes.look(call.path["id"])
    return Reply(status=204)


def fire_schedule(call: Call) -> Reply:
    """Start the occurrence that X-CloudScheduler-ScheduleTime names; retries of one delivery carry the same time."""
    text = call.headers.get("x-cloudscheduler-scheduletime")
    try:
        planned = datetime.fromisoformat(text or "")
    except ValueError as exc:
        raise InvalidRequestError(
            f"X-CloudScheduler-ScheduleTime is {text!r}; expected the planned time as RFC 3339",
            field="X-CloudScheduler-ScheduleTime",
        ) from exc
    planned = planned if planned.tzinfo else planned.replace(tzinfo=UTC)
    call.services.schedules.fire(call.path["id"], planned)
    return Reply(status=204)


def sweep(call: Call) -> Reply:
    """Wake jobs and runs that nobody drives, forget rows past their time, seal the audit log."""
    call.services.sweeper.sweep()
    call.services.audit.seal()
    return Reply(status=204)
