"""End-to-end freshness: what readers see, as of when, and an alert when it is older than a schedule's `max_age`.

Evaluated by the system job of every minute, not by runs: it alerts when nothing ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.models import Freshness, FreshnessPage, FreshnessState, age
from shared.ports import Document, Query, Stores, Transaction
from shared.redaction import redact
from shared.services.connectors import Connectors
from shared.services.deliveries import Deliveries
from shared.services.notices import announce, subject_of
from shared.services.records import Page, list_page
from shared.services.tables import Tables
from shared.telemetry import log_event

LIVE = ("deleting", "==", False)
TIMES = ("source_as_of", "exported_at", "published_at", "refreshed_at")
JUDGED = ("action", "export", "options", "max_age", "enabled", "deleting", "freshness", "delivered")


class Freshnesses:
    """The use cases around how fresh the tables of the schedules are."""

    def __init__(self, stores: Stores, connectors: Connectors, tables: Tables) -> None:
        self._stores = stores
        self._connectors = connectors
        self._tables = tables

    def page(self, connector_name: str | None, page: Page) -> FreshnessPage:
        """List how things stand now, for every schedule."""
        where = (LIVE, ("connector_name", "==", connector_name)) if connector_name else (LIVE,)
        found, token = list_page(self._stores.documents, Query("schedules", where), page)
        now, deliveries = self._stores.clock.now(), self._deliveries()
        freshness = [_told(item, deliveries, now) for item in found]
        return FreshnessPage(freshness=freshness, next_page_token=token)

    def evaluate_all(self) -> None:
        """Compare every enabled schedule that has a `max_age` with it; tell of each change of state once, log each time."""
        found = self._stores.documents.query(Query("schedules", (LIVE, ("enabled", "==", True))))
        seen: list[Freshness] = []
        deliveries = self._deliveries()
        for item in found:
            if item.data.get("max_age"):
                try:
                    seen.append(self._evaluate(item.data, deliveries))
                except Exception as error:  # noqa: BLE001 - one schedule's trouble must not keep the alerts of the others
                    log_event("freshness_postponed", severity="ERROR", schedule_id=item.data["id"], reason=str(error))
        late = sum(one.state is FreshnessState.LATE for one in seen)
        log_event("freshness", severity="WARNING" if late else "INFO", watched=len(seen), late=late)

    def _deliveries(self) -> Deliveries:
        return Deliveries(self._stores.documents, self._connectors, self._tables)

    def _evaluate(self, schedule: Mapping[str, Any], deliveries: Deliveries) -> Freshness:
        now = self._stores.clock.now()
        delivered = deliveries.last_of(schedule, now)
        seen = _seen(schedule, delivered, now)

        def work(tx: Transaction) -> str | None:
            found = tx.get(f"schedules/{schedule['id']}")
            if found is None or any(found.data.get(name) != schedule.get(name) for name in JUDGED):
                return None  # another call has judged it since it was read, or it was changed: the next minute sees
            before = found.data.get("freshness") or {"state": FreshnessState.UNKNOWN.value, "since": now}
            is_new = before["state"] != seen.state.value and before["since"] <= now
            changes: dict[str, Any] = {"freshness": {"state": seen.state.value, "since": now}} if is_new else {}
            if delivered and delivered != found.data.get("delivered"):
                changes["delivered"] = dict(delivered)
            if changes:
                tx.update(found.path, changes)
            event = _event(before["state"], seen.state) if is_new else None
            if event:
                announce(tx, event, now, _words(seen), subject_of(found.data))
            return event

        if event := self._stores.documents.transact(work):
            severity = "WARNING" if seen.state is FreshnessState.LATE else "INFO"
            log_event(event, severity=severity, reason=_words(seen), **subject_of(schedule))
        return seen


def end_watch(tx: Transaction, before: Mapping[str, Any], after: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return what else a change of a schedule changes if nobody judges it from then on; an alert that is out ends, with the reason."""
    if (before.get("freshness") or {}).get("state") != FreshnessState.LATE.value:
        return {}
    if after["deleting"]:
        why = "was deleted"
    elif not after["enabled"]:
        why = "was paused"
    elif not after["max_age"]:
        why = "has no max_age any more"
    else:
        return {}
    what = _what(before["connector_name"], _table(before))
    message = f"the age of {what} is not judged any more: its schedule {why}"
    announce(tx, "freshness.ended", now, message, subject_of(before))
    return {"freshness": {"state": FreshnessState.UNKNOWN.value, "since": now}}


def _told(item: Document, deliveries: Deliveries, now: datetime) -> Freshness:
    """Return how things stand with one schedule; `unknown` where its record cannot be read, which must not hide the others."""
    schedule = item.data
    try:
        return _seen(schedule, deliveries.last_of(schedule, now), now)
    except Exception as error:  # noqa: BLE001 - one record's trouble must not keep people from the others
        log_event("freshness_unreadable", severity="ERROR", schedule_id=schedule["id"], reason=redact(str(error)))
        return Freshness(
            schedule_id=schedule["id"],
            connector_name=schedule["connector_name"],
            table_name=_table(schedule),
            state=FreshnessState.UNKNOWN,
            max_age=schedule.get("max_age"),
        )


def _seen(schedule: Mapping[str, Any], delivered: Mapping[str, Any], now: datetime) -> Freshness:
    as_of = delivered.get("as_of")
    return Freshness(
        schedule_id=schedule["id"],
        connector_name=schedule["connector_name"],
        table_name=_table(schedule),
        state=_state(schedule, as_of or delivered.get("since") or schedule["created_at"], now, is_there=bool(as_of)),
        max_age=schedule.get("max_age"),
        age_s=int((now - as_of).total_seconds()) if as_of else None,
        **{name: delivered.get(name) for name in TIMES},
    )


def _event(before: str, state: FreshnessState) -> str | None:
    if state is FreshnessState.LATE:
        return "freshness.late"
    if before != FreshnessState.LATE.value:
        return None
    return "freshness.recovered" if state is FreshnessState.FRESH else "freshness.ended"  # nothing has arrived


def _state(schedule: Mapping[str, Any], since: datetime, now: datetime, *, is_there: bool) -> FreshnessState:
    if not schedule.get("max_age"):
        return FreshnessState.UNKNOWN
    if now - since > age(schedule["max_age"]):
        return FreshnessState.LATE
    return FreshnessState.FRESH if is_there else FreshnessState.UNKNOWN


def _table(schedule: Mapping[str, Any]) -> str | None:
    name: str | None = (schedule.get("export") or {}).get("table_name")
    return name


def _what(connector_name: str, table_name: str | None) -> str:
    return f"table {table_name!r} on {connector_name!r}" if table_name else repr(connector_name)


def _words(seen: Freshness) -> str:
    what = _what(seen.connector_name, seen.table_name)
    if seen.age_s is not None:
        return f"what readers see of {what} is {seen.age_s // 60} minutes old; the schedule asks for at most {seen.max_age}"
    if seen.state is FreshnessState.LATE:
        return f"no delivery of {what} is known that went all the way; its schedule has gone there for more than {seen.max_age}"
    return f"{what} may still arrive: its schedule has gone there for less than {seen.max_age}"
