"""Access tokens that the identity sandboxes have issued; the vendors' sandboxes check them here."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from .clock import SandboxClock

_PREFIX = {"google": "ya29.c.c0AS"}  # as Google's look; tokens are opaque to clients


@dataclass(frozen=True)
class Grant:
    """What a valid token stands for. `scope` is as issued (several separated by spaces); `expires_at` in epoch seconds."""

    subject: str
    scope: str
    expires_at: float

    def has_scope(self, *any_of: str) -> bool:
        """Whether at least one of these scopes was granted."""
        return not set(any_of).isdisjoint(self.scope.split())


class TokenBook:
    """Tokens by vendor ("entra", "google", "looker"), kept as hashes in SQLite, so that they outlive a restart.

    Expiry follows the sandbox clock. Thread-safe.
    """

    def __init__(self, path: Path, clock: SandboxClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS tokens (digest TEXT PRIMARY KEY, vendor TEXT NOT NULL, subject TEXT NOT NULL,"
            " scope TEXT NOT NULL, expires_at REAL NOT NULL)"
        )

    def issue(self, vendor: str, subject: str, scope: str, lifetime_s: float) -> str:
        """A new token, valid for `lifetime_s` virtual seconds."""
        token = _PREFIX.get(vendor, "") + secrets.token_urlsafe(48)
        row = (_digest(vendor, token), vendor, subject, scope, self._clock.time() + lifetime_s)
        with self._lock:
            self._db.execute("DELETE FROM tokens WHERE expires_at < ?", (self._clock.time() - 86_400,))
            self._db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", row)
        return token

    def check(self, vendor: str, bearer: str | None) -> str | None:
        """The subject of a valid token; None if it is unknown, expired, another vendor's, or missing.

        Subjects: Entra's client id, Google's service account email, Looker's client id.
        """
        grant = self.grant(vendor, bearer)
        return None if grant is None else grant.subject

    def grant(self, vendor: str, bearer: str | None) -> Grant | None:
        """Like `check`, with scope and expiry."""
        if not bearer:
            return None
        scheme, _, token = bearer.rpartition(" ")
        if scheme and scheme.strip().lower() not in {"bearer", "token"}:
            return None
        with self._lock:
            row = self._db.execute(
                "SELECT subject, scope, expires_at FROM tokens WHERE digest = ?", (_digest(vendor, token),)
            ).fetchone()
        if row is None or row[2] <= self._clock.time():
            return None
        return Grant(*row)

    def revoke(self, vendor: str, bearer: str) -> bool:
        """Forget one token (a logout); False if it was not there."""
        with self._lock:
            digest = _digest(vendor, bearer.rpartition(" ")[2])
            return self._db.execute("DELETE FROM tokens WHERE digest = ?", (digest,)).rowcount > 0

    def expire_all(self, vendor: str) -> int:
        """End every token of a vendor at once; returns how many were there."""
        with self._lock:
            return self._db.execute("DELETE FROM tokens WHERE vendor = ?", (vendor,)).rowcount

    def close(self) -> None:
        """Close the file; the book cannot be used afterwards."""
        with self._lock:
            self._db.close()


def _digest(vendor: str, token: str) -> str:
    return hashlib.sha256(f"{vendor}\n{token}".encode()).hexdigest()
