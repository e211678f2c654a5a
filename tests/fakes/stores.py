"""The ports of `shared.ports`, in memory. Held to the same suites as the adapters (`tests/conformance/stores`)."""

from __future__ import annotations

import copy
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, TypeVar

from shared.errors import (
    ConflictError,
    CredentialError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    SourceError,
    UnsupportedError,
)
from shared.ports import CronJob, Document, ObjectInfo, Query, SecretVersion, Stores, Task, Transaction
from tests.fakes.collections import InMemoryCollections
from tests.fakes.indexes import missing_expiry, missing_index
from tests.fakes.warehouse import InMemoryWarehouse

T = TypeVar("T")


class FakeClock:
    """A clock that only moves when told to; `sleep` moves it."""

    def __init__(self, now: datetime = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class InMemoryDocuments:
    """`Documents` in a dict; a transaction holds one lock, so it never meets contention.

    With `indexed`, a query whose composite index is not in infra/terraform is refused, as on Google Cloud, and so is a document
    that expires where no TTL deletes it.
    """

    def __init__(self, *, indexed: bool = True) -> None:
        self._indexed = indexed
        self.clock = FakeClock()
        self._documents: dict[str, tuple[dict[str, Any], int]] = {}
        self._moments: dict[datetime, dict[str, tuple[dict[str, Any], int]]] = {}
        """What there was whenever somebody asked for the moment; what is stored is replaced, never changed."""
        self._writes = 0
        self.reads = 0
        """Calls that read documents by their paths."""
        self.documents_read = 0
        """As Firestore bills it: missing ones, too, and one for a query that finds none."""
        self._lock = threading.RLock()

    def get(self, path: str) -> Document | None:
        return self.get_all([path])[0]

    def get_all(self, paths: Sequence[str]) -> list[Document | None]:
        with self._lock:
            self.reads += 1
            self.documents_read += len(paths)
            return [self._found(path) for path in paths]

    def _found(self, path: str) -> Document | None:
        parts = path.encode().decode().split("/")  # which refuses half a character
        if len(parts) % 2 or any(re.fullmatch(r"\.{1,2}|__.*__|", part) for part in parts):
            raise ValueError(f"{path!r} is no path of Firestore")  # which the client or the server refuses too
        found = self._documents.get(path)
        return None if found is None else Document(path, copy.deepcopy(found[0]), f"{found[1]}.000000000")

    def create(self, path: str, data: Mapping[str, Any]) -> None:
        with self._lock:
            if path in self._documents:
                raise ConflictError(f"{path} exists already")
            self._put(path, dict(data))

    def update(self, path: str, fields: Mapping[str, Any], *, version: str | None = None) -> None:
        with self._lock:
            self._check(path, version)
            if path not in self._documents:
                raise NotFoundError(f"{path} does not exist")
            self._put(path, {**self._documents[path][0], **fields})

    def delete(self, path: str, *, version: str | None = None) -> None:
        with self._lock:
            self._check(path, version)
            self._documents.pop(path, None)

    def moment(self) -> datetime:
        with self._lock:
            at = self.clock.now() + timedelta(microseconds=len(self._moments))
            self._moments[at] = dict(self._documents)
            return at

    def query(self, query: Query) -> list[Document]:
        if self._indexed and (line := missing_index(query)):
            raise LookupError(
                f"Firestore would refuse this query without an index; add to infra/terraform/indexes.json: {line}"
            )
        if query.descending and not (query.order_by or query.where):
            raise LookupError("Firestore does not support descending key scans; order by a field")
        depth = query.collection.count("/") + 1
        with self._lock:
            there = self._documents if query.at is None else self._moments[query.at]
            paths = [p for p in there if p.startswith(query.collection + "/") and p.count("/") == depth]
            found = [Document(p, copy.deepcopy(there[p][0]), f"{there[p][1]}.000000000") for p in paths]
        documents = [d for d in found if all(_holds(d.data, clause) for clause in query.where)]

        def key(document: Document) -> Any:
            return (document.data[query.order_by], document.path) if query.order_by else document.path

        documents.sort(key=key, reverse=query.descending)
        if query.start_after:
            paths = [document.path for document in documents]
            documents = documents[paths.index(query.start_after) + 1 :] if query.start_after in paths else documents
        found = documents[: query.limit]
        self.documents_read += max(1, len(found))
        return found

    def transact(self, work: Callable[[Transaction], T]) -> T:
        with self._lock:
            transaction = _Buffered(self)
            result = work(transaction)
            before = (dict(self._documents), self._writes)
            try:
                for write in transaction.writes:
                    write()
            except Exception:
                self._documents, self._writes = before
                raise
            return result

    def _check(self, path: str, version: str | None) -> None:
        if version is not None:
            found = self._documents.get(path)
            if found is None or f"{found[1]}.000000000" != version:
                raise PreconditionFailedError(f"{path} changed since it was read")

    def _put(self, path: str, data: dict[str, Any]) -> None:
        self._writes += 1
        _refuse_half_characters(path)
        _refuse_what_firestore_refuses(data)
        if self._indexed and (missing := missing_expiry(path, data)):
            raise LookupError(f"nothing deletes what expires in {missing}; add it to infra/terraform/expiring.json")
        self._documents[path] = (copy.deepcopy(data), self._writes)


def _refuse_what_firestore_refuses(data: Any) -> None:
    if len(repr(data)) > 1 << 20:
        raise InvalidRequestError("this does not fit into a document of Firestore", field="$")
    parts = list(data.values()) if isinstance(data, Mapping) else data if isinstance(data, list | tuple) else []
    if any(isinstance(part, int) and not -(1 << 63) <= part < 1 << 63 for part in parts):
        raise InvalidRequestError("an integer of Firestore has 64 bits", field="$")
    for text in [part for part in (*parts, *(data if isinstance(data, Mapping) else ())) if isinstance(part, str)]:
        _refuse_half_characters(text)
    if isinstance(data, Mapping) and (bad := [key for key in data if re.fullmatch(r"(?s)|__.*__", key)]):
        raise InvalidRequestError(f"{bad[0]!r} is no key of a document of Firestore", field="$")
    for part in parts:
        if isinstance(part, Mapping | list | tuple):
            _refuse_what_firestore_refuses(part)


def _refuse_half_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequestError("half a character is no text of Firestore", field="$") from exc


class _Buffered:
    """`Transaction`: reads at once, writes at the end."""

    def __init__(self, documents: InMemoryDocuments) -> None:
        self._documents = documents
        self.writes: list[Callable[[], None]] = []
        self._ahead: dict[str, Document | None] = {}

    def read_ahead(self, paths: Sequence[str]) -> None:
        self._ahead = dict(zip(paths, self._documents.get_all(paths), strict=True))

    def get(self, path: str) -> Document | None:
        return self._ahead[path] if path in self._ahead else self._documents.get(path)

    def create(self, path: str, data: Mapping[str, Any]) -> None:
        self.writes.append(lambda: self._documents.create(path, data))

    def set(self, path: str, data: Mapping[str, Any]) -> None:
        self.writes.append(lambda: self._documents._put(path, dict(data)))

    def update(self, path: str, fields: Mapping[str, Any]) -> None:
        self.writes.append(lambda: self._documents.update(path, fields))

    def delete(self, path: str) -> None:
        self.writes.append(lambda: self._documents.delete(path))


class InMemorySecrets:
    """`Secrets` in a dict of version names; a destroyed version is None."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.payloads: dict[str, bytes | None] = {}
        self._added: dict[str, datetime] = {}

    def add(self, secret_id: str, payload: bytes) -> str:
        if len(payload) > 65_536 or not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", secret_id):
            raise InvalidRequestError("Secret Manager takes at most 64 KiB, and names of letters, digits, `_` and `-`")
        prefix = f"projects/fake/secrets/{secret_id}/versions/"
        number = 1 + sum(name.startswith(prefix) for name in self.payloads)
        self.payloads[prefix + str(number)] = payload
        self._added[prefix + str(number)] = self.clock.now()
        return prefix + str(number)

    def versions(self, prefix: str) -> list[SecretVersion]:
        kept = [name for name, payload in self.payloads.items() if payload is not None]
        return [
            SecretVersion(n, self._added[n]) for n in kept if n.split("/")[3].startswith(prefix) and n in self._added
        ]

    def read(self, version_name: str) -> bytes:
        if not re.fullmatch(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+", version_name):
            raise CredentialError("this is no name of a version", code="credential_missing")  # as the server says
        payload = self.payloads.get(version_name)
        if payload is None:
            raise CredentialError(f"{version_name} is gone", code="credential_missing")
        return payload

    def destroy(self, version_name: str) -> None:
        if version_name in self.payloads:
            self.payloads[version_name] = None

    def delete(self, secret_id: str) -> None:
        prefix = f"projects/fake/secrets/{secret_id}/versions/"
        self.payloads = {name: value for name, value in self.payloads.items() if not name.startswith(prefix)}


class InMemoryTasks:
    """`Tasks` in a list; names are remembered for ever."""

    def __init__(self) -> None:
        self.pending: list[Task] = []
        self._names: set[str] = set()

    def enqueue(self, task: Task) -> bool:
        if task.name in self._names:
            return False
        self._names.add(task.name)
        self.pending.append(task)
        return True


class InMemoryCronJobs:
    """`CronJobs` in a dict."""

    def __init__(self) -> None:
        self.jobs: dict[str, CronJob] = {}

    def put(self, job: CronJob) -> None:
        self.jobs[job.id] = job

    def delete(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)

    def list(self) -> list[CronJob]:
        return list(self.jobs.values())


class InMemoryObjects:
    """`Objects` in a dict of (bucket, name) to generations."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._created: dict[int, datetime] = {}
        self._generation = 0
        self.signer: str | None = None
        self.clock = FakeClock()

    def put(self, bucket: str, name: str, data: bytes, *, content_type: str = "") -> ObjectInfo:
        self._generation += 1
        self._live[bucket, name] = (self._generation, data)
        self._created[self._generation] = self.clock.now()
        return ObjectInfo(bucket, name, self._generation, len(data), self.clock.now())

    def stat(self, bucket: str, name: str) -> ObjectInfo | None:
        found = self._live.get((bucket, name))
        return None if found is None else ObjectInfo(bucket, name, found[0], len(found[1]), self._created[found[0]])

    def list_prefix(self, bucket: str, prefix: str, limit: int) -> list[ObjectInfo]:
        names = sorted(name for where, name in self._live if where == bucket and name.startswith(prefix))
        return [info for name in names[:limit] if (info := self.stat(bucket, name))]

    def open(self, info: ObjectInfo) -> BinaryIO:
        found = self._live.get((info.bucket, info.name))
        if found is None or found[0] != info.generation:
            raise SourceError(f"{info.uri} generation {info.generation} is gone", code="source_gone")
        return io.BytesIO(found[1])

    def copy(self, info: ObjectInfo, bucket: str, name: str) -> ObjectInfo:
        existing = self.stat(bucket, name)
        if existing is not None:
            return existing
        found = self._live.get((info.bucket, info.name))
        if found is None or found[0] != info.generation:
            raise SourceError(f"{info.uri} changed", code="source_changed")
        return self.put(bucket, name, found[1])

    @contextmanager
    def writer(self, bucket: str, name: str, *, content_type: str, new: bool = False) -> Iterator[BinaryIO]:
        sink = io.BytesIO()
        yield sink
        if new and (bucket, name) in self._live:
            raise ConflictError(f"gs://{bucket}/{name} exists already")
        self.put(bucket, name, sink.getvalue())

    def delete(self, bucket: str, name: str) -> None:
        self._live.pop((bucket, name), None)

    def signed_url(self, info: ObjectInfo, file_name: str, lifetime: timedelta) -> str:
        """Signs if `signer` is set, as a service account's credentials can; else refuses, as local ones do."""
        if self.signer is None:
            raise UnsupportedError("these credentials are no service account's", code="signing_unavailable")
        return f"https://storage.googleapis.com/{info.bucket}/{info.name}?generation={info.generation}&X-Goog-Credential={self.signer}"


@dataclass
class InMemoryStores:
    """All of them, and as `Stores` for the services."""

    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    secrets: InMemorySecrets = field(default_factory=InMemorySecrets)
    tasks: InMemoryTasks = field(default_factory=InMemoryTasks)
    cron_jobs: InMemoryCronJobs = field(default_factory=InMemoryCronJobs)
    objects: InMemoryObjects = field(default_factory=InMemoryObjects)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.documents.clock = self.clock
        self.objects.clock = self.clock
        self.secrets.clock = self.clock
        self.warehouse = InMemoryWarehouse(self.objects, self.clock)
        self.collections = InMemoryCollections()

    def stores(self) -> Stores:
        return Stores(
            self.documents,
            self.secrets,
            self.tasks,
            self.cron_jobs,
            self.objects,
            self.clock,
            self.warehouse,
            self.collections,
        )


def _holds(data: Mapping[str, Any], clause: tuple[str, str, Any]) -> bool:
    name, operator, value = clause
    found = data.get(name)
    match operator:
        case "==":
            return bool(found == value)
        case "in":
            return found in value
        case "<":
            return found is not None and bool(found < value)
        case "<=":
            return found is not None and bool(found <= value)
        case ">":
            return found is not None and bool(found > value)
        case ">=":
            return found is not None and bool(found >= value)
    raise ValueError(f"unknown operator {operator!r}")
