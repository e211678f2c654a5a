"""Connector, table, job, refresh run and schedule: plain typed data, as the API shows it and Firestore keeps it.

Times are aware UTC. Field names of the brief are kept. Every stored document carries `schema`.
"""

from __future__ import annotations

import secrets as random
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

SCHEMA = 1
"""Version of the stored documents; raised with every change of form, together with a reader of the old one."""

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Lower-case letters, digits, `_` and `-`, starting with a letter; at most 63 characters.",
    ),
]
RESERVED_NAMES = frozenset(
    [
        "register",
        "export",
        "export-jobs",
        "refresh",
        "refresh-runs",
        "schedules",
        "tables",
        "test",
        "test-all",
        "apply",
        "audit",
        "health",
        "docs",
        "internal",
        "openapi",
    ]
)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(now: datetime) -> str:
    """Return a 26-character id that sorts by time (a ULID in lower case): 48 bits of milliseconds, 80 random bits."""
    number = (int(now.timestamp() * 1000) << 80) | random.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


class ExportFormat(StrEnum):
    """File formats, read as a source and written as a kept copy."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


class Mode(StrEnum):
    """What becomes of the rows that the target holds already."""

    REPLACE = "replace"
    APPEND = "append"
    UPSERT = "upsert"


class JobStatus(StrEnum):
    """Where an export job stands; `success`, `failed` and `cancelled` are final."""

    PENDING = "pending"
    RUNNING = "running"
    HELD = "held"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED)


class Phase(StrEnum):
    """What a job is doing."""

    QUEUED = "queued"
    FREEZE = "freeze"
    PREFLIGHT = "preflight"
    WRITE = "write"
    VERIFY = "verify"
    PUBLISH = "publish"
    FINISHED = "finished"


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why something failed: a stable code, the sentence for people, and whether trying again can help."""

    code: str
    message: str
    retryable: bool = False
    details: dict[str, Any] = {}


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """A registered connector without its secrets. `config` is the kind's configuration; `capabilities` what it can do."""

    name: str
    connector_type: str
    config: dict[str, Any]
    capabilities: dict[str, Any]
    credentials: str
    """Secret Manager version that holds the credentials: a name, never a value."""
    created_at: datetime
    updated_at: datetime
    last_test: dict[str, Any] | None = None


class ConnectorPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of connectors by name; `next_page_token` is null on the last page."""

    connectors: list[Connector]
    next_page_token: str | None = None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One named step of a connection test."""

    name: str
    ok: bool
    latency_ms: float
    message: str


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """A connection test: `ok` only if every check is."""

    connector_name: str
    ok: bool
    checks: list[CheckResult]
    latency_ms: float
    tested_at: datetime


class TestAllResult(msgspec.Struct, frozen=True, kw_only=True):
    """All connectors, tested side by side in time, by name."""

    ok: bool
    results: list[TestResult]


class FileSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file in a bucket.

    Attributes:
        uri: `gs://bucket/name`.
        format: needed only where the name does not end in it.
        columns: declared types by column name: `int64 double bool string date timestamp timestamp_tz decimal(p,s)`.
        sheet: XLSX only, by default the first.
        delimiter, encoding: CSV only, by default a comma and UTF-8.
    """

    uri: str
    format: ExportFormat | None = None
    columns: dict[str, str] | None = None
    sheet: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"


class TableBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `table_name` stands for."""

    source: FileSource
    description: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A registered table, so that `table_name` alone is enough to export."""

    name: str
    source: FileSource
    description: str
    updated_at: datetime


class TablePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tables by name."""

    tables: list[Table]
    next_page_token: str | None = None


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One export.

    Attributes:
        table_name: a registered table, else the file `<tables bucket>/<table_name>.<format>`; names the target table too.
        rows: the rows themselves, as objects; instead of a file.
        source: a file, instead of what `table_name` finds.
        columns: declared types by column name, as in a file source; JSON and CSV have no dates of their own.
        key: for `upsert`: the columns that tell rows apart; unique and not null in the source.
        export_format: also keep the exported rows as a file of this format in the exports bucket.
        target: options of the connector's kind, e.g. `worksheet` for Google Sheets.
        refresh_after: refresh what the BI tool computes from the table once it is published.
        max_shrink: a replace is held for approval if it would take away more than this share of the rows published before,
            or all of them; 1 lets everything through.
    """

    connector_name: str
    table_name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    mode: Mode = Mode.REPLACE
    rows: list[dict[str, Any]] | None = None
    source: FileSource | None = None
    columns: dict[str, str] | None = None
    key: list[str] = []
    export_format: ExportFormat | None = None
    target: dict[str, Any] = {}
    refresh_after: bool = False
    max_shrink: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.5


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. `rows_total` is null until the source is frozen and counted; bytes are those sent to the vendor."""

    rows_done: int = 0
    rows_total: int | None = None
    chunks_done: int = 0
    chunks_total: int | None = None
    sent_bytes: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One export job as people see it.

    `record_count`, `file_size_bytes`, `location` and `verification` are set when it succeeds; `error_message` and `error`
    when it fails; `note` says in words where the promise is limited for this kind of target.
    """

    id: str
    connector_name: str
    connector_type: str
    table_name: str
    mode: Mode
    status: JobStatus
    phase: Phase
    created_at: datetime
    updated_at: datetime
    requested_by: str
    progress: Progress = Progress()
    source: dict[str, Any] = {}
    target: dict[str, Any] = {}
    export_format: ExportFormat | None = None
    export_uri: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    record_count: int | None = None
    file_size_bytes: int | None = None
    location: str | None = None
    verification: dict[str, Any] | None = None
    waiting: str | None = None
    error_message: str | None = None
    error: ErrorInfo | None = None
    note: str | None = None
    refresh_after: bool = False
    refresh_run_id: str | None = None
    max_shrink: float = 0.5
    key: list[str] = []
    held_reason: str | None = None
    retry_of: str | None = None
    repair_job_id: str | None = None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_page_token: str | None = None


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One refresh; `options` are those of the connector's kind."""

    options: dict[str, Any] = {}


class RunStatus(StrEnum):
    """Where a refresh run stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED)


class RefreshRun(msgspec.Struct, frozen=True, kw_only=True):
    """One refresh, followed to the vendor's end. `vendor_status` is the vendor's own word; `trigger` manual, schedule or export."""

    id: str
    connector_name: str
    connector_type: str
    status: RunStatus
    trigger: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    options: dict[str, Any] = {}
    schedule_id: str | None = None
    job_id: str | None = None
    vendor_id: str | None = None
    vendor_status: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    polls: int = 0
    waiting: str | None = None
    error_message: str | None = None
    error: ErrorInfo | None = None


class RefreshRunPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of refresh runs, newest first."""

    refresh_runs: list[RefreshRun]
    next_page_token: str | None = None


class ScheduleAction(StrEnum):
    """What a schedule does: refresh, or export a table and then refresh where the kind can."""

    REFRESH = "refresh"
    EXPORT_AND_REFRESH = "export_and_refresh"


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cron schedule: five fields, an IANA time zone, and what to do. `export` belongs to `export_and_refresh` only."""

    connector_name: str
    cron_expression: str
    timezone: str = "UTC"
    action: ScheduleAction = ScheduleAction.REFRESH
    export: ExportRequest | None = None
    enabled: bool = True


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and its Cloud Scheduler job. `next_run` is null while it is not enabled."""

    id: str
    connector_name: str
    cron_expression: str
    timezone: str
    action: ScheduleAction
    enabled: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    export: dict[str, Any] | None = None
    next_run: datetime | None = None
    last_run_at: datetime | None = None
    last_run_id: str | None = None


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of schedules, oldest first."""

    schedules: list[Schedule]
    next_page_token: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A function that answers. `function` is its name, `version` the release it was built from."""

    status: str
    function: str
    version: str


def utc(value: datetime) -> datetime:
    """Return the same instant in UTC; a naive value is refused because its zone would be a guess."""
    if value.tzinfo is None:
        raise ValueError(f"expected an aware datetime, got the naive {value!r}")
    return value.astimezone(UTC)
