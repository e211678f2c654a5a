"""Run a StructuredQuery: choose where the candidates come from, then filter, sort, cut by cursors, skip and limit.

Candidates arrive in groups; the groups are in the query's order, so a query with a limit stops early. In a group the
documents are filtered by looking at them, so an index may well offer too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from infra.local.emulators.firestore.filters import (
    Bounds,
    Lookup,
    Predicate,
    bounds_of,
    inequality_fields,
    key_at,
    lookups_of,
    predicate_of,
)
from infra.local.emulators.firestore.index import cut, field_name
from infra.local.emulators.firestore.messages import Direction, Document, Message, kind_of
from infra.local.emulators.firestore.ordering import descending, is_numeric_id, sort_key
from infra.local.emulators.firestore.paths import NAME_FIELD, FieldPath, get_field, parse_field_path, put_field
from infra.local.emulators.firestore.query_rules import check_query
from infra.local.emulators.firestore.storage import Collection, Store
from infra.local.emulators.grpc_server import RpcError

MANY = 2000  # our choice: above this many index entries it no longer matters which look-up is the narrowest

SortKey = tuple[bytes, ...]


@dataclass(frozen=True)
class Place:
    """Where a query runs: below which parent, and at which moment (None = now)."""

    root: str
    parent: bytes
    at: int | None = None


@dataclass(frozen=True)
class Term:
    """One field of the order of a query."""

    path: FieldPath
    is_descending: bool

    def key(self, sort_key: bytes) -> bytes:
        """The sort key as this term orders it."""
        return descending(sort_key) if self.is_descending else sort_key


@dataclass(frozen=True)
class Cursor:
    """One end of a query: the keys of the first terms of its order, and whether documents with these keys belong to it."""

    key: SortKey
    is_inclusive: bool


def run_query(store: Store, place: Place, query: Message) -> list[Message]:
    """The documents a query finds, whole, in its order.

    Raises:
        RpcError: INVALID_ARGUMENT or UNIMPLEMENTED for a query that Firestore or this emulator refuses.
    """
    if query.HasField("find_nearest"):
        raise RpcError(
            "UNIMPLEMENTED", "find_nearest (vector search) is not imitated by the local emulator (see COVERAGE.md)"
        )
    terms = order_of(query)
    check_query(query, [term.path for term in terms], is_descending=terms[0].is_descending)
    start, end = _start_of(query, terms), _end_of(query, terms)
    predicate = predicate_of(query.where) if query.HasField("where") else None
    limit = query.limit.value if query.HasField("limit") else None
    found: list[Message] = []
    skipped = 0
    for group in _candidates(store, place, query, terms, start):
        for key, document in _sorted(group, terms, predicate):
            if start is not None and not _is_after_start(key, start):
                continue
            if (end is not None and not _is_before_end(key, end)) or (limit is not None and len(found) >= limit):
                return found
            if skipped < query.offset:
                skipped += 1
            else:
                found.append(document)
    return found


def masked(document: Message, paths: Iterable[str]) -> Message:
    """A copy of the document with these fields only (`__name__` stands for none)."""
    copy = Document(name=document.name, create_time=document.create_time, update_time=document.update_time)
    for path in map(parse_field_path, paths):
        value = get_field(document.fields, path) if path != NAME_FIELD else None
        if value is not None:
            put_field(copy.fields, path, value)
    return copy


def order_of(query: Message) -> list[Term]:
    """The full order: what the query says, then fields with inequalities by name, then the document name."""
    terms = [Term(parse_field_path(o.field.field_path), o.direction == Direction.DESCENDING) for o in query.order_by]
    last_is_descending = terms[-1].is_descending if terms else False
    implied = sorted(inequality_fields(query.where)) if query.HasField("where") else []
    for path in [*implied, NAME_FIELD]:
        if path not in [term.path for term in terms] and path != NAME_FIELD:
            terms.append(Term(path, last_is_descending))
    if NAME_FIELD not in [term.path for term in terms]:
        terms.append(Term(NAME_FIELD, last_is_descending))
    return terms


def _start_of(query: Message, terms: list[Term]) -> Cursor | None:
    if not query.HasField("start_at"):
        return None
    return Cursor(_cursor_key(query.start_at, terms), is_inclusive=query.start_at.before)


def _end_of(query: Message, terms: list[Term]) -> Cursor | None:
    if not query.HasField("end_at"):
        return None
    return Cursor(_cursor_key(query.end_at, terms), is_inclusive=not query.end_at.before)


def _cursor_key(cursor: Message, terms: list[Term]) -> SortKey:
    if len(cursor.values) > len(terms):
        raise RpcError(
            "INVALID_ARGUMENT", f"The cursor has {len(cursor.values)} values; the query orders by {len(terms)} fields."
        )
    for term, value in zip(terms, cursor.values, strict=False):
        if term.path == NAME_FIELD and kind_of(value) != "reference_value":
            raise RpcError("INVALID_ARGUMENT", "The cursor's value for __name__ must be a document reference.")
    return tuple(term.key(sort_key(value)) for term, value in zip(terms, cursor.values, strict=False))


def _is_after_start(key: SortKey, start: Cursor) -> bool:
    head = key[: len(start.key)]
    return head > start.key or (head == start.key and start.is_inclusive)


def _is_before_end(key: SortKey, end: Cursor) -> bool:
    head = key[: len(end.key)]
    return head < end.key or (head == end.key and end.is_inclusive)


def _sorted(group: Iterable[Message], terms: list[Term], predicate: Predicate | None) -> list[tuple[SortKey, Message]]:
    """Key and document of those that pass and have every field of the order, sorted."""
    rows = []
    for document in group:
        if predicate is None or predicate(document):
            keys = [key_at(document, term.path) for term in terms]
            if None not in keys:
                rows.append(
                    (tuple(term.key(key) for term, key in zip(terms, keys, strict=True) if key is not None), document)
                )
    rows.sort(key=itemgetter(0))
    return rows


def _candidates(
    store: Store, place: Place, query: Message, terms: list[Term], start: Cursor | None
) -> Iterator[Iterable[Message]]:
    """Documents among which the results are, in groups that follow the order."""
    collections = _collections(store, place, query)
    lookups = lookups_of(query.where) if query.HasField("where") else []
    if place.at is not None:
        at = place.at
        yield [document for collection in collections for document in store.scan_at(collection, at)]
    elif lookups and all(store.is_indexed(collection, [one.field for one in lookups]) for collection in collections):
        yield [document for collection in collections for document in _looked_up(store, collection, lookups)]
    elif len(collections) == 1 and terms[0].path == NAME_FIELD:
        yield from ([document] for document in _by_name(store, collections[0], query, terms[0]))
    elif len(collections) == 1 and store.is_indexed(collections[0], [field_name(terms[0].path)]):
        yield from _by_field(store, collections[0], query, terms[0], start)
    else:
        yield [document for collection in collections for document in store.scan(collection)]


def _collections(store: Store, place: Place, query: Message) -> list[Collection]:
    sources = query.from_  # proto-plus calls the field `from` by this name
    if len(sources) != 1:
        raise RpcError("INVALID_ARGUMENT", f"The query names {len(sources)} collections; expected exactly one.")
    find = store.group if sources[0].all_descendants else store.collection
    return find(place.root, place.parent, sources[0].collection_id)


def _looked_up(store: Store, collection: Collection, lookups: Sequence[Lookup]) -> Iterator[Message]:
    narrowest = lookups[0]
    if len(lookups) > 1:
        narrowest = min(lookups, key=lambda one: store.count_entries(collection, one.field, one.values, MANY))
    return store.having(collection, narrowest.field, narrowest.values)


def _by_name(store: Store, collection: Collection, query: Message, term: Term) -> Iterator[Message]:
    first, last = _cursor_id(query, "start_at", collection), _cursor_id(query, "end_at", collection)
    if term.is_descending:
        first, last = last, first
    return store.scan(collection, first, last, backwards=term.is_descending)


def _cursor_id(query: Message, end: str, collection: Collection) -> str | None:
    """The document id in a cursor over names; None if there is none, or it says nothing about this collection's ids."""
    values = getattr(query, end).values if query.HasField(end) else []
    name = values[0].reference_value if values else ""
    above, _, document = name.rpartition("/")
    return document if above == collection.path and not is_numeric_id(document) else None


def _by_field(
    store: Store, collection: Collection, query: Message, term: Term, start: Cursor | None
) -> Iterator[Iterable[Message]]:
    bounds = bounds_of(query.where, term.path) if query.HasField("where") else Bounds()
    if start is not None and start.key:
        at = cut(term.key(start.key[0]))  # turning the bits twice gives the plain key back
        bounds = (
            Bounds(bounds.low, min(bounds.high, at)) if term.is_descending else Bounds(max(bounds.low, at), bounds.high)
        )
    rows = store.ordered(collection, field_name(term.path), bounds.low, bounds.high, backwards=term.is_descending)
    for _, group in groupby(rows, key=itemgetter(0)):
        yield [document for _, document in group]
