"""Rows for COPY (text format), and rows as both sides are compared.

The text format and not CSV: before version 18 a line `\\.` inside a quoted CSV value ended the data, and in CSV an unquoted
null word cannot be told from the same word as text. In the text format every backslash of a value is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa

from shared.errors import SourceError

SLICE_ROWS = 10_000  # our choice: a few MB of text at a time beside the chunk itself
FIRST_YEAR, LAST_YEAR = (
    1,
    9999,
)  # our choice: what Python, Looker and ISO text agree on; Postgres itself reaches further
_SPECIAL = ["\\", "\n", "\r", "\t"]
_ESCAPED = ["\\\\", "\\n", "\\r", "\\t"]
_TIME = "%Y-%m-%d %H:%M:%S%.6f"


def check_values(table: pa.Table, first_row: int) -> None:
    """Refuse what Postgres or Looker cannot hold as it is: NUL characters, NaN and infinities, years outside 1 to 9999.

    Raises:
        SourceError: with the one-based row of the source and the column. `first_row` is zero-based.
    """
    for series in _frame(table).iter_columns():
        for problem, mask in _problems(series):
            if mask.any():
                row = first_row + (mask.arg_max() or 0) + 1
                raise SourceError(
                    f"row {row}, column {series.name!r}: {problem}; correct the value or leave it out by the mapping",
                    row=row,
                    column=series.name,
                )


def copy_text(table: pa.Table) -> Iterator[bytes]:
    """Yield the rows in COPY's text format, columns in order; times are in UTC. Nothing for an empty table."""
    for start in range(0, table.num_rows, SLICE_ROWS):
        frame = _frame(table.slice(start, SLICE_ROWS)).with_columns(
            pl.col(pl.String).str.replace_many(_SPECIAL, _ESCAPED),
            pl.selectors.datetime().dt.strftime(_TIME),
        )
        text: str = frame.write_csv(None, include_header=False, separator="\t", quote_style="never", null_value="\\N")
        yield text.encode()


def canonical_rows(table: pa.Table) -> Iterator[tuple[str | None, ...]]:
    """Yield source rows as Postgres holds them.

    Integers and decimals (at their declared scale) as digits, doubles as Python's shortest text, booleans t or f, dates
    `YYYY-MM-DD`, times in UTC to microseconds, text as it is, null as None.
    """
    for start in range(0, table.num_rows, SLICE_ROWS):
        columns = [_canonical(series) for series in _frame(table.slice(start, SLICE_ROWS)).iter_columns()]
        yield from zip(*columns, strict=True)


def found_rows(rows: Iterable[tuple[str | None, ...]], doubles: list[int]) -> Iterator[tuple[str | None, ...]]:
    """Yield rows of COPY's output (selected with `to_char` for times) in canonical form. `doubles`: positions of such columns."""
    if not doubles:
        yield from rows
        return
    for row in rows:
        values = list(row)
        for position in doubles:
            text = values[position]
            if text is not None:
                values[position] = repr(float(text))
        yield tuple(values)


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


def _canonical(series: pl.Series) -> list[str | None]:
    if series.dtype == pl.Float64:
        return [None if value is None else repr(value) for value in series.to_list()]
    if series.dtype == pl.Boolean:
        return [None if value is None else "t" if value else "f" for value in series.to_list()]
    if isinstance(series.dtype, pl.Datetime):
        return series.dt.strftime(_TIME).to_list()
    return series.cast(pl.String).to_list()


def _problems(series: pl.Series) -> list[tuple[str, pl.Series]]:
    if series.dtype == pl.Float64:
        return [("not a finite number (NaN or infinity)", (~series.is_finite()).fill_null(False))]
    if series.dtype == pl.String:
        return [("text with a NUL character", series.str.contains("\0", literal=True).fill_null(False))]
    if series.dtype == pl.Date or isinstance(series.dtype, pl.Datetime):
        years = series.dt.year()
        outside = ~years.is_between(FIRST_YEAR, LAST_YEAR)
        return [(f"a year outside {FIRST_YEAR} to {LAST_YEAR}", outside.fill_null(False))]
    return []
