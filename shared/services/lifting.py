"""Documents that an earlier release wrote, brought to the present form. A job is lifted when a worker first meets it.

Form 1 named a target after the connector and the table. Form 2 names the place that they lead to, so that two connectors to one
place take turns: `target_key` of jobs, and the documents of `targets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.models import SCHEMA, JobStatus
from shared.pipeline.lease import join_line
from shared.ports import Documents, Query, Transaction
from shared.services.connectors import Connectors

OLDEST = -(10**18)
"""Before every number of a line."""
UNFINISHED = [status.value for status in JobStatus if not status.is_final]


class Lifting:
    """Lifts jobs. Everything may be done twice, and by two at once."""

    def __init__(self, documents: Documents, connectors: Connectors) -> None:
        self._documents = documents
        self._connectors = connectors

    def lift_line(self, job: Mapping[str, Any]) -> None:
        """Lift a job that has not ended, after those that wait before it, so that they keep their order; nothing if it is lifted.

        Jobs of the present form that were accepted before this go first, and these are refused (`superseded`) if one published.
        """
        if job["schema"] >= SCHEMA:
            return
        where = (("target_key", "==", job["target_key"]), ("status", "in", UNFINISHED))
        for item in self._documents.query(Query("export_jobs", where, order_by="turn")):
            self.lift_job(item.path)

    def lift_job(self, path: str) -> bool:
        """Lift one job, and what its old target remembers; return whether there was anything to do."""

        def work(tx: Transaction) -> bool:
            found = tx.get(path)
            if found is None or found.data["schema"] >= SCHEMA:
                return False
            job = found.data
            connector = tx.get(f"connectors/{job['connector_name']}")
            if connector is None:  # it can only be read from now on; a worker ends it with `not_found`
                tx.update(path, {"schema": SCHEMA})
                return True
            key = self._connectors.target_key(connector, job["table_name"], job["target"])
            old, new = tx.get(f"targets/{job['target_key']}"), tx.get(f"targets/{key}")
            accepted = _earlier_than_all(job["created_at"], job["accepted"])
            changes = {"schema": SCHEMA, "target_key": key, "accepted": accepted, "lifted": True}
            turn = join_line(tx, key)
            tx.update(path, {**changes, "turn": turn})
            if new is None or "last_accepted" not in new.data:
                kept: dict[str, Any] = {
                    name: old.data[name] for name in ("last_job_id", "last_rows") if old and name in old.data
                }
                tx.update(f"targets/{key}", {**kept, "last_accepted": OLDEST})
            return True

        return self._documents.transact(work)


def _earlier_than_all(created_at: datetime, accepted: int) -> int:
    """Return a negative number that keeps the order of jobs of the old form: by time, then as they were accepted."""
    return (int(created_at.timestamp() * 1000) - 10**13) * 1000 + accepted % 1000
