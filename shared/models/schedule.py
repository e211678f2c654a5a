"""Schedules of refreshes and exports, and their occurrences."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from shared.models._base import Age, ErrorInfo
from shared.models.job import ExportRequest


class ScheduleAction(StrEnum):
    """What a schedule does: refresh, or export a table and then refresh where the connector can."""

    REFRESH = "refresh"
    EXPORT_AND_REFRESH = "export_and_refresh"


class Overlap(StrEnum):
    """What becomes of an occurrence while the run before it goes on.

    `skip` leaves it out. `queue_one` starts it when that run ends; one may wait, further ones are left out. `cancel_running` asks
    to cancel that run and starts the newest occurrence when it has ended, even where it could not be cancelled.
    """

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


class Missed(StrEnum):
    """What becomes of occurrences that are more than ten minutes late: left out, one run for all of them, or all (24 at most)."""

    SKIP = "skip"
    RUN_ONCE = "run_once"
    RUN_ALL = "run_all"


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cron schedule.

    Attributes:
        cron_expression: five fields, or `@hourly @daily @weekly @monthly @yearly`.
        timezone: an IANA name.
        export: the body of an export request; belongs to `export_and_refresh` only.
        options: of the refresh, as in a refresh request; belongs to `refresh` only.
        max_age: how old the data may become before it counts as late; without it nothing is watched.
    """

    connector_name: str
    cron_expression: str
    timezone: str = "UTC"
    action: ScheduleAction = ScheduleAction.REFRESH
    export: ExportRequest | None = None
    options: dict[str, Any] = {}
    enabled: bool = True
    overlap: Overlap = Overlap.SKIP
    missed: Missed = Missed.RUN_ONCE
    max_age: Age | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. `next_run` is null while it is not enabled.

    `sync` says whether Cloud Scheduler has been told: `pending` heals by itself, `refused` needs another expression. `health` is
    `ok` or `failing` by the last run that ended; `freshness` is there where `max_age` is.
    """

    id: str
    connector_name: str
    cron_expression: str
    timezone: str
    action: ScheduleAction
    enabled: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    description: str = ""
    export: dict[str, Any] | None = None
    options: dict[str, Any] = {}
    overlap: Overlap = Overlap.SKIP
    missed: Missed = Missed.RUN_ONCE
    max_age: str | None = None
    next_run: datetime | None = None
    last_run_at: datetime | None = None
    last_run_id: str | None = None
    sync: str = "done"
    sync_error: str | None = None
    health: str = "unknown"
    freshness: dict[str, Any] | None = None


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of schedules, oldest first."""

    schedules: list[Schedule]
    next_page_token: str | None = None


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A time to come. `local` is the same moment in the schedule's zone; `note` says what the clocks do on that day, if anything."""

    at: datetime
    local: str
    note: str | None = None


class PlannedRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The next runs of a schedule, soonest first; none while it is not enabled."""

    timezone: str
    runs: list[PlannedRun]


class OccurrenceStatus(StrEnum):
    """What became of one planned time; `started` has a run, whose own end is `run_status`."""

    STARTED = "started"
    QUEUED = "queued"
    SKIPPED = "skipped"
    FAILED = "failed"


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One planned time of a schedule, or a run by hand.

    `trigger` is `schedule`, `forced` (from Cloud Scheduler's console) or `manual`; `reason` says why it was left out or waits;
    `count` is more than one where older ones that were missed are told together; `run_kind` is `refresh` or `export`.
    """

    id: str
    schedule_id: str
    planned_at: datetime
    status: OccurrenceStatus
    trigger: str
    created_at: datetime
    reason: str | None = None
    count: int = 1
    run_kind: str | None = None
    run_id: str | None = None
    run_status: str | None = None
    error: ErrorInfo | None = None


class OccurrencePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of occurrences, newest planned time first."""

    occurrences: list[Occurrence]
    next_page_token: str | None = None


class ScheduleDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between Firestore and Cloud Scheduler, and what mends it: `put`, `delete_job` or `finish_delete`."""

    schedule_id: str
    action: str
    reason: str
    error: str | None = None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What the reconciler found; with `dry_run` nothing was changed."""

    dry_run: bool
    drifts: list[ScheduleDrift] = []
