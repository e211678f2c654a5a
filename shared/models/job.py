"""Export jobs: what is asked for and where a job stands."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from shared.models._base import Count, ErrorInfo, Name
from shared.models.mapping import Contract, DeclaredName, Mapping
from shared.models.table import ExportFormat, Mode, Source

Row = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
"""A JSON object as the caller spelled it: its numbers pass through no float."""
Annotations = Annotated[dict[Name, Annotated[str, msgspec.Meta(max_length=20_000)]], msgspec.Meta(max_length=5)]


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


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One export. What is not given is the registered table's default, where `table_name` names one that has it.

    Attributes:
        table_name: a registered table, else the file `<tables bucket>/<table_name>.<format>`; names the target table too.
        rows: the rows themselves, as objects; instead of a file.
        source: files, a BigQuery table or query, or a Firestore collection, instead of what `table_name` finds.
        columns: declared types by column name, as in a file source; JSON and CSV have no dates of their own.
        mode: by default `replace`.
        key: for `upsert`: the columns that tell rows apart; unique and not null in the source.
        export_format: also keep the exported rows as a file of this format in the exports bucket.
        target: options of the connector's kind, e.g. `worksheet` for Google Sheets.
        refresh_after: refresh what the BI tool computes from the table once it is published.
        max_shrink: a replace is held for approval if it would take away more than this share of the rows published before,
            or all of them; by default a half; 1 lets everything through.
        mapping, contract, max_rejects: see there; by default those of the registered table. More rejects than `max_rejects`
            fail the job before its target is touched.
        annotations: up to 5 texts of the caller's, kept on the job; the Python client keeps a frame's dtypes there.
    """

    connector_name: str
    table_name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    mode: Mode | None = None
    rows: list[Row] | None = None
    source: Source | None = None
    columns: dict[DeclaredName, str] | None = None
    key: list[str] = []
    export_format: ExportFormat | None = None
    target: dict[str, Any] = {}
    refresh_after: bool = False
    max_shrink: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    mapping: Mapping | None = None
    contract: Contract | None = None
    max_rejects: Count | None = None
    annotations: Annotations = {}

    def __post_init__(self) -> None:
        """Check what decoding leaves open in raw rows. Raises `ValueError`, which msgspec tells as it does of any other field."""
        for index, row in enumerate(self.rows or ()):
            text = bytes(row)
            if not text.startswith(b"{"):
                raise ValueError(f"Expected `object`, got something else - at `$.rows[{index}]`")
            if not text.isascii():
                text.decode()


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. `rows_total` is null until the source is frozen and counted; bytes are those sent to the vendor."""

    rows_done: int = 0
    rows_total: int | None = None
    chunks_done: int = 0
    chunks_total: int | None = None
    sent_bytes: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One export job as people see it.

    `record_count`, `file_size_bytes`, `location` and `verification` are set when it succeeds; `cost`, when it ends, is what
    it did and an estimate of its price (infra/COST.md); `error_message` and `error`
    when it fails; `repair_job_id` is the job that mends the table which this one left incomplete, `repair_error` why there is
    none; `refresh_error` is why the refresh that was asked for could not be started after it; `note` says in words
    where the promise is limited for this kind of target. `source_as_of` is the moment whose
    rows were frozen: of a file its generation's creation, of many the newest, else when they were read. `drift` is how the
    columns differ from the last success on the target (`added`, `gone`, `changed`), null where there was none; `rejected_count`
    rows and `discarded_values` single values were left out as the contract says, each with its reason in `rejects_uri`.
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
    source_as_of: datetime | None = None
    target: dict[str, Any] = {}
    export_format: ExportFormat | None = None
    export_uri: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    record_count: int | None = None
    file_size_bytes: int | None = None
    cost: dict[str, Any] | None = None
    location: str | None = None
    verification: dict[str, Any] | None = None
    waiting: str | None = None
    error_message: str | None = None
    error: ErrorInfo | None = None
    note: str | None = None
    refresh_after: bool = False
    refresh_run_id: str | None = None
    refresh_error: ErrorInfo | None = None
    max_shrink: float = 0.5
    key: list[str] = []
    held_reason: str | None = None
    retry_of: str | None = None
    repair_job_id: str | None = None
    repair_error: ErrorInfo | None = None
    mapping: Mapping | None = None
    contract: Contract | None = None
    max_rejects: int | None = None
    annotations: dict[str, str] = {}
    drift: dict[str, Any] | None = None
    rejected_count: int = 0
    discarded_values: int = 0
    rejects_uri: str | None = None
    replay_of: str | None = None
    replay_job_id: str | None = None


class FileLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link to the file that a job kept: whoever has it may download the file until it expires."""

    url: str
    expires_at: datetime


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_page_token: str | None = None
