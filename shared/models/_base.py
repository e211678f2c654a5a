"""What every model shares: the schema version, names, ids, errors and times."""

from __future__ import annotations

import secrets as random
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

SCHEMA = 2
"""Version of the stored documents; raised with every change of form, together with a reader of the old one (`services.lifting`)."""


MAX_INTEGER = 2**63 - 1
"""The largest that Firestore holds: firebase.google.com/docs/firestore/manage-data/data-types"""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


END = r"\Z"
"""The end of a text for a pattern of ours: to Python, which msgspec searches with, `$` is also the place before a last line feed.
The API description writes it as `$`, which there is the end alone."""

Name = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_-]{0,62}" + END,
        description="Lower-case letters, digits, `_` and `-`, starting with a letter; at most 63 characters.",
    ),
]


Age = Annotated[
    str, msgspec.Meta(pattern="^[1-9][0-9]{0,4}[mhd]" + END, description="Minutes, hours or days: `90m`, `26h`, `7d`.")
]


RESERVED_NAMES = frozenset(
    [
        "register",
        "export",
        "export-jobs",
        "refresh",
        "refresh-runs",
        "schedules",
        "tables",
        "test",
        "test-all",
        "apply",
        "freshness",
        "channels",
        "notices",
        "audit",
        "health",
        "docs",
        "internal",
        "openapi",
    ]
)


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(now: datetime) -> str:
    """Return a 26-character id that sorts by time (a ULID in lower case): 48 bits of milliseconds, 80 random bits."""
    number = (int(now.timestamp() * 1000) << 80) | random.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why something failed: a stable code, the sentence for people, and whether trying again can help."""

    code: str
    message: str
    retryable: bool = False
    details: dict[str, Any] = {}


def utc(value: datetime) -> datetime:
    """Return the same instant in UTC; a naive value is refused because its zone would be a guess."""
    if value.tzinfo is None:
        raise ValueError(f"expected an aware datetime, got the naive {value!r}")
    return value.astimezone(UTC)


def age(text: str) -> timedelta:
    """Return the duration that an `Age` says."""
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[text[-1]]
    return int(text[:-1]) * unit
