"""Notices: what people are to hear of, written in the transaction of the change of state. `notice_deliveries` sends them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.models import SCHEMA, new_id
from shared.ports import Transaction

LIFETIME = timedelta(days=30)


def announce(tx: Transaction, event: str, now: datetime, message: str, subject: Mapping[str, Any]) -> None:
    """Add a notice to the transaction. `event` is `<noun>.<state>`; `subject` is as of `subject_of`; no secret in any."""
    notice_id = new_id(now)
    topic = f"{event.partition('.')[0]} {subject['schedule_id']}"
    notice = {"id": notice_id, "event": event, "at": now, "message": message, "subject": dict(subject)}
    state = {"schema": SCHEMA, "topic": topic, "open": True, "dispatched": False, "expire_at": now + LIFETIME}
    tx.create(f"notices/{notice_id}", {**notice, **state})


def announce_health(tx: Transaction, schedule: Mapping[str, Any], state: str, message: str, now: datetime) -> None:
    """Tell that a schedule's runs fail now, or that they work again."""
    event = "schedule.failing" if state == "failing" else "schedule.recovered"
    announce(tx, event, now, message or "the last run succeeded", subject_of(schedule))


def subject_of(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells people which schedule is meant."""
    table = (schedule.get("export") or {}).get("table_name")
    return {"schedule_id": schedule["id"], "connector_name": schedule["connector_name"], "table_name": table}
