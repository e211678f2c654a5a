"""The sandbox: `jobs.insert` of dry runs and `EXPORT DATA`, `jobs.get`, `tables.get`.

Identities are not checked, as in the emulators of Google's services. Whatever else a request asks for is a 501 that names it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow.parquet as pq

from infra.local.accounts import Accounts
from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, VendorError, route

from .columns import as_exported
from .errors import bigquery_error, invalid_query, not_imitated, refuse
from .statements import as_export
from .storage import upload
from .tables import Reading, Tables

MEGABYTE = 1024 * 1024
LEAST_BILLED = 10 * MEGABYTE  # a query that reads anything is billed 10 MB: cloud.google.com/bigquery/pricing
SELF = "https://bigquery.googleapis.com/bigquery/v2/projects"
DEMO = {
    "project": "local-project",
    "dataset": "demo",
    "table": "volunteers",
    "schema": [
        {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
        {"name": "name", "type": "STRING"},
        {"name": "joined", "type": "DATE"},
        {"name": "hours", "type": "NUMERIC"},
    ],
    "rows": [
        {"id": 1, "name": "Zoë", "joined": "2024-02-29", "hours": "12.5"},
        {"id": 2, "name": "=1+1", "joined": None, "hours": "0.1"},
        {"id": 3, "name": "007", "joined": "2025-12-31", "hours": None},
    ],
}
_JOBS = """
CREATE TABLE IF NOT EXISTS jobs (
    project TEXT, location TEXT, id TEXT, configuration TEXT, created_ms INTEGER, done_ms INTEGER, result TEXT,
    PRIMARY KEY (project, location, id)
)
"""
_QUERY_MEMBERS = {"query", "useLegacySql", "useQueryCache", "maximumBytesBilled"}


class BigQuerySandbox(Sandbox):
    """Runs the query part of BigQuery that a source needs."""

    name = "bigquery"
    hosts = ("bigquery.googleapis.com",)
    default_settings: ClassVar[Mapping[str, Any]] = {
        "job_seconds": 0,
        "job_error": "",
        "denied": [],
        "rows_per_file": 200_000,
        "storage_url": "",
    }

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.db.execute(_JOBS)
        self._tables = Tables(context.data / "sandboxes" / "bigquery.duckdb", self.db)

    def close(self) -> None:
        """Close DuckDB's file as well."""
        self._tables.close()

    def seed(self, accounts: Accounts) -> None:
        """A small table, `local-project.demo.volunteers`."""
        del accounts
        with self.transaction():
            try:
                self._tables.find("local-project", "demo", "volunteers")
            except VendorError:
                self._tables.put(DEMO, self._now_us())

    def admin(self, request: Request, path: str) -> Response | None:
        """POST `tables`: a new version of a table (see `Tables.put`)."""
        if request.method != "POST" or path != "tables":
            return None
        with self.transaction():
            version = self._tables.put(request.json(), self._now_us())
        return Response(201, {"table": version.label, "rows": version.rows})

    def bad_request(self, message: str) -> Response:
        """400 parseError."""
        return bigquery_error(400, "parseError", f"Parse Error: {message}")

    def not_imitated(self, route: str) -> Response:
        """A 501 in BigQuery's form, which its client reads."""
        answer = bigquery_error(501, "notImplemented", f"not imitated by this sandbox: {route}")
        answer.body["route"] = route
        return answer

    @route("GET", "/bigquery/v2/projects/<project>/datasets/<dataset>/tables/<table>")
    def table(self, request: Request, project: str, dataset: str, table: str) -> Response:
        """One table."""
        del request
        version = self._tables.find(project, dataset, table)
        self._check_access(version.dataset, version.name)
        own = f"{SELF}/{project}/datasets/{dataset}/tables/{table}"
        return Response(
            200,
            {
                "kind": "bigquery#table",
                "etag": f"v{version.number}",
                "id": f"{project}:{dataset}.{table}",
                "selfLink": own,
                "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
                "schema": {"fields": version.fields},
                "numRows": str(version.rows),
                "creationTime": str(version.at_us // 1000),
                "type": version.kind,
                "location": version.location,
            },
        )

    @route("POST", "/bigquery/v2/projects/<project>/jobs")
    def insert(self, request: Request, project: str) -> Response:
        """Run, or dry-run, a query job."""
        body = _object(request.json(), "the body")
        configuration = _object(body.get("configuration", {}), "configuration")
        query = _query_of(configuration)
        asked = _object(body.get("jobReference", {}), "jobReference")
        if configuration.get("dryRun"):
            return self._dry_run(project, asked, configuration, query)
        with self.transaction():
            return self._run_job(project, asked, configuration, query)

    @route("GET", "/bigquery/v2/projects/<project>/jobs/<job>")
    def get(self, request: Request, project: str, job: str) -> Response:
        """One job; `location` is needed outside of US and EU."""
        location = request.query.get("location")
        where = [location] if location else ["US", "EU"]
        for place in where:
            found = self.db.execute(
                "SELECT * FROM jobs WHERE project = ? AND location = ? AND id = ?", (project, place, job)
            ).fetchone()
            if found is not None:
                return Response(200, self._resource(dict(found)))
        raise refuse(404, "notFound", f"Not found: Job {project}:{where[0]}.{job}")

    def _dry_run(
        self, project: str, asked: Mapping[str, Any], configuration: Mapping[str, Any], query: str
    ) -> Response:
        reading = self._read(project, query, asked.get("location"))
        if reading.statement_type != "SELECT":
            fields = None
        else:
            fields = self._tables.schema(reading)
        statistics: dict[str, Any] = {
            "creationTime": str(self._now_us() // 1000),
            "totalBytesProcessed": str(reading.bytes),
            "query": {
                "statementType": reading.statement_type,
                "totalBytesProcessed": str(reading.bytes),
                "totalBytesBilled": "0",
                "cacheHit": False,
                "referencedTables": [
                    {"projectId": one.project, "datasetId": one.dataset, "tableId": one.name}
                    for one in reading.versions
                ],
            },
        }
        if fields is not None:
            statistics["query"]["schema"] = {"fields": fields}
        return Response(
            200,
            {
                "kind": "bigquery#job",
                "configuration": {**configuration, "jobType": "QUERY"},
                "jobReference": {"projectId": project, "location": reading.location},
                "statistics": statistics,
                "status": {"state": "DONE"},
            },
        )

    def _run_job(
        self, project: str, asked: Mapping[str, Any], configuration: Mapping[str, Any], query: str
    ) -> Response:
        export = as_export(query)
        if export is None:
            raise not_imitated("a query job that is neither a dry run nor EXPORT DATA")
        reading = self._read(project, export.query, asked.get("location"))
        if reading.statement_type != "SELECT":
            raise invalid_query(f"Syntax error: Expected a query in EXPORT DATA, got {reading.statement_type}")
        name, location = asked.get("jobId") or "", reading.location
        if not name:
            raise not_imitated("a job without an id")
        found = self.db.execute(
            "SELECT 1 FROM jobs WHERE project = ? AND location = ? AND id = ?", (project, location, name)
        ).fetchone()
        if found is not None:
            raise refuse(409, "duplicate", f"Already Exists: Job {project}:{location}.{name}")
        result = self._export(reading, export.uri, configuration["query"].get("maximumBytesBilled"))
        now = self._now_us() // 1000
        done = now + int(float(self.settings["job_seconds"]) * 1000)
        row = (project, location, name, json.dumps(configuration), now, done, json.dumps(result))
        self.db.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        made = self.db.execute(
            "SELECT * FROM jobs WHERE project = ? AND location = ? AND id = ?", (project, location, name)
        ).fetchone()
        return Response(200, self._resource(dict(made)))

    def _read(self, project: str, query: str, location: str | None) -> Reading:
        reading = self._tables.read(query, project)
        for version in reading.versions:
            self._check_access(version.dataset, version.name)
            if location and location != version.location:
                message = f"Not found: Dataset {version.project}:{version.dataset} was not found in location {location}"
                raise refuse(404, "notFound", message)
        return reading

    def _check_access(self, dataset: str, table: str) -> None:
        if f"{dataset}.{table}" in self.settings["denied"]:
            message = (
                f"Access Denied: Table local-project:{dataset}.{table}: User does not have permission to query table "
                f"local-project:{dataset}.{table}, or perhaps it does not exist."
            )
            raise refuse(403, "accessDenied", message)

    def _export(self, reading: Reading, uri: str, limit: str | None) -> dict[str, Any]:
        """Write the files; returns the job's `errorResult`, or how much was written."""
        if reason := self.settings["job_error"]:
            return {
                "error": {
                    "reason": reason,
                    "message": "The job encountered an error during execution. Retrying may solve it.",
                }
            }
        billed = max(reading.bytes, LEAST_BILLED) if reading.bytes else 0
        if limit is not None and billed > int(limit):
            message = f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required."
            return {"error": {"reason": "bytesBilledLimitExceeded", "message": message}}
        if any(field["type"] == "JSON" for field in self._tables.schema(reading)):
            raise not_imitated("EXPORT DATA of a JSON column as Parquet")
        bucket, _, pattern = uri.removeprefix("gs://").partition("/")
        files = rows = 0
        for table in self._tables.rows(reading, int(self.settings["rows_per_file"])):
            out = io.BytesIO()
            pq.write_table(as_exported(table), out, compression="snappy", store_schema=False)
            upload(self._storage(), bucket, pattern.replace("*", f"{files:012d}"), out.getvalue())
            files, rows = files + 1, rows + table.num_rows
        return {"files": files, "rows": rows, "bytes": reading.bytes, "billed": billed}

    def _storage(self) -> str:
        url = self.settings["storage_url"] or self.context.storage_url
        if not url:
            raise not_imitated("EXPORT DATA where no Cloud Storage runs (knob storage_url)")
        return str(url)

    def _resource(self, job: Mapping[str, Any]) -> dict[str, Any]:
        result, now = json.loads(job["result"]), self._now_us() // 1000
        done = now >= job["done_ms"]
        status: dict[str, Any] = {"state": "DONE" if done else "RUNNING"}
        query: dict[str, Any] = {"statementType": "EXPORT_DATA"}
        statistics = {"creationTime": str(job["created_ms"]), "startTime": str(job["created_ms"]), "query": query}
        if done:
            statistics["endTime"] = str(job["done_ms"])
            if "error" in result:
                status |= {"errorResult": result["error"], "errors": [result["error"]]}
            else:
                statistics["totalBytesProcessed"] = query["totalBytesProcessed"] = str(result["bytes"])
                query["totalBytesBilled"] = str(result["billed"])
                query["exportDataStatistics"] = {"fileCount": str(result["files"]), "rowCount": str(result["rows"])}
        place, name, project = job["location"], job["id"], job["project"]
        return {
            "kind": "bigquery#job",
            "etag": f"{name}-{status['state']}",
            "id": f"{project}:{place}.{name}",
            "selfLink": f"{SELF}/{project}/jobs/{name}?location={place}",
            "user_email": "bi-export@local-project.iam.gserviceaccount.com",
            "configuration": {**json.loads(job["configuration"]), "jobType": "QUERY"},
            "jobReference": {"projectId": project, "jobId": name, "location": place},
            "statistics": statistics,
            "status": status,
        }

    def _now_us(self) -> int:
        return int(self.clock.time() * 1_000_000)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise refuse(400, "parseError", f"Parse Error: {name} is not an object")
    return value


def _query_of(configuration: Mapping[str, Any]) -> str:
    """The statement of a job. Raises `VendorError` for other jobs and for settings that are not imitated."""
    others = set(configuration) - {"query", "dryRun", "labels"}
    if others or "query" not in configuration:
        raise not_imitated(f"a job with {', '.join(sorted(others)) or 'no query'}")
    query = _object(configuration["query"], "configuration.query")
    if unknown := set(query) - _QUERY_MEMBERS:
        raise not_imitated(f"a query job with {', '.join(sorted(unknown))}")
    if query.get("useLegacySql", True):
        raise not_imitated("legacy SQL")
    if not query.get("query"):
        raise refuse(400, "required", "Required parameter is missing: query")
    return str(query["query"])
