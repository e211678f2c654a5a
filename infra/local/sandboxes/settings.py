"""The knobs of the sandboxes: live-changeable, checked against each sandbox's list."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_COMMON: Mapping[str, Any] = {"latency_ms": 0}


class Settings:
    """Knobs by vendor. The dictionaries of `of` stay the same objects, so that sandboxes see every change."""

    def __init__(self, defaults: Mapping[str, Mapping[str, Any]]) -> None:
        self._defaults = {vendor: {**_COMMON, **knobs} for vendor, knobs in defaults.items()}
        self._values = {vendor: deepcopy(knobs) for vendor, knobs in self._defaults.items()}
        self._guard = threading.Lock()

    def of(self, vendor: str) -> dict[str, Any]:
        """The live knobs of a vendor.

        Raises:
            ValueError: There is no such sandbox.
        """
        if vendor not in self._values:
            raise ValueError(f"unknown vendor {vendor!r}; sandboxes: {', '.join(self._values)}")
        return self._values[vendor]

    def change(self, vendor: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """Set some knobs (None: back to the default) and return a copy of all.

        Raises:
            ValueError: The vendor or a knob is unknown, or a value is of another type than the default; nothing is
                changed then.
        """
        with self._guard:
            values, defaults = self.of(vendor), self._defaults[vendor]
            for name, value in knobs.items():
                if name not in defaults:
                    raise ValueError(f"{vendor} has no knob {name!r}; known: {', '.join(sorted(defaults))}")
                if value is not None and not _fits(value, defaults[name]):
                    expected = type(defaults[name]).__name__
                    raise ValueError(f"knob {name!r} of {vendor} needs a {expected}, got {value!r}")
            for name, value in knobs.items():
                values[name] = deepcopy(defaults[name] if value is None else value)
            return deepcopy(values)

    def reset(self) -> None:
        """Set every knob of every vendor back to its default."""
        with self._guard:
            for vendor, values in self._values.items():
                values.update(deepcopy(self._defaults[vendor]))


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))
