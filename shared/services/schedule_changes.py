"""What a change of a schedule comes to, and how what Cloud Scheduler refused is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared import audit
from shared.errors import not_of_the_form
from shared.models import ScheduleAction, ScheduleRequest
from shared.ports import Document, Transaction
from shared.services.connector_bodies import merge_patch

TIMING = ("cron_expression", "timezone", "enabled")


def put_back(tx: Transaction, found: Document, kept: Mapping[str, Any], now: datetime) -> None:
    """Write the values that a schedule had before a change that Cloud Scheduler refused."""
    changes = {**kept, "revision": found.data["revision"] + 1, "updated_at": now, "sync": "pending", "untold": None}
    tx.update(found.path, changes)
    after = {**found.data, **changes}
    audit.record(tx, now, "schedule.change", found.path, before=found.data, after=after, outcome="taken_back")


def unmake(tx: Transaction, found: Document, now: datetime) -> None:
    """Delete a schedule that Cloud Scheduler refused before it ever had a job, and its key: repeated, it is refused again."""
    tx.delete(found.path)
    if kept := found.data.get("made_under"):
        tx.delete(kept)
    audit.record(tx, now, "schedule.delete", found.path, before=found.data, outcome="taken_back")


def is_timing(fields: Mapping[str, Any], schedule: Mapping[str, Any]) -> bool:
    """Whether new fields change when a schedule runs."""
    return any(name in fields and fields[name] != schedule[name] for name in TIMING)


def refreshes(schedule: Mapping[str, Any]) -> bool:
    if schedule["action"] == ScheduleAction.REFRESH.value:
        return True
    return bool(schedule["export"]["refresh_after"])


def asked_by(schedule: Mapping[str, Any], changes: Mapping[str, Any]) -> ScheduleRequest:
    """Return what a stored schedule asks for, with changes (a JSON merge patch)."""
    asked = {name: schedule[name] for name in ScheduleRequest.__struct_fields__}
    try:
        return msgspec.convert(merge_patch(asked, changes), ScheduleRequest)
    except msgspec.ValidationError as exc:
        raise not_of_the_form(exc, "the changed schedule is not valid") from exc
