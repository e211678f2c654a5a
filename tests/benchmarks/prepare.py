"""Preparing rows: CPU and memory of a mapping with a contract and a key, at two sizes, beside pandas at the smaller one.

Run: python -m tests.benchmarks.prepare. Each case is a process of its own; memory is its peak beyond what its imports take.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

SMALL, LARGE = 500_000, 4_000_000
MAPPING: dict[str, Any] = {
    "where": "hours > 0",
    "columns": [
        {"name": "Id", "from": "id"},
        {"name": "Hours", "from": "hours", "type": "decimal(12,2)"},
        {"name": "Name", "expression": "concat(upper(first), ' ', last)"},
        {"name": "Pay", "expression": "hours * rate if rate is not None else 0"},
    ],
}
CONTRACT: dict[str, Any] = {
    "on_breach": "discard_row",
    "key": ["Id"],
    "columns": {"Hours": {"required": True, "minimum": 0, "maximum": 9}, "Name": {"required": True}},
}


class Folder:
    """`Objects` in a folder, so that what is measured is no store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stat(self, bucket: str, name: str) -> Any:
        from shared.ports import ObjectInfo

        path = self._path / name.replace("/", "_")
        return ObjectInfo(bucket, name, 1, path.stat().st_size) if path.exists() else None

    def open(self, info: Any) -> BinaryIO:
        return (self._path / info.name.replace("/", "_")).open("rb")

    @contextmanager
    def writer(self, bucket: str, name: str, *, content_type: str) -> Iterator[BinaryIO]:
        with (self._path / name.replace("/", "_")).open("wb") as sink:
            yield sink


def make(folder: Path, rows: int) -> None:
    """Write the source: every thousandth row breaks a rule."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(7)
    schema = pa.schema(
        [("id", pa.int64()), ("hours", pa.int64()), ("rate", pa.int64()), ("first", pa.string()), ("last", pa.string())]
    )
    names = np.array([f"name {number}" for number in range(1000)])
    with pq.ParquetWriter(folder / "jobs_j_source.parquet", schema) as sink:
        for start in range(0, rows, 100_000):
            ids = np.arange(start, start + 100_000)
            hours = np.where(ids % 1000 == 0, 99, random.integers(0, 9, 100_000))
            columns = [ids, hours, random.integers(1, 50, 100_000), names[ids % 1000], names[ids % 997]]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            sink.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def ours(folder: Path) -> int:
    """Prepare the source as a job's rows are."""
    import msgspec

    from shared.models import Contract, Mapping
    from shared.pipeline.formats import Format, ReadOptions, reader
    from shared.pipeline.freezing import FrozenSource, PinnedObject
    from shared.pipeline.preparing.prepare import Plan, prepare

    objects: Any = Folder(folder)
    info = objects.stat("b", "jobs/j/source.parquet")
    scan = reader(Format.PARQUET).scan(PinnedObject(objects, info), ReadOptions())
    frozen = FrozenSource.single(objects, info, Format.PARQUET, scan)
    mapping, contract = msgspec.convert(MAPPING, Mapping), msgspec.convert(CONTRACT, Contract)
    found = prepare(objects, frozen, Plan("b", "jobs/j/1-", mapping, contract, None, None, lambda rows: None))
    assert found.source is not None
    return found.source.scan.rows


def of_pandas(folder: Path) -> int:
    """The same with pandas, all rows at once."""
    from decimal import Decimal

    import pandas as pd

    frame = pd.read_parquet(folder / "jobs_j_source.parquet")
    frame = frame[frame["hours"] > 0]
    found = pd.DataFrame(
        {
            "Id": frame["id"],
            "Hours": frame["hours"].map(lambda hours: Decimal(hours).quantize(Decimal("0.01"))),
            "Name": frame["first"].str.upper() + " " + frame["last"],
            "Pay": (frame["hours"] * frame["rate"]).fillna(0),
        }
    )
    bad = found["Hours"].isna() | (found["Hours"] < 0) | (found["Hours"] > 9) | found["Name"].isna()
    found[bad].to_json(folder / "rejects.jsonl", orient="records", lines=True, default_handler=str)
    left = found[~bad].drop_duplicates("Id")
    left.to_parquet(folder / "out.parquet", compression="zstd")
    return len(left)


CASES = {"ours": ours, "pandas": of_pandas}


def _measure(case: str, folder: str) -> None:
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401 - what every case needs

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    rows = CASES[case](Path(folder))
    used, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        json.dumps({"rows": rows, "cpu_s": used, "peak_mb": peak / 1024, "more_mb": (peak - before) / 1024})
    )


def run(case: str, rows: int) -> dict[str, Any]:
    """Measure one case in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        make(Path(folder), rows)
        command = [sys.executable, "-m", "tests.benchmarks.prepare", case, folder]
        found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        return found


def main() -> int:
    """Print the table of figures."""
    found = {(case, rows): run(case, rows) for case, rows in (("ours", SMALL), ("pandas", SMALL), ("ours", LARGE))}
    sys.stdout.write("case         rows   delivered   cpu s   rows/cpu-s   peak MB\n")
    for (case, rows), one in found.items():
        speed = rows / one["cpu_s"]
        sys.stdout.write(
            f"{case:8}{rows:>10,}{one['rows']:>12,}{one['cpu_s']:>8.2f}{speed:>13,.0f}{one['peak_mb']:>10.0f}\n"
        )
    same = found["ours", SMALL]["rows"] == found["pandas", SMALL]["rows"]
    ratio = found["pandas", SMALL]["cpu_s"] / found["ours", SMALL]["cpu_s"]
    growth = found["ours", LARGE]["peak_mb"] / found["ours", SMALL]["peak_mb"]
    sys.stdout.write(
        f"same rows as pandas: {same}; {ratio:.1f}x pandas; memory at {LARGE // SMALL}x the rows: {growth:.2f}x\n"
    )
    return 0 if same else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _measure(*sys.argv[1:])
    else:
        sys.exit(main())
