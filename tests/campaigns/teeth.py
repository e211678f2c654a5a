"""Guards taken away, one at a time, by handing another collaborator to the composition root. Nothing of the shipped code is switched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeVar

from shared.connectors._fingerprint import Fingerprint
from shared.ports import Document, Documents, ObjectInfo, Objects, Query, Stores, Task, Tasks, Transaction
from tests.campaigns.rig import Collaborators
from tests.campaigns.simulated_target import Row, SimulatedDelivery, published
from tests.campaigns.verdict import Verdict

T = TypeVar("T")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class AnyFence(int):
    """A fencing token that equals every other one."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class AlteredTransaction:
    """`Transaction` whose reads go through `alter`."""

    def __init__(self, inner: Transaction, alter: Callable[[Document | None], Document | None]) -> None:
        self._inner = inner
        self._alter = alter

    def get(self, path: str) -> Document | None:
        return self._alter(self._inner.get(path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class AlteredDocuments:
    """`Documents` whose transactions read what `alter` makes of a document."""

    def __init__(self, inner: Documents, alter: Callable[[Document | None], Document | None]) -> None:
        self._inner = inner
        self._alter = alter

    def transact(self, work: Callable[[Transaction], T]) -> T:
        return self._inner.transact(lambda tx: work(AlteredTransaction(tx, self._alter)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ForgettingDocuments:
    """`Documents` without some fields of a document that is looked at, or without what a query in an order finds."""

    def __init__(self, inner: Documents, *, fields: tuple[str, ...] = (), order: str = "") -> None:
        self._inner, self._fields, self._order = inner, fields, order

    def get(self, path: str) -> Document | None:
        found = self._inner.get(path)
        if found is None or not self._fields:
            return found
        kept = {name: value for name, value in found.data.items() if name not in self._fields}
        return Document(found.path, kept, found.version)

    def query(self, query: Query) -> list[Document]:
        return [] if query.order_by == self._order else self._inner.query(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def hiding(order: str) -> Callable[[Stores], Stores]:
    """Queries in this order find nothing."""
    return lambda stores: replace(stores, documents=ForgettingDocuments(stores.documents, order=order))


def unshrinking(stores: Stores) -> Stores:
    """Nobody remembers how many rows a target held (whoever asks the target is told as well: `removed.Uncounted`)."""
    return replace(stores, documents=ForgettingDocuments(stores.documents, fields=("last_rows",)))


def unrepaired(stores: Stores) -> Stores:
    """Nobody knows which rows a target could be repaired from."""
    return replace(stores, documents=ForgettingDocuments(stores.documents, fields=("made_of", "last_job_id")))


def uncancellable(stores: Stores) -> Stores:
    """A worker does not see that its job is to be cancelled."""
    alter = lambda found: _with(found, lambda data: {"cancel_requested": False})  # noqa: E731
    return replace(stores, documents=AlteredDocuments(stores.documents, alter))


def _with(found: Document | None, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Document | None:
    if found is None or not found.path.startswith("export_jobs/"):
        return found
    return Document(found.path, {**found.data, **change(found.data)}, found.version)


def unfenced(stores: Stores) -> Stores:
    """Workers whose lease was taken over go on writing to the job."""
    alter = lambda found: _with(found, lambda data: {"fence": AnyFence(data["fence"])})  # noqa: E731
    return replace(stores, documents=AlteredDocuments(stores.documents, alter))


def without_lease(stores: Stores) -> Stores:
    """Any worker may take a job at any time, and every write of a worker is let through."""

    def alter(found: Document | None) -> Document | None:
        return _with(found, lambda data: {"lease_until": LONG_AGO, "fence": AnyFence(data["fence"])})

    return replace(stores, documents=AlteredDocuments(stores.documents, alter))


def forgetting_keys(stores: Stores) -> Stores:
    """Idempotency keys are not found again."""

    def alter(found: Document | None) -> Document | None:
        return None if found is not None and found.path.startswith("idempotency_keys/") else found

    return replace(stores, documents=AlteredDocuments(stores.documents, alter))


class ThawedObjects:
    """`Objects` that freeze nothing: a copy is a name for whatever the source holds at the moment it is read."""

    def __init__(self, inner: Objects) -> None:
        self._inner = inner

    def copy(self, info: ObjectInfo, bucket: str, name: str) -> ObjectInfo:
        return info

    def open(self, info: ObjectInfo) -> BinaryIO:
        live = self._inner.stat(info.bucket, info.name)
        return self._inner.open(live or info)

    def stat(self, bucket: str, name: str) -> ObjectInfo | None:
        return self._inner.stat(bucket, name)

    def list_prefix(self, bucket: str, prefix: str, limit: int) -> list[ObjectInfo]:
        return self._inner.list_prefix(bucket, prefix, limit)

    def put(self, bucket: str, name: str, content: bytes, *, content_type: str) -> ObjectInfo:
        return self._inner.put(bucket, name, content, content_type=content_type)

    def writer(
        self, bucket: str, name: str, *, content_type: str, new: bool = False
    ) -> AbstractContextManager[BinaryIO]:
        return self._inner.writer(bucket, name, content_type=content_type, new=new)

    def delete(self, bucket: str, name: str) -> None:
        self._inner.delete(bucket, name)


def thawed(stores: Stores) -> Stores:
    return replace(stores, objects=ThawedObjects(stores.objects))


class OneTaskAJob:
    """`Tasks` that take every further task of a job for a repeat of the first."""

    def __init__(self, inner: Tasks) -> None:
        self._inner = inner

    def enqueue(self, task: Task) -> bool:
        return self._inner.enqueue(replace(task, name=task.name.rsplit("-", 1)[0]))


def one_task_a_job(stores: Stores) -> Stores:
    return replace(stores, tasks=OneTaskAJob(stores.tasks))


class Tokenless(SimulatedDelivery):
    """Publishes whenever it is told to."""

    def has_token(self) -> bool:
        return False

    def drop_staging(self) -> None:
        """The staging stays, or the second publish would find nothing to publish."""


class Appending(SimulatedDelivery):
    """Writes a chunk behind what is there, not at its position."""

    def put(self, staged: list[tuple[int, Row]], position: int, row: Row) -> None:
        staged.append((position, row))


class Unverified(SimulatedDelivery):
    """Believes that the vendor holds what was sent."""

    def read_back(self) -> Fingerprint:
        return Agreeing()


class Agreeing(Fingerprint):
    """Equals whatever is expected."""

    def __init__(self) -> None:
        super().__init__(0, 0)

    def __getattribute__(self, name: str) -> Any:
        return _Always() if name in ("rows", "checksum") else super().__getattribute__(name)


class _Always(int):
    """A number that equals every other one."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class Unasked(SimulatedDelivery):
    """Answers the question whether a publish took effect with no."""

    def is_published(self) -> bool:
        return False


class UnaskedBehind(SimulatedDelivery):
    """Answers it with no once the staging was removed, as if nobody asked again."""

    def is_published(self) -> bool:
        return super().is_published() and self.plan.job_id not in self.vendor.abandoned

    def abandon(self) -> None:
        self.vendor.abandoned.add(self.plan.job_id)
        super().abandon()


class InParts(SimulatedDelivery):
    """Publishes row by row before the readers' eyes."""

    def apply(self, before: tuple[Row, ...], rows: tuple[Row, ...]) -> None:
        whole = published(before, self.plan.mode, rows)
        for end in range(len(whole) + 1):
            self.vendor.live = whole[:end]
            self.points.reach("vendor.part of publish:after")


@dataclass(frozen=True)
class Tooth:
    """A guard's name, the collaborators without it, and the figure that must show it (empty: any)."""

    guard: str
    collaborators: Collaborators
    shows: str = ""

    def is_noticed(self, verdict: Verdict) -> bool:
        return bool(getattr(verdict, self.shows)) if self.shows else not verdict.is_clean


TEETH = (
    Tooth("fencing check of every write", Collaborators(unfenced)),
    Tooth("lease and fencing check", Collaborators(without_lease)),
    Tooth("idempotency key", Collaborators(forgetting_keys), shows="duplicated"),
    Tooth("frozen source", Collaborators(thawed), shows="lost"),
    Tooth("a name of its own for every task", Collaborators(one_task_a_job)),
    Tooth("publish token in the target", Collaborators(delivery=Tokenless)),
    Tooth("chunks by position", Collaborators(delivery=Appending)),
    Tooth("verification of a vendor that drops a row", Collaborators(delivery=Unverified, drops=1), shows="lost"),
    Tooth("question whether the publish took effect", Collaborators(delivery=Unasked)),
    Tooth("the same question behind the staging's end", Collaborators(delivery=UnaskedBehind), shows="stuck"),
    Tooth("one atomic publish", Collaborators(delivery=InParts), shows="mixed"),
    Tooth("turns on a target", Collaborators(hiding("turn")), shows="stuck"),
    Tooth("sweep of jobs that nobody drives", Collaborators(hiding("next_task_at")), shows="stuck"),
)
