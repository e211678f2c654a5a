"""One occurrence on its way to what becomes of it, decided and written in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from shared import audit
from shared.errors import BIConnectorsError
from shared.models import SCHEMA, JobStatus, Missed, OccurrenceStatus, Overlap, RunStatus, ScheduleAction
from shared.ports import CronJob, Document, Transaction
from shared.services.cron import Cron
from shared.services.occurrence_plan import Step, occurrence_id, plan
from shared.services.start_trouble import OVER, Announce, why_missed

LIFETIME = timedelta(days=30)
FORCED_APART = timedelta(seconds=CronJob.deadline_s + CronJob.backoff_s[1] + 60)
"""Forced calls with one schedule time that are closer than this are one call that came again: Cloud Scheduler repeats one that was not
answered in time when its deadline and a pause have passed, under the same schedule time. The last minute is our choice."""
REFRESH, EXPORT = "refresh", "export"
MANUAL = "manual"
ENDED = ("success", "failed", "cancelled", "gone")
COLLECTION = {REFRESH: "refresh_runs", EXPORT: "export_jobs"}


class Verdict(Enum):
    """What a transaction decided about an occurrence."""

    START = "start"
    HANDLED = "handled"
    WAIT = "wait"
    """It was missed and has its turn when nothing runs; nothing of it is on record until then."""
    SKIP = "skip"
    QUEUE = "queue"


class ChangedError(Exception):
    """Between the decision and the start somebody else decided; decide again."""


@dataclass(frozen=True)
class Standing:
    """How a schedule's active run stands, and what of that its records do not say yet."""

    status: str
    message: str
    schedule: Mapping[str, Any]
    stale_occurrence: str | None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def write(self, tx: Transaction, announce: Announce, now: datetime) -> dict[str, Any]:
        """Record it on the occurrence, tell people if runs fail now or work again; return the changes of the schedule."""
        changes: dict[str, Any] = {}
        if self.has_ended:
            changes["active"] = None
        before = self.schedule.get("health")
        health = {"success": "ok", "failed": "failing", "held": "failing"}.get(self.status)
        if health and health != before:
            changes["health"] = health
            if "failing" in (health, before):
                announce(tx, self.schedule, health, self.message, now)
        if self.stale_occurrence:
            tx.update(self.stale_occurrence, {"run_status": self.status})
        return changes


@dataclass
class Attempt:
    """One occurrence on its way: a `Once` of the transaction that starts its run.

    What `decide` read is kept here for the writes that follow it in the same transaction.
    """

    announce: Announce
    schedule_id: str
    id: str
    planned_at: datetime
    trigger: str
    caller: str
    now: datetime
    forced_for: datetime | None = None
    """The schedule time that a forced call carries: that of the coming occurrence, the same in each repeat of the call."""
    left_out: str | None = None
    count: int = 1
    is_made_up: bool = False
    """Whether it was missed and runs when nothing else does."""
    is_ahead: bool = False
    """Whether it comes before its turn, because missed ones wait: then `handled_until` stays behind them."""
    waited: bool = False
    """Whether it was queued before and is to start now."""
    verdict: Verdict | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    is_on_record: bool = False
    """Whether this planned time has its occurrence although the schedule is not past it: that is to move on."""
    before: Standing | None = None
    """The run before this one, whose end nobody may have recorded yet."""

    @property
    def path(self) -> str:
        return f"occurrences/{self.id}"

    @property
    def reads(self) -> Sequence[str]:
        """`Once`: what `decide` looks at first."""
        return (f"schedules/{self.schedule_id}", self.path)

    def decide(self, tx: Transaction) -> Verdict:
        """Read what there is, and say what is to be done. Only reads."""
        self.is_on_record = False
        found = tx.get(f"schedules/{self.schedule_id}")
        if found is None or found.data.get("deleting"):
            return Verdict.HANDLED
        self.schedule = found.data
        is_planned = self.trigger == "schedule"
        if self.waited:
            if self.schedule.get("queued") != self.id:
                return Verdict.HANDLED
        elif is_planned:
            if self._is_behind():
                return Verdict.HANDLED
            self.is_on_record = tx.get(self.path) is not None
            if self.is_on_record:
                return Verdict.HANDLED
        elif self._is_repeat(tx):
            return Verdict.HANDLED
        if not self.schedule["enabled"] and is_planned:
            return self._left_out("the schedule was paused while it waited") if self.waited else Verdict.HANDLED
        if self.left_out:
            return self._left_out(why_missed(self.schedule, self.planned_at, self.left_out))
        return self._among_others(tx)

    def _is_behind(self) -> bool:
        return bool(self.planned_at <= self.schedule["handled_until"])

    def _is_repeat(self, tx: Transaction) -> bool:
        return self._is_forced_again() or tx.get(self.path) is not None

    def _is_forced_again(self) -> bool:
        last = self.schedule.get("last_forced")
        if self.trigger != "forced" or self.waited or last is None:
            return False
        return bool(last["for"] == self.forced_for and self.now - last["at"] < FORCED_APART)

    def _among_others(self, tx: Transaction) -> Verdict:
        active, queued = self.schedule.get("active"), self.schedule.get("queued")
        overlap = Overlap(self.schedule["overlap"])
        self.before = standing(tx.get, self.schedule)
        is_free = active is None or self.before is None or self.before.has_ended
        if self.is_made_up and (queued or not is_free):
            return Verdict.WAIT
        if active is None or is_free:
            if queued and not self.waited and overlap is not Overlap.CANCEL_RUNNING:
                return self._left_out("another occurrence waits to start")
            return Verdict.START
        if self.waited:
            return Verdict.HANDLED
        if overlap is Overlap.SKIP:
            return self._left_out(f"{active['kind']} {active['id']} has not ended")
        if queued and overlap is Overlap.QUEUE_ONE:
            return self._left_out("another occurrence waits already")
        self.reason = f"waits for the end of {active['kind']} {active['id']}"
        return Verdict.QUEUE

    def _left_out(self, reason: str) -> Verdict:
        self.reason = reason
        return Verdict.SKIP

    def settle(self, tx: Transaction) -> Verdict:
        """Decide, and record it unless the run is to be started."""
        verdict = self.decide(tx)
        if verdict is Verdict.SKIP:
            self._write(tx, OccurrenceStatus.SKIPPED)
        elif verdict is Verdict.QUEUE:
            self._overtake(tx)
            self._write(tx, OccurrenceStatus.QUEUED, queued=self.id)
        elif verdict is Verdict.HANDLED and self.is_on_record and not self.is_ahead:
            tx.update(f"schedules/{self.schedule_id}", {"handled_until": self.planned_at})
        elif verdict is Verdict.HANDLED and self._is_forced_again():
            tx.update(f"schedules/{self.schedule_id}", self._forced_now())  # its own repeat comes as much later
        return verdict

    def earlier(self, tx: Transaction, now: datetime) -> str | None:
        """`Once`: the reads of the transaction that starts the run. Raises `ChangedError` if it is not to start any more, or not so."""
        self.now = now
        if self._decide_again(tx) is not Verdict.START:
            raise ChangedError
        return None

    def _decide_again(self, tx: Transaction) -> Verdict:
        """Decide once more, on the schedule that was decided on. Raises `ChangedError` if people changed it: it may ask for another run."""
        decided = self.schedule["revision"]
        verdict = self.decide(tx)
        if self.schedule["revision"] != decided:
            raise ChangedError
        return verdict

    def keep(self, tx: Transaction, result: str, now: datetime) -> None:
        """`Once`: the writes of the transaction that starts the run."""
        kind = REFRESH if self.schedule["action"] == ScheduleAction.REFRESH.value else EXPORT
        self._overtake(tx)
        active = {"kind": kind, "id": result, "occurrence": self.id}
        run = {"run_kind": kind, "run_id": result, "run_status": RunStatus.PENDING.value}
        last = {"last_run_at": now, "last_run_id": result, **OVER}
        self._write(
            tx, OccurrenceStatus.STARTED, run, **{**self._end_before(tx), "active": active, "queued": None, **last}
        )

    def fail(self, tx: Transaction, error: BIConnectorsError) -> None:
        """Record that the run cannot be started and that repeating would not help. Raises `ChangedError` as `earlier`."""
        if self._decide_again(tx) is not Verdict.START:
            return
        told = {"code": error.code, "message": error.message, "retryable": False, "details": {}}
        changes = self._end_before(tx)
        if changes.get("health", self.schedule.get("health")) != "failing":
            changes["health"] = "failing"
            self.announce(tx, self.schedule, "failing", error.message, self.now)
        waiting = {"queued": None} if self.waited else {}
        self._write(tx, OccurrenceStatus.FAILED, {"error": told}, **changes, **waiting)

    def _end_before(self, tx: Transaction) -> dict[str, Any]:
        """Record how the run before ended, which this one takes the place of; return the changes of the schedule."""
        return {} if self.before is None else self.before.write(tx, self.announce, self.now)

    def _forced_now(self) -> dict[str, Any]:
        return {"last_forced": {"for": self.forced_for, "at": self.now}}

    def _overtake(self, tx: Transaction) -> None:
        """Leave an occurrence out that waits, because a newer one takes its place."""
        queued = self.schedule.get("queued")
        if queued and queued != self.id:
            left_out = {"status": OccurrenceStatus.SKIPPED.value, "reason": "a newer occurrence took its place"}
            tx.update(f"occurrences/{queued}", left_out)

    def _write(
        self, tx: Transaction, status: OccurrenceStatus, fields: Mapping[str, Any] | None = None, **schedule: Any
    ) -> None:
        changes = {"status": status.value, "reason": self.reason, **(fields or {})}
        if self.waited:
            tx.update(self.path, changes)
        else:
            own = {"id": self.id, "schedule_id": self.schedule_id, "trigger": self.trigger, "requested_by": self.caller}
            tx.create(self.path, {**own, **_times(Step(self.planned_at, count=self.count), self.now), **changes})
            if self.trigger == MANUAL and status is not OccurrenceStatus.STARTED:  # what starts has an entry of its own
                audit.record(tx, self.now, "schedule.run_now", self.path, outcome=status.value, actor=self.caller)
        if self.trigger == "schedule" and not (self.waited or self.is_ahead):
            schedule["handled_until"] = self.planned_at
        if self.trigger == "forced" and not self.waited:
            schedule |= self._forced_now()
        if self.waited and status is OccurrenceStatus.SKIPPED:
            schedule["queued"] = None
        if schedule:
            tx.update(f"schedules/{self.schedule_id}", schedule)


def leave_out(tx: Transaction, schedule: Mapping[str, Any], reason: str, now: datetime) -> None:
    """Record what is due of a schedule and will not run any more. The caller moves `handled_until`; no reads after this."""
    cron = Cron(schedule["cron_expression"], schedule["timezone"])
    steps = {
        occurrence_id(schedule["id"], step.slot): step
        for step in plan(cron, Missed(schedule["missed"]), schedule["handled_until"], now, now)
    }
    on_record = {key for key in steps if tx.get(f"occurrences/{key}") is not None}
    for key, step in steps.items():
        if key not in on_record:
            own = {"id": key, "schedule_id": schedule["id"], "trigger": "schedule"}
            became = {"status": OccurrenceStatus.SKIPPED.value, "reason": step.reason or reason}
            tx.create(f"occurrences/{key}", {**own, **_times(step, now), **became})


def _times(step: Step, now: datetime) -> dict[str, Any]:
    times = {"planned_at": step.slot, "created_at": now, "expire_at": now + LIFETIME}
    return {"schema": SCHEMA, "count": step.count, **times}


Get = Callable[[str], Document | None]


def standing(get: Get, schedule: Mapping[str, Any]) -> Standing | None:
    """Return how the schedule's active run stands, None if there is none: an export with the refresh that follows it. Only reads."""
    active = schedule.get("active")
    if active is None:
        return None
    status, message = outcome(get, active)
    occurrence = get(f"occurrences/{active['occurrence']}")
    is_stale = occurrence is not None and occurrence.data.get("run_status") != status
    return Standing(status, message, schedule, occurrence.path if occurrence is not None and is_stale else None)


def outcome(get: Get, active: Mapping[str, Any]) -> tuple[str, str]:
    """Return (status, message) of a run; an export goes on until its refresh has ended, or cannot start; `gone` if it was erased."""
    found = get(f"{COLLECTION[active['kind']]}/{active['id']}")
    if found is None:
        return "gone", "the run was erased"
    run = found.data
    status, message = run["status"], run.get("error_message") or run.get("held_reason") or ""
    if active["kind"] == REFRESH or status != JobStatus.SUCCESS.value or not run["refresh_after"]:
        return status, message
    if not run.get("refresh_run_id"):
        error = run.get("refresh_error")
        return (JobStatus.FAILED.value, error["message"]) if error else (JobStatus.RUNNING.value, "")
    return outcome(get, {"kind": REFRESH, "id": run["refresh_run_id"]})
