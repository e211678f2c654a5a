"""Destroys credentials that no connector uses: rotated ones, and those of a registration that failed before its document was there."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.ports import Stores

GRACE = timedelta(hours=1)
"""The promise: nothing unused outlives it by more than a sweep. A worker that read the former version goes on with it meanwhile."""


class Credentials:
    """Sweeps the secrets `<prefix>-connector-<name>`."""

    def __init__(self, stores: Stores, prefix: str) -> None:
        self._stores = stores
        self._prefix = f"{prefix}-connector-"

    def sweep(self) -> int:
        """Destroy every version that its connector has not named for an hour; return how many. Repeatable."""
        before = self._stores.clock.now() - GRACE
        unused = [
            version.name
            for version in self._stores.secrets.versions(self._prefix)
            if version.created_at < before and self._is_unused(version.name, before)
        ]
        for name in unused:
            self._stores.secrets.destroy(name)
        return len(unused)

    def _is_unused(self, version: str, before: datetime) -> bool:
        connector = version.split("/secrets/")[1].split("/")[0].removeprefix(self._prefix)
        found = self._stores.documents.get(f"connectors/{connector}")
        if found is None:
            return True
        is_named = found.data["credentials"] == version
        since = found.data.get("credentials_since") or found.data["created_at"]
        return not is_named and bool(since < before)
