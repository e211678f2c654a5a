"""Destroys secrets that no connector and no channel uses: former ones, and those of a request that failed before its document was there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.ports import Documents, Query, Stores
from shared.services.restoring import is_restoring

GRACE = timedelta(hours=1)
"""The promise: nothing unused outlives it by more than a sweep, while there is any connector or channel. A worker that read the
former version goes on with it meanwhile."""


OWNERS = {"connector": "connectors", "channel": "channels"}
"""What a secret's name says of the one it was made for, and the collection of those. Any other may name it too."""


class Credentials:
    """Sweeps the secrets `<prefix>-connector-<name>` and `<prefix>-channel-<name>`."""

    def __init__(self, stores: Stores, prefix: str) -> None:
        self._stores = stores
        self._prefix = prefix

    def sweep(self) -> int:
        """Destroy every version that nobody has named for an hour; return how many. Repeatable."""
        before = self._stores.clock.now() - GRACE
        old = [
            version.name
            for kind in OWNERS
            for version in self._stores.secrets.versions(f"{self._prefix}-{kind}-")
            if version.created_at < before
        ]
        used = _named(self._stores.documents, before)  # in this order: who names a version by now keeps it
        # more likely a database that is empty until it is restored
        if not used or is_restoring(self._stores.documents):
            return 0
        unused = sorted(name for name in old if _place(name) not in used)
        for name in unused:
            self._stores.secrets.destroy(name)
        return len(unused)


def delete_unless_named(stores: Stores, secret_id: str) -> None:
    """Delete the secret of a document that is gone, unless another document names a version of it: the sweep sees to the others."""
    used = _named(stores.documents, stores.clock.now() - GRACE)
    if not any(place.partition("/")[0] == secret_id for place in used):
        stores.secrets.delete(secret_id)


def _named(documents: Documents, before: datetime) -> set[str]:
    """Return the places of the versions that documents name, or named until less than the grace ago."""
    found = [item.data for name in OWNERS.values() for item in documents.query(Query(name))]
    former = [left for data in found for left in data.get("former_credentials", []) if left["until"] >= before]
    return {_place(data["credentials"]) for data in found} | {_place(left["version"]) for left in former}


def _place(version: str) -> str:
    """Return `<secret>/versions/<number>`: a project has a name and a number, and people write either."""
    return version.partition("/secrets/")[2]


def former_credentials(document: Mapping[str, Any], credentials: str, now: datetime) -> list[dict[str, Any]]:
    """Return what a document that names `credentials` from now on keeps of those it named within the grace, each with its own end."""
    former = [left for left in document.get("former_credentials", []) if left["until"] >= now - GRACE]
    if document["credentials"] != credentials:
        former.append({"version": document["credentials"], "until": now})
    return former
