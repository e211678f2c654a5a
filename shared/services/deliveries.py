"""The last delivery of what a schedule keeps fresh that went all the way to what readers see.

It is told by places, not by names: an export by its physical target (`target_key` of its jobs), a refresh by what it computes
anew (`refresh_key` of its runs), through whatever connector and under whatever name of a table it got there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.connectors._base import RefreshEffect
from shared.errors import InvalidRequestError
from shared.models import ExportRequest, JobStatus, Mode, RunStatus, ScheduleAction
from shared.ports import Document, Documents, Query
from shared.services.connectors import Connectors
from shared.services.sources import OF_ROWS
from shared.services.tables import Tables, choices, target_options

LOOKED_AT = 20
"""Our choice: more than end in the minute between two looks. What was found then is kept on the schedule."""
LOOKED_BACK_AT = 200
"""Our choice: of rows that are sent in beside a table every minute three hours. It is read only where the newest do not tell."""


@dataclass(frozen=True)
class Place:
    """Where a schedule delivers. `target` is null for a mere refresh, `refreshed` where nothing has to be computed anew."""

    target: str | None
    refreshed: str | None
    mode: str | None = None

    @property
    def key(self) -> str:
        return f"{self.target or ''} {self.refreshed or ''}"


@dataclass(frozen=True)
class Computed:
    """What refreshes made of a thing, as of a moment; `as_of` is null if the last one emptied it."""

    as_of: datetime | None
    refreshed_at: datetime

    @property
    def is_empty(self) -> bool:
        return self.as_of is None


class Deliveries:
    """One reading for many schedules: connectors, tables and refreshes that they share are read once."""

    def __init__(self, documents: Documents, connectors: Connectors, tables: Tables) -> None:
        self._documents = documents
        self._connectors = connectors
        self._connector = cache(lambda name: documents.get(f"connectors/{name}"))
        self._table = cache(tables.registered)
        self._computed = cache(self._read_computed)

    def last_of(self, schedule: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
        """Return `as_of` and the times of the last delivery, without them if there is none.

        `key` tells the place, `since` from when on the schedule has gone there, if it is not as old as the schedule.
        """
        place = self._place(schedule)
        before: Mapping[str, Any] = schedule.get("delivered") or {}
        if place is None:
            return before
        nothing = _from(before, place.key, now)
        kept = before if before.get("key") == place.key else nothing
        computed = self._computed(place.refreshed) if place.refreshed else None
        if schedule["action"] == ScheduleAction.REFRESH.value:
            if computed is None:
                return kept
            return nothing if computed.is_empty else nothing | asdict(computed)
        found = self._last_export(place, kept.get("published_at"), computed)
        delivered = nothing | found if found else kept
        if computed and computed.is_empty and delivered.get("as_of"):
            return nothing if computed.refreshed_at >= delivered["refreshed_at"] else delivered
        return delivered

    def _place(self, schedule: Mapping[str, Any]) -> Place | None:
        """Return where a schedule delivers as things are now, None if that cannot be told."""
        connector: Document | None = self._connector(schedule["connector_name"])
        if connector is None:
            return None
        if schedule["action"] == ScheduleAction.REFRESH.value:
            return Place(None, self._connectors.refresh_key(connector, schedule["options"]))
        request = msgspec.convert(schedule["export"], ExportRequest)
        kind = connector.data["connector_type"]
        chosen = choices(request, self._table(request.table_name), kind)
        try:
            options = target_options(chosen, kind)
        except InvalidRequestError:
            return None
        target = self._connectors.target_key(connector, request.table_name, options)
        refreshed = self._connectors.refresh_key(connector, {}) if request.refresh_after else None
        return Place(target, refreshed, chosen.mode.value)

    def _last_export(self, place: Place, since: datetime | None, computed: Computed | None) -> dict[str, Any]:
        """Return the times of the newest delivery after `since`, empty if none is known.

        The newest jobs may all be younger than the refresh that readers see; those that it brought to them are asked for then.
        """
        is_there = computed.as_of if computed else None
        until: datetime | None = None
        for most in (LOOKED_AT, LOOKED_BACK_AT):
            jobs = self._ended(place, since, until, most)
            for job in jobs:
                refreshed_at = self._refreshed_at(job, place, computed)
                if not _is_whole(job, place.mode) or (place.refreshed and refreshed_at is None):
                    continue
                as_of = job.get("source_as_of") or job["created_at"]
                times = {
                    "exported_at": job["started_at"],
                    "published_at": job["completed_at"],
                    "refreshed_at": refreshed_at,
                }
                return {"as_of": as_of, "source_as_of": as_of, **times}
            if len(jobs) < most or (place.refreshed and is_there is None):
                break
            oldest = jobs[-1]["completed_at"]
            until = min(oldest, is_there) if is_there else oldest
        return {}

    def _ended(
        self, place: Place, since: datetime | None, until: datetime | None, most: int
    ) -> list[Mapping[str, Any]]:
        """Return the jobs that succeeded at a place after `since` and not after `until`, the newest first."""
        where = (
            ("target_key", "==", place.target),
            ("status", "==", JobStatus.SUCCESS.value),
            *((("completed_at", ">", since),) if since else ()),
            *((("completed_at", "<=", until),) if until else ()),
        )
        query = Query("export_jobs", where, order_by="completed_at", descending=True, limit=most)
        return [item.data for item in self._documents.query(query)]

    def _refreshed_at(self, job: Mapping[str, Any], place: Place, computed: Computed | None) -> datetime | None:
        """Return when what a job published was computed: by the refresh after it, or by a later one of the same thing."""
        if place.refreshed is None:
            return None
        run_id = job.get("refresh_run_id")
        found = self._documents.get(f"refresh_runs/{run_id}") if run_id else None
        if (
            found
            and found.data["status"] == RunStatus.SUCCESS.value
            and found.data.get("refresh_key") == place.refreshed
            and found.data["started_at"] >= job["completed_at"]  # it may be another's that ran before, taken for ours
        ):
            ended_at: datetime = found.data["ended_at"]
            return ended_at
        is_later = computed is not None and computed.as_of is not None and computed.as_of >= job["completed_at"]
        return computed.refreshed_at if computed is not None and is_later else None

    def _read_computed(self, refresh_key: str) -> Computed | None:
        """Return what readers see of a thing after its last refreshes; None if none is known that changed it."""
        where = (("refresh_key", "==", refresh_key), ("status", "==", RunStatus.SUCCESS.value))
        query = Query("refresh_runs", where, order_by="created_at", descending=True, limit=LOOKED_AT)
        calculated: datetime | None = None
        for item in self._documents.query(query):
            run = item.data
            effect = kinds.refresh_effect(run["connector_type"], run["options"])
            if effect is RefreshEffect.RENEWS:
                return Computed(run["started_at"], run["ended_at"])
            if effect is RefreshEffect.EMPTIES:
                return Computed(None, run["ended_at"])
            if effect is RefreshEffect.CALCULATES:
                calculated = run["ended_at"]
            elif effect is RefreshEffect.LOADS and calculated is not None:
                return Computed(run["started_at"], calculated)
        return None


def _from(before: Mapping[str, Any], key: str, now: datetime) -> dict[str, Any]:
    """Return the place alone; one that a schedule is led to after another has from then on to get something."""
    if before.get("key", key) != key:
        return {"key": key, "since": now}
    return {"key": key, **({"since": before["since"]} if before.get("since") else {})}


def _is_whole(job: Mapping[str, Any], mode: str | None) -> bool:
    """Whether a job delivered what its table holds: not rows that were sent in beside it, nor those that were rejected before."""
    if job.get("replay_of"):
        return False
    if job["mode"] == Mode.REPLACE.value:
        return True
    return bool(job["mode"] == mode and job["source"].get("uri") != OF_ROWS)
