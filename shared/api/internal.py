"""Handlers of what Cloud Tasks and Cloud Scheduler call; no person does."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.api.dispatch import Call, Reply
from shared.models import OccurrencePage
from shared.telemetry import bind, log_event


def run_job(call: Call) -> Reply:
    """Work on one export job for a time box."""
    bind(job_id=call.path["id"])
    seq = call.body.get("seq")
    call.services.exports.run(call.path["id"], seq if isinstance(seq, int) else None)
    return Reply(status=204)


def look_at_run(call: Call) -> Reply:
    """Trigger or follow one refresh."""
    bind(refresh_run_id=call.path["id"])
    polls = call.body.get("polls")
    call.services.refreshes.following.look(call.path["id"], polls if isinstance(polls, int) else None)
    return Reply(status=204)


def fire_schedule(call: Call) -> Reply:
    """See to what is due of a schedule: 200 and what became of it, failures that would stay too; 503 if repeating can help."""
    planned = _moment(call.headers.get("x-cloudscheduler-scheduletime"))
    return Reply(OccurrencePage(occurrences=call.services.occurrences.fire(call.path["id"], planned)))


def tend_schedules(call: Call) -> Reply:
    """Every minute: see to what Cloud Scheduler did not call for, to runs that ended and what waits, to freshness, and to notices."""
    try:
        call.services.occurrences.tend_all()
        call.services.freshness.evaluate_all()
    finally:  # what is wrong with one of them must not keep people from hearing of the rest
        call.services.notices.tend()
    return Reply(status=204)


def send_notice(call: Call) -> Reply:
    """Send one notice to one channel."""
    channel, number = call.body.get("channel"), call.body.get("number")
    if isinstance(channel, str) and isinstance(number, int):
        bind(notice_id=call.path["id"])
        call.services.notices.send(call.path["id"], channel, number)
    return Reply(status=204)


def sweep(call: Call) -> Reply:
    """Wake jobs and runs that nobody drives, forget rows past their time, destroy unused credentials, seal the audit log."""
    call.services.sweeper.sweep()
    log_event("credentials_swept", destroyed=call.services.credentials.sweep())
    call.services.audit.seal()
    return Reply(status=204)


def _moment(text: str | None) -> datetime | None:
    """Return the header's time, None if it is not there or cannot be read: what is due does not depend on it."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
