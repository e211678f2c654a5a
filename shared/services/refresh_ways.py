"""Which way a refresh run takes to the vendor: its connector as it is or, once started, as it was then, if that leads elsewhere now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.errors import ConflictError, VendorUnavailableError
from shared.ports import Document
from shared.services.connectors import Connectors

CHANGED = "connector_changed"
KEPT = ("config", "credentials")
"""What a run keeps of its connector: the configuration together with the version of its own credentials, so that a secret that
came with another place is never shown to the former one. A version that no connector names is destroyed after a while: then the
run ends as one that cannot be followed any more."""


@dataclass(frozen=True)
class Way:
    """The connector to open; `has_moved` if it leads elsewhere by now, so that nothing is to be started any more."""

    connector: Document
    has_moved: bool = False

    def kept(self) -> dict[str, Any]:
        """Return what the run keeps when the vendor is called."""
        return {name: self.connector.data[name] for name in KEPT}


def way_of(connectors: Connectors, run: Mapping[str, Any]) -> Way:
    """Return the way of a run to what it refreshes.

    Raises:
        NotFoundError: the connector was deleted.
        ConflictError: code `connector_changed`, the refresh was started and what leads to it is not known: by an earlier release,
            or through another connector of the same name.
    """
    found, key = connectors.get(run["connector_name"]), run.get("refresh_key")
    is_one_kind = found.data["connector_type"] == run["connector_type"]
    if key is None or (is_one_kind and connectors.refresh_key(found, run["options"]) == key):
        return Way(found)
    if run.get("start_called_at") is None:
        return Way(found, has_moved=True)
    kept, is_the_same = run.get("started_through"), found.data["created_at"] <= run["created_at"]
    if kept is None or not is_the_same:
        raise ConflictError(
            f"connector {run['connector_name']!r} leads to something else now; look at the vendor how it ended",
            code=CHANGED,
        )
    return Way(replace(found, data={**found.data, **kept}), has_moved=True)


def not_started(run: Mapping[str, Any]) -> ConflictError:
    """Return why a run whose connector has moved is not started."""
    name = run["connector_name"]
    return ConflictError(
        f"connector {name!r} leads to something else than when this refresh was accepted, so it was not started; refresh again",
        code=CHANGED,
    )


def not_started_again(run: Mapping[str, Any], look_s: float) -> VendorUnavailableError:
    """Return why a run whose connector has moved, and whose start got no answer, is only looked for."""
    name = run["connector_name"]
    return VendorUnavailableError(
        f"its start got no answer, and the vendor does not show it; it is not started again, for connector {name!r} leads to "
        "something else now",
        code=CHANGED,
        retry_after_s=look_s,
    )
