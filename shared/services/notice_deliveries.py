"""Sends notices: one Cloud Task for each notice and channel, tried again with growing pauses until it is taken, refused or a day old.

A notice is in the outbox from the transaction of its change on. The system job of every minute finds it there, and also what a
crash left without a task, so nothing is ever only in a process. Each sending is claimed first: a repeated task sends nothing, and a
crash after the claim sends again later. Receivers get every notice at least once, under the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from shared.errors import BIConnectorsError, CredentialError, VendorUnavailableError
from shared.models import DeliveryStatus, Notice, NoticeDelivery, NoticePage
from shared.ports import Document, Query, Stores, Task, Transaction
from shared.services.channels import Channels
from shared.services.records import Page, from_record, list_page, to_builtins
from shared.telemetry import log_event

FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 3600.0  # our choice: a receiver that was down hears within an hour of being up
GIVE_UP = timedelta(hours=24)  # our choice: after a day a notice is news to nobody
LEASE = timedelta(seconds=120)  # our choice: above what one sending can take, see `bootstrap.NOTICE_ANSWER_S`
GRACE = timedelta(seconds=60)  # our choice: longer than Cloud Tasks takes to deliver what is due
TASK_DEADLINE_S = 120.0
MOST = 200  # our choice: what one minute looks at, of new notices and of lost tasks; what waits longest first
GONE = "the channel was deleted before the notice could be sent"


@dataclass(frozen=True)
class NoticeSettings:
    """Where notices are sent from."""

    refresh_url: str
    queue: str


class NoticeDeliveries:
    """The use cases around `notices/{id}` once they are written."""

    def __init__(self, stores: Stores, channels: Channels, settings: NoticeSettings) -> None:
        self._stores = stores
        self._channels = channels
        self._settings = settings

    def page(self, page: Page) -> NoticePage:
        """List notices, newest first, with what became of them on each channel."""
        query = Query("notices", order_by="id", descending=True)
        found, token = list_page(self._stores.documents, query, page)
        return NoticePage(notices=[from_record(Notice, item.data) for item in found], next_page_token=token)

    def tend(self) -> int:
        """Enqueue what is to be sent and has no task: new notices, and those that a crash left. Returns how many. Repeatable."""
        documents, now = self._stores.documents, self._stores.clock.now()
        new = documents.query(Query("notices", (("dispatched", "==", False),), limit=MOST))
        late = documents.query(Query("notices", (("missed_at", "<", now),), order_by="missed_at", limit=MOST))
        made = self._channels.made() if new else {}
        enqueued = 0
        for item in new + late:
            due = documents.transact(partial(self._due, path=item.path, made=made))
            for channel, number in due:
                self._enqueue(item.data["id"], channel, number, None)
            enqueued += len(due)
        return enqueued

    def send(self, notice_id: str, channel: str, number: int) -> None:
        """Send one notice to one channel, unless the task is a repeat; enqueue the next try if it failed. For Cloud Tasks only."""
        path = f"notices/{notice_id}"
        earlier = self._earlier(path, channel)
        notice = self._stores.documents.transact(lambda tx: self._claim(tx, path, channel, number, earlier))
        if notice is None:
            return
        result = {} if earlier else self._try(notice, channel)
        after = self._stores.documents.transact(lambda tx: self._record(tx, path, channel, number + 1, result))
        if after is not None and after["status"] == DeliveryStatus.WAITING.value:
            self._enqueue(notice_id, channel, after["number"], after["next_at"])
        elif after is not None:
            failed = after["status"] != DeliveryStatus.SENT.value
            words = {name: after[name] for name in ("status", "attempts", "reason")}
            severity = "ERROR" if failed else "INFO"
            log_event("notice_ended", severity=severity, notice_id=notice_id, channel=channel, **words)

    def _due(self, tx: Transaction, path: str, made: Mapping[str, datetime]) -> list[tuple[str, int]]:
        """Return (channel, number of the task) of what needs a task now, written as such."""
        found, now = tx.get(path), self._stores.clock.now()
        if found is None or not found.data["open"]:
            return []
        deliveries = found.data.get("deliveries")
        if deliveries is None:
            chosen = made if now - found.data["at"] < GIVE_UP else {}
            fresh = {name: _delivery(now, since) for name, since in chosen.items()}
            tx.update(path, {"dispatched": True, **_standing(fresh)})
            return [(name, 0) for name in fresh]
        lost = [name for name, one in deliveries.items() if _is_waiting(one) and one["next_at"] < now - GRACE]
        if lost:
            moved = {
                name: {**deliveries[name], "number": deliveries[name]["number"] + 1, "next_at": now} for name in lost
            }
            tx.update(path, _standing({**deliveries, **moved}))
        return [(name, deliveries[name]["number"] + 1) for name in lost]

    def _earlier(self, path: str, channel: str) -> datetime | None:
        """Return when an earlier notice of the same topic is tried again on the channel: people hear of changes in their order."""
        found = self._stores.documents.get(path)
        if found is None:
            return None
        where = (("open", "==", True), ("topic", "==", found.data["topic"]))
        others = [item for item in self._stores.documents.query(Query("notices", where)) if item.path < path]
        lines = [item.data.get("deliveries", {}).get(channel) for item in others]
        return max((line["next_at"] for line in lines if line and _is_waiting(line)), default=None)

    def _claim(
        self, tx: Transaction, path: str, channel: str, number: int, earlier: datetime | None
    ) -> Mapping[str, Any] | None:
        """Return the notice if this task is the newest for the channel, and make it the last of its number."""
        found, now = tx.get(path), self._stores.clock.now()
        line = found.data.get("deliveries", {}).get(channel) if found else None
        if found is None or line is None or not _is_waiting(line) or line["number"] != number:
            return None
        if earlier is None:
            changes = {"attempts": line["attempts"] + 1, "next_at": now + LEASE}
        else:
            changes = {"next_at": max(earlier, now) + timedelta(seconds=FIRST_PAUSE_S)}
        deliveries = {**found.data["deliveries"], channel: {**line, **changes, "number": number + 1}}
        tx.update(path, _standing(deliveries))
        return found.data

    def _try(self, notice: Mapping[str, Any], channel: str) -> dict[str, Any]:
        """Send; return what that changes of the delivery."""
        document: Document | None = self._stores.documents.get(f"channels/{channel}")
        if document is None or document.data["created_at"] != notice["deliveries"][channel]["channel_made_at"]:
            return {"status": DeliveryStatus.REFUSED, "reason": GONE}
        try:
            self._channels.send(document, notice)
        except VendorUnavailableError as error:
            return _again(error, error.retry_after_s or 0.0)
        except CredentialError as error:  # the channel was put anew while it was read, or may be mended
            return _again(error, 0.0)
        except BIConnectorsError as error:
            return {"status": DeliveryStatus.REFUSED, "reason": error.message}
        return {"status": DeliveryStatus.SENT, "reason": None}

    def _record(
        self, tx: Transaction, path: str, channel: str, number: int, result: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Write what became of a sending; None if the sweep gave it to another task meanwhile, and it did not succeed."""
        found, now = tx.get(path), self._stores.clock.now()
        line = found.data.get("deliveries", {}).get(channel) if found else None
        if found is None or line is None or not _is_waiting(line):
            return None
        status = result.get("status", DeliveryStatus.WAITING)
        if status is DeliveryStatus.WAITING and line["number"] != number:
            return None
        after = {**line, "status": status.value, "reason": result.get("reason", line["reason"])}
        if status is DeliveryStatus.WAITING and result:
            pause_s = max(result["wait_s"], min(FIRST_PAUSE_S * 3.0 ** (line["attempts"] - 1), LONGEST_PAUSE_S))
            after["next_at"] = now + timedelta(seconds=pause_s)
            if after["next_at"] > found.data["at"] + GIVE_UP:
                after["status"] = DeliveryStatus.GIVEN_UP.value
        if after["status"] != DeliveryStatus.WAITING.value:
            after |= {"next_at": None, "ended_at": now}
        deliveries = {**found.data["deliveries"], channel: after}
        tx.update(path, _standing(deliveries))
        return after

    def _enqueue(self, notice_id: str, channel: str, number: int, at: datetime | None) -> None:
        url = f"{self._settings.refresh_url}/internal/notices/{notice_id}:send"
        name = f"notice-{notice_id}-{channel}-{number}"
        body = {"channel": channel, "number": number}
        self._stores.tasks.enqueue(Task(self._settings.queue, url, name, body, at, TASK_DEADLINE_S))


def _again(error: BIConnectorsError, wait_s: float) -> dict[str, Any]:
    return {"status": DeliveryStatus.WAITING, "reason": error.message, "wait_s": wait_s}


def _delivery(now: datetime, channel_made_at: datetime) -> dict[str, Any]:
    """Return a delivery that begins. `number` is of its newest task; another channel of the same name does not get it."""
    line: dict[str, Any] = to_builtins(NoticeDelivery(status=DeliveryStatus.WAITING, next_at=now))
    return {**line, "number": 0, "channel_made_at": channel_made_at}


def _standing(deliveries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a notice says of its deliveries; `missed_at` is when the first task that has not come by then counts as lost."""
    waiting = [line["next_at"] for line in deliveries.values() if _is_waiting(line)]
    missed_at = min(waiting) + GRACE if waiting else None
    return {"deliveries": deliveries, "open": bool(waiting), "missed_at": missed_at}


def _is_waiting(line: Mapping[str, Any]) -> bool:
    return bool(line["status"] == DeliveryStatus.WAITING.value)
