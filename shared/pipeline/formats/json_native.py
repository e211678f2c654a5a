"""Blocks of JSON objects as typed columns by two fast parsers, each trusted only where it is certain to read what the careful one does.

The careful one makes Python objects and costs three times as much; it is in `json_values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from shared.pipeline.formats.column_types import BOOL, DOUBLE, EXACT_INT, INT, STRING, cast_column
from shared.pipeline.formats.json_cutting import cut, rare
from shared.pipeline.formats.json_spelling import may_be_inexact

if TYPE_CHECKING:
    from shared.pipeline.formats.json_values import Chunk

_MAX_MISSES = 3
_BRACE, _CLOSING, _NEWLINE = b"{}\n"


def count_objects(text: bytes) -> int:
    """How many lines a text has, if each may be one object; else 0. Then each is one, if a parser finds as many."""
    letters = np.frombuffer(text, np.uint8)
    ends = rare(letters == _NEWLINE)
    if not len(ends) or ends[-1] != len(text) - 1 or letters[0] != _BRACE:
        return 0
    is_clean = (letters[ends - 1] == _CLOSING).all() and (letters[ends[:-1] + 1] == _BRACE).all()
    return len(ends) if is_clean else 0


class Native:
    """Tries the fast parsers, chunk by chunk; after three chunks in turn that one could not take, it is asked no more."""

    def __init__(self) -> None:
        self._misses = {cut: 0, _parsed: 0}

    def take(self, chunk: Chunk, schema: pa.Schema) -> pa.RecordBatch | None:
        """The rows in the schema's types, or None."""
        if not len(schema) or min(self._misses.values()) >= _MAX_MISSES:
            return None
        text = chunk.clean_text
        kinds = [kind if kind in (INT, DOUBLE, BOOL, STRING) else STRING for kind in schema.types]
        plain = pa.schema(list(zip(schema.names, kinds, strict=True)))
        for parse, misses in self._misses.items() if text else ():
            if misses >= _MAX_MISSES:
                continue
            batch = parse(text, plain)
            if batch is not None and batch.num_rows == chunk.count and _are_exact(batch):
                self._misses[parse] = 0
                return _in_types(batch, schema, chunk.first_row)
            self._misses[parse] += 1
        return None


def _parsed(text: bytes, schema: pa.Schema) -> pa.RecordBatch | None:
    """The rows by pyarrow, which takes keys in any order and missing ones; it is strict: another JSON type than the schema's,

    an unknown or doubled key, text around the objects, digits that a double does not hold: all None.
    """
    read = pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        table = pa.json.read_json(pa.BufferReader(text), read, parse)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if table.column_names != schema.names or (DOUBLE in schema.types and may_be_inexact(text)):
        return None
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=schema)


def _are_exact(batch: pa.RecordBatch) -> bool:
    """Whether no double is NaN, infinite or from 2^53 on, where it may not be the number that the file has."""
    for column in batch.columns:
        if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
            return False
        if pa.types.is_floating(column.type) and not is_small(column, EXACT_INT - 1):
            return False
    return True


def is_small(numbers: pa.Array, most: int = EXACT_INT) -> bool:
    """Whether no number is beyond `most`."""
    bounds = pc.min_max(numbers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return low is None or (-most <= low and high <= most)


def _in_types(batch: pa.RecordBatch, schema: pa.Schema, first_row: int) -> pa.RecordBatch:
    arrays = [
        cast_column(values, field.type, field.name, first_row)
        for values, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
