"""The API as Python methods. Each returns the API's own JSON; DataFrames go in and come out with their dtypes."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import requests

from shared.client.transport import API, Transport, google_token, is_local

if TYPE_CHECKING:
    import pandas as pd

    from shared.client.uploads import Uploads

Json = dict[str, Any]
MAX_ROWS_BYTES = 8 * 1024 * 1024  # the API takes bodies of 10 MiB; the rest is room for the request around the rows
FINAL = ("success", "failed", "cancelled")
WAIT_S = 30


class JobFailedError(Exception):
    """A job that was waited for ended otherwise than with success, or is held for somebody's decision. `job` is its record."""

    def __init__(self, job: Json) -> None:
        self.job = job
        reason = job.get("error_message") or job.get("held_reason") or "no reason given"
        super().__init__(f"job {job['id']} is {job['status']}: {reason}")


class Client:
    """The functions behind one origin.

    Args:
        url: their common origin, e.g. the local gateway; or their URLs by function: `register`, `export`, `refresh`.
        token: an ID token, or a function from the audience (a function's URL) to one. By default Google's, of the identity
            that this machine runs as; none for a URL on this machine.
        upload_to: `gs://bucket/folder/` where frames go that are too large for a request; the export function must be able
            to read it. Written with this machine's own credentials.
        max_rows_bytes: a frame whose rows take more as JSON goes to `upload_to`.
    """

    def __init__(
        self,
        url: str | Mapping[str, str],
        *,
        token: str | Callable[[str], str] | None = None,
        upload_to: str | None = None,
        max_rows_bytes: int = MAX_ROWS_BYTES,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        urls = {"*": url} if isinstance(url, str) else dict(url)
        if callable(token):
            find: Callable[[str], str] | None = token
        elif token is not None:
            given = token
            find = lambda _: given  # noqa: E731 - one identity for every audience
        else:
            find = None if all(map(is_local, urls.values())) else google_token
        self._http = Transport(urls, find, session=session, sleep=sleep)
        self._upload_to = upload_to
        self._max_rows_bytes = max_rows_bytes

    def register(self, connector: Json) -> Json:
        """Register a connector: `name`, `connector_type`, its configuration and credentials."""
        return self._call("register", "POST", "/register", connector)

    def connectors(self) -> Iterator[Json]:
        """Yield every connector, by name."""
        return self._pages("register", "", "connectors")

    def connector(self, name: str) -> Json:
        return self._call("register", "GET", f"/{name}")

    def delete_connector(self, name: str, *, force: bool = False) -> None:
        self._call("register", "DELETE", f"/{name}", query={"force": force or None})

    def test(self, name: str) -> Json:
        """Test a connection: `ok` and its checks."""
        return self._call("register", "POST", f"/{name}/test")

    def test_all(self) -> Json:
        return self._call("register", "POST", "/test-all")

    def put_table(self, name: str, table: Json) -> Json:
        """Register a table: `source`, `mapping`, `contract` …"""
        return self._call("export", "PUT", f"/tables/{name}", table)

    def tables(self) -> Iterator[Json]:
        return self._pages("export", "/tables", "tables")

    def export(
        self, connector: str, table: str, data: pd.DataFrame | None = None, *, wait: bool = True, **options: Any
    ) -> Json:
        """Export a table, or a DataFrame under its name; returns the job, ended well if `wait`.

        A DataFrame goes into the request while it is small, else as a Parquet file to `upload_to`; it is kept by the job, so
        that `exported` gives it back (`export_format=None` keeps nothing). `options` are further fields of the request.

        Raises:
            JobFailedError: the job failed, was cancelled or is held.
            FrameError: a column cannot travel unchanged.
        """
        body = {"connector_name": connector, "table_name": table, **options}
        uploads = None
        if data is not None:
            uploads = self._take(data, body)
        job = self._call(
            "export", "POST", "/export", {name: value for name, value in body.items() if value is not None}
        )
        if not wait:
            return job  # an uploaded file stays: the job has still to freeze it
        try:
            return self.wait(job["id"])
        finally:
            if uploads is not None:
                uploads.forget(body["source"]["uri"])

    def job(self, job_id: str, *, wait_s: float = 0) -> Json:
        """A job; with `wait_s` once it changed, or that time passed (60 s at most)."""
        return self._call(
            "export", "GET", f"/export-jobs/{job_id}", query={"wait": f"{wait_s:.0f}s" if wait_s else None}
        )

    def wait(self, job_id: str) -> Json:
        """The job once it succeeded. Raises `JobFailedError` once it did not."""
        while True:
            job = self.job(job_id, wait_s=WAIT_S)
            if job["status"] == "success":
                return job
            if job["status"] in (*FINAL, "held"):
                raise JobFailedError(job)

    def jobs(self, connector: str | None = None, status: str | None = None) -> Iterator[Json]:
        """Yield jobs, newest first."""
        return self._pages("export", "/export-jobs", "jobs", {"connector_name": connector, "status": status})

    def change_job(self, job_id: str, verb: str, *, force: bool = False) -> Json:
        """`cancel`, `approve`, `reject`, `retry` or `republish` a job; returns it, or the new job."""
        return self._call("export", "POST", f"/export-jobs/{job_id}:{verb}", query={"force": force or None})

    def erase_job(self, job_id: str) -> None:
        self._call("export", "DELETE", f"/export-jobs/{job_id}")

    def rejects(self, job_id: str) -> Iterator[Json]:
        """Yield what a job left out, and why, in the order of its rows."""
        return self._pages("export", f"/export-jobs/{job_id}/rejects", "rejects")

    def replay_rejects(self, job_id: str, rules: Json | None = None, *, force: bool = False, wait: bool = True) -> Json:
        """Send the rows that a job left out again, under other `rules` (mapping, contract) where given."""
        query = {"force": force or None}
        job = self._call("export", "POST", f"/export-jobs/{job_id}:replayRejects", rules or {}, query=query)
        return self.wait(job["id"]) if wait else job

    def apply(self, configuration: Json, *, dry_run: bool = False, prune: bool = False) -> Json:
        """Apply connectors, tables and schedules, or say what that would take; `prune` deletes what it does not name."""
        query = {"dry_run": dry_run or None, "prune": prune or None}
        return self._call("refresh", "POST", "/apply", configuration, query=query)

    def refresh(self, name: str, options: Json | None = None) -> Json:
        """Refresh what the BI tool computes; returns the run."""
        return self._call("refresh", "POST", f"/{name}/refresh", options or {})

    def refresh_run(self, run_id: str) -> Json:
        return self._call("refresh", "GET", f"/refresh-runs/{run_id}")

    def schedule(self, schedule: Json) -> Json:
        """Create a schedule: `connector_name`, `cron_expression`, `time_zone`, `action` …"""
        return self._call("refresh", "POST", "/schedules", schedule)

    def schedules(self) -> Iterator[Json]:
        return self._pages("refresh", "/schedules", "schedules")

    def delete_schedule(self, schedule_id: str) -> None:
        self._call("refresh", "DELETE", f"/schedules/{schedule_id}")

    def link_file(self, job_id: str, *, signed: bool = False) -> Json:
        """Make a link (`url`, `expires_at`) to the file that a job kept, for whoever has it; `signed` by IAM, not of the service's own."""
        return self._call("export", "POST", f"/export-jobs/{job_id}:linkFile", query={"signed": signed or None})

    def download(self, job_id: str, sink: BinaryIO) -> int:
        """Write the file that a job kept (`export_format`) to `sink`; returns its bytes."""
        size = 0
        path = f"{API}/export-jobs/{job_id}/file"
        with self._http.stream("export", "GET", path, headers={"Accept": "*/*"}) as answer:
            for piece in answer.iter_content(1 << 20):
                sink.write(piece)
                size += len(piece)
        return size

    def exported(self, job_id: str) -> pd.DataFrame:
        """What a job delivered as a DataFrame, with the dtypes of the one that went in. Needs a file kept as Parquet."""
        import pyarrow.parquet as pq

        from shared.client.frames import KEY, restore

        job = self.job(job_id)
        if job.get("export_format") != "parquet":
            raise ValueError(f"job {job_id} kept no Parquet file; export with export_format='parquet'")
        with io.BytesIO() as held:
            self.download(job_id, held)
            held.seek(0)
            table = pq.read_table(held)
        return restore(table, (job.get("annotations") or {}).get(KEY))

    def _take(self, data: pd.DataFrame, body: Json) -> Uploads | None:
        """Put a frame into a request, or its place if it is large."""
        from shared.client import frames
        from shared.client.uploads import Uploads, rows_of

        table, description = frames.table_of(data)
        body.setdefault("export_format", "parquet")
        body["annotations"] = {**body.get("annotations", {}), frames.KEY: description}
        rows = rows_of(table, self._max_rows_bytes)
        if rows is not None:
            body |= {"rows": rows, "columns": {**frames.type_names(table), **(body.get("columns") or {})}}
            return None
        if self._upload_to is None:
            raise ValueError(
                "the frame is too large for a request, or holds NaN or infinities, which JSON has no form for; give the "
                "client upload_to='gs://bucket/folder/'"
            )
        uploads = Uploads(self._upload_to)
        body["source"] = {"uri": uploads.put(table, uuid.uuid4().hex)}
        return uploads

    def _call(self, function: str, method: str, path: str, body: Any = None, *, query: Json | None = None) -> Json:
        found: Json = self._http.call(function, method, API + path, body, query=query) or {}
        return found

    def _pages(self, function: str, path: str, items: str, query: Json | None = None) -> Iterator[Json]:
        token = None
        while True:
            page = self._call(function, "GET", path, query={**(query or {}), "page_token": token, "page_size": 100})
            yield from page[items]
            token = page["next_page_token"]
            if token is None:
                return


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
