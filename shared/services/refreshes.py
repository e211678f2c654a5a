"""Refresh runs: accept, read, list, cancel. What happens at the vendor is `refresh_following`'s."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared import audit
from shared.errors import (
    BIConnectorsError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
)
from shared.models import RefreshRun, RefreshRunPage, RunStatus, age, new_id
from shared.ports import Document, Query, Stores, Transaction
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
from shared.services.refresh_ends import BY_REQUEST, GIVE_UP, ended_as, failure
from shared.services.refresh_following import RefreshFollowing, RefreshSettings


class Refreshes:
    """The use cases around `refresh_runs/{id}`."""

    def __init__(self, stores: Stores, connectors: Connectors, settings: RefreshSettings) -> None:
        self._stores = stores
        self._connectors = connectors
        self.following = RefreshFollowing(stores, connectors, settings)

    def start(
        self,
        connector: str | Document,
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

        `connector` is its name, or its document, read just now.

        Raises:
            NotFoundError: no such connector.
            UnsupportedError: the connector has nothing to refresh.
            InvalidRequestError: an option is not known, or the time-out is over 26 hours.
        """
        if timeout and age(timeout) > GIVE_UP:
            raise InvalidRequestError(
                f"timeout {timeout!r} is longer than {GIVE_UP}, the most that is waited", field="timeout"
            )
        connector = self._connectors.get(connector) if isinstance(connector, str) else connector
        self._connectors.require_refresh(connector)
        checked = self._connectors.check_options(connector, options)
        refresh_key = self._connectors.refresh_key(connector, checked)
        now = self._stores.clock.now()
        run = RefreshRun(
            id=run_id or new_id(now),
            connector_name=connector.data["name"],
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
            record = to_record(run, failed_looks=0, next_look_at=now, refresh_key=refresh_key)
            tx.create(f"refresh_runs/{run.id}", record)
            audit.record(tx, now, "refresh.start", f"refresh_runs/{run.id}", after=record, actor=caller)
            keep_result(tx, idempotency, run.id, now)
            return run.id

        accepted = self._stores.documents.transact(work)
        document = self.get(accepted)
        if not RunStatus(document.data["status"]).is_final:
            self.following.enqueue(accepted, document.data["polls"], None)
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
                ended = {**ended_as(RunStatus.CANCELLED, now), **failure("refresh_cancelled", BY_REQUEST)}
                tx.update(found.path, ended)
                audit.record(tx, now, "refresh.end", found.path, after=ended, outcome=RunStatus.CANCELLED.value)
            elif run.get("vendor_id") is None and not run.get("cancel_requested"):
                _note_asked(tx, found.path, {"cancel_requested": True}, now)
            return run

        run = self._stores.documents.transact(work)
        if run.get("vendor_id") is not None:
            self.following.open(run).cancel_refresh(run["vendor_id"])

            path, asked = f"refresh_runs/{run_id}", {"cancel_requested": True, "cancel_sent": True}
            self._stores.documents.transact(lambda tx: _note_asked(tx, path, asked, now))
            self.following.wake(run)
        return self.get(run_id)


def _note_asked(tx: Transaction, path: str, asked: Mapping[str, Any], now: datetime) -> None:
    tx.update(path, asked)
    audit.record(tx, now, "refresh.cancel", path, after=asked)


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
