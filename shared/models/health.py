"""What a function says of itself."""

from __future__ import annotations

import msgspec


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A function that answers. `function` is its name, `version` the release it was built from."""

    status: str
    function: str
    version: str
