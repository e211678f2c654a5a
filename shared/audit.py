"""One audit entry, written in the transaction of the change that it tells of: who, what, on what, before and after, outcome.

A use case that changes something calls `record(tx, …)` beside its own writes. Entries are create-only and unchained, so that no
request waits for a chain head; `shared.services.audit` chains them afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.models import SCHEMA, new_id
from shared.ports import Transaction
from shared.redaction import redact

SYSTEM = "system"


@dataclass(frozen=True)
class Actor:
    """Who acts, and in which request; `SYSTEM` without a request where no person and no service account asked."""

    name: str = SYSTEM
    request_id: str | None = None


_ACTOR: ContextVar[Actor] = ContextVar("audit_actor", default=Actor())  # noqa: B039 - frozen


def acting(name: str = SYSTEM, request_id: str | None = None) -> None:
    """Say who acts from here on in this request; without arguments nobody does any more."""
    _ACTOR.set(Actor(name, request_id))


def record(
    tx: Transaction,
    now: datetime,
    action: str,
    resource: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    outcome: str = "done",
    actor: str | None = None,
    note: str | None = None,
) -> str:
    """Add one entry to the transaction; return its path.

    Args:
        action: `<noun>.<verb>`, e.g. `connector.change`.
        resource: path of the document that changed, e.g. `connectors/ymca`.
        before, after: what the document held and holds; only digests of them are stored, and of no secret among them.
        outcome: `done`, `taken_back` for a change that could not be told to Cloud Scheduler, or how a run ended.
        actor: who it is, if not the caller of this request; e.g. who asked for the job that ends now.
        note: what else an auditor needs, in words; no secret and no value of a row.
    """
    present = _ACTOR.get()
    entry_id = new_id(now)
    entry = {
        "schema": SCHEMA,
        "id": entry_id,
        "at": now,
        "actor": actor or present.name,
        "action": action,
        "resource": resource,
        "outcome": outcome,
        "request_id": present.request_id,
        "before": digest(before),
        "after": digest(after),
    }
    if note is not None:
        entry["note"] = redact(note)
    tx.create(f"audit/{entry_id}", entry)
    return f"audit/{entry_id}"


def digest(content: Mapping[str, Any] | None) -> str | None:
    """Return `sha256:…` of the content, None of None. Secrets are removed first: their digest could be guessed at."""
    if content is None:
        return None
    return f"sha256:{hashlib.sha256(redact(canonical(content)).encode()).hexdigest()}"


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one JSON text of a document: sorted members, no spaces, times as ISO 8601."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), default=_iso)


def _iso(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
