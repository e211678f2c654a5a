"""Per-minute quotas, for reads and writes apart, per user and per project."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from infra.local.sandboxes._base import SandboxClock

from .errors import quota_exceeded

WINDOW_S = 60.0
DEFAULTS = {
    "read_per_minute_per_user": 60,
    "write_per_minute_per_user": 60,
    "read_per_minute_per_project": 300,
    "write_per_minute_per_project": 300,
}
"""developers.google.com/workspace/sheets/api/limits"""


class Quota:
    """Sliding windows of a minute on the sandbox clock; a refused request does not count. Thread-safe."""

    def __init__(self, clock: SandboxClock, settings: Mapping[str, Any]) -> None:
        self._clock = clock
        self._settings = settings
        self._lock = threading.Lock()
        self._taken: dict[tuple[str, str, str], deque[float]] = {}

    def take(self, kind: str, email: str) -> None:
        """Count one "read" or "write" of this account.

        Raises:
            VendorError: 429 with Google's body, when a window is full.
        """
        project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        now = self._clock.time()
        with self._lock:
            windows = []
            for scope, key in (("user", email), ("project", project)):
                window = self._taken.setdefault((kind, scope, key), deque())
                while window and window[0] <= now - WINDOW_S:
                    window.popleft()
                if len(window) >= int(self._settings[f"{kind}_per_minute_per_{scope}"]):
                    limit = "per minute per user" if scope == "user" else "per minute"
                    raise quota_exceeded(kind.capitalize(), limit, project_number(project))
                windows.append(window)
            for window in windows:
                window.append(now)

    def reset(self) -> None:
        """Forget what was taken."""
        with self._lock:
            self._taken.clear()


def project_number(project: str) -> str:
    """A stable 12-digit number for a project id, as Google's messages name projects."""
    return str(10**11 + int.from_bytes(project.encode()[-8:].ljust(8, b"0"), "big") % (9 * 10**11))
