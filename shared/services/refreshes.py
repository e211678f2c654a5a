"""Refresh runs: trigger one refresh at the vendor, then follow that very refresh to its end, one Cloud Task a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import audit
from shared import connectors as kinds
from shared.connectors._base import Connector, RefreshStatus, VendorRefresh
from shared.errors import BIConnectorsError, InvalidRequestError, VendorUnavailableError
from shared.models import RefreshRun, RefreshRunPage, RunStatus, new_id
from shared.ports import Document, Query, Stores, Task, Transaction
from shared.services.connectors import Connectors
from shared.services.records import (
    Idempotency,
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
MAX_FAILED_LOOKS = 8  # our choice: with growing pauses about eight minutes of a vendor out of reach
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
        idempotency: Idempotency | None = None,
        *,
        trigger: str = "manual",
        schedule_id: str | None = None,
        job_id: str | None = None,
        run_id: str | None = None,
    ) -> Document:
        """Accept one refresh: store the run, enqueue its first look. Returns the run's document; the vendor is called later.

        Raises:
            NotFoundError: no such connector.
            UnsupportedError: the kind has nothing to refresh.
        """
        connector = self._connectors.get(connector_name)
        self._connectors.require_refresh(connector)
        kind = connector.data["connector_type"]
        try:
            checked = msgspec.to_builtins(msgspec.convert(dict(options), kinds.DECLARATIONS[kind].RefreshOptions))
        except msgspec.ValidationError as exc:
            raise InvalidRequestError(f"options are not of the form that {kind} takes: {exc}", field="options") from exc
        now = self._stores.clock.now()
        run = RefreshRun(
            id=run_id or new_id(now),
            connector_name=connector_name,
            connector_type=kind,
            status=RunStatus.PENDING,
            trigger=trigger,
            requested_by=caller,
            created_at=now,
            updated_at=now,
            options={key: value for key, value in checked.items() if value is not None},
            schedule_id=schedule_id,
            job_id=job_id,
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

    def list_runs(self, connector_name: str | None, page: Page) -> RefreshRunPage:
        where = (("connector_name", "==", connector_name),) if connector_name else ()
        query = Query("refresh_runs", where, order_by="created_at", descending=True)
        found, token = list_page(self._stores.documents, query, page)
        return RefreshRunPage(
            refresh_runs=[from_record(RefreshRun, item.data) for item in found], next_page_token=token
        )

    def look(self, run_id: str) -> None:
        """Trigger the refresh, or ask how it stands; enqueue the next look unless it ended. For Cloud Tasks only."""
        document = self.get(run_id)
        run = document.data
        if RunStatus(run["status"]).is_final:
            return
        try:
            connector: Connector = self._connectors.open(self._connectors.get(run["connector_name"]))
            if run.get("vendor_id") is None:
                seen = connector.start_refresh(run_id, run["options"])
            else:
                seen = connector.poll_refresh(run["vendor_id"])
        except VendorUnavailableError as error:
            self._look_later(run, error)
        except BIConnectorsError as error:
            self._end_with(run, error)
        else:
            self._record(run, seen)

    def _record(self, run: Mapping[str, Any], seen: VendorRefresh) -> None:
        now = self._stores.clock.now()
        status = RunStatus.RUNNING if seen.status is RefreshStatus.RUNNING else RunStatus(seen.status.value)
        fields: dict[str, Any] = {
            "status": status.value,
            "vendor_id": seen.vendor_id,
            "vendor_status": seen.vendor_status,
            "started_at": seen.started_at or run.get("started_at") or now,
            "polls": run["polls"] + 1,
            "failed_looks": 0,
            "waiting": None,
            "updated_at": now,
        }
        if status.is_final:
            fields["ended_at"] = seen.ended_at or now
            if status is not RunStatus.SUCCESS:
                message = seen.reason or f"the vendor ended the refresh as {seen.vendor_status} and gave no reason"
                fields |= _failure("refresh_failed", message, retryable=True)
        elif now - run["created_at"] > GIVE_UP:
            fields |= {"status": RunStatus.FAILED.value, "ended_at": now}
            fields |= _failure(
                "refresh_timeout", f"the vendor still says {seen.vendor_status} after {GIVE_UP}", retryable=True
            )
        at = now + timedelta(seconds=_pause_s(fields["polls"]))
        self._update(run, {**fields, "next_look_at": at})
        if not RunStatus(fields["status"]).is_final:
            self._enqueue(run["id"], fields["polls"], at)

    def _look_later(self, run: Mapping[str, Any], error: VendorUnavailableError) -> None:
        failed = run["failed_looks"] + 1
        if failed > MAX_FAILED_LOOKS:
            self._end_with(run, error)
            return
        now = self._stores.clock.now()
        pause = error.retry_after_s if error.retry_after_s is not None else _pause_s(failed)
        at = now + timedelta(seconds=pause)
        polls = run["polls"] + 1
        waiting = f"until {at:%Y-%m-%dT%H:%M:%SZ}: {error.message}"
        fields = {"failed_looks": failed, "polls": polls, "waiting": waiting, "updated_at": now, "next_look_at": at}
        self._stores.documents.update(f"refresh_runs/{run['id']}", fields)
        self._enqueue(run["id"], polls, at)

    def wake(self, run: Mapping[str, Any]) -> None:
        """Enqueue a look at a run whose task was lost; under a new name, because the old one may be taken for a repeat."""
        polls = run["polls"] + 1
        self._stores.documents.update(
            f"refresh_runs/{run['id']}", {"polls": polls, "next_look_at": self._stores.clock.now()}
        )
        self._enqueue(run["id"], polls, None)

    def _end_with(self, run: Mapping[str, Any], error: BIConnectorsError) -> None:
        now = self._stores.clock.now()
        fields = {"status": RunStatus.FAILED.value, "ended_at": now, "updated_at": now, "waiting": None}
        fields |= _failure(error.code, error.message, retryable=error.retryable)
        self._update(run, fields)

    def _update(self, run: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Write a run's fields, and with a final status the audit entry of its end, once."""
        path, now, status = f"refresh_runs/{run['id']}", fields["updated_at"], RunStatus(fields["status"])
        if not status.is_final:
            self._stores.documents.update(path, fields)
            return

        def work(tx: Transaction) -> None:
            found = tx.get(path)
            tx.update(path, fields)
            if found is not None and not RunStatus(found.data["status"]).is_final:
                asked_by = run["requested_by"]
                audit.record(tx, now, "refresh.end", path, after=fields, outcome=status.value, actor=asked_by)

        self._stores.documents.transact(work)

    def _enqueue(self, run_id: str, polls: int, at: datetime | None) -> None:
        url = f"{self._settings.refresh_url}/internal/refresh-runs/{run_id}:look"
        self._stores.tasks.enqueue(
            Task(self._settings.queue, url, f"refresh-{run_id}-{polls}", {}, at, TASK_DEADLINE_S)
        )


def after_export(refreshes: Refreshes, job: Mapping[str, Any]) -> str:
    """Start the refresh that an export asked for; the run's id derives from the job's, so a repeat finds the first."""
    document = refreshes.start(
        job["connector_name"], {}, job["requested_by"], trigger="export", job_id=job["id"], run_id=f"{job['id']}-r"
    )
    run_id: str = document.data["id"]
    return run_id


def _pause_s(looks: int) -> float:
    return min(FIRST_POLL_S * 1.5 ** max(0, looks - 1), LONGEST_POLL_S)


def _failure(code: str, message: str, *, retryable: bool) -> dict[str, Any]:
    error = {"code": code, "message": message, "retryable": retryable, "details": {}}
    return {"error_message": message, "error": error}
