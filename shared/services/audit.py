"""The audit log as a whole: listing, the sealer that chains what the changes wrote, and the check of the chain.

Entries (`audit/{ulid}`, see `shared.audit`) are never written twice. A seal (`audit_seals/{number}`) covers every entry after
the one before it: its hash is over the hash before and the entries' whole content, so that an entry that was changed, removed
or put in later no longer fits. Seals and entries also go to Cloud Logging, where whoever can write Firestore cannot follow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from shared.audit import canonical
from shared.errors import ConflictError
from shared.models import SCHEMA, AuditEntry, AuditPage, AuditVerification, new_id
from shared.ports import Clock, Document, Documents, Query, Transaction
from shared.services.records import Page, from_record, list_page
from shared.telemetry import log_event

SETTLED = timedelta(minutes=10)
"""Our choice: older entries are all there. An id is taken in the transaction, and Firestore ends one after 270 s; the rest is
room for clocks that differ: firebase.google.com/docs/firestore/quotas."""
ENTRIES_A_SEAL = 500  # our choice: one query and one small document
SEALS_A_CALL = 20  # our choice: 10,000 entries every five minutes are more than accepts could make
GENESIS = "0" * 64


class Audit:
    """The use cases around `audit/{id}` and `audit_seals/{number}`."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def page(self, filters: dict[str, str], page: Page) -> AuditPage:
        """List entries, newest first; `filters` are fields of an entry that must be equal."""
        where = tuple((name, "==", value) for name, value in sorted(filters.items()))
        query = Query("audit", where, order_by="id", descending=True)
        found, token = list_page(self._documents, query, page)
        return AuditPage(entries=[from_record(AuditEntry, item.data) for item in found], next_page_token=token)

    def seal(self) -> int:
        """Chain the settled entries that no seal covers; return how many. Two sealers at once do no harm."""
        bound = new_id(self._clock.now() - SETTLED)[:10]
        sealed = 0
        for _ in range(SEALS_A_CALL):
            head = self._head()
            entries = self._entries(head["last_id"] if head else "", bound)
            if not entries or not self._append(head, entries):
                break
            sealed += len(entries)
        return sealed

    def verify(self, token: str | None = None) -> AuditVerification:
        """Recompute the hashes of up to `SEALS_A_CALL` seals after the one that `token` names."""
        seals, next_token = list_page(self._documents, Query("audit_seals"), Page(SEALS_A_CALL, token))
        before = self._documents.get(f"audit_seals/{_previous(seals[0])}") if seals else None
        previous = before.data if before else None
        problems, count = [], 0
        for seal in seals:
            problem = _gap(previous, seal.data)
            entries = self._entries(previous["last_id"] if previous else "", seal.data["last_id"], inclusive=True)
            count += len(entries)
            if problem is None and _hash(seal.data["previous"], entries) != seal.data["hash"]:
                problem = (
                    f"seal {seal.data['number']} does not fit its entries {seal.data['first_id']} to {seal.data['last_id']}: "
                    f"it was made of {seal.data['entries']}, now there are {len(entries)}; compare with the log lines `audit`"
                )
            if problem:
                problems.append(problem)
            previous = seal.data
        head = f"{previous['number']}:{previous['hash']}" if previous and seals else None
        return AuditVerification(
            ok=not problems,
            problems=problems,
            seals=len(seals),
            entries=count,
            head=head,
            next_page_token=next_token,
        )

    def _append(self, head: dict[str, Any] | None, entries: list[dict[str, Any]]) -> bool:
        number = head["number"] + 1 if head else 1
        previous = head["hash"] if head else GENESIS
        seal = {
            "schema": SCHEMA,
            "number": number,
            "previous": previous,
            "hash": _hash(previous, entries),
            "first_id": entries[0]["id"],
            "last_id": entries[-1]["id"],
            "entries": len(entries),
            "sealed_at": self._clock.now(),
        }

        def work(tx: Transaction) -> None:
            tx.create(f"audit_seals/{number:012d}", seal)

        try:
            self._documents.transact(work)
        except ConflictError:
            return False  # another sealer made this one
        for entry in entries:
            log_event("audit", **{name: value for name, value in entry.items() if name != "schema"})
        log_event("audit_sealed", number=number, hash=seal["hash"], previous=previous, entries=len(entries))
        return True

    def _head(self) -> dict[str, Any] | None:
        found = self._documents.query(Query("audit_seals", order_by="number", descending=True, limit=1))
        return found[0].data if found else None

    def _entries(self, after: str, until: str, *, inclusive: bool = False) -> list[dict[str, Any]]:
        where = (("id", ">", after), ("id", "<=" if inclusive else "<", until))
        limit = None if inclusive else ENTRIES_A_SEAL
        return [item.data for item in self._documents.query(Query("audit", where, order_by="id", limit=limit))]


def _hash(previous: str, entries: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256(previous.encode())
    for line in _lines(entries):
        digest.update(line)
    return digest.hexdigest()


def _lines(entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for entry in entries:
        yield b"\n" + canonical(entry).encode()


def _previous(seal: Document) -> str:
    return f"{seal.data['number'] - 1:012d}"


def _gap(previous: dict[str, Any] | None, seal: dict[str, Any]) -> str | None:
    """Return in words why a seal does not follow the one before it, None if it does."""
    expected = (previous["number"] + 1, previous["hash"]) if previous else (1, GENESIS)
    if (seal["number"], seal["previous"]) == expected:
        return None
    return f"seal {seal['number']} does not follow seal {expected[0] - 1}: a seal was removed or changed between them"
