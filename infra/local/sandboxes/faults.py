"""Faults that a test puts between a client and a sandbox."""

from __future__ import annotations

import random
import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KINDS = ("status", "reset_before", "lost_reply", "reset_in_body", "slow", "html_5xx", "duplicate")
ALWAYS = -1


@dataclass(frozen=True)
class Fault:
    """One fault and which requests it hits.

    Attributes:
        vendor: A sandbox's name.
        kind: `status`: not applied, answered with `status`, `headers`, `body`. `html_5xx`: not applied, an HTML page
            with `status` (502). `reset_before`: not applied, connection reset. `lost_reply`: applied, connection
            reset. `reset_in_body`: applied, half of the answer, connection closed. `slow`: applied after `delay_s`
            virtual seconds. `duplicate`: delivered twice, answered with the first answer.
        method: Exact; None is any.
        path: Regular expression searched in the decoded path; None is any.
        times: How often it strikes; -1 is always.
        probability: Of striking each match that is not skipped; drawn from `seed`, so the same every time.
        skip: How many matches pass first.
    """

    vendor: str
    kind: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    method: str | None = None
    path: str | None = None
    times: int = 1
    probability: float = 1.0
    seed: int = 0
    skip: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    delay_s: float = 0.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        """Check and build.

        Raises:
            ValueError: A field is unknown, missing or out of range; says which.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"unknown fault field {unknown[0]!r}; known: {', '.join(sorted(known))}")
        if missing := sorted({"vendor", "kind"} - set(data)):
            raise ValueError(f"a fault needs {missing[0]!r}")
        try:
            fault = cls(**data)
            if fault.kind not in KINDS:
                raise ValueError(f"unknown kind {fault.kind!r}; known: {', '.join(KINDS)}")
            if fault.kind == "status" and not 200 <= (fault.status or 0) <= 599:
                raise ValueError(f"a fault of kind 'status' needs a status of 200 to 599, got {fault.status!r}")
            if not 0 <= fault.probability <= 1 or fault.skip < 0 or fault.times < ALWAYS or fault.delay_s < 0:
                raise ValueError("a fault needs 0 <= probability <= 1, skip >= 0, times >= -1, delay_s >= 0")
            texts = [fault.vendor, fault.id, *(text for text in (fault.method, fault.path) if text is not None)]
            if not all(isinstance(text, str) for text in texts) or not isinstance(fault.headers, dict):
                raise ValueError("a fault needs texts in vendor, id, method and path, and an object in headers")
            re.compile(fault.path or "")
        except (TypeError, re.error) as exc:
            raise ValueError(f"not a fault: {exc}") from exc
        return fault


@dataclass
class _Armed:
    fault: Fault
    generator: random.Random
    matched: int = 0
    struck: int = 0


class Faults:
    """The faults in force, in the order in which they were added. Thread-safe."""

    def __init__(self) -> None:
        self._armed: dict[str, _Armed] = {}
        self._guard = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Put a fault in force; one of the same id is replaced and counts from zero."""
        with self._guard:
            self._armed[fault.id] = _Armed(fault, random.Random(fault.seed))  # noqa: S311 - reproducible, not secret

    def remove(self, fault_id: str) -> bool:
        """End one fault; False if there is none of this id."""
        with self._guard:
            return self._armed.pop(fault_id, None) is not None

    def clear(self) -> None:
        """End all faults."""
        with self._guard:
            self._armed.clear()

    def list(self) -> list[dict[str, Any]]:
        """Every fault with how many requests it `matched` and `struck`; a used-up fault stays listed."""
        with self._guard:
            return [
                {**asdict(armed.fault), "matched": armed.matched, "struck": armed.struck}
                for armed in self._armed.values()
            ]

    def strike(self, vendor: str, method: str, path: str) -> Fault | None:
        """The first fault that hits this request, counted as struck; None for a request that passes."""
        if not self._armed:
            return None
        with self._guard:
            for armed in self._armed.values():
                if self._hits(armed, vendor, method, path):
                    armed.struck += 1
                    return armed.fault
        return None

    @staticmethod
    def _hits(armed: _Armed, vendor: str, method: str, path: str) -> bool:
        fault = armed.fault
        if fault.vendor != vendor or (fault.method or method).upper() != method:
            return False
        if fault.path is not None and not re.search(fault.path, path):
            return False
        if fault.times != ALWAYS and armed.struck >= fault.times:
            return False
        armed.matched += 1
        if armed.matched <= fault.skip:
            return False
        return fault.probability >= 1 or armed.generator.random() < fault.probability
