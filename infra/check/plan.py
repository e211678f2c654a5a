"""A plan in JSON, as policies ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Violations = Iterator[str]


class Plan:
    """The planned resources of one plan in JSON."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.changes = [
            c for c in plan["resource_changes"] if c["mode"] == "managed" and "create" in c["change"]["actions"]
        ]
        self.variables: dict[str, Any] = plan.get("variables", {})
        self.configuration = plan["configuration"]["root_module"]["resources"]

    def of(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (address, planned values) of a type; a type that ends in `_` is a prefix."""
        for change in self.changes:
            if change["type"] == kind or (kind.endswith("_") and change["type"].startswith(kind)):
                yield change["address"], change["change"]["after"]

    def one(self, address: str) -> dict[str, Any]:
        """The planned values of one resource, empty if it is not planned."""
        return next((c["change"]["after"] for c in self.changes if c["address"] == address), {})

    def references(self, address: str) -> list[str]:
        """What the configuration of a resource block refers to."""
        return re.findall(
            r'"([\w.]+)"', json.dumps([r["expressions"] for r in self.configuration if r["address"] == address])
        )

    def waits_for(self, address: str) -> list[str]:
        """What a resource block names in `depends_on`."""
        return [name for r in self.configuration if r["address"] == address for name in r.get("depends_on", ())]
