"""Readers against naive pandas, and their memory at ten times the rows. Run: `python -m tests.benchmarks.read [--rows N]`.

Speed: CPU seconds of scan and batches together (what a job does; CSV, Parquet and XLSX are read twice) against the first thing a
user of pandas writes, on the same file in the same run; the ratio is what counts, machines differ. JSON Lines has a ratio to meet,
with the table that the other contests have; that both read the same values is checked first. Memory: peak RSS of a fresh process
that scans and streams a file of N and of 10 N rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tests.benchmarks.rounds import Contest, run  # isort: skip  # first: see there

from shared.pipeline import formats
from shared.pipeline.formats import Format, ReadOptions

if TYPE_CHECKING:
    import pandas as pd

_SPEED_ROWS = {Format.XLSX: 10_000}
_ROUNDS = 3


class _FileOpener:
    """A local file as a source."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def open(self) -> BinaryIO:
        return self._path.open("rb")


def write(fmt: Format, path: Path, rows: int) -> None:
    """A file of 12 columns of all types, written by our writer in batches of 10,000."""
    import pyarrow as pa

    size = 10_000
    day, moment = date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)
    block = pa.table(
        {
            "id": range(size),
            "account": [2**52 + index for index in range(size)],
            "quantity": [None if index % 17 == 0 else index % 100 for index in range(size)],
            "price": [index / 8 for index in range(size)],
            "score": [index / 7 for index in range(size)],
            "is_active": [index % 3 == 0 for index in range(size)],
            "sku": [f"SKU-{index:05}" for index in range(size)],
            "region": [("north", "south", "east", "west")[index % 4] for index in range(size)],
            "customer": [f"Customer näme {index * 7919 % 99991}" for index in range(size)],
            "note": [None if index % 5 else f'said "{index}", then left' for index in range(size)],
            "day": [day + timedelta(days=index % 1_000) for index in range(size)],
            "at": pa.array([moment + timedelta(seconds=index) for index in range(size)], pa.timestamp("us", "UTC")),
        }
    )
    batch = block.combine_chunks().to_batches()[0]
    with path.open("wb") as sink:
        formats.writer(fmt).write(block.schema, (batch.slice(0, rows - at) for at in range(0, rows, size)), sink)


def ours(fmt: Format, path: Path) -> int:
    """Scan, then stream all batches; returns the rows."""
    opener = _FileOpener(path)
    reader = formats.reader(fmt)
    scan = reader.scan(opener, ReadOptions())
    return sum(batch.num_rows for batch in reader.batches(opener, scan))


def naive(fmt: Format, path: Path) -> int:
    """The same with pandas, all at once."""
    import pandas as pd

    read: dict[Format, Callable[[], pd.DataFrame]] = {
        Format.CSV: lambda: pd.read_csv(path, parse_dates=["day", "at"]),
        Format.JSON: lambda: pd.read_json(path),
        Format.JSONL: lambda: pd.read_json(path, lines=True),
        Format.PARQUET: lambda: pd.read_parquet(path),
        Format.XLSX: lambda: pd.read_excel(path),
    }
    return len(read[fmt]())


def pandas_lines(path: Path) -> pd.DataFrame:
    """JSON Lines by pandas, text left as text and numbers read in full: its own guesses make 7 of "007"."""
    import pandas as pd

    return pd.read_json(path, lines=True, dtype=False, precise_float=True)


def check(folder: Path) -> None:
    """Raise AssertionError unless both sides read the same values from a file of JSON Lines."""
    import pandas as pd

    contest(folder, "", 2_000, 0)
    path = folder / "2000.jsonl"
    opener, reader = _FileOpener(path), formats.reader(Format.JSONL)
    scan = reader.scan(opener, ReadOptions())
    mine = [row for batch in reader.batches(opener, scan) for row in batch.to_pylist()]
    frame = pandas_lines(path).astype(object)
    assert mine == frame.where(pd.notna(frame), None).to_dict("records"), "what is read differs"


def contest(folder: Path, name: str, rows: int, wanted: float) -> Contest:
    """JSON Lines of so many rows, in a file of its own."""
    from tests.benchmarks.dataset import table

    path, source = folder / f"{rows}.jsonl", table(rows)
    with path.open("wb") as sink:
        formats.writer(Format.JSONL).write(source.schema, iter(source.to_batches(max_chunksize=10_000)), sink)
    return Contest(name, rows, lambda: ours(Format.JSONL, path), lambda: pandas_lines(path), wanted)


def _speed(folder: Path, fmt: Format, rows: int) -> str:
    path = folder / f"speed.{fmt}"
    write(fmt, path, rows)
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    for _ in range(_ROUNDS):
        for name, read in (("ours", ours), ("naive", naive)):
            start = time.process_time()
            found = read(fmt, path)
            seconds[name].append(time.process_time() - start)
            assert found == rows
    best = {name: rows / min(values) for name, values in seconds.items()}
    return f"{fmt:8} {rows:>9,} {best['ours']:>12,.0f} {best['naive']:>12,.0f} {best['ours'] / best['naive']:>8.2f}"


def _peak_mb(fmt: Format, path: Path) -> float:
    code = (  # ru_maxrss would include this process, which the child was forked from
        "import pathlib, re; from tests.benchmarks import read; from shared.pipeline.formats import Format; "
        f"read.ours(Format({fmt.value!r}), pathlib.Path({str(path)!r})); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    return (
        float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout) / 1024
    )


def _memory(folder: Path, fmt: Format, rows: int) -> str:
    peaks = []
    for count in (rows, 10 * rows):
        path = folder / f"memory.{fmt}"
        write(fmt, path, count)
        peaks.append(_peak_mb(fmt, path))
        path.unlink()
    return f"{fmt:8} {rows:>9,} {peaks[0]:>12,.0f} {peaks[1]:>12,.0f} {peaks[1] / peaks[0]:>8.2f}"


def main() -> int:
    """Print two tables and the contest; 1 if a ratio is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows; memory is compared with ten times as many")
    parser.add_argument("--formats", nargs="*", type=Format, default=list(Format))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("format        rows  ours rows/s pandas rows/s  ratio   (rows per CPU second; ours reads twice)")
        for fmt in arguments.formats:
            if fmt is Format.JSONL:  # see the contest below
                continue
            print(_speed(folder, fmt, min(arguments.rows, _SPEED_ROWS.get(fmt, arguments.rows))), flush=True)
        print("format        rows      peak MB  at 10 x MB    ratio   (XLSX at a tenth of the rows)")
        for fmt in arguments.formats:
            rows = arguments.rows // 10 if fmt is Format.XLSX else arguments.rows
            print(_memory(folder, fmt, rows), flush=True)
        check(folder)
        rows = arguments.rows
        kept = contest(folder, "JSON Lines read", rows, 5)  # a job keeps up to 32 MiB of rows from the scan on
        again = contest(folder, "JSON Lines read, twice", 4 * rows, 2.5)  # so many it reads again
        is_met = [run([kept]), run([again], rounds=1)]
        return 0 if all(is_met) else 1


if __name__ == "__main__":
    sys.exit(main())
