"""How a refresh run ends: as what the vendor says, or because it took too long. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.errors import BIConnectorsError
from shared.models import RunStatus, age
from shared.redaction import redact

GIVE_UP = timedelta(
    hours=26
)  # Power BI: at most 24 h with retries; learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset
UNSEEN = timedelta(hours=1)  # our choice: how long a vendor's history may lag (apache/airflow#44618 tells of minutes)
BY_REQUEST = "cancelled by request"


def end_of(run: Mapping[str, Any], seen: VendorRefresh, now: datetime) -> dict[str, Any]:
    """Return the fields that end a run, empty while it goes on."""
    if seen.status is RefreshStatus.SUCCEEDED:
        return {"ended_at": seen.ended_at or now}
    limit, taken, because = limit_of(run), now - run["created_at"], f": {seen.reason}" if seen.reason else ""
    overdue = taken > limit
    cancelled_late = (seen.ended_at or now) - run["created_at"] > limit  # before that it was not us: nobody asked then
    if seen.status is RefreshStatus.CANCELLED and overdue and cancelled_late and not run.get("cancel_requested"):
        message = f"it had not ended after {limit} and was cancelled at the vendor{because}"
        return {**ended_as(RunStatus.FAILED, now), **failure("refresh_timeout", message, retryable=True)}
    if seen.status is RefreshStatus.CANCELLED:
        told = BY_REQUEST if run.get("cancel_requested") else "the refresh was cancelled at the vendor"
        return {"ended_at": seen.ended_at or now, **failure("refresh_cancelled", f"{told}{because}")}
    if seen.status is RefreshStatus.FAILED:
        message = seen.reason or f"the vendor ended the refresh as {seen.vendor_status} and gave no reason"
        if seen.is_timeout:
            return {"ended_at": seen.ended_at or now, **failure("refresh_timeout", message, retryable=True)}
        return {"ended_at": seen.ended_at or now, **failure("refresh_failed", message, retryable=True)}
    unseen = min(UNSEEN, limit)
    called_at = run.get("start_called_at") or now  # it may have waited long before, e.g. for the vendor's quota
    if not seen.is_seen and not run.get("was_seen") and now - called_at > unseen:
        message = f"the vendor accepted the refresh and has not shown it in its history for {unseen}; nobody knows how it went"
        return {**ended_as(RunStatus.FAILED, now), **failure("refresh_not_seen", message, retryable=True)}
    if overdue and "stopping" in run:
        unshown = (
            "does not show the refresh any more" if run.get("was_seen") else "has not shown the refresh in its history"
        )
        says = f"still says {seen.vendor_status}" if seen.is_seen else unshown
        message = f"the vendor {says} after {limit}; {run['stopping']}"
        return {**ended_as(RunStatus.FAILED, now), **failure("refresh_timeout", message, retryable=True)}
    return {}


def limit_of(run: Mapping[str, Any]) -> timedelta:
    return age(run["timeout"]) if run.get("timeout") else GIVE_UP


def ended_as(status: RunStatus, now: datetime) -> dict[str, Any]:
    return {"status": status.value, "ended_at": now, "updated_at": now, "waiting": None}


def failed_by(error: BIConnectorsError, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the failure of a run that could not be started, or was and cannot be followed: it may go on at the vendor."""
    lost = "the refresh was started and cannot be followed any more, so nobody knows how it goes on: "
    message = error.message if run.get("vendor_id") is None else f"{lost}{error.message}"
    return failure(error.code, message, retryable=error.retryable)


def failure(code: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    told = redact(message)  # it may be the vendor's reason
    error = {"code": code, "message": told, "retryable": retryable, "details": {}}
    return {"error_message": told, "error": error}
