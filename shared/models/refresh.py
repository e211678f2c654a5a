"""Refresh runs, followed to the vendor's end."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from shared.models._base import Age, ErrorInfo


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One refresh; `options` are those of the connector's kind, `timeout` how long to wait for its end (26 hours by default)."""

    options: dict[str, Any] = {}
    timeout: Age | None = None


class RunStatus(StrEnum):
    """Where a refresh run stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED)


class RefreshRun(msgspec.Struct, frozen=True, kw_only=True):
    """One refresh, followed to the vendor's end.

    `vendor_status` is the vendor's own word and `attempts` its count, where it tells; `trigger` is manual, schedule, forced or
    export.
    """

    id: str
    connector_name: str
    connector_type: str
    status: RunStatus
    trigger: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    options: dict[str, Any] = {}
    schedule_id: str | None = None
    job_id: str | None = None
    vendor_id: str | None = None
    vendor_status: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int | None = None
    timeout: str | None = None
    cancel_requested: bool = False
    polls: int = 0
    waiting: str | None = None
    error_message: str | None = None
    error: ErrorInfo | None = None


class RefreshRunPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of refresh runs, newest first."""

    refresh_runs: list[RefreshRun]
    next_page_token: str | None = None
