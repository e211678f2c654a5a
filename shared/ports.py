"""What the services need from the world: documents, secrets, tasks, scheduler jobs, objects and a clock.

The adapters in `shared/stores` implement these on Google Cloud; the fakes in `tests/fakes` in memory. The conformance suites
hold both to the same behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Protocol, TypeVar

Json = Any
"""A JSON value, or a datetime (aware, UTC) inside documents."""

T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """One stored document. `version` changes with every write and feeds preconditions and ETags."""

    path: str
    data: dict[str, Json]
    version: str


@dataclass(frozen=True)
class Query:
    """Documents of one collection: equality and range filters, one order, a page.

    `where` holds (field, operator, value) with operators of Firestore (`==`, `<`, `<=`, `>`, `>=`, `in`).
    `start_after` is the path of the last document of the previous page; `at` asks for what there was at a moment of `moment`.
    """

    collection: str
    where: tuple[tuple[str, str, Json], ...] = ()
    order_by: str | None = None
    descending: bool = False
    limit: int | None = None
    start_after: str | None = None
    at: datetime | None = None


class Transaction(Protocol):
    """Reads first, then writes; all writes become visible together or not at all."""

    def get(self, path: str) -> Document | None: ...

    def read_ahead(self, paths: Sequence[str]) -> None:
        """Read these in one call; `get` answers from it. Before the first `get`, and only once."""

    def create(self, path: str, data: Mapping[str, Json]) -> None:
        """Raises `ConflictError` when committed if the document exists."""

    def set(self, path: str, data: Mapping[str, Json]) -> None: ...

    def update(self, path: str, fields: Mapping[str, Json]) -> None:
        """Replace the named top-level fields. Raises `NotFoundError` when committed if the document is gone."""

    def delete(self, path: str) -> None: ...


class Documents(Protocol):
    """Firestore, as this project uses it. Paths are `collection/id[/collection/id]`; times are aware UTC."""

    def get(self, path: str) -> Document | None: ...

    def get_all(self, paths: Sequence[str]) -> list[Document | None]:
        """What `get` returns for each, in one call and as of one moment."""

    def create(self, path: str, data: Mapping[str, Json]) -> None:
        """Raises `ConflictError` if it exists."""

    def update(self, path: str, fields: Mapping[str, Json], *, version: str | None = None) -> None:
        """Replace top-level fields; `NotFoundError` if gone, `PreconditionFailedError` if `version` is not the present one."""

    def delete(self, path: str, *, version: str | None = None) -> None: ...

    def query(self, query: Query) -> list[Document]:
        """Raises `SourceError`, code `read_time_too_old`, for a moment that is not kept any more."""

    def moment(self) -> datetime:
        """The present by the database's own clock: what `Query.at` takes, for an hour (our database keeps no less)."""

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, retried on contention, so it must be free of other effects. Returns what `work` returns."""


@dataclass(frozen=True)
class SecretVersion:
    """A version that can be read: its full name, and when it was added."""

    name: str
    created_at: datetime


class Secrets(Protocol):
    """Secret Manager. A version name is the full resource name with its number, never `latest`."""

    def add(self, secret_id: str, payload: bytes) -> str:
        """Create the secret if needed, add a version, return the version's name."""

    def read(self, version_name: str) -> bytes:
        """Raises `CredentialError` if the version is missing, disabled or destroyed."""

    def versions(self, prefix: str) -> list[SecretVersion]:
        """Every version not destroyed of the secrets whose id starts with `prefix`."""

    def destroy(self, version_name: str) -> None:
        """Destroy one version; no effect if it is gone already."""

    def delete(self, secret_id: str) -> None:
        """Delete a secret with all versions; no effect if it is gone already."""


@dataclass(frozen=True)
class Task:
    """One HTTP task. `name` dedups: a second task of the same name is not enqueued (for about an hour after it ran)."""

    queue: str
    url: str
    name: str
    body: Mapping[str, Json] = field(default_factory=dict)
    at: datetime | None = None
    deadline_s: float = 900.0


class Tasks(Protocol):
    """Cloud Tasks with an OIDC token of the tasks' service account."""

    def enqueue(self, task: Task) -> bool:
        """Return True if enqueued, False if a task of that name was there already."""


@dataclass(frozen=True)
class CronJob:
    """One Cloud Scheduler job that POSTs `body` to `url` with an OIDC token of the scheduler's service account.

    A call that is not answered with 2xx within `deadline_s` is repeated up to `retries` times, `backoff_s` (least, most) apart.
    `caller` is None for the service account that it should have, else the one that a listed job has instead.
    """

    id: str
    cron: str
    time_zone: str
    url: str
    audience: str
    body: Mapping[str, Json]
    paused: bool = False
    description: str = ""
    deadline_s: int = 180
    retries: int = 3
    backoff_s: tuple[int, int] = (5, 60)
    caller: str | None = None
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    """Those of the vendor's own left out."""
    retry_for_s: float = 0.0
    """How long a failed call is repeated beyond `retries`; 0 for no longer."""
    doublings: int = 5


class CronJobs(Protocol):
    """Cloud Scheduler. Every call raises `VendorUnavailableError`, code `scheduler_unavailable`, if it does not answer."""

    def put(self, job: CronJob) -> None:
        """Create or replace. Raises `InvalidRequestError` if the vendor refuses the expression or the zone."""

    def delete(self, job_id: str) -> None:
        """No effect if it is gone already."""

    def list(self) -> list[CronJob]:
        """The jobs of schedules; what else the project has (system jobs, other people's) is left out."""


@dataclass(frozen=True)
class ObjectInfo:
    """One generation of an object in a bucket. `created_at` is when that generation was made, where it is known."""

    bucket: str
    name: str
    generation: int
    size_bytes: int
    created_at: datetime | None = field(default=None, compare=False)

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


class Objects(Protocol):
    """Cloud Storage."""

    def stat(self, bucket: str, name: str) -> ObjectInfo | None:
        """The live generation, or None."""

    def list_prefix(self, bucket: str, prefix: str, limit: int) -> list[ObjectInfo]:
        """The live generations whose names begin with `prefix`, at most `limit`, by name (code points)."""

    def open(self, info: ObjectInfo) -> BinaryIO:
        """A seekable reader of exactly that generation. Raises `SourceError` if that generation is gone."""

    def copy(self, info: ObjectInfo, bucket: str, name: str) -> ObjectInfo:
        """Server-side copy of exactly that generation; the same call again gives the existing copy.

        Raises `SourceError` (code `source_changed`) if that generation is no longer there.
        """

    def put(self, bucket: str, name: str, content: bytes, *, content_type: str) -> ObjectInfo:
        """A new object of what is in memory, in one call. It replaces the name's live generation; returns the new one."""

    def writer(
        self, bucket: str, name: str, *, content_type: str, new: bool = False
    ) -> AbstractContextManager[BinaryIO]:
        """A stream into a new object. It replaces the name's live generation when the block ends, and not if it raises.

        With `new` it replaces none: raises `ConflictError` if the name has a live generation.
        """

    def delete(self, bucket: str, name: str) -> None:
        """No effect if it is gone already."""

    def signed_url(self, info: ObjectInfo, file_name: str, lifetime: timedelta) -> str:
        """A URL of Cloud Storage's own that anybody may download that generation from, under `file_name`, for so long.

        Raises:
            UnsupportedError: code `signing_unavailable`; this identity is no service account, so nobody can sign for it.
            CredentialError: code `signing_refused`; it is one, and IAM did not let it sign.
        """


class Resolver(Protocol):
    """Name resolution."""

    def addresses(self, host: str) -> list[str]:
        """Every address of a host name. Raises `VendorUnavailableError` if it does not resolve."""


@dataclass(frozen=True)
class WarehouseColumn:
    """One column of a query's result, in BigQuery's own words: `type` e.g. `NUMERIC`, `RECORD`; `mode` `REPEATED` for an array."""

    name: str
    type: str
    mode: str = "NULLABLE"


@dataclass(frozen=True)
class QueryEstimate:
    """What a dry run says of one statement: its kind (`SELECT`), what it would read, where it would run, what it gives."""

    statement_type: str
    bytes: int
    location: str
    columns: tuple[WarehouseColumn, ...]


@dataclass(frozen=True)
class WarehouseJob:
    """A query job as BigQuery reports it.

    Attributes:
        error: (reason, message) of a job that failed, in BigQuery's words.
        rows, files: what an `EXPORT DATA` wrote; None until it is done.
    """

    id: str
    is_done: bool
    started_at: datetime | None = None
    error: tuple[str, str] | None = None
    rows: int | None = None
    files: int | None = None


class Warehouse(Protocol):
    """BigQuery, as a source. All raise `SourceError` with BigQuery's reason for a refusal, `VendorUnavailableError` to wait."""

    def table_type(self, project: str, dataset: str, table: str) -> str:
        """`TABLE`, `VIEW`, `EXTERNAL`, `MATERIALIZED_VIEW`, `SNAPSHOT` …"""

    def estimate(self, sql: str, location: str | None) -> QueryEstimate:
        """Dry-run a statement; costs nothing."""

    def start(self, job_id: str, sql: str, location: str, maximum_bytes_billed: int) -> WarehouseJob:
        """Run a statement under this id, once: the same call again gives the job that is there."""

    def look(self, job_id: str, location: str) -> WarehouseJob | None:
        """How the job stands; None if there is none of that id."""


@dataclass(frozen=True)
class GeoPoint:
    """A place, in degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Reference:
    """Another document, by its path below the database."""

    path: str


@dataclass(frozen=True)
class SourceDocument:
    """A document of somebody's collection: JSON values, aware datetimes, bytes, `GeoPoint` and `Reference`; maps and lists of them."""

    path: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class CollectionName:
    """A collection, or (`is_group`) every collection of one id, in a database of Firestore."""

    project: str
    database: str
    path: str
    is_group: bool = False


class Collections(Protocol):
    """Firestore, as a source."""

    def read(self, name: CollectionName, at: datetime, after: str | None, limit: int) -> Iterator[SourceDocument]:
        """Yield documents as they were at a moment, by path, from the one after `after` on; at most `limit`.

        Raises `SourceError` (code `read_time_too_old`, `source_forbidden`), `VendorUnavailableError` to wait.
        """


class Clock(Protocol):
    """Time, passed in so that tests can move it."""

    def now(self) -> datetime:
        """The present, aware, UTC."""

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Stores:
    """The adapters of one instance, as `bootstrap` wires them."""

    documents: Documents
    secrets: Secrets
    tasks: Tasks
    cron_jobs: CronJobs
    objects: Objects
    clock: Clock
    warehouse: Warehouse
    collections: Collections
