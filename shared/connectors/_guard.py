"""One place around everything that a connector asks of its vendor: what decides whether to ask at all, and hears how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

UNGUARDED = frozenset({"test", "fingerprint", "push_table"})
"""Members that make no call, or whose caller wants to see the vendor's answer in any case."""


class Guarded:
    """Stands for a connector, or for one of its deliveries: every method that calls the vendor goes through `run`.

    `run` takes the call as a function without arguments, and returns what it returns or raises.
    """

    def __init__(self, inner: Any, run: Callable[[Callable[[], Any]], Any]) -> None:
        self._inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if name == "open_delivery":
            return lambda plan: Guarded(member(plan), self._run)
        if name in UNGUARDED or not callable(member):
            return member
        return lambda *args, **named: self._run(lambda: member(*args, **named))


def unguarded(name: str, connector: T) -> T:  # noqa: ARG001 - the signature of `Runtime.guard`
    """Return the connector as it is."""
    return connector
