"""Collections of somebody's Firestore. API: docs.cloud.google.com/python/docs/reference/firestore/latest"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.api_core import exceptions as google
from google.cloud import firestore

from shared.errors import SourceError, VendorUnavailableError
from shared.ports import CollectionName, GeoPoint, Reference, SourceDocument

WAIT = (google.ServerError, google.TooManyRequests, google.RetryError, google.Aborted)


class FirestoreCollections:
    """`Collections` of any project and database that the worker may read; FIRESTORE_EMULATOR_HOST is honoured by the client."""

    def __init__(self) -> None:
        self._client = cache(lambda project, database: firestore.Client(project=project, database=database))

    def read(self, name: CollectionName, at: datetime, after: str | None, limit: int) -> Iterator[SourceDocument]:
        client: Any = self._client(name.project, name.database)
        query: Any = client.collection_group(name.path) if name.is_group else client.collection(name.path)
        query = query.order_by("__name__").limit(limit)
        if after is not None:
            query = query.start_after({"__name__": client.document(after)})
        try:
            for snapshot in query.stream(read_time=at):
                yield SourceDocument(snapshot.reference.path, _plain(snapshot.to_dict() or {}))
        except WAIT as exc:
            raise VendorUnavailableError(f"Firestore did not answer: {exc.message}") from exc
        except google.GoogleAPICallError as exc:
            raise _refusal(exc, name, at) from exc


def _refusal(exc: google.GoogleAPICallError, name: CollectionName, at: datetime) -> SourceError:
    where = f"{name.project}/{name.database}/{name.path}"
    said = " ".join(str(exc.message).split())[:300]
    if isinstance(exc, google.FailedPrecondition | google.InvalidArgument) and (
        "read_time" in said or "read time" in said or "too old" in said
    ):
        return SourceError(
            f"Firestore cannot read {where} as of {at:%Y-%m-%dT%H:%M:%SZ} any more ({said}); it keeps one hour of versions, seven "
            "days with point-in-time recovery: enable that on the database, or export less at once",
            code="read_time_too_old",
        )
    if isinstance(exc, google.PermissionDenied):
        return SourceError(
            f"the export worker may not read {where}; grant its service account roles/datastore.viewer on that project",
            code="source_forbidden",
        )
    if isinstance(exc, google.NotFound):
        return SourceError(f"the database of {where} does not exist ({said}); check the name", code="source_not_found")
    return SourceError(f"Firestore refused to read {where}: {said}", code="source_invalid")


def _plain(value: Any) -> Any:
    """Return the value without the client's own types. Firestore keeps microseconds."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return datetime(*value.timetuple()[:6], value.microsecond, tzinfo=UTC)
    if isinstance(value, firestore.GeoPoint):
        return GeoPoint(value.latitude, value.longitude)
    if isinstance(value, firestore.DocumentReference):
        return Reference(value.path)
    return value
