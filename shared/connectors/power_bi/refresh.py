"""Refreshes of an import or Direct Lake model: started, followed by their own id, cancelled.

A refresh without options is a standard one; with options it is an *enhanced* one (Premium, PPU, Fabric), which alone can be
cancelled and shows details. Status words: rest/api/power-bi/datasets/get-refresh-history.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.connectors.power_bi.client import exact_json, segment
from shared.connectors.power_bi.dataset import Workspace, is_missing, values_of
from shared.errors import (
    BIConnectorsError,
    ConflictError,
    InvalidRequestError,
    TargetError,
    UnsupportedError,
    VendorUnavailableError,
)

TYPES = ("Full", "ClearValues", "Calculate", "DataOnly", "Automatic", "Defragment")
TIMEOUT = re.compile(r"([0-1]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")  # rest/api/power-bi/datasets/refresh-dataset
LOOKUP_WAITS_S = (1.0, 2.0, 4.0)  # our choice: a refresh shows in the history with a delay
CLOCK_SKEW = timedelta(seconds=30)  # our choice: between Power BI's clock and ours
HISTORY_ROWS = "60"  # what the API gives by default, too
ENHANCED = "ViaEnhancedApi"
STANDARD = "ViaApi"
TIMED_OUT = "timedout"
NEVER = datetime.min.replace(tzinfo=UTC)
_STATUS = {
    "completed": RefreshStatus.SUCCEEDED,
    "failed": RefreshStatus.FAILED,
    "disabled": RefreshStatus.FAILED,
    TIMED_OUT: RefreshStatus.FAILED,
    "cancelled": RefreshStatus.CANCELLED,
}
"""The terminal ones; `Unknown` means in progress, and so do NotStarted, InProgress and words we do not know."""

Json = Any


@dataclass(frozen=True)
class Model:
    """A dataset that can be refreshed."""

    workspace: Workspace
    dataset_id: str

    @property
    def _path(self) -> str:
        return f"datasets/{segment(self.dataset_id)}/refreshes"

    def start(self, options: Mapping[str, Json]) -> VendorRefresh:
        """Trigger one refresh; never sent twice, because a second one would be another refresh.

        Without an answer, the refresh of that kind which began after the call is taken for it: a model runs one at a time.

        Raises:
            ConflictError: code `refresh_running`.
            TargetError: code `refresh_quota`: 8 a day on shared capacity, scheduled ones included.
            InvalidRequestError: an option of another form.
        """
        enhanced = _enhanced(options)
        body = enhanced or {"notifyOption": "NoNotification"}
        called_at = self.workspace.clock.now()
        try:
            answer = self.workspace.call(
                "POST", self._path, f"starting a refresh of dataset {self.dataset_id}", body=body
            )
        except VendorUnavailableError as error:
            found = self._shown(options, called_at) if error.code == "vendor_unreachable" else None
            if found is None:
                raise
            return VendorRefresh(found, RefreshStatus.RUNNING, "Accepted")
        except BIConnectorsError as error:
            raise _start_refused(error, self.dataset_id) from error
        vendor_id = (enhanced and answer.headers.get("x-ms-request-id")) or answer.headers.get("RequestId")
        if not vendor_id:
            raise TargetError("Power BI accepted the refresh but named no request id, so it cannot be followed")
        return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "Accepted")

    def history(self, rows: str = HISTORY_ROWS) -> list[dict[str, Json]]:
        """The newest refreshes, newest first."""
        query = {"$top": rows}
        return values_of(
            self.workspace.safe(
                "GET", self._path, f"reading the refresh history of dataset {self.dataset_id}", query=query
            )
        )

    def find(self, options: Mapping[str, Json], since: datetime) -> VendorRefresh | None:
        """How the refresh stands that a call with these options began after `since`; None if the history shows none."""
        found = self._begun(options, since)
        return self.poll(str(found[0].get("requestId"))) if found else None

    def poll(self, vendor_id: str) -> VendorRefresh:
        """How that refresh stands. Not in the history is still running: it appears there with a delay (apache/airflow#44618)."""
        entry = self._find(vendor_id)
        if entry is None:
            return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "NotInHistory", is_seen=False)
        word, messages, attempts = str(entry.get("status")), [], entry.get("refreshAttempts")
        if entry.get("refreshType") == ENHANCED:
            details = self._details(vendor_id)
            word = str(details.get("extendedStatus") or word)
            messages = [str(m.get("message")) for m in details.get("messages") or [] if isinstance(m, dict)]
            attempts = details.get("refreshAttempts") or attempts
        status = _STATUS.get(word.casefold(), RefreshStatus.RUNNING)
        reason = None
        if status in (RefreshStatus.FAILED, RefreshStatus.CANCELLED):
            reason = "; ".join([*_exceptions(entry), *messages]) or None
        if status is RefreshStatus.FAILED:
            reason = reason or f"Power BI gave no reason for {word}"
        return VendorRefresh(
            vendor_id=vendor_id,
            status=status,
            vendor_status=word,
            started_at=_moment(entry.get("startTime")),
            ended_at=_moment(entry.get("endTime")),
            reason=reason,
            attempts=_counted(attempts),
            is_timeout=word.casefold() == TIMED_OUT,
        )

    def cancel(self, vendor_id: str) -> None:
        """Stop it. Raises `UnsupportedError` for a standard refresh: only enhanced ones can be cancelled."""
        entry = self._find(vendor_id)
        if entry is not None and entry.get("refreshType") != ENHANCED:
            raise UnsupportedError(
                "Power BI cannot cancel a standard refresh; start it with a refresh option (type or timeout) to be able to"
            )
        try:
            self.workspace.safe("DELETE", f"{self._path}/{segment(vendor_id)}", f"cancelling refresh {vendor_id}")
        except TargetError as error:
            if entry is None and is_missing(error):
                raise UnsupportedError(
                    f"Power BI does not know refresh {vendor_id} as one that can be cancelled"
                ) from error
            raise

    def _shown(self, options: Mapping[str, Json], called_at: datetime) -> str | None:
        """The id of the refresh in progress that a call without an answer began; None if the history does not show it soon."""
        try:
            for wait_s in LOOKUP_WAITS_S:
                self.workspace.clock.sleep(wait_s)
                for entry in self._begun(options, called_at):
                    if str(entry.get("status")).casefold() not in _STATUS:
                        return str(entry.get("requestId"))
        except BIConnectorsError:
            return None  # the caller must hear that the call got no answer, not what became of this question
        return None

    def _begun(self, options: Mapping[str, Json], since: datetime) -> list[dict[str, Json]]:
        """The refreshes, earliest first, that may be the one a call at `since` began.

        Not the model's own schedule's, a person's, or one of the other kind; nor one that had ended before the call: its clock may
        be behind ours, but then ours is not found and begun again, which is better than another's that is taken for ours.
        """
        kind, found = ENHANCED if _enhanced(options) else STANDARD, []
        for entry in reversed(self.history()):
            began_at, ended_at = _moment(entry.get("startTime")), _moment(entry.get("endTime"))
            had_ended = ended_at is not None and ended_at <= since
            if entry.get("refreshType") == kind and (began_at or NEVER) >= since - CLOCK_SKEW and not had_ended:
                found.append(entry)
        return found

    def _find(self, vendor_id: str) -> dict[str, Json] | None:
        for entry in self.history():
            if vendor_id in (entry.get("requestId"), entry.get("id")):
                return entry
        return None

    def _details(self, vendor_id: str) -> dict[str, Json]:
        answer = self.workspace.safe("GET", f"{self._path}/{segment(vendor_id)}", f"reading refresh {vendor_id}")
        return dict(exact_json(answer))


def _enhanced(options: Mapping[str, Json]) -> dict[str, Json]:
    """The body of an enhanced refresh; empty for a standard one. `notifyOption` must not be in it."""
    body = {key: value for key, value in options.items() if value is not None}
    kind, timeout = body.get("type"), body.get("timeout")
    if kind is not None:
        known = {name.casefold(): name for name in TYPES}.get(str(kind).casefold())
        if known is None:
            raise InvalidRequestError(
                f"Refresh type {kind!r} is unknown", field="options.type", expected=", ".join(TYPES)
            )
        body["type"] = known
    elif body:
        body["type"] = "Full"  # Power BI would take Automatic, which leaves alone what is processed already
    if timeout is not None and not TIMEOUT.fullmatch(str(timeout)):
        raise InvalidRequestError(
            f"Refresh timeout {timeout!r} is not a duration",
            field="options.timeout",
            expected="hh:mm:ss, e.g. 02:00:00",
        )
    return body


def _start_refused(error: BIConnectorsError, dataset_id: str) -> BIConnectorsError:
    told, status = error.message.casefold(), error.details.get("vendor_status")
    if status == 409 or "another refresh request is already executing" in told:
        return ConflictError(
            f"A refresh of dataset {dataset_id} is running already; wait for its end, or follow that one ({error.message})",
            code="refresh_running",
        )
    if "number of refresh requests in last 24 hours exceeded" in told:
        return TargetError(
            f"The refreshes of dataset {dataset_id} for today are used up (8 a day on shared capacity, scheduled ones included); "
            f"wait, or move the workspace to Premium or Fabric capacity ({error.message})",
            code="refresh_quota",
        )
    return error


def _counted(attempts: Json) -> int | None:
    """How many attempts there were; one may have two entries, Data and Query: rest/api/power-bi/datasets/get-refresh-history."""
    told = attempts if isinstance(attempts, list) else []
    return len({entry.get("attemptId") for entry in told if isinstance(entry, dict)}) or None


def _exceptions(entry: Mapping[str, Json]) -> list[str]:
    """What `serviceExceptionJson` of the refresh, else of its attempts, says: it is JSON inside a string."""
    texts = [entry.get("serviceExceptionJson")]
    if not texts[0]:
        texts = [a.get("serviceExceptionJson") for a in entry.get("refreshAttempts") or [] if isinstance(a, dict)]
    return list(dict.fromkeys(_exception(text) for text in texts if text))


def _exception(text: str) -> str:
    try:
        told = json.loads(text)
    except ValueError:
        return str(text)
    if not isinstance(told, dict):
        return str(text)
    code, description = told.get("errorCode"), told.get("errorDescription")
    return f"{code}: {description}" if code and description else str(code or description or text)


def _moment(value: Json) -> datetime | None:
    """A vendor's date-time as aware UTC; None if absent or of an unknown form."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
