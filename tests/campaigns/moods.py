"""Every bad mood of a vendor's HTTP API, as faults of the sandboxes (`infra/local/sandboxes/faults.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

Mood = dict[str, Any]
DATE_IN_S = 40
ERROR_BODIES: dict[str, Mood] = {
    "google_sheets": {
        "body": {"error": {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}}
    },
    "google_identity": {"body": {"error": "internal_failure", "error_description": "try again later"}},
    "entra_id": {"body": {"error": "temporarily_unavailable", "error_description": "AADSTS90055: try again later"}},
    "looker": {"path": "/login$", "body": {"message": "An error has occurred.", "documentation_url": ""}},
    "power_bi": {
        "path": "executeQueries",
        "body": {
            "results": [{"tables": [{"rows": []}], "error": {"code": "DatasetExecuteQueriesError"}}],
            "error": {"code": "DatasetExecuteQueriesError"},
        },
    },
}
"""Answers of 200 whose body is an error, and where they come from."""


def moods(sandbox: str, now: datetime) -> list[Mood]:
    """Return them all: 429 and 503 with Retry-After in seconds and as a date, other 5xx, no answer before or after the call took
    effect, half an answer, a request delivered twice, 200 with an error in it.
    """
    date = format_datetime(now + timedelta(seconds=DATE_IN_S), usegmt=True)
    found: list[Mood] = [
        {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}},
        {"kind": "status", "status": 429, "headers": {"Retry-After": date}},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "90"}},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "headers": {"Retry-After": "11"}},
        {"kind": "html_5xx"},
        {"kind": "reset_before"},
        {"kind": "lost_reply"},
        {"kind": "reset_in_body"},
        {"kind": "duplicate"},
        {"kind": "status", "status": 200, **ERROR_BODIES[sandbox]},
    ]
    return [{"vendor": sandbox, **mood} for mood in found]


def armed(moods: Sequence[Mood], rate: float) -> list[Mood]:
    """Return the moods as faults that together strike this share of the calls, each as often as any other.

    Faults are asked one after the other, and only where none before has struck. A mood that belongs to one path leaves the other
    paths to the rest, so there are two lists then.
    """
    for path in {mood["path"] for mood in moods if "path" in mood}:
        others = [mood for mood in moods if mood.get("path") != path]
        here = [{**mood, "path": path} for mood in moods]
        return [*_in_turn(here, rate), *_in_turn([{**mood, "path": f"^(?!.*{path})"} for mood in others], rate)]
    return _in_turn(moods, rate)


def _in_turn(moods: Sequence[Mood], rate: float) -> list[Mood]:
    share = rate / max(len(moods), 1)
    return [{**mood, "probability": share / (1 - number * share)} for number, mood in enumerate(moods)]
