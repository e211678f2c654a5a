"""Follows a refresh run to the vendor's end: triggers it once, then asks how it stands, one Cloud Task a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared import audit
from shared.connectors._base import Connector, RefreshStatus, VendorRefresh
from shared.errors import BIConnectorsError, ConflictError, InternalError, NotFoundError, VendorUnavailableError
from shared.models import RunStatus
from shared.ports import Document, Stores, Task, Transaction
from shared.services.connectors import Connectors
from shared.services.records import require
from shared.services.refresh_ends import BY_REQUEST, end_of, ended_as, failed_by, limit_of
from shared.services.refresh_ways import Way, not_started, not_started_again, way_of

FIRST_POLL_S = 2.0
LONGEST_POLL_S = 60.0  # our choice: a refresh takes minutes to hours; one look a minute is one task and one vendor call
STARTING = timedelta(
    seconds=240
)  # our choice: longer than the call that starts a refresh may take (two time-outs of 100 s)
NOT_CALLED = ("breaker_open", "quota_wait")
UNANSWERED = "vendor_unreachable"
UNKNOWN_OUTCOMES = (500, 502, 504)  # what stands in between, or broke, may answer so for a call that was applied
MAX_FAILED_LOOKS = 8  # our choice: about two minutes out of reach give up a start; one that runs is asked to its limit
TASK_DEADLINE_S = 300.0


@dataclass(frozen=True)
class RefreshSettings:
    """Where runs are followed."""

    refresh_url: str
    queue: str


class RefreshFollowing:
    """Looks at `refresh_runs/{id}`, each of which is one run, until it has ended."""

    def __init__(self, stores: Stores, connectors: Connectors, settings: RefreshSettings) -> None:
        self._stores = stores
        self._connectors = connectors
        self._settings = settings

    def look(self, run_id: str, polls: int | None = None) -> None:
        """Trigger the refresh, or ask how it stands; enqueue the next look unless it ended. For Cloud Tasks only.

        `polls` is the task's number. Only the newest task of a run looks, so that repeats and wake-ups never multiply; an older
        one makes sure that the newest exists (its name dedups), in case the process died before enqueueing it.

        Raises:
            Exception: a fault of ours; the task is to be tried again, and the run ends when it would be given up for another reason.
        """
        run = self._get(run_id).data
        if RunStatus(run["status"]).is_final:
            return
        if polls is not None and polls < run["polls"]:
            self.enqueue(run_id, run["polls"], run["next_look_at"])
            return
        try:
            self._record(*self._ask(way_of(self._connectors, run), run))
        except VendorUnavailableError as error:
            self._look_later(run, error)
        except BIConnectorsError as error:
            status = RunStatus.CANCELLED if error.code == "refresh_cancelled" else RunStatus.FAILED
            self._save(run, {**ended_as(status, self._stores.clock.now()), **failed_by(error, run)})
        except Exception as error:
            self._note_fault(run, error)
            raise

    def open(self, run: Mapping[str, Any]) -> Connector:
        """Return the live connector to what a run refreshes. Raises as `way_of`."""
        connector: Connector = self._connectors.open(way_of(self._connectors, run).connector)
        return connector

    def _ask(self, way: Way, run: Mapping[str, Any]) -> tuple[Mapping[str, Any], VendorRefresh]:
        """Return the run and how it stands at the vendor, started if it was not, stopped (see `stopping`) if it takes too long."""
        connector: Connector = self._connectors.open(way.connector)
        vendor_id = run.get("vendor_id")
        if vendor_id is None:
            return run, self._begin(way, connector, run)
        overdue = self._stores.clock.now() - run["created_at"] > limit_of(run)
        if overdue or (run.get("cancel_requested") and not run.get("cancel_sent")):
            may_wait = run["failed_looks"] < MAX_FAILED_LOOKS
            was_heard, words = _stop(connector, vendor_id, may_wait=may_wait)
            self._stores.documents.update(f"refresh_runs/{run['id']}", {"cancel_sent": was_heard, "waiting": words})
            run = {**run, "stopping": words}
        return run, connector.poll_refresh(vendor_id)

    def _begin(self, way: Way, connector: Connector, run: Mapping[str, Any]) -> VendorRefresh:
        """Start the refresh once. That we are about to call is written first: who finds it written asks the vendor instead.

        Raises:
            ConflictError: code `refresh_cancelled`, before the vendor was called or where it does not show the lost call; or code
                `connector_changed`, before it was called.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> Mapping[str, Any]:
            found = require_in(tx, run["id"])
            if found.get("start_called_at") is None:
                if found.get("cancel_requested") or RunStatus(found["status"]).is_final:
                    raise ConflictError(BY_REQUEST, code="refresh_cancelled")
                if way.has_moved:
                    raise not_started(run)
                tx.update(f"refresh_runs/{run['id']}", {"start_called_at": now, "started_through": way.kept()})
            return found

        known = self._stores.documents.transact(work)
        called_at = known.get("start_called_at")
        if called_at is None:
            return connector.start_refresh(run["id"], run["options"])
        if not known.get("start_lost") and now - called_at < STARTING:
            wait_s = (called_at + STARTING - now).total_seconds()
            raise VendorUnavailableError("another worker is starting this refresh", retry_after_s=wait_s)
        found = connector.find_refresh(run["id"], run["options"], called_at)
        if found is not None:
            return found
        if known.get("cancel_requested"):
            raise ConflictError(BY_REQUEST, code="refresh_cancelled")
        if way.has_moved:
            raise not_started_again(run, LONGEST_POLL_S)
        try:
            return connector.start_refresh(run["id"], run["options"])
        except ConflictError as error:
            if error.code != "refresh_running":
                raise
            message = f"{error.message}; it may be ours, whose answer was lost, and does not show in the history yet"
            raise VendorUnavailableError(message, code="refresh_running", retry_after_s=LONGEST_POLL_S) from error

    def _record(self, run: Mapping[str, Any], seen: VendorRefresh) -> None:
        now = self._stores.clock.now()
        fields: dict[str, Any] = {
            "status": RunStatus.RUNNING.value if seen.status is RefreshStatus.RUNNING else seen.status.value,
            "vendor_id": seen.vendor_id,
            "vendor_status": seen.vendor_status,
            "attempts": seen.attempts or run.get("attempts"),
            "was_seen": run.get("was_seen") or (run.get("vendor_id") is not None and seen.is_seen),
            "started_at": seen.started_at or run.get("started_at") or now,
            "polls": run["polls"] + 1,
            "failed_looks": 0,
            "waiting": None,
            "updated_at": now,
        }
        fields["next_look_at"] = now + timedelta(seconds=_pause_s(fields["polls"]))
        self._save(run, fields | end_of(run, seen, now))

    def _look_later(self, run: Mapping[str, Any], error: VendorUnavailableError) -> None:
        failed = run["failed_looks"] + 1
        now = self._stores.clock.now()
        if self._is_given_up(run, failed):
            self._save(run, {**ended_as(RunStatus.FAILED, now), **failed_by(error, run)})
            return
        pause = error.retry_after_s if error.retry_after_s is not None else _pause_s(failed)
        at = now + timedelta(seconds=pause)
        waiting = f"until {at:%Y-%m-%dT%H:%M:%SZ}: {error.message}"
        fields: dict[str, Any] = {"failed_looks": failed, "polls": run["polls"] + 1, "waiting": waiting}
        status = error.details.get("vendor_status")
        is_answered = status is not None and status not in UNKNOWN_OUTCOMES
        if run.get("vendor_id") is None and error.is_sent and (error.code == UNANSWERED or status in UNKNOWN_OUTCOMES):
            fields["start_lost"] = True  # it may have started: the vendor is asked before it is called again
        elif run.get("start_called_at") is None and (error.code in NOT_CALLED or not error.is_sent or is_answered):
            fields["start_called_at"] = None  # it was not called, or refused for now
        self._save(run, {**fields, "updated_at": now, "next_look_at": at})

    def _note_fault(self, run: Mapping[str, Any], error: Exception) -> None:
        """Count a fault of ours as a look that failed; a run that met it at every look ends, for nobody would hear of it else."""
        failed = run["failed_looks"] + 1
        if self._is_given_up(run, failed):
            told = InternalError(
                f"a fault of ours at each look ({type(error).__name__}); look for its log lines by this run's id"
            )
            self._save(run, {**ended_as(RunStatus.FAILED, self._stores.clock.now()), **failed_by(told, run)})
        else:
            self._stores.documents.update(f"refresh_runs/{run['id']}", {"failed_looks": failed})

    def _is_given_up(self, run: Mapping[str, Any], failed: int) -> bool:
        """Whether a run ends for looks that failed, one after the other: one that runs at the vendor is asked to its limit."""
        may_run = run.get("vendor_id") is not None and self._stores.clock.now() - run["created_at"] <= limit_of(run)
        return failed > MAX_FAILED_LOOKS and not may_run

    def _save(self, run: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Write what a look found, and enqueue the next; not if a later look wrote before. A first vendor id is always kept."""

        def work(tx: Transaction) -> bool:
            found = require_in(tx, run["id"])
            is_first = found.get("vendor_id") is None and fields.get("vendor_id") is not None
            if RunStatus(found["status"]).is_final or (found["polls"] != run["polls"] and not is_first):
                return False
            path, changes = f"refresh_runs/{run['id']}", {**fields, "polls": found["polls"] + 1}
            tx.update(path, changes)
            if fields.get("status") is not None and RunStatus(fields["status"]).is_final:
                status, asked_by = fields["status"], run["requested_by"]
                audit.record(
                    tx, fields["updated_at"], "refresh.end", path, after=changes, outcome=status, actor=asked_by
                )
            return True

        if self._stores.documents.transact(work):
            now = self._get(run["id"]).data
            if not RunStatus(now["status"]).is_final:
                self.enqueue(run["id"], now["polls"], now["next_look_at"])

    def wake(self, run: Mapping[str, Any]) -> None:
        """Enqueue a look at a run whose task was lost; under a new name, because the old one may be taken for a repeat."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> int:
            polls: int = require_in(tx, run["id"])["polls"] + 1
            tx.update(f"refresh_runs/{run['id']}", {"polls": polls, "next_look_at": now})
            return polls

        self.enqueue(run["id"], self._stores.documents.transact(work), None)

    def enqueue(self, run_id: str, polls: int, at: datetime | None) -> None:
        url = f"{self._settings.refresh_url}/internal/refresh-runs/{run_id}:look"
        self._stores.tasks.enqueue(
            Task(self._settings.queue, url, f"refresh-{run_id}-{polls}", {"polls": polls}, at, TASK_DEADLINE_S)
        )

    def _get(self, run_id: str) -> Document:
        return require(self._stores.documents, f"refresh_runs/{run_id}", f"refresh run {run_id!r}")


def require_in(tx: Transaction, run_id: str) -> Mapping[str, Any]:
    """Return the run as a transaction sees it. Raises `NotFoundError`."""
    found = tx.get(f"refresh_runs/{run_id}")
    if found is None:
        raise NotFoundError(f"refresh run {run_id!r} was deleted meanwhile")
    return found.data


def _stop(connector: Connector, vendor_id: str, *, may_wait: bool) -> tuple[bool, str]:
    """Ask the vendor to stop a refresh; return whether it heard, and in words what became of that.

    Raises:
        VendorUnavailableError: it did not hear, and `may_wait`: the next look asks again.
    """
    try:
        connector.cancel_refresh(vendor_id)
    except VendorUnavailableError as error:
        if may_wait:
            raise
        return False, f"it could not be asked to stop: {error.message}"
    except BIConnectorsError as error:
        return True, f"it cannot be cancelled: {error.message}"
    return True, "the vendor was asked to cancel it"


def _pause_s(looks: int) -> float:
    return min(FIRST_POLL_S * 1.5 ** min(max(0, looks - 1), 20), LONGEST_POLL_S)
