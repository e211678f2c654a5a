"""The deprecated INT96 times of Parquet: in which unit a file's are read so that each stays what it is.

An INT96 holds a day and nanoseconds. Spark and Hive write microseconds of any year, Impala may write nanoseconds. In 64 bits,
nanoseconds reach from 1677 to 2262 only and then begin anew (pyarrow 26 reads 9999-12-31 as 1816-03-29), and microseconds lose
three digits. So both are read, once, and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow.parquet as pq

MICROSECONDS, NANOSECONDS = "us", "ns"
_BATCH_ROWS = 10_000
_MOST = (2**63 - 1) // 1_000 - 1


def unit_of(open_file: Callable[[str], pq.ParquetFile], paths: list[str]) -> str:
    """Return the unit that holds every time of these columns unchanged; nanoseconds where some are finer than a microsecond.

    Raises `SourceError` at a time that is finer and outside 1677 to 2262, in a column that has both.
    """
    readers = [
        open_file(unit).iter_batches(_BATCH_ROWS, columns=paths, use_threads=False)
        for unit in (MICROSECONDS, NANOSECONDS)
    ]
    is_fine, outside = False, ""
    for micro, nano in zip(*readers, strict=True):
        for one, other in zip(_times(micro.columns), _times(nano.columns), strict=True):
            short, long = pc.cast(one, pa.int64()), pc.cast(other, pa.int64())
            is_fine |= pc.all(pc.equal(pc.multiply(short, 1_000), long)).as_py() is False  # both begin anew alike
            is_far = pc.greater(pc.abs(short), _MOST)
            if not outside and pc.any(is_far).as_py():
                outside = pc.cast(one.filter(is_far), pa.string())[0].as_py()  # Python's own dates end with year 9999
    if is_fine and outside:
        message = (
            f"the file has INT96 times finer than a microsecond and one of {outside}, which 64 bits cannot count in nanoseconds; "
            "write the times as TIMESTAMP, or leave the columns out"
        )
        raise SourceError(message, code="value_invalid")
    return NANOSECONDS if is_fine else MICROSECONDS


def _times(columns: list[pa.Array]) -> Iterator[pa.Array]:
    """Yield the arrays of times in columns that may be lists, structs and maps of them."""
    for values in columns:
        if pa.types.is_timestamp(values.type):
            yield values
        elif pa.types.is_map(values.type):
            yield from _times([values.keys, values.items])
        else:
            yield from _times(values.flatten() if pa.types.is_struct(values.type) else [values.flatten()])
