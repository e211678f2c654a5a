"""Holds the schedules that refresh one thing to the number of refreshes a day that its vendor allows.

Every connector that refreshes the same counts: the vendor does not know through which one a refresh comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shared import connectors as kinds
from shared.errors import InvalidRequestError
from shared.ports import Documents, Query
from shared.services.cron import Cron
from shared.services.schedule_changes import refreshes

WAY_OUT = "Use longer intervals; on Power BI, set capacity: premium on the connector if its workspace is on Premium, PPU or Fabric"

FOLD = " when clocks go back (hours that are listed, as 0,3,6 for */3, come once on that day)"


def room_for_schedule(
    documents: Documents, config: Mapping[str, Any], cron: Cron, own_id: str | None, now: datetime
) -> None:
    """Refuse a schedule of a connector (its configuration) that asks for too much beside the others; `own_id` is not among those.

    Raises:
        InvalidRequestError: code `refresh_quota`.
    """
    allowed, refreshed = _limit_of(config)
    if allowed is None or refreshed is None:
        return
    names = _that_refresh(documents, refreshed)
    others = sum(one.most_in_a_day(now) for name in names for one in _crons_of(documents, name, own_id))
    wanted = cron.most_in_a_day(now)
    if wanted + others > allowed:
        more = f" beside {others} of other schedules that refresh the same" if others else ""
        fold = FOLD if wanted > cron.times_a_day else ""
        shown_as = f"more than {allowed}" if wanted > allowed else str(wanted)
        raise InvalidRequestError(
            f"cron_expression asks for {shown_as} refreshes in 24 hours{fold}{more}; the vendor allows {allowed}. {WAY_OUT}",
            field="cron_expression",
            code="refresh_quota",
        )


def room_for_connector(
    documents: Documents, name: str, before: Mapping[str, Any], after: Mapping[str, Any], now: datetime
) -> None:
    """Refuse another configuration of a connector if its schedules would come to ask for too much by it, alone or beside others.

    Raises:
        InvalidRequestError: code `refresh_quota`.
    """
    allowed, refreshed = _limit_of(after)
    if allowed is None or refreshed is None or _limit_of(before) == (allowed, refreshed):
        return
    own = sum(one.most_in_a_day(now) for one in _crons_of(documents, name))
    names = [one for one in _that_refresh(documents, refreshed) if one != name]
    others = sum(one.most_in_a_day(now) for other in names for one in _crons_of(documents, other)) if own else 0
    if own and own + others > allowed:
        more = f" beside {others} of other connectors' schedules that refresh the same" if others else ""
        raise InvalidRequestError(
            f"the schedules of connector {name!r} ask for {own} refreshes in 24 hours{more}; the vendor allows {allowed} of what "
            f"it would refresh. Pause or change schedules first. {WAY_OUT}",
            code="refresh_quota",
        )


def _limit_of(config: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Return how many refreshes a day the vendor allows, and of what; None for as many as one likes, or of nothing."""
    allowed: int | None = kinds.DECLARATIONS[config["connector_type"]].refreshes_a_day(config)
    return allowed, kinds.refreshed_of(config, {})


def _that_refresh(documents: Documents, refreshed: str) -> list[str]:
    found = documents.query(Query("connectors"))
    return [one.data["name"] for one in found if kinds.refreshed_of(one.data["config"], {}) == refreshed]


def _crons_of(documents: Documents, name: str, but: str | None = None) -> Iterator[Cron]:
    """Yield when the schedules of a connector that are not paused refresh, all `but` one."""
    where = (("deleting", "==", False), ("connector_name", "==", name))
    for one in documents.query(Query("schedules", where)):
        if one.data["id"] != but and one.data["enabled"] and refreshes(one.data):
            yield Cron(one.data["cron_expression"], one.data["timezone"])
