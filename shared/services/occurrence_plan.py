"""Which planned times of a schedule are due, and what becomes of those that were missed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.models import Missed
from shared.services.cron import Cron

LATE = timedelta(minutes=10)
"""Our choice: beyond this an occurrence counts as missed; Scheduler's own repeats and our catching up come well before."""
MOST_AT_ONCE = 24
"""Our choice: how many missed occurrences run or are told one by one; of an hourly schedule a day."""
LOOK_BACK = timedelta(days=31)
"""Our choice: what lies further back is forgotten without a word; a minute's schedule has 44,640 times in it."""


@dataclass(frozen=True)
class Step:
    """One planned time: to run (`reason` None), or to leave out. `count` times are told together, up to this one."""

    slot: datetime
    reason: str | None = None
    count: int = 1
    is_made_up: bool = False
    """Whether it is one of all that were missed: those run one after the other, whatever the overlap policy."""


def plan(
    cron: Cron,
    missed: Missed,
    handled_until: datetime,
    until: datetime,
    now: datetime,
    on_record: Container[datetime] = (),
) -> list[Step]:
    """Return what to do with every time after `handled_until` and not after `until` that is not `on_record`, oldest first."""
    due = [slot for slot in cron.between(max(handled_until, now - LOOK_BACK), until) if slot not in on_record]
    late = [slot for slot in due if now - slot > LATE]
    on_time = due[len(late) :]
    kept = {Missed.SKIP: 0, Missed.RUN_ONCE: 0 if on_time else 1, Missed.RUN_ALL: MOST_AT_ONCE}[missed]
    dropped = late[: max(0, len(late) - kept)]
    reason = {
        Missed.SKIP: "missed; the schedule leaves missed occurrences out",
        Missed.RUN_ONCE: "missed; one run stands for all that were missed",
        Missed.RUN_ALL: f"missed; no more than {MOST_AT_ONCE} are made up for",
    }[missed]
    steps = [Step(slot, reason) for slot in dropped[-MOST_AT_ONCE:]]
    if older := dropped[:-MOST_AT_ONCE]:
        steps.insert(0, Step(older[-1], reason, len(older)))
    made_up = {slot for slot in late if missed is Missed.RUN_ALL}
    return steps + [Step(slot, is_made_up=slot in made_up) for slot in due[len(dropped) :]]


def occurrence_id(schedule_id: str, key: str | datetime) -> str:
    """Return the id of an occurrence: of a planned time, or of what else tells a run by hand apart."""
    text = key.astimezone(UTC).isoformat() if isinstance(key, datetime) else key
    return hashlib.sha256(f"{schedule_id} {text}".encode()).hexdigest()
