"""Somebody's Firestore as `shared.ports.Collections`, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.errors import BIConnectorsError
from shared.ports import CollectionName, SourceDocument


class InMemoryCollections:
    """Documents by path, the same at every moment. `failures` are raised, one each, after half of what a call would give."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.failures: list[BIConnectorsError] = []
        self.reads: list[tuple[datetime, str | None]] = []

    def read(self, name: CollectionName, at: datetime, after: str | None, limit: int) -> Iterator[SourceDocument]:
        self.reads.append((at, after))
        found = [path for path in sorted(self.documents) if _is_in(path, name) and (after is None or path > after)][
            :limit
        ]
        failure = self.failures.pop(0) if self.failures else None
        for number, path in enumerate(found):
            if failure is not None and number >= len(found) // 2:
                raise failure
            yield SourceDocument(path, self.documents[path])


def _is_in(path: str, name: CollectionName) -> bool:
    parent = path.rpartition("/")[0]
    return parent.rpartition("/")[2] == name.path if name.is_group else parent == name.path
