"""Routes of refreshes: a state machine on the sandbox clock.

Forms from Microsoft's swagger and powerbi-docs asynchronous-refresh.md. `timeout` is newer than the swagger saved with the project
(rest/api/power-bi/datasets/refresh-dataset). Statuses of the two refusals "already executing" and "Request Throttled": 400 for a standard
refresh (public code), 409 for an enhanced one (asynchronous-refresh.md), 400 for the daily number (unverified).
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any

from infra.local.sandboxes._base import Request, Response

from . import errors
from .bodies import BODIES, check_body
from .core import DATASET, HOST, Core, api, collection, count

REFRESHES_A_DAY_SHARED = 8
_DAY_S = 86_400.0
_TYPES = ("Full", "ClearValues", "Calculate", "DataOnly", "Automatic", "Defragment")
_COMMIT = ("Transactional", "PartialBatch")
_NOTIFY = ("NoNotification", "MailOnFailure", "MailOnCompletion")
_ENHANCED = set(BODIES["refresh"]) - {"notifyOption"}
_TIMEOUT = re.compile(r"([0-1]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")
_ROUTE = f"{DATASET}/refreshes"


class RefreshRoutes(Core):
    """Refreshes of import models. Knobs: capacity, refresh_seconds, refresh_outcome, refresh_exception, history_delay_seconds."""

    @api("POST", _ROUTE)
    def start_refresh(self, request: Request, group: str, dataset: str) -> Response:
        """Start one; 202."""
        self._need_model(request, group, dataset)
        body = request.json() if request.body.strip() else {}
        is_enhanced = self._check(body)
        now, key = self.clock.time(), str(uuid.uuid4())
        ends_at = now + float(self.settings["refresh_seconds"])
        outcome = str(self.settings["refresh_outcome"])
        if limit := body.get("timeout"):
            hours, minutes, seconds = map(int, limit.split(":"))
            limit_at = now + hours * 3600 + minutes * 60 + seconds
            if limit_at < ends_at:
                ends_at, outcome = limit_at, "TimedOut"
        exception = self.settings["refresh_exception"] if outcome in ("Failed", "TimedOut", "Disabled") else None
        visible_at = now + float(self.settings["history_delay_seconds"])
        kind, commit = (
            _named(body.get("type", "Automatic"), _TYPES),
            _named(body.get("commitMode", "Transactional"), _COMMIT),
        )
        with self.transaction() as db:
            self._check_free(dataset, now, is_enhanced=is_enhanced)
            row = (key, dataset, is_enhanced, kind, commit, now, ends_at, visible_at, outcome, exception)
            db.execute("INSERT INTO refreshes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if not is_enhanced:
            return Response(202, headers={"RequestId": key})
        location = f"https://{HOST}/v1.0/myorg/groups/{group}/datasets/{dataset}/refreshes/{key}"
        return Response(202, headers={"x-ms-request-id": key, "Location": location})

    @api("GET", _ROUTE)
    def refresh_history(self, request: Request, group: str, dataset: str) -> Response:
        """The newest refreshes that show already, newest first."""
        self._need_model(request, group, dataset)
        top = count(request, "$top", 60)
        now = self.clock.time()
        with self.lock:
            rows = self.db.execute(
                "SELECT * FROM refreshes WHERE dataset_id = ? AND visible_at <= ? ORDER BY started_at DESC LIMIT ?",
                (dataset, now, min(max(top, 1), 60)),
            ).fetchall()
        return collection([_entry(row, now) for row in rows], f"{group}/datasets/{dataset}/$metadata#refreshes")

    @api("GET", f"{_ROUTE}/<refresh>")
    def refresh_details(self, request: Request, group: str, dataset: str, refresh: str) -> Response:
        """Details of an enhanced refresh: 202 while it runs, 200 afterwards."""
        self._need_model(request, group, dataset)
        row, now = self._need_enhanced(dataset, refresh), self.clock.time()
        state = _state(row, now)
        body: dict[str, Any] = {
            "startTime": _time(row["started_at"]),
            "type": row["type"],
            "commitMode": row["commit_mode"],
            "status": {"InProgress": "Unknown", "TimedOut": "Failed", "Cancelled": "Unknown"}.get(state, state),
            "extendedStatus": state,
            "currentRefreshType": row["type"],
            "numberOfAttempts": 0,
        }
        if state == "InProgress":
            return Response(202, body)
        body.update({"endTime": _time(row["ends_at"]), "numberOfAttempts": 1, "objects": []})
        if row["exception"] and state != "Completed":
            body["messages"] = [{"code": "0xC11C0020", "message": _told(row["exception"]), "type": "Error"}]
        return Response(200, body)

    @api("DELETE", f"{_ROUTE}/<refresh>")
    def cancel_refresh(self, request: Request, group: str, dataset: str, refresh: str) -> Response:
        """Cancel an enhanced refresh that runs."""
        self._need_model(request, group, dataset)
        with self.transaction() as db:
            row, now = self._need_enhanced(dataset, refresh), self.clock.time()
            if _state(row, now) != "InProgress":
                raise errors.invalid(f"Refresh {refresh} is not in progress")
            db.execute("UPDATE refreshes SET ends_at = ?, outcome = 'Cancelled' WHERE id = ?", (now, refresh))
        return Response(200)

    def _need_model(self, request: Request, group: str, dataset: str) -> None:
        if self.need_dataset(request, group, dataset)["kind"] == "push":
            raise errors.invalid("Invalid dataset. This API can only be called on a Model-based dataset")

    def _need_enhanced(self, dataset: str, refresh: str) -> sqlite3.Row:
        with self.lock:
            row: sqlite3.Row | None = self.db.execute(
                "SELECT * FROM refreshes WHERE id = ? AND dataset_id = ? AND enhanced = 1", (refresh, dataset)
            ).fetchone()
        if row is None:
            raise errors.not_found(f"Refresh {refresh}")
        return row

    def _check(self, body: Any) -> bool:
        """Whether a request is for an enhanced refresh; refuses what breaks a rule."""
        check_body("refresh", body)
        is_enhanced = bool(set(body) & _ENHANCED)
        if body.get("notifyOption", _NOTIFY[0]) not in _NOTIFY:
            raise errors.invalid(f"Invalid dataset refresh request. notifyOption '{body['notifyOption']}' is unknown")
        for name in ("maxParallelism", "retryCount"):
            if not 0 <= body.get(name, 0) < 2**31:
                raise errors.invalid(f"Invalid dataset refresh request. {name} {body[name]} is out of range")
        if is_enhanced and "notifyOption" in body:
            raise errors.invalid(
                "Invalid dataset refresh request. notifyOption is not supported by an enhanced refresh"
            )
        if is_enhanced and self.settings["capacity"] != "premium":
            raise errors.invalid(
                "Invalid dataset refresh request. Enhanced refresh is not supported on shared capacity"
            )
        _named(body.get("type", "Full"), _TYPES)
        _named(body.get("commitMode", "Transactional"), _COMMIT)
        if "timeout" in body and not _TIMEOUT.fullmatch(body["timeout"]):
            raise errors.invalid("Invalid dataset refresh request. timeout is not of the form hh:mm:ss")
        return is_enhanced

    def _check_free(self, dataset: str, now: float, *, is_enhanced: bool) -> None:
        busy = self.db.execute(
            "SELECT 1 FROM refreshes WHERE dataset_id = ? AND ends_at > ?", (dataset, now)
        ).fetchone()
        if busy:
            status = 409 if is_enhanced else 400
            message = "Invalid dataset refresh request. Another refresh request is already executing"
            raise errors.refusal(status, "InvalidRequest", message)
        if self.settings["capacity"] == "premium" or not self.settings["quotas"]:
            return
        count = self.db.execute(
            "SELECT count(*) FROM refreshes WHERE dataset_id = ? AND started_at > ?", (dataset, now - _DAY_S)
        ).fetchone()[0]
        if count >= REFRESHES_A_DAY_SHARED:
            message = "Invalid dataset refresh request. Number of refresh requests in last 24 hours exceeded limit"
            raise errors.refusal(400, "Request Throttled", message)


def _named(value: str, allowed: tuple[str, ...]) -> str:
    for name in allowed:
        if value.lower() == name.lower():
            return name
    raise errors.invalid(f"Invalid dataset refresh request. '{value}' is none of {', '.join(allowed)}")


def _state(row: sqlite3.Row, now: float) -> str:
    return "InProgress" if now < row["ends_at"] else str(row["outcome"])


def _entry(row: sqlite3.Row, now: float) -> dict[str, Any]:
    state = _state(row, now)
    status = {"InProgress": "Unknown", "TimedOut": "Failed"}.get(state, state)
    entry: dict[str, Any] = {
        "requestId": row["id"],
        "refreshType": "ViaEnhancedApi" if row["enhanced"] else "ViaApi",
        "startTime": _time(row["started_at"]),
        "status": status,
    }
    if state != "InProgress":
        entry["endTime"] = _time(row["ends_at"])
        attempt = {"attemptId": 1, "startTime": entry["startTime"], "endTime": entry["endTime"], "type": "Data"}
        if row["exception"] and status != "Completed":
            entry["serviceExceptionJson"] = attempt["serviceExceptionJson"] = row["exception"]
        entry["refreshAttempts"] = [attempt]
        if (
            state == "Completed"
        ):  # the queries of reports and tiles are run anew after the data, in an entry of the same attempt
            entry["refreshAttempts"].append({**attempt, "startTime": entry["endTime"], "type": "Query"})
    return entry


def _told(exception: str) -> str:
    try:
        return str(json.loads(exception)["errorCode"])
    except (ValueError, KeyError, TypeError):
        return exception


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
