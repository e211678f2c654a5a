"""Open transactions: what each has read, and whether that still stands when it commits.

A read-write transaction reads the present and fails with ABORTED at commit if a document or a query result that it
has read changed. A read-only one reads the moment it began. 270 s after its begin, or 60 s after its last use, a
transaction is forgotten (firebase.google.com/docs/firestore/quotas), on the emulator's clock.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.local.emulators.clock import Clock
from infra.local.emulators.firestore.messages import Message, micros
from infra.local.emulators.firestore.paths import parse_document
from infra.local.emulators.firestore.queries import Place, run_query
from infra.local.emulators.firestore.storage import Store
from infra.local.emulators.grpc_server import RpcError

LIFETIME = timedelta(seconds=270)
IDLE = timedelta(seconds=60)

Seen = list[tuple[str, int]]


@dataclass
class Transaction:
    """One open transaction; `snapshot` is the time a read-only one reads at, None for a read-write one."""

    id: bytes
    began: datetime
    used: datetime
    snapshot: int | None = None
    documents: dict[str, int | None] = field(default_factory=dict)
    queries: list[tuple[Place, Message, Seen]] = field(default_factory=list)

    @property
    def is_read_only(self) -> bool:
        """Whether it may not write."""
        return self.snapshot is not None

    def note_document(self, name: str, document: Message | None) -> None:
        """Remember that this is how the transaction first saw a document (None: missing)."""
        self.documents.setdefault(name, micros(document.update_time) if document is not None else None)

    def note_query(self, place: Place, query: Message, documents: list[Message]) -> None:
        """Remember what a query answered."""
        self.queries.append((place, query, _seen(documents)))

    def check_unchanged(self, store: Store) -> None:
        """Make sure that all it has read is still so.

        Raises:
            RpcError: ABORTED, something changed; the client repeats the transaction.
        """
        for name, updated in self.documents.items():
            document = store.get(parse_document(name))
            if (micros(document.update_time) if document is not None else None) != updated:
                raise RpcError("ABORTED", f"The transaction was aborted: {name} changed after the transaction read it.")
        for place, query, seen in self.queries:
            if _seen(run_query(store, place, query)) != seen:
                raise RpcError("ABORTED", "The transaction was aborted: the result of a query it ran has changed.")


class Transactions:
    """The open transactions. Not locked here: the service calls it from one thread at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[bytes, Transaction] = {}

    def begin(self, snapshot: int | None) -> Transaction:
        """Open a read-only transaction at `snapshot`, or a read-write one (None)."""
        now = self._clock.now()
        transaction = Transaction(uuid.uuid4().bytes, now, now, snapshot)
        self._open[transaction.id] = transaction
        return transaction

    def use(self, identifier: bytes) -> Transaction:
        """The open transaction.

        Raises:
            RpcError: INVALID_ARGUMENT, it has ended, expired or never began.
        """
        transaction = self._open.get(identifier)
        if transaction is None or self._is_over(transaction):
            raise RpcError("INVALID_ARGUMENT", "The referenced transaction has expired or is no longer valid.")
        transaction.used = self._clock.now()
        return transaction

    def end(self, identifier: bytes) -> None:
        """Forget a transaction; nothing if it is not open."""
        self._open.pop(identifier, None)

    def expire(self) -> list[bytes]:
        """Forget the transactions that are over; answer their ids."""
        over = [identifier for identifier, transaction in self._open.items() if self._is_over(transaction)]
        for identifier in over:
            del self._open[identifier]
        return over

    def _is_over(self, transaction: Transaction) -> bool:
        now = self._clock.now()
        return now - transaction.began > LIFETIME or now - transaction.used > IDLE


def _seen(documents: list[Message]) -> Seen:
    return [(document.name, micros(document.update_time)) for document in documents]
