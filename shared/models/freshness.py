"""How old what readers see is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class FreshnessState(StrEnum):
    """`unknown`: nothing has arrived yet and it is not late either, or the schedule has no `max_age`."""

    FRESH = "fresh"
    LATE = "late"
    UNKNOWN = "unknown"


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule keeps fresh, from the source to the reader; the last delivery that went all the way.

    `source_as_of` is how things stood in the source, `exported_at` when its rows were taken, `published_at` when they were live at
    the target, `refreshed_at` when the BI tool had computed anew (null where nothing has to). `age_s` counts from `source_as_of`,
    for a mere refresh from its start.
    """

    schedule_id: str
    connector_name: str
    table_name: str | None
    state: FreshnessState
    max_age: str | None = None
    age_s: int | None = None
    source_as_of: datetime | None = None
    exported_at: datetime | None = None
    published_at: datetime | None = None
    refreshed_at: datetime | None = None


class FreshnessPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page, by schedule."""

    freshness: list[Freshness]
    next_page_token: str | None = None
