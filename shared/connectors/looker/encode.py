"""Rows for COPY, in its text format.

The text format and not CSV: before version 18 a line `\\.` inside a quoted CSV value ended the data, and in CSV an unquoted
null word cannot be told from the same word as text. In the text format every backslash of a value is doubled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError, shown

SLICE_ROWS = 10_000  # our choice: a few MB of text at a time beside the chunk itself
FIRST_DAY = dt.date(1, 1, 1).toordinal() - dt.date(1970, 1, 1).toordinal()
LAST_DAY = dt.date(9999, 12, 31).toordinal() - dt.date(1970, 1, 1).toordinal()
"""Our choice: the years 1 to 9999 are what Python, Looker and ISO text agree on; Postgres itself reaches further."""
_SECONDS_PER_DAY = 86_400
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_SPECIAL = ["\\", "\n", "\r", "\t"]
_ESCAPED = ["\\\\", "\\n", "\\r", "\\t"]
_TIME = "%Y-%m-%d %H:%M:%S%.6f"


def check_values(table: pa.Table, first_row: int) -> None:
    """Refuse what Postgres or Looker cannot hold as it is: NUL characters, NaN and infinities, years outside 1 to 9999.

    Raises:
        SourceError: with the one-based row of the source and the column. `first_row` is zero-based.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        problem, wrong = _wrong_values(column)
        position = first_true(wrong) if wrong is not None else -1
        if position >= 0:
            row, value = first_row + position + 1, shown(column[position])
            raise SourceError(
                f"row {row}, column {name!r}: {problem}, and the value is {value}; correct it or leave it out by the mapping",
                row=row,
                column=name,
                rule=problem,
                value=value,
            )


def first_true(mask: pa.ChunkedArray) -> int:
    """Return the position of the first true value, -1 if there is none.

    Not `pc.index`: any Arrow scalar that is made from a Python value imports pandas where that is installed (40 MB).
    """
    return int(pc.indices_nonzero(mask)[0].as_py()) if pc.any(mask).as_py() else -1


def copy_text(table: pa.Table) -> Iterator[bytes]:
    """Yield the rows in COPY's text format, columns in order; times are in UTC. Nothing for an empty table."""
    for start in range(0, table.num_rows, SLICE_ROWS):
        frame = _frame(table.slice(start, SLICE_ROWS)).with_columns(
            pl.col(pl.String).str.replace_many(_SPECIAL, _ESCAPED),
            pl.selectors.datetime().dt.strftime(_TIME),
        )
        text: str = frame.write_csv(None, include_header=False, separator="\t", quote_style="never", null_value="\\N")
        yield text.encode()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(table))
    return frame.with_columns(
        pl.col(pl.Float32).cast(pl.Float64),  # exact; its own text would be that of another double
        *(
            pl.col(name).dt.cast_time_unit("us").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            if dtype.time_zone
            else pl.col(name).dt.cast_time_unit("us")
            for name, dtype in frame.schema.items()
            if isinstance(dtype, pl.Datetime)
        ),
    )


def _wrong_values(column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray | None]:
    """Return what would be wrong with a value of this type, and where it is (nulls are never wrong)."""
    kind = column.type
    if pa.types.is_floating(kind):
        return "not a finite number (NaN or infinity)", pc.invert(pc.is_finite(column))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text with a NUL character", pc.match_substring(column, "\0")
    if not pa.types.is_temporal(kind):
        return "", None
    # In integers: Polars turns years beyond its range into nulls, and overflows silently when it changes units.
    scale = _SECONDS_PER_DAY * _PER_SECOND[kind.unit] if pa.types.is_timestamp(kind) else 1
    count = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    ends = pc.min_max(count).as_py()
    if ends["min"] is None or (ends["min"] >= FIRST_DAY * scale and ends["max"] < (LAST_DAY + 1) * scale):
        return "", None
    outside = pc.or_(pc.less(count, FIRST_DAY * scale), pc.greater_equal(count, (LAST_DAY + 1) * scale))
    return "a year outside 1 to 9999", outside
