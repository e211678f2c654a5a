"""Destroys secrets that no connector and no channel uses: former ones, and those of a request that failed before its document was there."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.ports import Stores

GRACE = timedelta(hours=1)
"""The promise: nothing unused outlives it by more than a sweep. A worker that read the former version goes on with it meanwhile."""


OWNERS = {"connector": "connectors", "channel": "channels"}
"""What a secret's name says of its owner, and the collection where that is."""


class Credentials:
    """Sweeps the secrets `<prefix>-connector-<name>` and `<prefix>-channel-<name>`."""

    def __init__(self, stores: Stores, prefix: str) -> None:
        self._stores = stores
        self._prefix = prefix

    def sweep(self) -> int:
        """Destroy every version that its owner has not named for an hour; return how many. Repeatable."""
        before = self._stores.clock.now() - GRACE
        unused = [
            version.name
            for kind in OWNERS
            for version in self._stores.secrets.versions(f"{self._prefix}-{kind}-")
            if version.created_at < before and self._is_unused(version.name, kind, before)
        ]
        for name in unused:
            self._stores.secrets.destroy(name)
        return len(unused)

    def _is_unused(self, version: str, kind: str, before: datetime) -> bool:
        owner = version.split("/secrets/")[1].split("/")[0].removeprefix(f"{self._prefix}-{kind}-")
        found = self._stores.documents.get(f"{OWNERS[kind]}/{owner}")
        if found is None:
            return True
        is_named = found.data["credentials"] == version
        since = found.data.get("credentials_since") or found.data["created_at"]
        return not is_named and bool(since < before)
