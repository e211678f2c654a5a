"""count, sum and avg over the documents of a query."""

from __future__ import annotations

from infra.local.emulators.firestore.messages import Direction, Message, Value, number_of, number_value
from infra.local.emulators.firestore.paths import NAME_FIELD, FieldPath, format_field_path, get_field, parse_field_path
from infra.local.emulators.firestore.queries import order_of
from infra.local.emulators.grpc_server import RpcError

MAX_AGGREGATIONS = 5  # the comment of StructuredAggregationQuery.aggregations in the API


def ordered_query(query: Message, aggregations: list[Message]) -> Message:
    """The query, also ordered by the fields to be summed: as in Firestore, only documents that have them all count."""
    ordered = type(query)()
    ordered.CopyFrom(query)
    is_named = any(order.field.field_path == "__name__" for order in query.order_by)
    terms = [term for term in order_of(query) if is_named or term.path != NAME_FIELD]
    del ordered.order_by[:]
    for term in terms:
        direction = Direction.DESCENDING if term.is_descending else Direction.ASCENDING
        ordered.order_by.add(field={"field_path": format_field_path(term.path)}, direction=direction)
    summed = {
        _path(getattr(one, operator)) for one in aggregations for operator in ("sum", "avg") if one.HasField(operator)
    }
    direction = ordered.order_by[-1].direction if terms else Direction.ASCENDING
    for path in sorted(summed - {term.path for term in terms}):
        ordered.order_by.add(field={"field_path": format_field_path(path)}, direction=direction)
    return ordered


def aggregate(aggregations: list[Message], documents: list[Message]) -> dict[str, Message]:
    """The Value of each aggregation by its alias (`field_1`, ... where none is given).

    Raises:
        RpcError: INVALID_ARGUMENT, none, too many, or an empty aggregation.
    """
    if not 1 <= len(aggregations) <= MAX_AGGREGATIONS:
        raise RpcError("INVALID_ARGUMENT", f"{len(aggregations)} aggregations; expected 1 to {MAX_AGGREGATIONS}.")
    results: dict[str, Message] = {}
    unnamed = 0
    for aggregation in aggregations:
        if not aggregation.alias:
            unnamed += 1
        results[aggregation.alias or f"field_{unnamed}"] = _result(aggregation, documents)
    return results


def _result(aggregation: Message, documents: list[Message]) -> Message:
    match aggregation.WhichOneof("operator"):
        case "count":
            most = aggregation.count.up_to.value if aggregation.count.HasField("up_to") else len(documents)
            return Value(integer_value=min(len(documents), most))
        case "sum":
            return _sum(_numbers(aggregation.sum, documents))
        case "avg":
            numbers = _numbers(aggregation.avg, documents)
            return Value(double_value=sum(numbers) / len(numbers)) if numbers else Value(null_value=0)
        case _:
            raise RpcError("INVALID_ARGUMENT", "An aggregation is empty: expected count, sum or avg.")


def _numbers(operator: Message, documents: list[Message]) -> list[int | float]:
    path = _path(operator)
    found = (number_of(get_field(document.fields, path)) for document in documents)
    return [number for number in found if number is not None]


def _path(operator: Message) -> FieldPath:
    return parse_field_path(operator.field.field_path)


def _sum(numbers: list[int | float]) -> Message:
    total = sum(numbers)
    fits = isinstance(total, float) or -(2**63) <= total < 2**63
    return number_value(total if fits else float(total))  # an integer sum that overflows becomes a double
