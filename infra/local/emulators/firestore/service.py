"""The RPCs of google.firestore.v1.Firestore. One lock around every call makes commits serialisable."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import empty_pb2

from infra.local.emulators.clock import Clock
from infra.local.emulators.firestore.aggregation import aggregate, ordered_query
from infra.local.emulators.firestore.limits import check_request
from infra.local.emulators.firestore.listing import list_collection_ids, list_documents
from infra.local.emulators.firestore.messages import Message, raw, stamp
from infra.local.emulators.firestore.paths import check_id, parse_document, parse_parent
from infra.local.emulators.firestore.queries import Place, masked, run_query
from infra.local.emulators.firestore.storage import Store
from infra.local.emulators.firestore.timeline import Timeline
from infra.local.emulators.firestore.transactions import Transaction, Transactions
from infra.local.emulators.firestore.turnstile import Turnstile
from infra.local.emulators.firestore.writes import apply_write, target_of
from infra.local.emulators.grpc_server import RpcError

PRUNE_EVERY = 500  # our choice: commits between two looks for history older than an hour


class Firestore:
    """The service over one file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._store = Store(path)
        self._time = Timeline(clock, self._store.last_change())
        self._transactions = Transactions(clock)
        self._turns = Turnstile()
        self._lock = threading.RLock()
        self._commits = 0
        self._store.prune(self._time.oldest())

    # -- writes

    def Commit(self, request: Message) -> Message:
        """Apply all writes or none; ABORTED if what the transaction has read is no longer so."""
        check_request(request)
        identifier = bytes(request.transaction)
        names = _targets(request.database, request.writes)
        self._turns.pass_by(sorted(set(names)), identifier)
        try:
            with self._lock:
                if identifier:
                    self._check_transaction(identifier, names)
                now, results = self._apply(request.writes)
        finally:
            if identifier:
                self._finish(identifier)
        return raw.CommitResponse(write_results=results, commit_time=stamp(now))

    def BatchWrite(self, request: Message) -> Message:
        """Apply each write by itself; the answer has a status for each."""
        check_request(request)
        names = _targets(request.database, request.writes)
        if len(set(names)) < len(names):
            raise RpcError("INVALID_ARGUMENT", "A document is written more than once in one BatchWrite.")
        self._turns.pass_by(sorted(names), b"")
        response = raw.BatchWriteResponse()
        for write in request.writes:
            status, result = response.status.add(), response.write_results.add()
            try:
                with self._lock:
                    result.CopyFrom(self._apply([write])[1][0])
            except RpcError as exc:
                status.code, status.message = exc.code.value[0], exc.message
        return response

    def CreateDocument(self, request: Message) -> Message:
        """Create one document, with a random id if none is given."""
        identifier = request.document_id or secrets.token_hex(10)
        check_id(request.collection_id, request.parent)
        name = f"{request.parent}/{request.collection_id}/{identifier}"
        write = raw.Write(update=raw.Document(name=name, fields=request.document.fields))
        write.current_document.exists = False
        return self._write_one(write, name, request)

    def UpdateDocument(self, request: Message) -> Message:
        """Set or update one document."""
        write = raw.Write(update=request.document)
        if request.HasField("update_mask"):
            write.update_mask.CopyFrom(request.update_mask)
        if request.HasField("current_document"):
            write.current_document.CopyFrom(request.current_document)
        return self._write_one(write, request.document.name, request)

    def DeleteDocument(self, request: Message) -> Message:
        """Delete one document."""
        write = raw.Write(delete=request.name)
        if request.HasField("current_document"):
            write.current_document.CopyFrom(request.current_document)
        self._turns.pass_by([request.name], b"")
        with self._lock:
            self._apply([write])
        return empty_pb2.Empty()

    # -- transactions

    def BeginTransaction(self, request: Message) -> Message:
        """Open a transaction."""
        return raw.BeginTransactionResponse(transaction=self._begin(request.options).id)

    def Rollback(self, request: Message) -> Message:
        """Forget a transaction; also one that has ended already, since clients roll back after a failed commit."""
        self._finish(bytes(request.transaction))
        return empty_pb2.Empty()

    # -- reads

    def GetDocument(self, request: Message) -> Message:
        """One document, or NOT_FOUND."""
        with self._reading(request, [request.name]) as (transaction, _, at):
            document = self._store.get(parse_document(request.name), at)
            if transaction is not None:
                transaction.note_document(request.name, document)
        if document is None:
            raise RpcError("NOT_FOUND", f"Document {request.name} not found.")
        return masked(document, request.mask.field_paths) if request.HasField("mask") else document

    def BatchGetDocuments(self, request: Message) -> Iterator[Message]:
        """Each document, found or missing."""
        names = list(dict.fromkeys(request.documents))
        with self._reading(request, names) as (transaction, read_time, at):
            if transaction is not None and request.HasField("new_transaction"):
                yield raw.BatchGetDocumentsResponse(transaction=transaction.id, read_time=stamp(read_time))
            for name in names:
                document = self._store.get(parse_document(name), at)
                if transaction is not None:
                    transaction.note_document(name, document)
                if document is None:
                    yield raw.BatchGetDocumentsResponse(missing=name, read_time=stamp(read_time))
                    continue
                shown = masked(document, request.mask.field_paths) if request.HasField("mask") else document
                yield raw.BatchGetDocumentsResponse(found=shown, read_time=stamp(read_time))

    def RunQuery(self, request: Message) -> Iterator[Message]:
        """The documents of a query."""
        _refuse_explain(request)
        query = request.structured_query
        with self._reading(request, [_gate_of(request.parent, query)]) as (transaction, read_time, at):
            documents = self._query(request.parent, query, transaction, at)
        if transaction is not None and request.HasField("new_transaction"):
            yield raw.RunQueryResponse(transaction=transaction.id, read_time=stamp(read_time))
        fields = [field.field_path for field in query.select.fields] if query.HasField("select") else None
        for document in documents:
            shown = masked(document, fields) if fields is not None else document
            yield raw.RunQueryResponse(document=shown, read_time=stamp(read_time))
        if not documents:
            yield raw.RunQueryResponse(read_time=stamp(read_time))

    def RunAggregationQuery(self, request: Message) -> Iterator[Message]:
        """One answer with the aggregations of a query."""
        _refuse_explain(request)
        aggregation = request.structured_aggregation_query
        query = ordered_query(aggregation.structured_query, aggregation.aggregations)
        with self._reading(request, [_gate_of(request.parent, query)]) as (transaction, read_time, at):
            documents = self._query(request.parent, query, transaction, at)
        response = raw.RunAggregationQueryResponse(read_time=stamp(read_time))
        if transaction is not None and request.HasField("new_transaction"):
            response.transaction = transaction.id
        for alias, value in aggregate(list(aggregation.aggregations), documents).items():
            response.result.aggregate_fields[alias].CopyFrom(value)
        yield response

    def ListDocuments(self, request: Message) -> Message:
        """A page of a collection."""
        with self._reading(request, []) as (transaction, _, at):
            if transaction is not None:
                raise RpcError("UNIMPLEMENTED", "ListDocuments in a transaction is not imitated by the local emulator")
            return list_documents(self._store, Place(*parse_parent(request.parent), at), request)

    def ListCollectionIds(self, request: Message) -> Message:
        """A page of the collections below a document or the root."""
        with self._reading(request, []) as (_, _, at):
            return list_collection_ids(self._store, Place(*parse_parent(request.parent), at), request)

    # -- inside

    def _check_transaction(self, identifier: bytes, names: list[str]) -> None:
        transaction = self._transactions.use(identifier)
        if transaction.is_read_only and names:
            raise RpcError("INVALID_ARGUMENT", "Cannot modify entities in a read-only transaction.")
        if not transaction.is_read_only:
            transaction.check_unchanged(self._store)

    def _apply(self, writes: list[Message]) -> tuple[int, list[Message]]:
        now = self._time.commit()
        with self._store.transaction():
            results = [apply_write(self._store, write, now) for write in writes]
            self._commits += 1
            if self._commits % PRUNE_EVERY == 0:
                self._store.prune(self._time.oldest())
        return now, results

    def _write_one(self, write: Message, name: str, request: Message) -> Message:
        self._turns.pass_by([name], b"")
        with self._lock:
            self._apply([write])
            document = self._store.get(parse_document(name))
        return masked(document, request.mask.field_paths) if request.HasField("mask") and document else document

    def _begin(self, options: Message) -> Transaction:
        with self._lock:
            for expired in self._transactions.expire():
                self._turns.leave(expired)
            if options.WhichOneof("mode") != "read_only":
                return self._transactions.begin(None)
            asked = options.read_only
            at = self._time.read_time(asked.read_time) if asked.HasField("read_time") else self._time.tick()
            return self._transactions.begin(at)

    def _finish(self, identifier: bytes) -> None:
        with self._lock:
            self._transactions.end(identifier)
        self._turns.leave(identifier)

    @contextmanager
    def _reading(self, request: Message, gates: list[str]) -> Iterator[tuple[Transaction | None, int, int | None]]:
        """Hold the lock for a read: its transaction, its read time, and that again if it lies in the past (else None).

        A read of a read-write transaction first takes its turn at `gates`, before the lock.
        """
        transaction = self._transaction_of(request)
        if transaction is not None and not transaction.is_read_only:
            for gate in sorted(gates):
                self._turns.enter(gate, transaction.id)
        with self._lock:
            moment = transaction.snapshot if transaction is not None else None
            if "read_time" in request.DESCRIPTOR.fields_by_name and request.HasField("read_time"):
                moment = self._time.read_time(request.read_time)
            is_past = moment is not None and moment < self._time.last_commit
            yield transaction, moment if moment is not None else self._time.tick(), moment if is_past else None

    def _transaction_of(self, request: Message) -> Transaction | None:
        fields = request.DESCRIPTOR.fields_by_name
        if "new_transaction" in fields and request.HasField("new_transaction"):
            return self._begin(request.new_transaction)
        if "transaction" in fields and request.transaction:
            with self._lock:
                return self._transactions.use(bytes(request.transaction))
        return None

    def _query(self, parent: str, query: Message, transaction: Transaction | None, at: int | None) -> list[Message]:
        root, key = parse_parent(parent)
        documents = run_query(self._store, Place(root, key, at), query)
        if transaction is not None and not transaction.is_read_only:
            transaction.note_query(Place(root, key), query, documents)
        return documents


def _targets(database: str, writes: list[Message]) -> list[str]:
    names = [target_of(write) for write in writes]
    for name in names:
        if not name.startswith(f"{database}/documents/"):
            raise RpcError("INVALID_ARGUMENT", f"Document {name} does not belong to the request's database {database}.")
    return names


def _gate_of(parent: str, query: Message) -> str:
    return "query:" + "/".join([parent, *(source.collection_id for source in query.from_)])


def _refuse_explain(request: Message) -> None:
    if request.HasField("explain_options"):
        raise RpcError("UNIMPLEMENTED", "explain_options is not imitated by the local emulator (see COVERAGE.md)")
