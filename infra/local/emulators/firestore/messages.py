"""Raw protobuf classes of Firestore v1 (several times faster than their proto-plus wrappers) and its time stamps."""

from __future__ import annotations

from typing import Any, TypeAlias

from google.cloud.firestore_v1 import types
from google.protobuf.timestamp_pb2 import Timestamp

Message: TypeAlias = Any  # the Google libraries ship no types; the parameter's name says which message it is

Value: Message = types.Value.pb()
Document: Message = types.Document.pb()
WriteResult: Message = types.WriteResult.pb()
StructuredQuery: Message = types.StructuredQuery.pb()
FieldOp = types.StructuredQuery.FieldFilter.Operator
UnaryOp = types.StructuredQuery.UnaryFilter.Operator
CompositeOp = types.StructuredQuery.CompositeFilter.Operator
Direction = types.StructuredQuery.Direction


class RawTypes:
    """`firestore_v1.types` with every class replaced by its raw protobuf class."""

    def __getattr__(self, name: str) -> Message:
        return getattr(types, name).pb()


raw = RawTypes()


def stamp(micros: int) -> Message:
    """A Timestamp of `micros` microseconds since 1970 (UTC)."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def micros(timestamp: Message) -> int:
    """Microseconds since 1970 (UTC) of a Timestamp, rounded down as Firestore does."""
    return int(timestamp.seconds) * 1_000_000 + int(timestamp.nanos) // 1000


def kind_of(value: Message) -> str:
    """The member of a Value that is set, e.g. `string_value`; an unset Value counts as null."""
    return str(value.WhichOneof("value_type") or "null_value")


def number_of(value: Message | None) -> int | float | None:
    """The number in a Value; None if it holds anything else."""
    if value is None:
        return None
    kind = kind_of(value)
    if kind == "integer_value":
        return int(value.integer_value)
    return float(value.double_value) if kind == "double_value" else None


def number_value(number: float) -> Message:
    """A Value of the number; an int beyond 64 bits becomes the nearest end of the range, as Firestore's increment does."""
    if isinstance(number, int):
        return Value(integer_value=max(-(2**63), min(2**63 - 1, number)))
    return Value(double_value=number)
