"""Whether this instance can work: Firestore answers."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from shared.ports import Clock, Documents

FRESH = timedelta(seconds=10)  # our choice: a prober asks every few seconds, and each question would be a billed read


class Readiness:
    """Asks Firestore for a document that need not exist; an answer counts for ten seconds."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at: datetime | None = None

    def check(self) -> datetime:
        """Return when Firestore last answered. Raises what the store raises if it does not answer now."""
        with self._lock:
            now = self._clock.now()
            if self._asked_at is None or now - self._asked_at > FRESH:
                self._documents.get("readiness/none")
                self._asked_at = now
            return self._asked_at
