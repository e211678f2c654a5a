"""Refresh runs: trigger one refresh at the vendor, then follow that very refresh to its end, one Cloud Task a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared import audit
from shared.connectors._base import Connector, RefreshStatus, VendorRefresh
from shared.errors import (
    BIConnectorsError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    VendorUnavailableError,
)
from shared.models import RefreshRun, RefreshRunPage, RunStatus, age, new_id
from shared.ports import Document, Query, Stores, Task, Transaction
from shared.redaction import redact
from shared.services.connectors import Connectors
from shared.services.records import (
    Once,
    Page,
    earlier_result,
    from_record,
    keep_result,
    list_page,
    require,
    to_record,
)

FIRST_POLL_S = 2.0
LONGEST_POLL_S = 60.0  # our choice: a refresh takes minutes to hours; one look a minute is one task and one vendor call
GIVE_UP = timedelta(
    hours=26
)  # Power BI: at most 24 h with retries; learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset
UNSEEN = timedelta(hours=1)  # our choice: how long a vendor's history may lag (apache/airflow#44618 tells of minutes)
STARTING = timedelta(
    seconds=240
)  # our choice: longer than the call that starts a refresh may take (two time-outs of 100 s)
BY_REQUEST = "cancelled by request"
NOT_CALLED = ("breaker_open", "quota_wait")
MAX_FAILED_LOOKS = 8  # our choice: about two minutes out of reach give up a start; one that runs is asked to its limit
TASK_DEADLINE_S = 300.0


@dataclass(frozen=True)
class RefreshSettings:
    """Where runs are followed."""

    refresh_url: str
    queue: str


class Refreshes:
    """The use cases around `refresh_runs/{id}`."""

    def __init__(self, stores: Stores, connectors: Connectors, settings: RefreshSettings) -> None:
        self._stores = stores
        self._connectors = connectors
        self._settings = settings

    def start(
        self,
        connector_name: str,
        options: Mapping[str, Any],
        caller: str,
        idempotency: Once | None = None,
        *,
        trigger: str = "manual",
        schedule_id: str | None = None,
        job_id: str | None = None,
        run_id: str | None = None,
        timeout: str | None = None,
    ) -> Document:
        """Accept one refresh: store the run, enqueue its first look. Returns the run's document; the vendor is called later.

        Raises:
            NotFoundError: no such connector.
            UnsupportedError: the connector has nothing to refresh.
            InvalidRequestError: an option is not known, or the time-out is over 26 hours.
        """
        if timeout and age(timeout) > GIVE_UP:
            raise InvalidRequestError(
                f"timeout {timeout!r} is longer than {GIVE_UP}, the most that is waited", field="timeout"
            )
        connector = self._connectors.get(connector_name)
        self._connectors.require_refresh(connector)
        checked = self._connectors.check_options(connector, options)
        now = self._stores.clock.now()
        run = RefreshRun(
            id=run_id or new_id(now),
            connector_name=connector_name,
            connector_type=connector.data["connector_type"],
            status=RunStatus.PENDING,
            trigger=trigger,
            requested_by=caller,
            created_at=now,
            updated_at=now,
            options=checked,
            schedule_id=schedule_id,
            job_id=job_id,
            timeout=timeout,
        )

        def work(tx: Transaction) -> str:
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            if run_id is not None and tx.get(f"refresh_runs/{run_id}") is not None:
                return run_id
            record = to_record(run, failed_looks=0, next_look_at=now)
            tx.create(f"refresh_runs/{run.id}", record)
            audit.record(tx, now, "refresh.start", f"refresh_runs/{run.id}", after=record, actor=caller)
            keep_result(tx, idempotency, run.id, now)
            return run.id

        accepted = self._stores.documents.transact(work)
        document = self.get(accepted)
        if not RunStatus(document.data["status"]).is_final:
            self._enqueue(accepted, document.data["polls"], None)
        return document

    def get(self, run_id: str) -> Document:
        return require(self._stores.documents, f"refresh_runs/{run_id}", f"refresh run {run_id!r}")

    def exists(self, run_id: str) -> bool:
        return self._stores.documents.get(f"refresh_runs/{run_id}") is not None

    def list_runs(self, connector_name: str | None, page: Page) -> RefreshRunPage:
        where = (("connector_name", "==", connector_name),) if connector_name else ()
        query = Query("refresh_runs", where, order_by="created_at", descending=True)
        found, token = list_page(self._stores.documents, query, page)
        return RefreshRunPage(
            refresh_runs=[from_record(RefreshRun, item.data) for item in found], next_page_token=token
        )

    def cancel(self, run_id: str) -> Document:
        """Ask to cancel: at once if the vendor was not called yet, else the vendor is asked, and its answer followed.

        Raises:
            ConflictError: code `run_ended`.
            UnsupportedError: the vendor cannot cancel this kind of refresh.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> Mapping[str, Any]:
            found = tx.get(f"refresh_runs/{run_id}")
            if found is None:
                raise NotFoundError(f"refresh run {run_id!r} does not exist; check the id, or list the runs")
            run = found.data
            if RunStatus(run["status"]).is_final:
                raise ConflictError(
                    f"the run has ended as {run['status']}; there is nothing to cancel", code="run_ended"
                )
            if run.get("start_called_at") is None:
                ended = {**_ended(RunStatus.CANCELLED, now), **_failure("refresh_cancelled", BY_REQUEST)}
                tx.update(found.path, ended)
                audit.record(tx, now, "refresh.end", found.path, after=ended, outcome=RunStatus.CANCELLED.value)
            elif run.get("vendor_id") is None:
                tx.update(found.path, {"cancel_requested": True})
            return run

        run = self._stores.documents.transact(work)
        if run.get("vendor_id") is not None:
            self._open(run).cancel_refresh(run["vendor_id"])

            def note(tx: Transaction) -> None:
                path, asked = f"refresh_runs/{run_id}", {"cancel_requested": True, "cancel_sent": True}
                tx.update(path, asked)
                audit.record(tx, now, "refresh.cancel", path, after=asked)

            self._stores.documents.transact(note)
            self.wake(run)
        return self.get(run_id)

    def look(self, run_id: str, polls: int | None = None) -> None:
        """Trigger the refresh, or ask how it stands; enqueue the next look unless it ended. For Cloud Tasks only.

        `polls` is the task's number. Only the newest task of a run looks, so that repeats and wake-ups never multiply; an older
        one makes sure that the newest exists (its name dedups), in case the process died before enqueueing it.
        """
        run = self.get(run_id).data
        if RunStatus(run["status"]).is_final:
            return
        if polls is not None and polls < run["polls"]:
            self._enqueue(run_id, run["polls"], run["next_look_at"])
            return
        try:
            self._record(*self._ask(self._open(run), run))
        except VendorUnavailableError as error:
            self._look_later(run, error)
        except BIConnectorsError as error:
            status = RunStatus.CANCELLED if error.code == "refresh_cancelled" else RunStatus.FAILED
            self._save(run, {**_ended(status, self._stores.clock.now()), **_failed_by(error)})

    def _open(self, run: Mapping[str, Any]) -> Connector:
        connector: Connector = self._connectors.open(self._connectors.get(run["connector_name"]))
        return connector

    def _ask(self, connector: Connector, run: Mapping[str, Any]) -> tuple[Mapping[str, Any], VendorRefresh]:
        """Return the run and how it stands at the vendor, started if it was not, stopped (see `stopping`) if it takes too long."""
        vendor_id = run.get("vendor_id")
        if vendor_id is None:
            return run, self._begin(connector, run)
        overdue = self._stores.clock.now() - run["created_at"] > _limit(run)
        if overdue or (run.get("cancel_requested") and not run.get("cancel_sent")):
            stopping = {"cancel_sent": True, "waiting": _stop(connector, vendor_id)}
            self._stores.documents.update(f"refresh_runs/{run['id']}", stopping)
            run = {**run, "stopping": stopping["waiting"]}
        return run, connector.poll_refresh(vendor_id)

    def _begin(self, connector: Connector, run: Mapping[str, Any]) -> VendorRefresh:
        """Start the refresh once. That we are about to call is written first: who finds it written asks the vendor instead.

        Raises:
            ConflictError: code `refresh_cancelled`, before the vendor was called or where it does not show the lost call.
        """
        now = self._stores.clock.now()

        def work(tx: Transaction) -> Mapping[str, Any]:
            found = require_in(tx, run["id"])
            if found.get("start_called_at") is None:
                if found.get("cancel_requested") or RunStatus(found["status"]).is_final:
                    raise ConflictError(BY_REQUEST, code="refresh_cancelled")
                tx.update(f"refresh_runs/{run['id']}", {"start_called_at": now})
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
        self._save(run, fields | _end_of(run, seen, now))

    def _look_later(self, run: Mapping[str, Any], error: VendorUnavailableError) -> None:
        failed = run["failed_looks"] + 1
        now = self._stores.clock.now()
        may_run = run.get("vendor_id") is not None and now - run["created_at"] <= _limit(run)
        if failed > MAX_FAILED_LOOKS and not may_run:
            self._save(run, {**_ended(RunStatus.FAILED, now), **_failed_by(error)})
            return
        pause = error.retry_after_s if error.retry_after_s is not None else _pause_s(failed)
        at = now + timedelta(seconds=pause)
        waiting = f"until {at:%Y-%m-%dT%H:%M:%SZ}: {error.message}"
        fields: dict[str, Any] = {"failed_looks": failed, "polls": run["polls"] + 1, "waiting": waiting}
        if run.get("vendor_id") is None and error.code == "vendor_unreachable":
            fields["start_lost"] = True
        elif run.get("start_called_at") is None and (error.code in NOT_CALLED or "vendor_status" in error.details):
            fields["start_called_at"] = None  # it was not called, or answered that it did not start
        self._save(run, {**fields, "updated_at": now, "next_look_at": at})

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
            now = self.get(run["id"]).data
            if not RunStatus(now["status"]).is_final:
                self._enqueue(run["id"], now["polls"], now["next_look_at"])

    def wake(self, run: Mapping[str, Any]) -> None:
        """Enqueue a look at a run whose task was lost; under a new name, because the old one may be taken for a repeat."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> int:
            polls: int = require_in(tx, run["id"])["polls"] + 1
            tx.update(f"refresh_runs/{run['id']}", {"polls": polls, "next_look_at": now})
            return polls

        self._enqueue(run["id"], self._stores.documents.transact(work), None)

    def _enqueue(self, run_id: str, polls: int, at: datetime | None) -> None:
        url = f"{self._settings.refresh_url}/internal/refresh-runs/{run_id}:look"
        self._stores.tasks.enqueue(
            Task(self._settings.queue, url, f"refresh-{run_id}-{polls}", {"polls": polls}, at, TASK_DEADLINE_S)
        )


def after_export(refreshes: Refreshes, job: Mapping[str, Any]) -> str:
    """Start the refresh that an export asked for; the run's id derives from the job's, so a repeat finds the first.

    Raises:
        BIConnectorsError: whatever keeps a refresh from starting, unless it was started before.
    """
    name, caller, run_id = job["connector_name"], job["requested_by"], f"{job['id']}-r"
    try:
        refreshes.start(name, {}, caller, trigger="export", job_id=job["id"], run_id=run_id)
    except BIConnectorsError as error:
        if error.retryable or not refreshes.exists(run_id):
            raise
    return run_id


def require_in(tx: Transaction, run_id: str) -> Mapping[str, Any]:
    """Return the run as a transaction sees it. Raises `NotFoundError`."""
    found = tx.get(f"refresh_runs/{run_id}")
    if found is None:
        raise NotFoundError(f"refresh run {run_id!r} was deleted meanwhile")
    return found.data


def _end_of(run: Mapping[str, Any], seen: VendorRefresh, now: datetime) -> dict[str, Any]:
    """Return the fields that end a run, empty while it goes on."""
    if seen.status is RefreshStatus.SUCCEEDED:
        return {"ended_at": seen.ended_at or now}
    overdue = now - run["created_at"] > _limit(run)
    if seen.status is RefreshStatus.CANCELLED and overdue and not run.get("cancel_requested"):
        message = f"it had not ended after {_limit(run)} and was cancelled at the vendor"
        return {**_ended(RunStatus.FAILED, now), **_failure("refresh_timeout", message, retryable=True)}
    if seen.status is RefreshStatus.CANCELLED:
        message = BY_REQUEST if run.get("cancel_requested") else "somebody cancelled the refresh at the vendor"
        return {"ended_at": seen.ended_at or now, **_failure("refresh_cancelled", message)}
    if seen.status is RefreshStatus.FAILED:
        message = seen.reason or f"the vendor ended the refresh as {seen.vendor_status} and gave no reason"
        return {"ended_at": seen.ended_at or now, **_failure("refresh_failed", message, retryable=True)}
    if not seen.is_seen and not run.get("was_seen") and now - run["created_at"] > UNSEEN:
        message = f"the vendor accepted the refresh and has not shown it in its history for {UNSEEN}; nobody knows how it went"
        return {**_ended(RunStatus.FAILED, now), **_failure("refresh_not_seen", message, retryable=True)}
    if overdue and "stopping" in run:
        message = f"the vendor still says {seen.vendor_status} after {_limit(run)}; {run['stopping']}"
        return {**_ended(RunStatus.FAILED, now), **_failure("refresh_timeout", message, retryable=True)}
    return {}


def _stop(connector: Connector, vendor_id: str) -> str:
    """Ask the vendor to stop a refresh; return what became of that."""
    try:
        connector.cancel_refresh(vendor_id)
    except BIConnectorsError as error:
        return f"it cannot be cancelled: {error.message}"
    return "the vendor was asked to cancel it"


def _limit(run: Mapping[str, Any]) -> timedelta:
    return age(run["timeout"]) if run.get("timeout") else GIVE_UP


def _ended(status: RunStatus, now: datetime) -> dict[str, Any]:
    return {"status": status.value, "ended_at": now, "updated_at": now, "waiting": None}


def _pause_s(looks: int) -> float:
    return min(FIRST_POLL_S * 1.5 ** min(max(0, looks - 1), 20), LONGEST_POLL_S)


def _failed_by(error: BIConnectorsError) -> dict[str, Any]:
    return _failure(error.code, error.message, retryable=error.retryable)


def _failure(code: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    told = redact(message)  # it may be the vendor's reason
    error = {"code": code, "message": told, "retryable": retryable, "details": {}}
    return {"error_message": told, "error": error}
