"""What a function says of itself."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A function whose Firestore answered, at `checked_at`."""

    status: str
    function: str
    checked_at: datetime


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A function that answers. `function` is its name, `version` the release it was built from."""

    status: str
    function: str
    version: str
