"""Query jobs on BigQuery. API: docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import requests
from google.api_core import exceptions as google
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from shared.errors import SourceError, VendorUnavailableError
from shared.ports import QueryEstimate, WarehouseColumn, WarehouseJob

TIMEOUT_S = 60.0  # our choice: of one call, none of which waits for a job to end
WAIT = (google.ServerError, google.TooManyRequests, google.RetryError, requests.RequestException)
WAIT_REASONS = frozenset({"rateLimitExceeded", "quotaExceeded", "backendError", "jobRateLimitExceeded"})
"""Reasons of a 403 or 400 that time cures: docs.cloud.google.com/bigquery/docs/error-messages"""


class BigQueryWarehouse:
    """`Warehouse` of one project, which pays for the queries. `emulator` is a URL, for local use only."""

    def __init__(self, project: str, emulator: str | None = None) -> None:
        self._project = project
        self._emulator = emulator

    @cached_property
    def _client(self) -> Any:
        if self._emulator:
            options = {"api_endpoint": self._emulator}
            return bigquery.Client(self._project, credentials=AnonymousCredentials(), client_options=options)  # type: ignore[no-untyped-call]  # google-auth
        return bigquery.Client(self._project)

    def table_type(self, project: str, dataset: str, table: str) -> str:
        with _asking(f"table {project}.{dataset}.{table}"):
            reference = bigquery.DatasetReference(project, dataset).table(table)
            return str(self._client.get_table(reference, retry=None, timeout=TIMEOUT_S).table_type)

    def estimate(self, sql: str, location: str | None) -> QueryEstimate:
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        with _asking("dry run"):
            job = self._client.query(
                sql, job_config=config, location=location, retry=None, job_retry=None, timeout=TIMEOUT_S
            )
        columns = tuple(WarehouseColumn(field.name, field.field_type, field.mode) for field in job.schema or ())
        return QueryEstimate(job.statement_type or "", int(job.total_bytes_processed or 0), job.location, columns)

    def start(self, job_id: str, sql: str, location: str, maximum_bytes_billed: int) -> WarehouseJob:
        config = bigquery.QueryJobConfig(maximum_bytes_billed=maximum_bytes_billed, use_query_cache=False)
        try:
            with _asking(f"job {job_id}"):
                job = self._client.query(
                    sql,
                    job_config=config,
                    job_id=job_id,
                    location=location,
                    retry=None,
                    job_retry=None,
                    timeout=TIMEOUT_S,
                )
            return _state(job)
        except (google.Conflict, VendorUnavailableError):
            # 409: the id is taken, by us. No answer, or a bad one: it may be running. In both cases the job knows.
            found = self.look(job_id, location)
            if found is None:
                raise
            return found

    def look(self, job_id: str, location: str) -> WarehouseJob | None:
        try:
            with _asking(f"job {job_id}", missing=google.NotFound):
                return _state(self._client.get_job(job_id, location=location, retry=None, timeout=TIMEOUT_S))
        except google.NotFound:
            return None


@contextmanager
def _asking(what: str, missing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn the client's errors into ours, except `Conflict` and what `missing` names."""
    try:
        yield
    except missing:
        raise
    except google.Conflict:
        raise
    except WAIT as exc:
        raise VendorUnavailableError(f"BigQuery did not answer ({what}): {_message(exc)}", retry_after_s=None) from exc
    except google.GoogleAPICallError as exc:
        raise _refusal(exc, what) from exc


def _refusal(exc: google.GoogleAPICallError, what: str) -> SourceError | VendorUnavailableError:
    reason = str((exc.errors[0] if exc.errors else {}).get("reason", ""))
    said = f"BigQuery refused ({what}): {_message(exc)}" + (f" [{reason}]" if reason else "")
    if reason in WAIT_REASONS:
        return VendorUnavailableError(said)
    if isinstance(exc, google.NotFound):
        return SourceError(f"{said}; check the name and its location", code="source_not_found")
    if isinstance(exc, google.Forbidden):
        return SourceError(
            f"{said}; grant the export worker's service account roles/bigquery.jobUser on the project that pays and "
            "roles/bigquery.dataViewer on the dataset",
            code="source_forbidden",
        )
    return SourceError(said, code="query_refused")


def _message(exc: Exception) -> str:
    details = getattr(exc, "errors", None) or [{}]
    text = str(
        details[0].get("message") or getattr(exc, "message", "") or exc
    )  # the client's own message names the call's URL
    return " ".join(text.split())[:500]


def _state(job: Any) -> WarehouseJob:
    error = job.error_result
    done = job.state == "DONE"
    written = job._properties.get("statistics", {}).get("query", {}).get("exportDataStatistics", {})  # noqa: SLF001 - the client has no name for it
    return WarehouseJob(
        id=job.job_id,
        is_done=done,
        started_at=job.started,
        error=(str(error.get("reason", "")), str(error.get("message", ""))) if error else None,
        rows=int(written["rowCount"]) if "rowCount" in written else None,
        files=int(written["fileCount"]) if "fileCount" in written else None,
    )
