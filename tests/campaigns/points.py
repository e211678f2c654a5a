"""Points: the places before and after every outside effect, at which a campaign may kill, pause or fail the caller.

`Pointed…` wrap the ports of `shared.ports`. They are handed to the composition root in place of the adapters, and change
nothing but to tell `Points` where the caller stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, BinaryIO, Protocol, TypeVar

from shared.ports import Document, Documents, ObjectInfo, Objects, Query, Stores, Task, Tasks, Transaction

T = TypeVar("T")


class Points(Protocol):
    """What is told of every point; it may return, raise, block or kill the process."""

    def reach(self, name: str) -> None:
        """`name` is `<port>.<call>:before` or `:after`."""


class PointedDocuments:
    """`Documents` with a point before every call, and one after every call that writes."""

    def __init__(self, inner: Documents, points: Points) -> None:
        self._inner = inner
        self._points = points

    def get(self, path: str) -> Document | None:
        self._points.reach("documents.get:before")
        return self._inner.get(path)

    def get_all(self, paths: Sequence[str]) -> list[Document | None]:
        self._points.reach("documents.get:before")
        return self._inner.get_all(paths)

    def create(self, path: str, data: Mapping[str, Any]) -> None:
        self._points.reach("documents.create:before")
        self._inner.create(path, data)
        self._points.reach("documents.create:after")

    def update(self, path: str, fields: Mapping[str, Any], *, version: str | None = None) -> None:
        self._points.reach("documents.update:before")
        self._inner.update(path, fields, version=version)
        self._points.reach("documents.update:after")

    def delete(self, path: str, *, version: str | None = None) -> None:
        self._points.reach("documents.delete:before")
        self._inner.delete(path, version=version)
        self._points.reach("documents.delete:after")

    def query(self, query: Query) -> list[Document]:
        self._points.reach("documents.query:before")
        return self._inner.query(query)

    def moment(self) -> datetime:
        return self._inner.moment()

    def transact(self, work: Callable[[Transaction], T]) -> T:
        self._points.reach("documents.transact:before")
        result = self._inner.transact(work)
        self._points.reach("documents.transact:after")
        return result


class PointedTasks:
    """`Tasks` with a point before and after."""

    def __init__(self, inner: Tasks, points: Points) -> None:
        self._inner = inner
        self._points = points

    def enqueue(self, task: Task) -> bool:
        self._points.reach("tasks.enqueue:before")
        is_new = self._inner.enqueue(task)
        self._points.reach("tasks.enqueue:after")
        return is_new


class PointedObjects:
    """`Objects` with a point before every call, and one after every call that writes."""

    def __init__(self, inner: Objects, points: Points) -> None:
        self._inner = inner
        self._points = points

    def stat(self, bucket: str, name: str) -> ObjectInfo | None:
        self._points.reach("objects.stat:before")
        return self._inner.stat(bucket, name)

    def open(self, info: ObjectInfo) -> BinaryIO:
        self._points.reach("objects.open:before")
        return self._inner.open(info)

    def copy(self, info: ObjectInfo, bucket: str, name: str) -> ObjectInfo:
        self._points.reach("objects.copy:before")
        copied = self._inner.copy(info, bucket, name)
        self._points.reach("objects.copy:after")
        return copied

    def put(self, bucket: str, name: str, content: bytes, *, content_type: str) -> ObjectInfo:
        self._points.reach("objects.put:before")
        put = self._inner.put(bucket, name, content, content_type=content_type)
        self._points.reach("objects.put:after")
        return put

    @contextmanager
    def writer(self, bucket: str, name: str, *, content_type: str, new: bool = False) -> Iterator[BinaryIO]:
        self._points.reach("objects.write:before")
        with self._inner.writer(bucket, name, content_type=content_type, new=new) as sink:
            yield sink
            self._points.reach("objects.write:before the end")
        self._points.reach("objects.write:after")

    def delete(self, bucket: str, name: str) -> None:
        self._points.reach("objects.delete:before")
        self._inner.delete(bucket, name)
        self._points.reach("objects.delete:after")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what the port gains later has no points until it is named here


def pointed(stores: Stores, points: Points) -> Stores:
    """Return the stores with points at documents, tasks and objects; the clock, secrets and cron jobs as they are."""
    return replace(
        stores,
        documents=PointedDocuments(stores.documents, points),
        tasks=PointedTasks(stores.tasks, points),
        objects=PointedObjects(stores.objects, points),
    )
