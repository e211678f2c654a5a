"""What Firestore refuses in a document, and its size by Firestore's own formula.

Source: firebase.google.com/docs/firestore/quotas and .../storage-size.
"""

from __future__ import annotations

from infra.local.emulators.firestore.messages import Message, kind_of
from infra.local.emulators.grpc_server import RpcError

MAX_DOCUMENT_BYTES = 1_048_576
MAX_VALUE_BYTES = 1_048_487  # one string or byte value: 1 MiB less 89 bytes
MAX_FIELD_NAME_BYTES = 1500
MAX_DEPTH = 20
MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_TRANSFORMS = 500  # field transforms on one document in one commit

_FIXED_BYTES = {
    "null_value": 1,
    "boolean_value": 1,
    "integer_value": 8,
    "double_value": 8,
    "timestamp_value": 8,
    "geo_point_value": 16,
}
_FOREIGN_KINDS = {"field_reference_value", "variable_reference_value", "function_value", "pipeline_value"}


def check_request(request: Message) -> None:
    """Refuse a commit above 10 MiB.

    Raises:
        RpcError: INVALID_ARGUMENT.
    """
    size = request.ByteSize()
    if size > MAX_REQUEST_BYTES:
        raise RpcError(
            "INVALID_ARGUMENT", f"Request payload size ({size} bytes) exceeds the limit: {MAX_REQUEST_BYTES} bytes."
        )


def check_document(name: str, fields: Message) -> None:
    """Check the fields of a document about to be stored; times in it are cut to whole microseconds on the way.

    Raises:
        RpcError: INVALID_ARGUMENT, with the first thing Firestore would refuse.
    """
    size = name_bytes(name) + 32 + _fields_bytes(fields, 1)
    if size > MAX_DOCUMENT_BYTES:
        raise RpcError(
            "INVALID_ARGUMENT",
            f"Document '{name}' cannot be written because its size ({size:,} bytes) exceeds the maximum allowed size of "
            f"{MAX_DOCUMENT_BYTES:,} bytes.",
        )


def name_bytes(name: str) -> int:
    """The stored size of a document name: each id below `/documents` plus one byte, plus 16."""
    below = name.split("/documents/", 1)[-1]
    return sum(len(segment.encode()) + 1 for segment in below.split("/")) + 16


def _fields_bytes(fields: Message, depth: int) -> int:
    total = 0
    for name, value in fields.items():
        length = len(name.encode())
        if not name or length > MAX_FIELD_NAME_BYTES:
            raise RpcError(
                "INVALID_ARGUMENT", f"Field name has {length} bytes; expected 1 to {MAX_FIELD_NAME_BYTES}: {name[:40]}"
            )
        if len(name) >= 4 and name.startswith("__") and name.endswith("__") and not _is_vector(fields):
            raise RpcError("INVALID_ARGUMENT", f'Property name "{name}" is invalid because it is reserved.')
        total += length + 1 + _value_bytes(name, value, depth)
    return total


def _value_bytes(name: str, value: Message, depth: int) -> int:
    kind = kind_of(value)
    if depth > MAX_DEPTH:
        raise RpcError(
            "INVALID_ARGUMENT", f"Property {name} is nested too deep: at most {MAX_DEPTH} levels are allowed."
        )
    if kind in _FOREIGN_KINDS:
        raise RpcError("INVALID_ARGUMENT", f"Property {name} holds a {kind}, which only pipelines may use.")
    if kind == "timestamp_value":
        value.timestamp_value.nanos -= value.timestamp_value.nanos % 1000
    match kind:
        case "string_value":
            return _checked(name, len(value.string_value.encode())) + 1
        case "bytes_value":
            return _checked(name, len(value.bytes_value))
        case "reference_value":
            return name_bytes(value.reference_value)
        case "array_value":
            return sum(_element_bytes(name, element, depth + 1) for element in value.array_value.values)
        case "map_value":
            return _fields_bytes(value.map_value.fields, depth + 1)
        case _:
            return _FIXED_BYTES[kind]


def _checked(name: str, length: int) -> int:
    if length > MAX_VALUE_BYTES:
        raise RpcError("INVALID_ARGUMENT", f'The value of property "{name}" is longer than {MAX_VALUE_BYTES} bytes.')
    return length


def _element_bytes(name: str, value: Message, depth: int) -> int:
    if kind_of(value) == "array_value":
        raise RpcError("INVALID_ARGUMENT", f"Property {name} contains an invalid nested entity (an array in an array).")
    return _value_bytes(name, value, depth)


def _is_vector(fields: Message) -> bool:
    return "__type__" in fields and bool(fields["__type__"].string_value == "__vector__")
