"""Audit entries and what their verification found."""

from __future__ import annotations

from datetime import datetime

import msgspec


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change or one run's end. `before` and `after` are digests; `outcome` is `done` or how a run ended.

    `note` says in words what a command on all documents (restore, erase) does, null on all other entries.
    """

    id: str
    at: datetime
    actor: str
    action: str
    resource: str
    outcome: str
    request_id: str | None = None
    before: str | None = None
    after: str | None = None
    note: str | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of entries, newest first."""

    entries: list[AuditEntry]
    next_page_token: str | None = None


class AuditVerification(msgspec.Struct, frozen=True, kw_only=True):
    """What the seals say of the entries.

    Attributes:
        ok: every entry that a looked-at seal covers is there, as it was when it was sealed, and no other.
        problems: in words, one a seal that does not hold.
        seals, entries: how many were looked at.
        head: number and hash of the last seal looked at, `<number>:<hash>`; the log line `audit_sealed` of that number must
            hold the same hash.
        next_page_token: asks for the seals after these; null at the end.
    """

    ok: bool
    problems: list[str]
    seals: int
    entries: int
    head: str | None = None
    next_page_token: str | None = None
