"""Firestore's order of values, as bytes: `sort_key(a) < sort_key(b)` exactly if Firestore sorts a before b.

Order of types: null, booleans, numbers (NaN first), times, text, bytes, references, places, arrays, vectors, maps
(firebase.google.com/docs/firestore/manage-data/data-types). No key is the beginning of another one, so keys can be
put one behind the other, and a descending order is the key with all bits turned.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable

from infra.local.emulators.firestore.messages import Message, kind_of, micros

NULL, BOOLEAN, NUMBER, TIME, TEXT, BYTES, REFERENCE, PLACE, ARRAY, VECTOR, MAP = (bytes([16 * n]) for n in range(1, 12))
NULL_KEY = NULL
NAN_KEY = NUMBER + bytes(10)
_END, _NEXT, _TEXT_NEXT = b"\x00", b"\x01", b"\x02"
_NUMERIC_ID = re.compile(r"__id(-?\d{1,19})__")
_TURNED = bytes(255 - n for n in range(256))


def sort_key(value: Message) -> bytes:
    """The order-keeping key of a Value; its first byte is the type's rank."""
    kind = kind_of(value)
    return _ENCODERS[kind](getattr(value, kind)) if kind != "null_value" else NULL_KEY


def name_key(name: str) -> bytes:
    """The key of a document name, as of the reference to it."""
    return REFERENCE + b"".join(map(_segment_key, name.split("/"))) + _END


def is_numeric_id(segment: str) -> bool:
    """Whether this is a numeric id, `__id7__`: no document here has one, but clients use the least one as a bound."""
    return _NUMERIC_ID.fullmatch(segment) is not None


def _segment_key(segment: str) -> bytes:
    """Numeric ids come before all others."""
    if segment.startswith("__id") and (number := _NUMERIC_ID.fullmatch(segment)):
        return _NEXT + (int(number[1]) + (1 << 63)).to_bytes(9, "big")
    return _TEXT_NEXT + _delimited(segment.encode())


def descending(key: bytes) -> bytes:
    """The key that sorts the other way round."""
    return key.translate(_TURNED)


def _delimited(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _double_bytes(number: float) -> bytes:
    bits = int.from_bytes(struct.pack(">d", number + 0.0), "big")  # + 0.0 turns -0.0 into 0.0
    bits ^= 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63
    return bits.to_bytes(8, "big")


def _integer_key(number: int) -> bytes:
    """An integer as its nearest double and what that double leaves over (at most 512), so that both kinds sort together."""
    nearest = float(number)
    return NUMBER + _double_bytes(nearest) + (number - int(nearest) + 0x8000).to_bytes(2, "big")


def _double_key(number: float) -> bytes:
    return NAN_KEY if math.isnan(number) else NUMBER + _double_bytes(number) + b"\x80\x00"


def _place_key(place: Message) -> bytes:
    return PLACE + _double_bytes(place.latitude) + _double_bytes(place.longitude)


def _array_key(array: Message) -> bytes:
    return ARRAY + b"".join(_NEXT + sort_key(value) for value in array.values) + _END


def _map_key(entries: Message) -> bytes:
    fields = entries.fields
    if "__type__" in fields and fields["__type__"].string_value == "__vector__":
        numbers = fields["value"].array_value.values
        return VECTOR + len(numbers).to_bytes(4, "big") + b"".join(sort_key(number) for number in numbers)
    names = sorted(name.encode() for name in fields)
    return MAP + b"".join(_NEXT + _delimited(name) + sort_key(fields[name.decode()]) for name in names) + _END


_ENCODERS: dict[str, Callable[[Message], bytes]] = {
    "boolean_value": lambda flag: BOOLEAN + (b"\x01" if flag else b"\x00"),
    "integer_value": _integer_key,
    "double_value": _double_key,
    "timestamp_value": lambda moment: TIME + (micros(moment) + (1 << 63)).to_bytes(8, "big"),
    "string_value": lambda text: TEXT + _delimited(text.encode()),
    "bytes_value": lambda data: BYTES + _delimited(data),
    "reference_value": name_key,
    "geo_point_value": _place_key,
    "array_value": _array_key,
    "map_value": _map_key,
}
