"""Documents on Firestore. API: cloud.google.com/python/docs/reference/firestore/latest"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from google.api_core import exceptions as google
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import ConflictError, InvalidRequestError, NotFoundError, PreconditionFailedError, SourceError
from shared.ports import Document, Json, Query, Transaction

T = TypeVar("T")
MAX_ATTEMPTS = 20
"""Our choice: transactions on one hot job are retried until each of a handful of rivals had its turn."""


class FirestoreDocuments:
    """`Documents` on one Firestore database. Connects on first use; FIRESTORE_EMULATOR_HOST is honoured by the client."""

    def __init__(self, project: str, database: str) -> None:
        self._project = project
        self._database = database

    @cached_property
    def _client(self) -> Any:
        return firestore.Client(project=self._project, database=self._database)

    def get(self, path: str) -> Document | None:
        return _document(self._client.document(path).get())

    def get_all(self, paths: Sequence[str]) -> list[Document | None]:
        found = _by_path(self._client.get_all([self._client.document(path) for path in paths]))
        return [found.get(path) for path in paths]

    def create(self, path: str, data: Mapping[str, Json]) -> None:
        try:
            with _fitting():
                self._client.document(path).create(dict(data))
        except google.Conflict as exc:
            raise ConflictError(f"{path} exists already") from exc

    def update(self, path: str, fields: Mapping[str, Json], *, version: str | None = None) -> None:
        try:
            with _fitting():
                self._client.document(path).update(_literal(fields), option=self._option(version))
        except google.NotFound as exc:
            raise NotFoundError(f"{path} does not exist") from exc
        except google.FailedPrecondition as exc:
            raise PreconditionFailedError(f"{path} changed since it was read") from exc

    def delete(self, path: str, *, version: str | None = None) -> None:
        try:
            self._client.document(path).delete(option=self._option(version))
        except google.FailedPrecondition as exc:
            raise PreconditionFailedError(f"{path} changed since it was read") from exc
        except google.NotFound as exc:
            raise NotFoundError(f"{path} does not exist") from exc

    def query(self, query: Query) -> list[Document]:
        try:
            return self._query(query)
        except google.FailedPrecondition as exc:
            if query.at is None:
                raise
            message = (
                f"Firestore does not keep {query.collection} as of {query.at.isoformat()} any more ({exc.message})"
            )
            raise SourceError(f"{message}; it does for an hour", code="read_time_too_old") from exc

    def _query(self, query: Query) -> list[Document]:
        found = self._client.collection(query.collection)
        for name, operator, value in query.where:
            found = found.where(filter=FieldFilter(name, operator, value))
        direction = firestore.Query.DESCENDING if query.descending else firestore.Query.ASCENDING
        found = found.order_by(query.order_by or "__name__", direction=direction)
        if query.start_after:
            cursor = self._client.document(query.start_after).get(read_time=query.at)
            if cursor.exists:
                found = found.start_after(cursor)
        if query.limit is not None:
            found = found.limit(query.limit)
        documents = (_document(snapshot) for snapshot in found.stream(read_time=query.at))
        return [document for document in documents if document is not None]

    def moment(self) -> datetime:
        """Ask for a document that need not exist: the answer says when it was read, whatever this machine's clock says."""
        read: datetime = _plain(self._client.document("readiness/none").get().read_time)
        return read

    def transact(self, work: Callable[[Transaction], T]) -> T:
        @firestore.transactional
        def run(transaction: Any) -> T:
            return work(_FirestoreTransaction(self._client, transaction))

        try:
            with _refused():
                result: T = run(self._client.transaction(max_attempts=MAX_ATTEMPTS))
        except google.AlreadyExists as exc:
            raise ConflictError(f"a document of this transaction exists already: {exc.message}") from exc
        except google.NotFound as exc:
            raise NotFoundError(f"a document of this transaction is gone: {exc.message}") from exc
        return result

    def _option(self, version: str | None) -> Any:
        if version is None:
            return None
        return self._client.write_option(last_update_time=_timestamp(version))


class _FirestoreTransaction:
    """`Transaction` on the client's own: reads go through it, writes are sent with the commit."""

    def __init__(self, client: Any, transaction: Any) -> None:
        self._client = client
        self._transaction = transaction
        self._ahead: dict[str, Document | None] = {}

    def read_ahead(self, paths: Sequence[str]) -> None:
        found = _by_path(self._transaction.get_all([self._client.document(path) for path in paths]))
        self._ahead = {path: found.get(path) for path in paths}

    def get(self, path: str) -> Document | None:
        if path in self._ahead:
            return self._ahead[path]
        return _document(self._client.document(path).get(transaction=self._transaction))

    def create(self, path: str, data: Mapping[str, Json]) -> None:
        with _fitting():
            self._transaction.create(self._client.document(path), dict(data))

    def set(self, path: str, data: Mapping[str, Json]) -> None:
        with _fitting():
            self._transaction.set(self._client.document(path), dict(data))

    def update(self, path: str, fields: Mapping[str, Json]) -> None:
        with _fitting():
            self._transaction.update(self._client.document(path), _literal(fields))

    def delete(self, path: str) -> None:
        self._transaction.delete(self._client.document(path))


@contextmanager
def _refused() -> Iterator[None]:
    """Tell of a document that the server refuses as of a request that asks for too much."""
    try:
        yield
    except google.InvalidArgument as exc:
        message = f"this does not fit into a document of Firestore, which holds 1 MiB: {exc.message}"
        raise InvalidRequestError(message, field="$") from exc


@contextmanager
def _fitting() -> Iterator[None]:
    """As `_refused`, for one write: the client itself refuses what has no form on the wire."""
    try:
        with _refused():
            yield
    except ValueError as exc:
        message = (
            "this does not fit into a document of Firestore: its integers have 64 bits, its text has no half characters"
        )
        raise InvalidRequestError(message, field="$") from exc


def _literal(fields: Mapping[str, Json]) -> dict[str, Json]:
    """Quote field names, so that a dot in one is part of the name and not a path."""
    return {firestore.Client.field_path(name): value for name, value in fields.items()}


def _by_path(snapshots: Iterable[Any]) -> dict[str, Document]:
    """Documents by path; the service answers in any order."""
    return {document.path: document for snapshot in snapshots if (document := _document(snapshot)) is not None}


def _document(snapshot: Any) -> Document | None:
    if not snapshot.exists:
        return None
    moment = snapshot.update_time
    nanos = getattr(moment, "nanosecond", 0) or 0
    version = f"{int(moment.timestamp())}.{nanos or moment.microsecond * 1000:09d}"
    return Document(snapshot.reference.path, _plain(snapshot.to_dict() or {}), version)


def _timestamp(version: str) -> Any:
    seconds, nanos = version.split(".")
    return Timestamp(seconds=int(seconds), nanos=int(nanos))


def _plain(value: Any) -> Any:
    """Turn the client's datetimes (a subclass with nanoseconds) into plain aware ones."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return datetime(*value.timetuple()[:6], value.microsecond, tzinfo=UTC)
    return value
