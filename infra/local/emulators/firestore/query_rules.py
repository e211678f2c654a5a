"""Queries that Firestore refuses; the wording and the order of checks are those of Google's own emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.local.emulators.firestore.messages import CompositeOp, FieldOp, Message, UnaryOp, kind_of
from infra.local.emulators.firestore.paths import NAME_FIELD, FieldPath, parse_field_path
from infra.local.emulators.grpc_server import RpcError

MAX_DISJUNCTIONS = 30  # cloud.google.com/firestore/native/docs/query-data/queries: in, array-contains-any, or
MAX_NOT_IN = 10

_LISTS = {FieldOp.IN: MAX_DISJUNCTIONS, FieldOp.ARRAY_CONTAINS_ANY: MAX_DISJUNCTIONS, FieldOp.NOT_IN: MAX_NOT_IN}
_ARRAY = {FieldOp.ARRAY_CONTAINS, FieldOp.ARRAY_CONTAINS_ANY}
_NEGATIVE_UNARY = {UnaryOp.IS_NOT_NULL, UnaryOp.IS_NOT_NAN}
_NEGATIVE = {FieldOp.NOT_EQUAL, FieldOp.NOT_IN}


def check_query(query: Message, order: Sequence[FieldPath], *, is_descending: bool) -> None:
    """Check the filters of a query and its full order; `is_descending` is the direction of the order's first field.

    Raises:
        RpcError: INVALID_ARGUMENT or FAILED_PRECONDITION, the query is one that Firestore refuses.
    """
    if query.offset < 0 or (query.HasField("limit") and query.limit.value < 0):
        raise RpcError("INVALID_ARGUMENT", "limit and offset must not be negative")
    if query.HasField("where"):
        _check_filters(query.where)
    for position, path in enumerate(order):
        if path in order[:position]:
            raise RpcError("INVALID_ARGUMENT", f"order by clause cannot contain duplicate fields {'.'.join(path)}")
        if path == NAME_FIELD and position < len(order) - 1:
            raise RpcError("INVALID_ARGUMENT", "order by clause cannot contain more fields after the key")
    if order[0] == NAME_FIELD and is_descending and not query.HasField("where"):
        raise RpcError("FAILED_PRECONDITION", "Firestore does not support descending key scans")


def leaves(condition: Message) -> Iterator[Message]:
    """The field and unary filters of a filter."""
    if condition.WhichOneof("filter_type") == "composite_filter":
        for part in condition.composite_filter.filters:
            yield from leaves(part)
    else:
        yield condition


def _check_filters(condition: Message) -> None:
    comparisons = [leaf.field_filter for leaf in leaves(condition) if leaf.WhichOneof("filter_type") == "field_filter"]
    operators = [comparison.op for comparison in comparisons]
    unary = [leaf.unary_filter.op for leaf in leaves(condition) if leaf.WhichOneof("filter_type") == "unary_filter"]
    for comparison in comparisons:
        _check_operand(comparison)
    negatives = sum(op in _NEGATIVE for op in operators) + sum(op in _NEGATIVE_UNARY for op in unary)
    if FieldOp.NOT_IN in operators and (
        FieldOp.IN in operators or FieldOp.ARRAY_CONTAINS_ANY in operators or _has_or(condition)
    ):
        raise RpcError(
            "INVALID_ARGUMENT", "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."
        )
    if negatives > 1:
        raise RpcError(
            "INVALID_ARGUMENT",
            "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query.",
        )
    if _arrays_at_once(condition) > 1:
        raise RpcError("INVALID_ARGUMENT", "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction.")


def _arrays_at_once(condition: Message) -> int:
    """The most array filters that one way of passing the filter needs."""
    if condition.WhichOneof("filter_type") != "composite_filter":
        return int(condition.field_filter.op in _ARRAY)
    counts = [_arrays_at_once(part) for part in condition.composite_filter.filters]
    return sum(counts) if condition.composite_filter.op == CompositeOp.AND else max(counts, default=0)


def _has_or(condition: Message) -> bool:
    if condition.WhichOneof("filter_type") != "composite_filter":
        return False
    composite = condition.composite_filter
    return bool(composite.op == CompositeOp.OR) or any(_has_or(part) for part in composite.filters)


def _check_operand(comparison: Message) -> None:
    operator, operand = comparison.op, comparison.value
    if operator == FieldOp.OPERATOR_UNSPECIFIED:
        raise RpcError("INVALID_ARGUMENT", "A field filter has no operator.")
    most = _LISTS.get(operator)
    elements = operand.array_value.values if most is not None else [operand]
    if most is not None:
        label = FieldOp(operator).name
        if kind_of(operand) != "array_value" or not elements:
            raise RpcError("INVALID_ARGUMENT", f"'{label}' requires a non-empty ArrayValue.")
        if len(elements) > most:
            raise RpcError("INVALID_ARGUMENT", f"'{label}' supports up to {most} comparison values.")
    path = parse_field_path(comparison.field.field_path)
    if path == NAME_FIELD and any(kind_of(element) != "reference_value" for element in elements):
        raise RpcError("INVALID_ARGUMENT", "__key__ filter value must be a Key")
