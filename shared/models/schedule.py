"""Schedules of refreshes and exports."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from shared.models.job import ExportRequest


class ScheduleAction(StrEnum):
    """What a schedule does: refresh, or export a table and then refresh where the kind can."""

    REFRESH = "refresh"
    EXPORT_AND_REFRESH = "export_and_refresh"


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cron schedule: five fields, an IANA time zone, and what to do. `export` belongs to `export_and_refresh` only."""

    connector_name: str
    cron_expression: str
    timezone: str = "UTC"
    action: ScheduleAction = ScheduleAction.REFRESH
    export: ExportRequest | None = None
    enabled: bool = True


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and its Cloud Scheduler job. `next_run` is null while it is not enabled."""

    id: str
    connector_name: str
    cron_expression: str
    timezone: str
    action: ScheduleAction
    enabled: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    export: dict[str, Any] | None = None
    next_run: datetime | None = None
    last_run_at: datetime | None = None
    last_run_id: str | None = None


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of schedules, oldest first."""

    schedules: list[Schedule]
    next_page_token: str | None = None
