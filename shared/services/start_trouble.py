"""Trouble that keeps the runs of a schedule from starting and may pass: noted when it comes, told when it lasts.

Each try leaves the schedule as it was, so without this nobody would hear that none succeeded until the planned time was missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.errors import BIConnectorsError
from shared.ports import Transaction
from shared.services.occurrence_plan import LATE

Announce = Callable[[Transaction, Mapping[str, Any], str, str, datetime], None]
"""Tells people, in a transaction, that a schedule (its record) now is `failing` or `ok`, and why."""

OVER: dict[str, Any] = {"start_trouble": None}
"""What a schedule changes when a run starts, or when it is to start at other times."""


def note(tx: Transaction, path: str, slot: datetime, error: Exception, now: datetime) -> None:
    """Keep on a schedule (its path) that a planned time could not start, and since when none could."""
    found = tx.get(path)
    if found is None:
        return
    reason = error.message if isinstance(error, BIConnectorsError) else f"a fault of ours ({type(error).__name__})"
    before = found.data.get("start_trouble")
    trouble = {**(before or {"since": now, "told": False}), "slot": slot, "reason": reason}
    if trouble != before:
        tx.update(path, {"start_trouble": trouble})


def tell(tx: Transaction, announce: Announce, schedule: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Tell people, once, that no run could be started for so long that one was missed; return the changes of the schedule."""
    trouble = schedule.get("start_trouble")
    if not trouble or trouble["told"] or now - trouble["since"] <= LATE:
        return {}
    if schedule.get("health") != "failing":
        minutes = LATE // timedelta(minutes=1)
        words = f"no run could be started for more than {minutes} minutes: {trouble['reason']}"
        announce(tx, schedule, "failing", words, now)
    return {"health": "failing", "start_trouble": {**trouble, "told": True}}


def why_missed(schedule: Mapping[str, Any], slot: datetime, reason: str) -> str:
    """Return the reason that a planned time was missed for, with what kept it from starting, where something did."""
    trouble = schedule.get("start_trouble")
    return f"{reason}; its start failed: {trouble['reason']}" if trouble and trouble["slot"] == slot else reason
