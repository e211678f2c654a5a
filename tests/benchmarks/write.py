"""Writers against pandas. Run: `python -m tests.benchmarks.write [--rows N]`.

Both write the same values: ours from an Arrow table, pandas from its frame, which is there already. The baseline is what a user of
pandas writes to keep the values: a frame in which nullable integers stay integers, and its own method with its own defaults. That
both files hold the same values is checked before anything is measured, and that our Parquet file is not the larger one.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from functools import partial

from tests.benchmarks.rounds import Contest, run  # isort: skip  # first: see there

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shared.pipeline import formats
from shared.pipeline.formats import Format
from tests.benchmarks.dataset import table


def ours(fmt: Format, source: pa.Table) -> bytes:
    out = io.BytesIO()
    formats.writer(fmt).write(source.schema, iter(source.to_batches(max_chunksize=10_000)), out)
    return out.getvalue()


def frame_of(source: pa.Table) -> pd.DataFrame:
    """The frame that a user makes of it: nullable integers and flags, zoned times, days and decimals as Python objects."""
    frame: pd.DataFrame = source.to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get
    )
    return frame


def pandas_csv(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_csv(out, index=False)
    return out.getvalue()


def pandas_parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()


def check(source: pa.Table) -> None:
    """Raise AssertionError unless both sides write the same values."""
    kinds = pa.csv.ConvertOptions(column_types=source.schema, strings_can_be_null=True)
    files = (ours(Format.CSV, source), pandas_csv(frame_of(source)))
    mine, theirs = (pa.csv.read_csv(io.BytesIO(data), convert_options=kinds) for data in files)
    assert mine.equals(theirs), "the CSV files differ"
    files = (ours(Format.PARQUET, source), pandas_parquet(frame_of(source)))
    mine, theirs = (pq.read_table(io.BytesIO(data)) for data in files)
    for name in source.column_names:
        assert mine[name].to_pylist() == theirs[name].to_pylist(), name


def _converted(work: Callable[[pd.DataFrame], bytes], source: pa.Table) -> bytes:
    return work(frame_of(source))


def main() -> int:
    """Print the ratios; 1 if one is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    rows = parser.parse_args().rows
    source = table(rows)
    check(source.slice(0, 2_000))
    frame = frame_of(source)
    contests = [
        Contest(name, rows, partial(ours, fmt, source), partial(work, frame), wanted, partial(_converted, work, source))
        for name, fmt, work, wanted in (
            ("CSV write", Format.CSV, pandas_csv, 10),
            ("Parquet write", Format.PARQUET, pandas_parquet, 8),
        )
    ]
    sizes = len(ours(Format.PARQUET, source)), len(pandas_parquet(frame))
    print(f"Parquet bytes: ours {sizes[0]:,}, pandas {sizes[1]:,}")
    assert sizes[0] <= sizes[1], "our file is larger than what pandas writes"
    return 0 if run(contests) else 1


if __name__ == "__main__":
    sys.exit(main())
