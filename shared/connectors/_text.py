"""Looks at text columns through Arrow's buffers, where the kernels cost more than the rest of an encoder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def has_nul(values: pa.ChunkedArray) -> bool:
    """Whether a text holds a NUL character."""
    return any(_may_have_nul(chunk) and pc.any(pc.match_substring(chunk, "\0")).as_py() for chunk in values.chunks)


def _may_have_nul(chunk: pa.Array) -> bool:
    """False when certainly none has: the bytes between the first and the last text, null ones included, are looked at."""
    if not pa.types.is_string(chunk.type):
        return True
    _, offsets, data = chunk.buffers()
    if data is None or not len(chunk):
        return False
    ends = memoryview(offsets).cast("i")
    letters = np.frombuffer(data, np.uint8)[ends[chunk.offset] : ends[chunk.offset + len(chunk)]]
    return bool(len(letters)) and not letters.min()
