"""A BigQuery table or query: exported by BigQuery as Parquet into the frozen bucket; no row comes through here.

A table is read as it was when the export was accepted (`FOR SYSTEM_TIME AS OF`); a query, a view or an external table as they
are when BigQuery runs the job. What Parquet or our column types cannot hold becomes text in BigQuery itself:

| BigQuery | becomes | |
|---|---|---|
| INT64, FLOAT64, BOOL, STRING, DATE | the same | |
| NUMERIC | decimal(38,9) | |
| BIGNUMERIC | text | up to 76 digits; declare a decimal to have a number |
| DATETIME | timestamp | |
| TIMESTAMP | timestamp_tz | Parquet says nothing of its zone: BigQuery exports both alike |
| TIME, INTERVAL, RANGE | text | as CAST writes it |
| BYTES | text | Base64 |
| GEOGRAPHY | text | WKT |
| JSON, ARRAY, STRUCT | text | JSON |

Source of what Parquet gets: docs.cloud.google.com/bigquery/docs/exporting-data#parquet_export_details
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.errors import InternalError, SourceError, VendorUnavailableError
from shared.pipeline.formats import Format, ReadOptions, Scan, reader, writer
from shared.pipeline.formats.column_types import (
    BOOL,
    DATE,
    DOUBLE,
    INT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_TZ,
    check_names,
    declared_types,
)
from shared.pipeline.freezing import FrozenSource, Part, PinnedObject, of_parts
from shared.ports import ObjectInfo, QueryEstimate, WarehouseColumn, WarehouseJob

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.pipeline.freezing import Freezing

HELD_S = 20.0  # DESIGN: a wait of more than 20 s is a continuation, not a sleeping worker
POLL_S = 2.0
LOOK_AGAIN_S = 15.0  # our choice: between two looks at an export that takes longer
ATTEMPTS = 3  # our choice: exports that failed for a reason of BigQuery's own are made again twice
OWN_FAULTS = frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded",
     "rateLimitExceeded", "tableUnavailable"}
)  # fmt: skip
"""Reasons for which the same job may pass: docs.cloud.google.com/bigquery/docs/error-messages"""
MAX_FILES = 10_000  # our choice: BigQuery writes files of up to 1 GB
AS_TEXT = {
    "BIGNUMERIC": "CAST({0} AS STRING)",
    "TIME": "CAST({0} AS STRING)",
    "INTERVAL": "CAST({0} AS STRING)",
    "RANGE": "CAST({0} AS STRING)",
    "BYTES": "TO_BASE64({0})",
    "GEOGRAPHY": "ST_ASTEXT({0})",
    "JSON": "TO_JSON_STRING({0})",
    "RECORD": "TO_JSON_STRING({0})",
    "STRUCT": "TO_JSON_STRING({0})",
}
"""`{0}` is the quoted column; every form gives null for null but TO_JSON_STRING, which `_as_text` guards."""


def freeze(freezing: Freezing) -> FrozenSource:
    """Start the export, or find it, and take in what it wrote.

    Raises:
        SourceError: BigQuery refuses; the message has its reason.
        VendorUnavailableError: the export is still running (code `source_exporting`), or BigQuery cannot be asked.
    """
    plan = freezing.job.get("freezing") or _plan(freezing)
    job = _finished(freezing, plan)
    if job.error is not None:
        _refuse_or_repeat(freezing, plan, job.error)
    return _taken_in(freezing, plan, job)


def _plan(freezing: Freezing) -> dict[str, Any]:
    """Ask what the query would read and give, and record what will be run; nothing is billed yet."""
    source, warehouse = freezing.source, freezing.stores.warehouse
    base, as_of = _base(freezing)
    estimate = warehouse.estimate(base, source.get("location"))
    _check(estimate, source["maximum_bytes_billed"])
    columns = [asdict(column) for column in estimate.columns]
    plan = {
        "sql": _select(base, estimate.columns),
        "columns": columns,
        "location": estimate.location,
        "as_of": as_of,
        "attempt": 1,
    }
    freezing.save({"freezing": plan})
    return plan


def _base(freezing: Freezing) -> tuple[str, datetime | None]:
    """Return the SELECT whose rows are wanted, and the moment that they are of; None: when BigQuery runs it.

    The SQL of a mapping runs here, over the source under the name `source`, and nowhere else.
    """
    rows, as_of = _rows(freezing)
    mapped = (freezing.job.get("mapping") or {}).get("sql")
    if mapped is None:
        return rows, as_of
    return f"WITH source AS (\n{rows}\n)\nSELECT * FROM (\n{_without_end(mapped)}\n)", as_of


def _rows(freezing: Freezing) -> tuple[str, datetime | None]:
    source = freezing.source
    if source.get("query"):
        return _without_end(source["query"]), None
    project, dataset, table = (source["table"][part] for part in ("project", "dataset", "table"))
    sql = f"SELECT * FROM `{project}`.`{dataset}`.`{table}`"  # noqa: S608 - names that `Sources` checked hold no backtick
    if freezing.stores.warehouse.table_type(project, dataset, table) != "TABLE":
        return sql, None  # no history of views, external tables and snapshots
    at: datetime = freezing.job["created_at"]
    return f"{sql} FOR SYSTEM_TIME AS OF TIMESTAMP '{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'", at


def _without_end(query: str) -> str:
    return query.rstrip().removesuffix(";").rstrip()


def _check(estimate: QueryEstimate, limit: int) -> None:
    if estimate.statement_type != "SELECT":
        raise SourceError(
            f"bigquery.query is {estimate.statement_type or 'no statement'}; expected one SELECT", code="query_refused"
        )
    if estimate.bytes > limit:
        raise SourceError(
            f"the query would read {estimate.bytes:,} bytes, at most {limit:,} are allowed; select fewer columns or "
            "partitions, or ask an administrator to raise BIGQUERY_MAX_BYTES_BILLED",
            code="query_too_expensive",
        )
    check_names([column.name for column in estimate.columns], ReadOptions())


def _select(base: str, columns: Sequence[WarehouseColumn]) -> str:
    """Return the SELECT with those columns as text that Parquet would hold in a form of its own."""
    texts = [text for column in columns if (text := _as_text(column))]
    if not texts:
        return base  # unchanged, so that an ORDER BY orders the files
    return f"SELECT * REPLACE ({', '.join(texts)}) FROM (\n{base}\n)"  # noqa: S608 - the user's own SELECT, dry-run to be one


def _as_text(column: WarehouseColumn) -> str | None:
    form = AS_TEXT["JSON"] if column.mode == "REPEATED" else AS_TEXT.get(column.type)
    if form is None:
        return None
    if "`" in column.name or "\\" in column.name:
        raise SourceError(f"the column name {column.name!r} cannot be quoted; rename it", code="columns_invalid")
    name = f"`{column.name}`"
    return f"IF({name} IS NULL, NULL, {form.format(name)}) AS {name}"


def _finished(freezing: Freezing, plan: Mapping[str, Any]) -> WarehouseJob:
    """Return the export job once it is done; wait for it briefly, then give the worker back."""
    warehouse, clock = freezing.stores.warehouse, freezing.stores.clock
    name = job_name(freezing.job["id"], plan["attempt"])
    statement = (
        f"EXPORT DATA OPTIONS (uri='gs://{freezing.bucket}/{_folder(freezing, plan)}*.parquet', format='PARQUET', "
        f"compression='SNAPPY', overwrite=true) AS\n{plan['sql']}"
    )
    job = warehouse.look(name, plan["location"])
    if job is None:
        job = warehouse.start(name, statement, plan["location"], freezing.source["maximum_bytes_billed"])
    waited = 0.0
    while not job.is_done:
        if waited >= HELD_S:
            raise VendorUnavailableError(
                f"BigQuery is still exporting (job {name} in {plan['location']})",
                code="source_exporting",
                retry_after_s=LOOK_AGAIN_S,
            )
        clock.sleep(POLL_S)
        waited += POLL_S
        found = warehouse.look(name, plan["location"])
        if found is None:
            raise InternalError(f"BigQuery lost its job {name} in {plan['location']}; report this")
        job = found
    return job


def job_name(job_id: str, attempt: int) -> str:
    """Return the id that BigQuery knows the export of a job under."""
    return f"bi_{job_id}_{attempt}"


def _folder(freezing: Freezing, plan: Mapping[str, Any]) -> str:
    return f"{freezing.folder}bigquery-{plan['attempt']}/"


def _refuse_or_repeat(freezing: Freezing, plan: Mapping[str, Any], error: tuple[str, str]) -> None:
    reason, message = error
    said = f"BigQuery could not export ({job_name(freezing.job['id'], plan['attempt'])}): {message} [{reason}]"
    if reason not in OWN_FAULTS or plan["attempt"] >= ATTEMPTS:
        raise SourceError(said, code="query_refused")
    freezing.save({"freezing": {**plan, "attempt": plan["attempt"] + 1}})
    raise VendorUnavailableError(said)


def _taken_in(freezing: Freezing, plan: Mapping[str, Any], job: WarehouseJob) -> FrozenSource:
    """Scan what was written; its files and rows must be as many as BigQuery says."""
    objects, options = freezing.stores.objects, ReadOptions(**freezing.source["options"])
    columns = [WarehouseColumn(**column) for column in plan["columns"]]
    infos = objects.list_prefix(freezing.bucket, _folder(freezing, plan), MAX_FILES + 1)
    if len(infos) > MAX_FILES:
        raise SourceError(f"BigQuery wrote more than {MAX_FILES:,} files; export less", code="source_too_large")
    if not infos and not job.rows:
        infos = [_empty(freezing, plan, columns)]
    elif job.files is not None and len(infos) != job.files:
        raise InternalError(f"BigQuery wrote {job.files} files and {len(infos)} are there ({job.id}); report this")
    parts = []
    for info in infos:
        parts.append(Part(info, reader(Format.PARQUET).scan(PinnedObject(objects, info), options)))
    rows = sum(part.scan.rows for part in parts)
    if job.rows is not None and rows != job.rows:
        raise InternalError(f"BigQuery wrote {job.rows} rows and {rows} are there ({job.id}); report this")
    whole = _schema(columns, parts[0].scan.schema, options)
    as_of = plan["as_of"] or job.started_at
    return of_parts(freezing, Format.PARQUET, Scan(whole, rows, replace(options, schema=None)), parts, as_of)


def _schema(columns: Sequence[WarehouseColumn], found: pa.Schema, options: ReadOptions) -> pa.Schema:
    """Return the files' schema with TIMESTAMP as an instant, which the files do not say."""
    import pyarrow as pa

    names = declared_types(options, found.names)
    instants = {column.name for column in columns if column.type == "TIMESTAMP" and column.mode != "REPEATED"}

    def kind(field: pa.Field) -> pa.DataType:
        is_instant = field.name in instants and field.name not in names and pa.types.is_timestamp(field.type)
        return TIMESTAMP_TZ if is_instant else field.type

    return pa.schema([(field.name, kind(field)) for field in found])


def _empty(freezing: Freezing, plan: Mapping[str, Any], columns: Sequence[WarehouseColumn]) -> ObjectInfo:
    """Write a file of no rows with the query's columns, where BigQuery wrote none."""
    import pyarrow as pa

    plain = {
        "INTEGER": INT, "INT64": INT, "FLOAT": DOUBLE, "FLOAT64": DOUBLE, "BOOLEAN": BOOL, "BOOL": BOOL, "DATE": DATE,
        "DATETIME": TIMESTAMP, "TIMESTAMP": TIMESTAMP, "NUMERIC": pa.decimal128(38, 9),
    }  # fmt: skip
    kinds = [STRING if column.mode == "REPEATED" else plain.get(column.type, STRING) for column in columns]
    schema = pa.schema([(column.name, kind) for column, kind in zip(columns, kinds, strict=True)])
    name = _folder(freezing, plan) + "000000000000.parquet"
    with freezing.stores.objects.writer(freezing.bucket, name, content_type="application/vnd.apache.parquet") as sink:
        writer(Format.PARQUET).write(schema, iter(()), sink)
    info = freezing.stores.objects.stat(freezing.bucket, name)
    if info is None:
        raise InternalError(f"gs://{freezing.bucket}/{name} is gone right after it was written; report this")
    return info
