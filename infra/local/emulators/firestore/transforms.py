"""Field transforms: what a write computes from the stored value (source: the comments of `DocumentTransform` in the API)."""

from __future__ import annotations

import math

from infra.local.emulators.firestore.messages import Message, Value, kind_of, number_of, number_value, stamp
from infra.local.emulators.firestore.ordering import sort_key
from infra.local.emulators.grpc_server import RpcError

_NOTHING = Value(null_value=0)  # what a write answers for array transforms


def transformed(transform: Message, current: Message | None, now: int) -> tuple[Message, Message]:
    """The field's new Value and the Value to answer for this transform.

    Raises:
        RpcError: INVALID_ARGUMENT, the operand is not a number where one is needed, or no transform is given.
    """
    kind = str(transform.WhichOneof("transform_type"))
    match kind:
        case "set_to_server_value":
            value = Value(timestamp_value=stamp(now // 1000 * 1000))  # request time has milliseconds, says the API
            return value, value
        case "increment" | "maximum" | "minimum":
            value = _number(kind, current, getattr(transform, kind))
            return value, value
        case "append_missing_elements":
            return _united(current, transform.append_missing_elements.values), _NOTHING
        case "remove_all_from_array":
            return _without(current, transform.remove_all_from_array.values), _NOTHING
        case _:
            raise RpcError("INVALID_ARGUMENT", f"The transform of {transform.field_path} names no operation.")


def _number(kind: str, current: Message | None, operand: Message) -> Message:
    given, stored = number_of(operand), number_of(current)
    if given is None:
        raise RpcError("INVALID_ARGUMENT", f"The operand of {kind} is a {kind_of(operand)}; expected a number.")
    if stored is None or current is None:
        return operand
    if kind == "increment":
        return number_value(stored + given)
    if math.isnan(stored) or math.isnan(given):
        return number_value(math.nan)
    replaces = given > stored if kind == "maximum" else given < stored  # 3 and 3.0 are equal: the stored one stays
    return operand if replaces else current


def _united(current: Message | None, added: list[Message]) -> Message:
    elements = _elements(current)
    present = {sort_key(element) for element in elements}
    for element in added:
        key = sort_key(element)
        if key not in present:
            present.add(key)
            elements.append(element)
    return _array(elements)


def _without(current: Message | None, removed: list[Message]) -> Message:
    unwanted = {sort_key(element) for element in removed}
    return _array([element for element in _elements(current) if sort_key(element) not in unwanted])


def _elements(current: Message | None) -> list[Message]:
    return list(current.array_value.values) if current is not None and kind_of(current) == "array_value" else []


def _array(elements: list[Message]) -> Message:
    value = Value()
    value.array_value.SetInParent()
    value.array_value.values.extend(elements)
    return value
