"""Pinning a source when an export is accepted: what the record of a job keeps of where its rows come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.errors import ForbiddenError, InvalidRequestError, NotFoundError
from shared.models import BigQuerySource, ExportFormat, FirestoreSource, Source
from shared.models import Mapping as RowMapping
from shared.pipeline.preparing.checks import check_types
from shared.ports import ObjectInfo, Objects
from shared.redaction import hinted

MAX_FILES = 1_000  # our choice: one table's files; their list stays small and is frozen within a few boxes of work
MAX_LISTED = 10_000  # our choice: names looked at under a pattern's prefix
DEFAULT_DATABASE = "(default)"
OF_ROWS = "rows in the request"
"""What stands for the `uri` of rows that came with the request."""
RESERVED = re.compile(r"__.*__")
OWN_COLLECTIONS = frozenset(
    {"audit", "audit_seals", "breakers", "channels", "chunks", "connectors", "export_jobs", "file_links", "idempotency_keys", "maintenance",
     "notices", "occurrences", "quotas", "refresh_runs", "schedules", "tables", "targets"}
)  # fmt: skip
TABLE = re.compile(r"(?:(?P<project>[a-z][a-z0-9.:-]{4,62})\.)?(?P<dataset>\w{1,1024})\.(?P<table>[\w -]{1,1024})")
PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*")
"""An id; a project's number would name our own project by another word."""
DATABASE = re.compile(r"\(default\)|(?![0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$)[a-z][a-z0-9-]{2,62}")
URI = re.compile(r"gs://([a-z0-9][a-z0-9._-]*)/([^\r\n]+)")
MAX_NAME_BYTES = 1024  # cloud.google.com/storage/docs/objects#naming; neither does a name hold a line break
ENDINGS = {"ndjson": "jsonl", "tsv": "csv"}


@dataclass(frozen=True)
class SourceSettings:
    """What an administrator set: our project, where rows are frozen, and what BigQuery may be asked for."""

    project: str
    database: str
    frozen_bucket: str
    queries_allowed: bool
    max_bytes_billed: int


class Sources:
    """Makes the `source` of job records: `kind` says what freezes it (`shared.pipeline.freezing.KINDS`)."""

    def __init__(self, objects: Objects, settings: SourceSettings) -> None:
        self._objects = objects
        self._settings = settings
        self._frozen_bucket = settings.frozen_bucket

    def of_rows(self, rows: Sequence[bytes], job_id: str, columns: Mapping[str, str] | None) -> dict[str, Any]:
        """Keep the rows of a request as an object of the job.

        Raises `SourceError` naming a row that has a key twice, or a declared column whose type does not exist.
        """
        from shared.pipeline.sources import staged_rows

        check_types(columns, "columns")
        name = f"jobs/{job_id}/source.jsonl"
        content = b"".join(staged_rows(rows))
        info = self._objects.put(self._frozen_bucket, name, content, content_type="application/x-ndjson")
        return _file(Source(uri=OF_ROWS, format=ExportFormat.JSONL), info, columns)

    def pin(self, source: Source, job_id: str, columns: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the source with every file at its present generation.

        Raises:
            InvalidRequestError: the source is not of the documented form.
            SourceError: a declared column's type does not exist.
            NotFoundError: no such file; or no file fits.
        """
        self.check(source)
        check_types(columns, "columns")
        declared = {**(source.columns or {}), **(columns or {})} or None
        if source.bigquery is not None:
            return self._query(source, source.bigquery, declared)
        if source.firestore is not None:
            return self._collection(source, source.firestore, declared)
        bucket, name = parse_uri(str(source.uri))
        if not is_many(name):
            return _file(source, self._pinned(bucket, name), declared)
        return self._files(source, job_id, declared)

    def check(self, source: Source) -> None:
        """Make sure that the source is of the documented form, and allowed. Looks at nothing outside.

        Raises:
            InvalidRequestError: it is not.
            SourceError: a declared column's type does not exist.
            ForbiddenError: it is a query, and no administrator allowed those.
        """
        check_types(source.columns, "source.columns")
        if source.bigquery is not None:
            self._check_query(source.bigquery)
        elif source.firestore is not None:
            self._check_collection(source.firestore)
        else:
            uri = str(source.uri)
            _, name = parse_uri(uri)
            if not is_many(name) or (source.format is None and not name.endswith(("/", "*"))):
                source_format(source.format, uri)

    def check_sql(self, source: Source, mapping: RowMapping | None) -> None:
        """Raise `ForbiddenError` if SQL of a mapping would run in BigQuery without leave."""
        if source.bigquery is not None and mapping is not None and mapping.sql is not None:
            self._require_queries("SQL mappings over BigQuery sources")

    def _require_queries(self, what: str) -> None:
        """Raise `ForbiddenError` unless an administrator allowed SQL of the caller's in BigQuery, which reads more than one table."""
        if not self._settings.queries_allowed:
            raise ForbiddenError(
                f"{what} are not allowed here, for BigQuery reads with our rights; an administrator allows them with "
                "BIGQUERY_QUERIES=true. Name a table or a view, and map its columns",
                code="queries_not_allowed",
            )

    def _check_query(self, bigquery: BigQuerySource) -> None:
        if bigquery.query is not None:
            self._require_queries("BigQuery queries as a source")
        if bigquery.table is not None and TABLE.fullmatch(bigquery.table) is None:
            raise InvalidRequestError(
                f"{hinted(bigquery.table)!r} is not a table; expected dataset.table or project.dataset.table",
                field="source.bigquery.table",
            )

    def _query(self, source: Source, bigquery: BigQuerySource, columns: Mapping[str, str] | None) -> dict[str, Any]:
        limit = self._settings.max_bytes_billed
        parts = TABLE.fullmatch(bigquery.table).groupdict() if bigquery.table else {}  # type: ignore[union-attr]  # checked
        table = {**parts, "project": parts.get("project") or self._settings.project} if parts else None
        return {
            "kind": "bigquery",
            "table": table,
            "query": bigquery.query,
            "location": bigquery.location,
            "maximum_bytes_billed": min(bigquery.maximum_bytes_billed or limit, limit),
            "format": ExportFormat.PARQUET.value,
            "options": _options(source, columns),
        }

    def _check_collection(self, firestore: FirestoreSource) -> None:
        parts = firestore.collection.split("/")
        is_path = len(parts) == 1 if firestore.group else len(parts) % 2 == 1
        if not is_path or any(not part or part in (".", "..") or RESERVED.fullmatch(part) for part in parts):
            expected = (
                "the id of a collection group" if firestore.group else "a path such as cities or cities/SF/landmarks"
            )
            raise InvalidRequestError(
                f"{hinted(firestore.collection)!r} is no collection; expected {expected}",
                field="source.firestore.collection",
            )
        place = self._place(firestore)
        here = (self._settings.project, self._settings.database or DEFAULT_DATABASE)
        is_ours = parts[-1 if firestore.group else 0] in OWN_COLLECTIONS
        if is_ours and place == here:
            raise ForbiddenError(
                f"the collection {firestore.collection!r} is this service's own and no source", code="own_collection"
            )

    def _place(self, firestore: FirestoreSource) -> tuple[str, str]:
        """Return project and database in the one spelling that each has. Raises `InvalidRequestError` if either is no id."""
        project, database = firestore.project or self._settings.project, firestore.database or DEFAULT_DATABASE
        if PROJECT.fullmatch(project) is None:
            raise InvalidRequestError(f"{hinted(project)!r} is no id of a project", field="source.firestore.project")
        if DATABASE.fullmatch(database) is None:
            raise InvalidRequestError(f"{hinted(database)!r} is no id of a database", field="source.firestore.database")
        return project, database

    def _collection(
        self, source: Source, firestore: FirestoreSource, columns: Mapping[str, str] | None
    ) -> dict[str, Any]:
        project, database = self._place(firestore)
        return {
            "kind": "firestore",
            "project": project,
            "database": database,
            "collection": firestore.collection,
            "group": firestore.group,
            "format": ExportFormat.PARQUET.value,
            "options": _options(source, columns),
        }

    def _pinned(self, bucket: str, name: str) -> ObjectInfo:
        info = self._objects.stat(bucket, name)
        if info is None:
            raise NotFoundError(
                f"gs://{bucket}/{name} does not exist; check the bucket and the name", code="source_not_found"
            )
        return info

    def _files(self, source: Source, job_id: str, columns: Mapping[str, str] | None) -> dict[str, Any]:
        found = self._matching(str(source.uri))
        formats = {source_format(source.format, info.uri) for info in found}
        if len(formats) > 1:
            raise InvalidRequestError(
                f"{source.uri} matches files of several formats ({', '.join(sorted(formats))}); narrow it to one",
                field="source.uri",
            )
        name = f"jobs/{job_id}/pinned.json"
        listed = json.dumps([_plain(info) for info in found]).encode()
        pinned = self._objects.put(self._frozen_bucket, name, listed, content_type="application/json")
        return {
            "kind": "files",
            "uri": source.uri,
            "files": len(found),
            "size_bytes": sum(info.size_bytes for info in found),
            "format": formats.pop().value,
            "options": _options(source, columns),
            "created_at": max((info.created_at for info in found if info.created_at), default=None),
            "pinned": _plain(pinned),
        }

    def _matching(self, uri: str) -> list[ObjectInfo]:
        """Return the files that a prefix or pattern means, by name."""
        bucket, pattern = parse_uri(uri)
        prefix = pattern.partition("*")[0]
        listed = self._objects.list_prefix(bucket, prefix, MAX_LISTED + 1)
        if len(listed) > MAX_LISTED:
            raise InvalidRequestError(
                f"more than {MAX_LISTED:,} objects begin with gs://{bucket}/{prefix}; give a longer prefix",
                field="source.uri",
            )
        found = [info for info in listed if _fits(info.name, pattern)]
        if not found:
            raise NotFoundError(f"no file fits {uri}; check the bucket and the name", code="source_not_found")
        if len(found) > MAX_FILES:
            raise InvalidRequestError(
                f"{len(found):,} files fit {uri}, at most {MAX_FILES:,} are taken; narrow it, or join files",
                field="source.uri",
            )
        return found


def is_many(name: str) -> bool:
    """Whether a name in a bucket means all files below it, or all that fit it."""
    return name.endswith("/") or "*" in name


def parse_uri(uri: str) -> tuple[str, str]:
    """Return (bucket, name) of a `gs://` URI. Raises `InvalidRequestError`."""
    found = URI.fullmatch(uri)
    if found is None or len(found[2].encode()) > MAX_NAME_BYTES:
        expected = f"gs://bucket/name, the name of at most {MAX_NAME_BYTES} bytes and one line"
        raise InvalidRequestError(f"source.uri is {hinted(uri)!r}; expected {expected}", field="source.uri")
    return found[1], found[2]


def source_format(declared: ExportFormat | None, uri: str) -> ExportFormat:
    """Return the declared format, else the one that the name ends in, before `.gz` or `.zst`. Raises `InvalidRequestError`."""
    if declared is not None:
        return declared
    ending = re.sub(r"\.(gz|gzip|zst|zstd)$", "", uri.lower()).rsplit(".", 1)[-1]
    try:
        return ExportFormat(ENDINGS.get(ending, ending))
    except ValueError as exc:
        raise InvalidRequestError(
            f"source.uri does not end in a known format ({', '.join(ExportFormat)}); say source.format",
            field="source.format",
        ) from exc


def _fits(name: str, pattern: str) -> bool:
    """Whether an object is a file that the pattern means.

    Below a folder, folder markers and names that begin with `_` or `.` are left out: writers of many files keep their notes
    in them, e.g. `_SUCCESS`.
    """
    if name.endswith("/"):
        return False
    if pattern.endswith("/") and name.rpartition("/")[2].startswith(("_", ".")):
        return False
    expression = "[^/]*".join(re.escape(piece) for piece in pattern.split("*"))
    return re.fullmatch(expression + (".*" if pattern.endswith("/") else ""), name, re.DOTALL) is not None


def _file(source: Source, info: ObjectInfo, columns: Mapping[str, str] | None) -> dict[str, Any]:
    fmt = source_format(source.format, info.uri)
    return {
        "kind": "file",
        "uri": source.uri,
        "format": fmt.value,
        "options": _options(source, columns),
        **asdict(info),
    }


_READ_OPTIONS = (
    "delimiter",
    "encoding",
    "quote",
    "escape",
    "decimal",
    "thousands",
    "header_rows",
    "skip_rows",
    "sheet",
)
"""Fields that a source and `ReadOptions` share."""


def _options(source: Source, columns: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "schema": None if columns is None else dict(columns),
        **{name: getattr(source, name) for name in _READ_OPTIONS},
        "null_values": list(source.null_values),
    }


def _plain(info: ObjectInfo) -> dict[str, Any]:
    return {name: value for name, value in asdict(info).items() if name != "created_at"}
