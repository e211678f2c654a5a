"""The rejects of a job: read page by page, and sent again once their cause is mended."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, BinaryIO

import msgspec

from shared import audit
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.models import JobStatus, Mode, Reject, RejectPage, ReplayRequest, Table, new_id
from shared.pipeline.lease import join_line
from shared.pipeline.preparing.checks import check_rules
from shared.ports import ObjectInfo, Stores, Transaction
from shared.services.job_operations import JobOperations, refuse_appended, repeated
from shared.services.records import (
    MAX_PAGE_SIZE,
    Idempotency,
    Page,
    earlier_result,
    keep_result,
    made_for_listing,
    page_token,
    read_token,
    require,
    to_builtins,
)
from shared.services.tables import Tables

Enqueue = Callable[[str, int, datetime | None], None]


class RejectOperations:
    """What people do with `rejects.jsonl` of a job, and with the rows that it discarded."""

    def __init__(self, stores: Stores, tables: Tables, operations: JobOperations, enqueue: Enqueue) -> None:
        self._stores = stores
        self._tables = tables
        self._operations = operations
        self._enqueue = enqueue

    def file(self, job_id: str) -> tuple[BinaryIO, str]:
        """Return the file that a job kept, opened, and a name for it. Raises as `kept_file`."""
        info, name = self.kept_file(job_id)
        return self._stores.objects.open(info), name

    def kept_file(self, job_id: str) -> tuple[ObjectInfo, str]:
        """Return where the file is that a job kept, and a name for it.

        Raises:
            NotFoundError: no such job, or it kept none.
        """
        job = require(self._stores.documents, f"export_jobs/{job_id}", f"export job {job_id!r}").data
        bucket, _, name = (job.get("export_uri") or "").removeprefix("gs://").partition("/")
        info = self._stores.objects.stat(bucket, name) if bucket else None
        if info is None:
            message = f"job {job_id} keeps no file; export with export_format, and wait until it succeeded"
            raise NotFoundError(message, code="file_not_found")
        return info, f"{job_id}.{job['export_format']}"

    def page(self, job_id: str, page: Page) -> RejectPage:
        """Return one page, in the order of the rows; empty where the job rejected nothing.

        Raises:
            NotFoundError: no such job.
            ConflictError: its rejects are not kept any more.
        """
        job = require(self._stores.documents, f"export_jobs/{job_id}", f"export job {job_id!r}").data
        if not job.get("rejects"):
            return RejectPage(rejects=[])
        if job.get("frozen_erased"):
            raise ConflictError("the rejects of this job are not kept any more; export again", code="rows_erased")
        info = ObjectInfo(**job["rejects"])
        made_for = made_for_listing("rejects", job_id, info)
        found: list[Reject] = []
        with self._stores.objects.open(info) as handle:
            if page.token is not None:
                _go_to(handle, read_token(page.token, made_for))
            while len(found) < min(page.size, MAX_PAGE_SIZE) and (line := handle.readline()):
                found.append(msgspec.json.decode(line, type=Reject))
            place = handle.tell()
        return RejectPage(
            rejects=found, next_page_token=page_token(str(place), made_for) if place < info.size_bytes else None
        )

    def replay(
        self, job_id: str, request: ReplayRequest, caller: str, idempotency: Idempotency | None, *, force: bool
    ) -> str:
        """Start a job that sends the discarded rows of this one, as an append or an upsert. Returns the new job's id.

        Once: while a replay runs, or after it succeeded, there is no other.

        Raises:
            ConflictError: the job did not succeed, discarded no row, keeps none any more, is replayed already (`replayed`), or
                has been followed by another on its target (`superseded`) and not `force`, or the connector leads elsewhere today; or an
                earlier replay may have appended them (`outcome_unknown`).
        """
        check_rules(request.mapping, request.contract)
        now = self._stores.clock.now()
        new = new_id(now)
        job = require(self._stores.documents, f"export_jobs/{job_id}", f"export job {job_id!r}").data
        table = self._tables.registered(job["table_name"])

        def work(tx: Transaction) -> str:
            earlier = earlier_result(tx, idempotency, now)
            if earlier is not None:
                return earlier
            job = _replayable(tx, job_id, force=force)
            key = self._operations.target_key(tx, job)
            if key != job["target_key"]:
                raise ConflictError("the connector leads to another target now", code="connector_changed")
            number = join_line(tx, key)
            place = {"target_key": key, "accepted": number, "turn": number}
            record = {**_copy(job, new, caller, now), **_rules(request, table, job), **place}
            tx.create(f"export_jobs/{new}", record)
            tx.update(f"export_jobs/{job_id}", {"replay_job_id": new})
            audit.record(tx, now, "job.start", f"export_jobs/{new}", after=record, actor=caller)
            keep_result(tx, idempotency, new, now)
            return new

        started = self._stores.documents.transact(work)
        self._enqueue(started, 0, None)
        return started


def _replayable(tx: Transaction, job_id: str, *, force: bool) -> dict[str, Any]:
    """Return the job if its rejects may be sent again."""
    found = tx.get(f"export_jobs/{job_id}")
    if found is None:
        raise NotFoundError(f"export job {job_id!r} does not exist")
    job = found.data
    if job["status"] != JobStatus.SUCCESS.value:
        message = (
            f"the job is {job['status']}; only what a successful job left out is replayed: retry it, or export again"
        )
        raise ConflictError(message, code="wrong_state")
    if not job.get("rejected_rows"):
        raise ConflictError("the job discarded no row; there is nothing to replay", code="nothing_rejected")
    if job.get("frozen_erased"):
        raise ConflictError("the rows that this job discarded are not kept any more; export again", code="rows_erased")
    earlier = tx.get(f"export_jobs/{job['replay_job_id']}") if job.get("replay_job_id") else None
    if earlier is not None and earlier.data["status"] not in (JobStatus.FAILED.value, JobStatus.CANCELLED.value):
        message = f"job {job['replay_job_id']} replays these rows already and is {earlier.data['status']}"
        raise ConflictError(message, code="replayed", job_id=job["replay_job_id"])
    if earlier is not None:
        refuse_appended(earlier.data)
    target = tx.get(f"targets/{job['target_key']}")
    if target is not None and target.data.get("last_accepted", 0) > job["accepted"] and not force:
        message = (
            "a job that was accepted later has published to this target, so these rows may be in it or out of date; replay with "
            "?force=true if they still belong there"
        )
        raise ConflictError(message, code="superseded")
    return job


def _copy(job: Mapping[str, Any], new: str, caller: str, now: datetime) -> dict[str, Any]:
    mode = Mode.UPSERT if job["mode"] == Mode.UPSERT.value else Mode.APPEND
    return {
        **repeated(job, new, caller, now),
        "before": None,
        "mode": mode.value,
        "source": {"kind": "rejects", "uri": f"rejects of job {job['id']}", "job_id": job["id"]},
        "frozen_from": job["rejected_rows"],
        "replay_of": job["id"],
        "delivered": [*job.get("delivered", ()), {name: job[name] for name in ("prepared", "prepared_scan")}],
    }


def _rules(request: ReplayRequest, table: Table | None, job: Mapping[str, Any]) -> dict[str, Any]:
    """The request's, else the table's present ones, else the job's. The rows came out of the job's SQL: it does not run again."""
    found: dict[str, Any] = {}
    for name in ("mapping", "contract", "max_rejects"):
        value = getattr(request, name)
        if value is None and table is not None:
            value = getattr(table, name)
        found[name] = job.get(name) if value is None else to_builtins(value)
    if found["mapping"]:
        found["mapping"] = {**found["mapping"], "sql": None}
    return found


def _go_to(handle: BinaryIO, place: str) -> None:
    """Go to a place that a page ended at: right behind a line. Raises `InvalidRequestError` if it is none."""
    if re.fullmatch("[1-9][0-9]{0,17}", place):
        handle.seek(int(place) - 1)
        if handle.read(1) == b"\n":
            return
    raise InvalidRequestError("page_token is not one that this listing returned", field="page_token")
