"""What parsers of JSON pass over in silence: digits that no double holds, and keys that stand twice in an object."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from shared.pipeline.formats.column_types import is_exact_double, text_scalar
from shared.pipeline.sources import KeyTwiceError, unique_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string of JSON, in bytes, for expressions."""
_STRINGS = re.compile(STRING, re.DOTALL)
_LONG = 16
"""Numbers of fewer letters have at most 15 digits, which a double always gives back, unless their power is large."""
_LARGE_POWER = "[eE][+-]?[0-9]{3}"
_IN_DOUBT = re.compile(rb"[0-9][0-9.]{15}[0-9.eE+-]*|[0-9][0-9.]*[eE][+-]?[0-9]{3}[0-9]*")
_COMMA = text_scalar(",")


def are_exact(texts: pa.Array, numbers: pa.Array) -> bool:
    """Whether each text is, to its last digit, what the double read from it is. Nulls count as exact."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    in_doubt = lengths >= _LONG
    letters = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    if ((letters | 0x20) == ord("e")).any():
        found = pc.match_substring_regex(texts, _LARGE_POWER).buffers()[1]
        large = np.unpackbits(np.frombuffer(found, np.uint8), count=len(texts), bitorder="little") == 1
        in_doubt |= large & (lengths > 0)  # nulls have no letters
    at = np.flatnonzero(in_doubt).astype(np.int32)
    if not len(at):
        return True
    doubles = np.frombuffer(numbers.buffers()[1], np.float64)[numbers.offset : numbers.offset + len(numbers)]
    spelled = orjson.dumps(doubles[at], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]  # the shortest texts of the doubles
    chosen = pc.take(texts, pa.Array.from_buffers(pa.int32(), len(at), [None, pa.py_buffer(at)]), boundscheck=False)
    ends = pa.Array.from_buffers(pa.int32(), 2, [None, pa.py_buffer(np.array([0, len(at)], np.int32))])
    written = pc.binary_join(pa.ListArray.from_arrays(ends, chosen), _COMMA)[0].as_buffer().to_pybytes()
    if written == spelled:
        return True
    pairs = zip(written.split(b","), spelled.split(b","), strict=True)
    return all(mine == theirs or is_exact_double(mine.decode()) for mine, theirs in pairs)


def may_be_inexact(text: bytes) -> bool:
    """Whether a number with a fraction or a power, or what looks like one in a text, is none that a double holds."""
    return any(not _is_exact(found.decode()) for found in _IN_DOUBT.findall(text))


def _is_exact(text: str) -> bool:
    if not set(text) & set(".eE"):
        return True
    try:
        return repr(float(text)) == text or is_exact_double(text)
    except ValueError:  # part of a text
        return False


def key_twice(raw: list[bytes], rows: list[dict[str, Any]]) -> tuple[int, str] | None:
    """Return index and key of the first row that has a key twice, itself or in an object inside of it.

    Each key has one colon outside of strings; parsers drop all but one of the same keys.
    """
    if sum(text.count(b":") for text in raw) == sum(map(len, rows)):
        return None
    if _STRINGS.sub(b"", b"\n".join(raw)).count(b":") == sum(map(_keys, rows)):
        return None
    for index, text in enumerate(raw):
        try:
            json.loads(text, object_pairs_hook=unique_keys, parse_int=str, parse_float=str)
        except KeyTwiceError as found:
            return index, found.key
    return None


def _keys(row: dict[str, Any]) -> int:
    return len(row) + _keys_in(row.values())


def _keys_in(values: Iterable[Any]) -> int:
    count = 0
    for value in values:
        if type(value) is dict:
            count += _keys(value)
        elif type(value) is list:
            count += _keys_in(value)
    return count
