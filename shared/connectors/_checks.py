"""Connection tests: run named steps one after another, and stop at the first that later ones depend on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shared.connectors._base import Check
from shared.errors import BIConnectorsError
from shared.redaction import redact


def run_checks(steps: Sequence[tuple[str, Callable[[], str]]]) -> list[Check]:
    """Run each step and return its check; a step returns what it found in words, or raises a `BIConnectorsError`.

    Steps after a failed one are not run and are reported as such, so that one cause is not shown as many.
    """
    checks: list[Check] = []
    failed: str | None = None
    for name, step in steps:
        if failed is not None:
            checks.append(Check(name, ok=False, latency_ms=0.0, message=f"not tried because {failed!r} failed"))
            continue
        started = time.monotonic()
        try:
            message, ok = redact(step()), True
        except BIConnectorsError as error:
            message, ok, failed = error.message, False, name
        checks.append(Check(name, ok, round((time.monotonic() - started) * 1000, 1), message))
    return checks
