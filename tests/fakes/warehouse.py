"""BigQuery as `shared.ports.Warehouse`, in memory."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.errors import BIConnectorsError
from shared.ports import Clock, QueryEstimate, WarehouseColumn, WarehouseJob

if TYPE_CHECKING:
    import pyarrow as pa


class InMemoryWarehouse:
    """`Warehouse` whose every query gives `result`, by default three rows; statements are kept in `started`, not read.

    `kinds` are table types by `project.dataset.table`; `lasts` is after how many looks a job is done; `failures` end the next
    jobs, one each; `refusals` are raised by the next calls of `estimate` and `start`, one each.
    """

    def __init__(self, objects: Any, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self.result: pa.Table | None = None
        self.columns: tuple[WarehouseColumn, ...] = (WarehouseColumn("id", "INTEGER"),)
        self.estimated = QueryEstimate("SELECT", 1_000, "EU", ())
        self.kinds: dict[str, str] = {}
        self.lasts = 0
        self.rows_per_file = 2
        self.failures: list[tuple[str, str]] = []
        self.refusals: list[BIConnectorsError] = []
        self.dry_runs: list[str] = []
        self.started: dict[str, str] = {}
        self._jobs: dict[str, WarehouseJob] = {}
        self._looks: dict[str, int] = {}

    def table_type(self, project: str, dataset: str, table: str) -> str:
        return self.kinds.get(f"{project}.{dataset}.{table}", "TABLE")

    def estimate(self, sql: str, location: str | None) -> QueryEstimate:
        self._refuse()
        self.dry_runs.append(sql)
        return replace(self.estimated, columns=self.columns, location=location or self.estimated.location)

    def start(self, job_id: str, sql: str, location: str, maximum_bytes_billed: int) -> WarehouseJob:
        self._refuse()
        if job_id not in self._jobs:
            self.started[job_id] = sql
            error = self.failures.pop(0) if self.failures else None
            rows = files = None
            if error is None:
                rows, files = self._write(sql)
            self._jobs[job_id] = WarehouseJob(job_id, True, self._clock.now(), error, rows, files)
        return replace(self._jobs[job_id], is_done=not self.lasts)

    def look(self, job_id: str, location: str) -> WarehouseJob | None:
        if job_id not in self._jobs:
            return None
        self._looks[job_id] = self._looks.get(job_id, 0) + 1
        return replace(self._jobs[job_id], is_done=self._looks[job_id] >= self.lasts)

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    def _write(self, sql: str) -> tuple[int, int]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        uri = sql.partition("uri='gs://")[2].partition("'")[0]
        bucket, _, pattern = uri.partition("/")
        files = 0
        result = self.result if self.result is not None else pa.table({"id": pa.array([1, 2, 3])})
        for at in range(0, result.num_rows, self.rows_per_file):
            out = io.BytesIO()
            pq.write_table(result.slice(at, self.rows_per_file), out)
            self._objects.put(bucket, pattern.replace("*", f"{files:012d}"), out.getvalue())
            files += 1
        return result.num_rows, files
