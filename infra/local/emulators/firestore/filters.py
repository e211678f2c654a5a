"""Filters of a query: a predicate over documents, and what of it an index can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.local.emulators.firestore.index import cut, element_name, field_name
from infra.local.emulators.firestore.messages import CompositeOp, FieldOp, Message, UnaryOp, kind_of
from infra.local.emulators.firestore.ordering import NAN_KEY, NULL_KEY, name_key, sort_key
from infra.local.emulators.firestore.paths import NAME_FIELD, FieldPath, get_field, parse_field_path
from infra.local.emulators.firestore.query_rules import leaves
from infra.local.emulators.grpc_server import RpcError

Predicate = Callable[[Message], bool]

_RANGES: dict[int, Callable[[bytes, bytes], bool]] = {
    FieldOp.LESS_THAN: lambda stored, given: stored < given,
    FieldOp.LESS_THAN_OR_EQUAL: lambda stored, given: stored <= given,
    FieldOp.GREATER_THAN: lambda stored, given: stored > given,
    FieldOp.GREATER_THAN_OR_EQUAL: lambda stored, given: stored >= given,
}
_INEQUALITIES = {*_RANGES, FieldOp.NOT_EQUAL, FieldOp.NOT_IN}


@dataclass(frozen=True)
class Lookup:
    """Index entries of which a matching document must have one."""

    field: str
    values: list[bytes]


@dataclass(frozen=True)
class Bounds:
    """Index values between which a matching document's field lies (inclusive)."""

    low: bytes = b""
    high: bytes = b"\xff"


def key_at(document: Message, path: FieldPath) -> bytes | None:
    """The sort key of a document's field, or of its name for `__name__`; None if the field is missing."""
    if path == NAME_FIELD:
        return name_key(document.name)
    value = get_field(document.fields, path)
    return sort_key(value) if value is not None else None


def predicate_of(condition: Message) -> Predicate:
    """A function that says whether a document passes the filter.

    Raises:
        RpcError: INVALID_ARGUMENT, the filter is one that Firestore refuses.
    """
    match condition.WhichOneof("filter_type"):
        case "composite_filter":
            parts = [predicate_of(part) for part in condition.composite_filter.filters]
            joined = all if condition.composite_filter.op == CompositeOp.AND else any
            return lambda document: joined(part(document) for part in parts)
        case "unary_filter":
            return _unary(condition.unary_filter)
        case "field_filter":
            return _comparison(condition.field_filter)
        case _:
            raise RpcError("INVALID_ARGUMENT", "A filter is empty: expected a field, unary or composite filter.")


def _unary(condition: Message) -> Predicate:
    path = parse_field_path(condition.field.field_path)
    match condition.op:
        case UnaryOp.IS_NULL:
            return lambda document: key_at(document, path) == NULL_KEY
        case UnaryOp.IS_NAN:
            return lambda document: key_at(document, path) == NAN_KEY
        case UnaryOp.IS_NOT_NULL:
            return lambda document: key_at(document, path) not in (None, NULL_KEY)
        case UnaryOp.IS_NOT_NAN:
            return lambda document: key_at(document, path) not in (None, NULL_KEY, NAN_KEY)
        case _:
            raise RpcError("INVALID_ARGUMENT", "A unary filter has no operator.")


def _comparison(condition: Message) -> Predicate:
    path = parse_field_path(condition.field.field_path)
    operator = condition.op
    given = sort_key(condition.value)
    if operator in _RANGES:
        return _range(path, _RANGES[operator], given)
    if operator == FieldOp.EQUAL:
        return lambda document: key_at(document, path) == given
    if operator == FieldOp.NOT_EQUAL:
        return lambda document: key_at(document, path) not in (None, NULL_KEY, given)
    if operator == FieldOp.ARRAY_CONTAINS:
        return lambda document: given in _element_keys(document, path)
    listed = {sort_key(value) for value in condition.value.array_value.values}
    options = listed - {NULL_KEY, NAN_KEY}  # in a list these two equal nothing
    if operator == FieldOp.IN:
        return lambda document: key_at(document, path) in options
    if operator == FieldOp.NOT_IN:
        excluded = {None, NULL_KEY, *options}
        return lambda document: NULL_KEY not in listed and key_at(document, path) not in excluded
    return lambda document: not options.isdisjoint(_element_keys(document, path))


def _range(path: FieldPath, holds: Callable[[bytes, bytes], bool], given: bytes) -> Predicate:
    def matches(document: Message) -> bool:
        stored = key_at(document, path)
        if stored is None or stored[0] != given[0] or (stored == NAN_KEY) != (given == NAN_KEY):
            return False  # only values of one type compare, and NaN is no number here
        return holds(stored, given)

    return matches


def _element_keys(document: Message, path: FieldPath) -> set[bytes]:
    value = get_field(document.fields, path)
    if value is None or kind_of(value) != "array_value":
        return set()
    return {sort_key(element) for element in value.array_value.values}


def inequality_fields(condition: Message) -> set[FieldPath]:
    """The fields compared by anything but equality; a query is ordered by them even if it does not say so."""
    found = set()
    for part in leaves(condition):
        if part.WhichOneof("filter_type") == "unary_filter":
            if part.unary_filter.op in (UnaryOp.IS_NOT_NULL, UnaryOp.IS_NOT_NAN):
                found.add(parse_field_path(part.unary_filter.field.field_path))
        elif part.field_filter.op in _INEQUALITIES:
            found.add(parse_field_path(part.field_filter.field.field_path))
    return found


def lookups_of(condition: Message) -> list[Lookup]:
    """Index look-ups each of which every matching document passes."""
    return [lookup for part in _conjuncts(condition) if (lookup := _lookup(part)) is not None]


def bounds_of(condition: Message, path: FieldPath) -> Bounds:
    """Index values between which every matching document's field at `path` lies."""
    bounds = Bounds()
    for part in _conjuncts(condition):
        comparison = part.field_filter
        if part.WhichOneof("filter_type") != "field_filter" or comparison.op not in _RANGES:
            continue
        if parse_field_path(comparison.field.field_path) != path:
            continue
        key = sort_key(comparison.value)
        kind, end, value = key[:1], bytes([key[0] + 1]), cut(key)
        is_upper = comparison.op in (FieldOp.LESS_THAN, FieldOp.LESS_THAN_OR_EQUAL)
        low, high = (kind, value) if is_upper else (value, end)
        bounds = Bounds(max(bounds.low, low), min(bounds.high, high))
    return bounds


def _lookup(part: Message) -> Lookup | None:
    if part.WhichOneof("filter_type") == "unary_filter":
        keys = {UnaryOp.IS_NULL: NULL_KEY, UnaryOp.IS_NAN: NAN_KEY}
        if part.unary_filter.op not in keys:
            return None
        return Lookup(field_name(parse_field_path(part.unary_filter.field.field_path)), [keys[part.unary_filter.op]])
    comparison = part.field_filter
    path = parse_field_path(comparison.field.field_path)
    if path == NAME_FIELD:
        return None
    many = [cut(sort_key(value)) for value in comparison.value.array_value.values]
    match comparison.op:
        case FieldOp.EQUAL:
            return Lookup(field_name(path), [cut(sort_key(comparison.value))])
        case FieldOp.IN:
            return Lookup(field_name(path), many)
        case FieldOp.ARRAY_CONTAINS:
            return Lookup(element_name(path), [cut(sort_key(comparison.value))])
        case FieldOp.ARRAY_CONTAINS_ANY:
            return Lookup(element_name(path), many)
        case _:
            return None


def _conjuncts(condition: Message) -> Iterator[Message]:
    """The parts that must all hold; an OR is none of them, because it can hold without any one of its parts."""
    kind = condition.WhichOneof("filter_type")
    if kind == "composite_filter":
        if condition.composite_filter.op == CompositeOp.AND or len(condition.composite_filter.filters) == 1:
            for part in condition.composite_filter.filters:
                yield from _conjuncts(part)
    elif kind is not None:
        yield condition
