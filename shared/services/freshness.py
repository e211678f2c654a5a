"""End-to-end freshness: what readers see, as of when, and an alert when it is older than a schedule's `max_age`.

Evaluated by the system job of every minute, not by runs: it alerts when nothing ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.models import Freshness, FreshnessPage, FreshnessState, JobStatus, RunStatus, ScheduleAction, age
from shared.ports import Query, Stores, Transaction
from shared.services.notices import announce, subject_of
from shared.services.records import Page, list_page
from shared.telemetry import log_event

LIVE = ("deleting", "==", False)
LOOKED_AT = 5  # our choice: exports that succeeded lately, among them the last whose refresh succeeded too
EVENT = {FreshnessState.LATE: "freshness.late", FreshnessState.FRESH: "freshness.recovered"}


class Freshnesses:
    """The use cases around how fresh the tables of the schedules are."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def page(self, connector_name: str | None, page: Page) -> FreshnessPage:
        """List how things stand now, for every schedule."""
        where = (LIVE, ("connector_name", "==", connector_name)) if connector_name else (LIVE,)
        found, token = list_page(self._stores.documents, Query("schedules", where), page)
        now = self._stores.clock.now()
        return FreshnessPage(freshness=[self.of(item.data, now) for item in found], next_page_token=token)

    def evaluate_all(self) -> None:
        """Compare every enabled schedule that has a `max_age` with it; tell of each change of state once, log each time."""
        found = self._stores.documents.query(Query("schedules", (LIVE, ("enabled", "==", True))))
        seen: list[Freshness] = []
        for item in found:
            if item.data.get("max_age"):
                try:
                    seen.append(self._evaluate(item.data))
                except Exception as error:  # noqa: BLE001 - one schedule's trouble must not keep the alerts of the others
                    log_event("freshness_postponed", severity="ERROR", schedule_id=item.data["id"], reason=str(error))
        late = sum(one.state is FreshnessState.LATE for one in seen)
        log_event("freshness", severity="WARNING" if late else "INFO", watched=len(seen), late=late)

    def of(self, schedule: Mapping[str, Any], now: datetime) -> Freshness:
        """Return how things stand for one schedule."""
        chain = self._chain(schedule)
        as_of = chain.pop("as_of", None)
        old = now - as_of if as_of else None
        return Freshness(
            schedule_id=schedule["id"],
            connector_name=schedule["connector_name"],
            table_name=(schedule.get("export") or {}).get("table_name"),
            state=_state(schedule, as_of, now),
            max_age=schedule.get("max_age"),
            age_s=int(old.total_seconds()) if old is not None else None,
            **chain,
        )

    def _evaluate(self, schedule: Mapping[str, Any]) -> Freshness:
        now = self._stores.clock.now()
        seen = self.of(schedule, now)

        def work(tx: Transaction) -> str | None:
            found = tx.get(f"schedules/{schedule['id']}")
            if found is None or found.data.get("max_age") != seen.max_age:
                return None
            before = (found.data.get("freshness") or {}).get("state", FreshnessState.UNKNOWN.value)
            if before == seen.state.value:
                return None
            tx.update(found.path, {"freshness": {"state": seen.state.value, "since": now}})
            event = EVENT.get(seen.state) if FreshnessState.LATE.value in (before, seen.state.value) else None
            if event:
                announce(tx, event, now, _words(seen), subject_of(found.data))
            return event

        if event := self._stores.documents.transact(work):
            severity = "WARNING" if seen.state is FreshnessState.LATE else "INFO"
            log_event(event, severity=severity, reason=_words(seen), **subject_of(schedule))
        return seen

    def _chain(self, schedule: Mapping[str, Any]) -> dict[str, Any]:
        """Return the times of the last delivery that went all the way, and `as_of`; empty if there is none."""
        if schedule["action"] == ScheduleAction.REFRESH.value:
            run = self._last_refresh(schedule["connector_name"])
            return {"as_of": run["started_at"], "refreshed_at": run["ended_at"]} if run else {}
        export = schedule["export"]
        where = (
            ("connector_name", "==", schedule["connector_name"]),
            ("table_name", "==", export["table_name"]),
            ("status", "==", JobStatus.SUCCESS.value),
        )
        query = Query("export_jobs", where, order_by="completed_at", descending=True, limit=LOOKED_AT)
        for item in self._stores.documents.query(query):
            job = item.data
            refreshed_at = self._refreshed_at(job)
            if refreshed_at is None and export["refresh_after"]:
                continue
            as_of = job.get("source_as_of") or job["created_at"]
            times = {
                "exported_at": job["started_at"],
                "published_at": job["completed_at"],
                "refreshed_at": refreshed_at,
            }
            return {"as_of": as_of, "source_as_of": as_of, **times}
        return {}

    def _refreshed_at(self, job: Mapping[str, Any]) -> datetime | None:
        run_id = job.get("refresh_run_id")
        found = self._stores.documents.get(f"refresh_runs/{run_id}") if run_id else None
        if found is None or found.data["status"] != RunStatus.SUCCESS.value:
            return None
        ended_at: datetime = found.data["ended_at"]
        return ended_at

    def _last_refresh(self, connector_name: str) -> Mapping[str, Any] | None:
        where = (("connector_name", "==", connector_name), ("status", "==", RunStatus.SUCCESS.value))
        query = Query("refresh_runs", where, order_by="created_at", descending=True, limit=1)
        found = self._stores.documents.query(query)
        return found[0].data if found else None


def _state(schedule: Mapping[str, Any], as_of: datetime | None, now: datetime) -> FreshnessState:
    if not schedule.get("max_age"):
        return FreshnessState.UNKNOWN
    if now - (as_of or schedule["created_at"]) > age(schedule["max_age"]):
        return FreshnessState.LATE
    return FreshnessState.FRESH if as_of else FreshnessState.UNKNOWN


def _words(seen: Freshness) -> str:
    what = f"table {seen.table_name!r} on {seen.connector_name!r}" if seen.table_name else f"{seen.connector_name!r}"
    if seen.age_s is None:
        return f"nothing has arrived for {what} within {seen.max_age} since its schedule was made"
    return f"what readers see of {what} is {seen.age_s // 60} minutes old; the schedule asks for at most {seen.max_age}"
