"""Between a connector's change and a job that publishes through it: one of them comes first, and the other sees it.

A job whose publish was sent and not answered must find its target again to know what became of it. So a connector that is to lead
elsewhere, or nowhere, is held for a moment: from then on no job begins to publish through it (`confirm`, read in the very
transaction that begins), and a job that had begun is found by the query that follows, and the change is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from shared.errors import ConflictError, NotFoundError, PreconditionFailedError, VendorUnavailableError
from shared.models import JobStatus, new_id
from shared.ports import Clock, Document, Documents, Query, Stores, Transaction

HOLD = timedelta(seconds=60)
"""Our choice: far longer than a query and a write take; a process that dies in between holds jobs up for that long."""
LOOK_AGAIN_S = 5.0


class PublishHolds:
    """Holds on `connectors/{name}`, in the field `publish_hold`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @contextlib.contextmanager
    def held(self, name: str, version: str | None, moves: Callable[[Mapping[str, Any]], bool]) -> Iterator[str]:
        """Keep jobs from beginning to publish while the block runs; give it the hold's id for `still_held`.

        `moves` tells of an unfinished job whether the change takes its target away; `version` is what the caller read.

        Raises:
            NotFoundError: there is no such connector.
            PreconditionFailedError: it changed since `version`.
            ConflictError: code `job_publishing`, a job that would lose its target is publishing.
        """
        now = self._stores.clock.now()
        hold = new_id(now)

        def take(tx: Transaction) -> None:
            as_read(tx, name, version)
            tx.update(f"connectors/{name}", {"publish_hold": {"id": hold, "until": now + HOLD}})

        self._stores.documents.transact(take)
        try:
            where = (("connector_name", "==", name), ("status", "==", JobStatus.RUNNING.value))
            for item in self._stores.documents.query(Query("export_jobs", where)):
                if item.data.get("publishing") and moves(item.data):
                    raise ConflictError(
                        f"export job {item.data['id']} is publishing through connector {name!r}; wait until it has ended",
                        code="job_publishing",
                    )
            yield hold
        finally:
            self._stores.documents.transact(lambda tx: _give_back(tx, name, hold))


def as_read(tx: Transaction, name: str, version: str | None) -> dict[str, Any]:
    """Return the connector inside a transaction. Raises `PreconditionFailedError` if it is not the version that was read."""
    found = tx.get(f"connectors/{name}")
    if found is None:
        raise NotFoundError(f"connector {name!r} does not exist; check the name, or list what there is")
    if version is not None and found.version != version:
        raise PreconditionFailedError(f"connector {name!r} changed since it was read; read it again")
    return found.data


def still_held(tx: Transaction, name: str, hold: str) -> dict[str, Any]:
    """Return the connector inside a transaction. Raises `PreconditionFailedError` if another change took the hold over."""
    found = as_read(tx, name, None)
    if (found.get("publish_hold") or {}).get("id") != hold:
        raise PreconditionFailedError(f"connector {name!r} is being changed by another request; read it again")
    return found


def refuse_held(connector: Document, clock: Clock) -> None:
    """Raise `VendorUnavailableError`, code `connector_changing`, while somebody changes the connector."""
    hold = connector.data.get("publish_hold")
    if hold and hold["until"] > clock.now():
        raise VendorUnavailableError(
            f"connector {connector.data['name']!r} is being changed; the job goes on afterwards",
            code="connector_changing",
            retry_after_s=LOOK_AGAIN_S,
        )


def _give_back(tx: Transaction, name: str, hold: str) -> None:
    found = tx.get(f"connectors/{name}")
    if found is not None and (found.data.get("publish_hold") or {}).get("id") == hold:
        tx.update(found.path, {"publish_hold": None})


def refuse_while_used(documents: Documents, name: str) -> None:
    """Raise `ConflictError` (code `in_use`) while jobs or refreshes run on a connector, or schedules point at it."""
    for collection, active, what in (
        ("export_jobs", ("pending", "running", "held"), "export jobs are not finished"),
        ("refresh_runs", ("pending", "running"), "refreshes are not finished"),
    ):
        where = (("connector_name", "==", name), ("status", "in", list(active)))
        if documents.query(Query(collection, where, limit=1)):
            raise ConflictError(
                f"{what} on connector {name!r}; wait for them, or delete with ?force=true", code="in_use"
            )
    if documents.query(Query("schedules", (("connector_name", "==", name),), limit=1)):
        raise ConflictError(
            f"schedules point at connector {name!r}; delete them first, or delete with ?force=true", code="in_use"
        )
