"""Export jobs: accept, read, list, run. Accepting stores the job first and enqueues its task after; running is the engine's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared import audit
from shared import connectors as kinds
from shared.errors import BIConnectorsError, InternalError, InvalidRequestError, NotFoundError, UnsupportedError
from shared.models import Contract, ExportRequest, Job, JobPage, JobStatus, Mode, Phase, Table, new_id
from shared.models import Mapping as RowMapping
from shared.pipeline.lease import first_in_line, join_line, line_of
from shared.pipeline.preparing.checks import check_rules
from shared.ports import Document, Query, Stores, Task, Transaction
from shared.services.connectors import Connectors
from shared.services.file_links import FileLinks
from shared.services.job_operations import JobOperations, fresh_state
from shared.services.lifting import Lifting
from shared.services.lineage import Lineage
from shared.services.records import (
    Once,
    Page,
    earlier_result,
    find_all,
    from_record,
    keep_result,
    list_page,
    require,
    there,
    to_record,
)
from shared.services.rejects import RejectOperations
from shared.services.repairs import Engine, Repairs
from shared.services.restoring import MARK, refuse_while_restoring
from shared.services.sources import Sources
from shared.services.tables import Choices, Tables, choices, table_of, target_options
from shared.telemetry import log_event

TASK_DEADLINE_S = 900.0
POLL_S = 1.0
RETRY_AFTER_S = 2


@dataclass(frozen=True)
class ExportSettings:
    """Where jobs run and what they may use."""

    worker_url: str
    queue: str
    frozen_bucket: str
    threads: int
    longest_wait_s: float = 60.0
    export_url: str = ""
    """Where this function itself is reached, for links to kept files."""


class Exports:
    """The use cases around `export_jobs/{id}`."""

    def __init__(
        self,
        stores: Stores,
        connectors: Connectors,
        tables: Tables,
        sources: Sources,
        settings: ExportSettings,
        engine: Callable[[], Engine],
        after_success: Callable[[Mapping[str, Any]], str],
        lineage: Lineage,
    ) -> None:
        self._stores = stores
        self._connectors = connectors
        self._tables = tables
        self._settings = settings
        self._engine = engine
        self._after_success = after_success
        self._sources = sources
        self.operations = JobOperations(stores, connectors, settings.frozen_bucket, self._enqueue, lineage)
        self.repairs = Repairs(stores, self.operations, engine)
        self.lifting = Lifting(stores.documents, connectors)
        self.rejects = RejectOperations(stores, tables, self.operations, self._enqueue)
        self.file_links = FileLinks(stores, self.rejects, settings.export_url)
        self._waiters = threading.BoundedSemaphore(max(1, settings.threads // 4))

    def start(self, request: ExportRequest, caller: str, idempotency: Once | None = None) -> dict[str, Any]:
        """Accept one export: pin its source, store the job, enqueue its task. Returns what is stored of the job.

        A repeated idempotency key returns the first job, and makes sure that its task is enqueued.

        Raises:
            VendorUnavailableError: code `restoring`.
            NotFoundError: no such connector or table.
            UnsupportedError: the kind cannot do what was asked.
            InvalidRequestError: the request contradicts itself.
        """
        mark, found, registered = find_all(
            self._stores.documents, MARK, f"connectors/{request.connector_name}", f"tables/{request.table_name}"
        )
        refuse_while_restoring(mark)
        connector = there(found, f"connector {request.connector_name!r}")
        kind, table = connector.data["connector_type"], table_of(registered)
        chosen = choices(request, table, kind)
        target = self._check(request, chosen, kind, connector)
        rules = self._rules(request, table)
        now = self._stores.clock.now()
        job_id = new_id(now)
        job = Job(
            id=job_id,
            connector_name=request.connector_name,
            connector_type=kind,
            table_name=request.table_name,
            mode=chosen.mode,
            status=JobStatus.PENDING,
            phase=Phase.QUEUED,
            created_at=now,
            updated_at=now,
            requested_by=caller,
            target=target,
            export_format=chosen.export_format,
            note=kinds.capabilities(kind).note or None,
            refresh_after=request.refresh_after,
            max_shrink=chosen.max_shrink,
            key=chosen.key,
            source=self._source(request, table, job_id, rules["mapping"]),
            annotations=request.annotations,
            **rules,
        )
        key = self._connectors.target_key(connector, request.table_name, target)
        record = to_record(job, target_key=key, **fresh_state(now))

        def work(tx: Transaction) -> str | dict[str, Any]:
            tx.read_ahead([line_of(key), *(idempotency.reads if idempotency else ())])
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            number = join_line(tx, key)
            made = {**record, "accepted": number, "turn": number}
            tx.create(f"export_jobs/{job_id}", made)
            audit.record(tx, now, "job.start", f"export_jobs/{job_id}", after=record, actor=caller)
            keep_result(tx, idempotency, job_id, now)
            return made

        accepted = self._stores.documents.transact(work)
        started = self.get(accepted).data if isinstance(accepted, str) else accepted
        if not JobStatus(started["status"]).is_final:
            self._enqueue(started["id"], started["seq"], None)
        return started

    def get(self, job_id: str) -> Document:
        return require(self._stores.documents, f"export_jobs/{job_id}", f"export job {job_id!r}")

    def wait(self, job_id: str, seconds: float) -> Document:
        """Return the job once it changed or `seconds` passed; at once if too many requests wait already."""
        document = self.get(job_id)
        if seconds <= 0 or not self._waiters.acquire(blocking=False):
            return document
        try:
            waited = 0.0
            first = document.version
            while document.version == first and waited < min(seconds, self._settings.longest_wait_s):
                if JobStatus(document.data["status"]).is_final:
                    break
                pause = min(POLL_S, self._settings.longest_wait_s)
                self._stores.clock.sleep(pause)
                waited += pause
                document = self.get(job_id)
        finally:
            self._waiters.release()
        return document

    def list_jobs(self, connector_name: str | None, status: str | None, page: Page) -> JobPage:
        where: tuple[tuple[str, str, Any], ...] = ()
        if connector_name:
            where += (("connector_name", "==", connector_name),)
        if status:
            where += (("status", "==", status),)
        query = Query("export_jobs", where, order_by="created_at", descending=True)
        found, token = list_page(self._stores.documents, query, page)
        return JobPage(jobs=[from_record(Job, item.data) for item in found], next_page_token=token)

    def run(self, job_id: str, seq: int | None) -> None:
        """Work on the job for one time box, and enqueue what must go on. For the worker only.

        `seq` is the task's number. Only the newest task of a job works, so that repeats and wake-ups never multiply; an older
        one makes sure that the newest exists (its name dedups), in case the process died before enqueueing it.
        """
        job = self.get(job_id).data
        if seq is not None and seq < job["seq"] and not JobStatus(job["status"]).is_final:
            self._enqueue(job_id, job["seq"], job["next_task_at"])
            return
        self.lifting.lift_line(job)
        outcome = self._engine().run(job_id)
        if outcome.goes_on:
            self.wake(job_id, outcome.at)
            return
        job = self.get(job_id).data
        self.repairs.see_to(job)
        self._wake_next(job["target_key"])
        self.refresh_after(job)

    def refresh_after(self, job: Mapping[str, Any]) -> bool:
        """Start the refresh that a job asked for, once it succeeded, or keep why there can be none. Returns whether it was due.

        Raises:
            VendorUnavailableError: something that will pass; the task, and after it the sweep, tries again.
        """
        is_known = job.get("refresh_run_id") or job.get("refresh_error")
        if job["status"] != JobStatus.SUCCESS.value or not job["refresh_after"] or is_known:
            return False
        fields: dict[str, Any]
        try:
            fields = {"refresh_run_id": self._after_success(job)}
        except BIConnectorsError as error:
            if error.retryable or isinstance(error, InternalError):
                raise
            fields = {
                "refresh_error": {"code": error.code, "message": error.message, "retryable": False, "details": {}}
            }
            log_event("refresh_not_started", severity="ERROR", job_id=job["id"], code=error.code)
        self._stores.documents.update(f"export_jobs/{job['id']}", {**fields, "refresh_due_at": None})
        return True

    def wake(self, job_id: str, at: datetime | None = None) -> None:
        """Enqueue the next task of a job. Its number is raised first: a task of the old name would be taken for a repeat."""

        def work(tx: Transaction) -> int:
            document = tx.get(f"export_jobs/{job_id}")
            if document is None:
                raise NotFoundError(f"export job {job_id!r} does not exist")
            seq: int = document.data["seq"] + 1
            tx.update(f"export_jobs/{job_id}", {"seq": seq, "next_task_at": at or self._stores.clock.now()})
            return seq

        self._enqueue(job_id, self._stores.documents.transact(work), at)

    def _wake_next(self, target: str) -> None:
        """Wake the job whose turn it is on a target, if one waits."""
        job = first_in_line(self._stores.documents, target)
        if job is not None and job["lease_until"] <= self._stores.clock.now():
            self.wake(job["id"])

    def _enqueue(self, job_id: str, seq: int, at: datetime | None) -> None:
        url = f"{self._settings.worker_url}/internal/export-jobs/{job_id}:run"
        name = f"export-{job_id}-{seq}"
        self._stores.tasks.enqueue(Task(self._settings.queue, url, name, {"seq": seq}, at, TASK_DEADLINE_S))

    def _check(self, request: ExportRequest, chosen: Choices, kind: str, connector: Document) -> dict[str, Any]:
        capabilities = kinds.capabilities(kind)
        if chosen.mode not in capabilities.modes:
            able = ", ".join(sorted(capabilities.modes))
            raise UnsupportedError(f"{kind} cannot {chosen.mode.value}; it can {able}", code="mode_unsupported")
        if bool(chosen.key) != (chosen.mode is Mode.UPSERT):
            raise InvalidRequestError(
                "key belongs to the mode upsert, which needs it: the columns that tell rows apart", field="key"
            )
        if request.refresh_after:
            self._connectors.require_refresh(connector)
        if request.rows is not None and request.source is not None:
            raise InvalidRequestError("send either rows or source, not both", field="source")
        return target_options(chosen, kind)

    def _rules(self, request: ExportRequest, table: Table | None) -> dict[str, Any]:
        """Return mapping, contract and max_rejects: each the request's, else the registered table's; empty ones are none."""
        check_rules(request.mapping, request.contract)
        found = {}
        for name, empty in (("mapping", RowMapping()), ("contract", Contract()), ("max_rejects", None)):
            value = getattr(request, name)
            if value is None and table is not None:
                value = getattr(table, name)
            found[name] = None if value == empty else value
        return found

    def _source(
        self, request: ExportRequest, table: Table | None, job_id: str, mapping: RowMapping | None
    ) -> dict[str, Any]:
        """Pin the source: rows of the request become an object of ours, a file is taken at its present generation."""
        if request.rows is not None:
            return self._sources.of_rows(request.rows, job_id, request.columns)
        source = request.source or (table.source if table else self._tables.find_file(request.table_name))
        self._sources.check_sql(source, mapping)
        return self._sources.pin(source, job_id, request.columns)
