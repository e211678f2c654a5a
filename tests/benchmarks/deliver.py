"""What a delivery costs: the worker's peak memory, and checkpoints, verification and publishing over the bare transfer.

Run: `python -m tests.benchmarks.deliver [--what memory|cost] [--rows N] [--kinds …]`.

Emulators, sandboxes and Postgres run in processes of their own; the shipped worker path (`exports.run` on the shipped adapters and
connectors) in a fresh process for each figure, box after box as Cloud Tasks would call it. Its clock skips what it sleeps, and
moves the sandboxes' clocks with it: no quota of a vendor is waited for in real time, and none is turned off.

* memory: peak RSS (VmHWM) of the fresh process for N and for 50 N rows of 20 columns.
* cost: seconds = CPU of the worker (all threads) + CPU of the whole Postgres server (where a Looker job verifies and publishes)
  + 150 ms for each call that a vendor's sandbox answered and for each exchange with Postgres, which stands where a vendor's
  warehouse would, as far away; what it comes to with exchanges for nothing is printed beside it. The bare transfer makes the same
  calls of the same connector (find the target, make it ready, encode and send every chunk), without job, documents, fingerprints,
  read-back and publish. Both run `RUNS` times in one process; of those behind the first (whose imports do not count) the one of
  least CPU counts, on both sides: what a busy machine adds by interrupting is in no run alike. Wall seconds, which a busy machine
  spoils, are without exchanges' latency.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.benchmarks.cloud import Cloud, load_average, running, table

TIMES_AS_MANY = 50
MOST_GROWTH, MOST_MB = 1.15, 350.0
MOST_COST = {"looker": 0.40, "power_bi": 0.40, "google_sheets": 1.50}
LATENCY_MS = 150
RUNS = 5
BLOCK_ROWS = 10_000
MEMORY_KINDS = ("looker", "power_bi")
CHILD = "tests.benchmarks.delivering"


def write(path: Path, rows: int) -> None:
    """A Parquet file of 20 columns of all types, a tenth of one column null; every target holds its values exactly."""
    import pyarrow as pa

    from shared.pipeline import formats

    numbers = range(BLOCK_ROWS)
    day, moment = date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)
    columns: dict[str, Any] = {
        "id": pa.array(numbers, pa.int64()),
        "at": pa.array([moment + timedelta(seconds=n) for n in numbers], pa.timestamp("us", "UTC")),
        "changed": pa.array([moment + timedelta(minutes=n) for n in numbers], pa.timestamp("us", "UTC")),
        "day": [day + timedelta(days=n % 1_000) for n in numbers],
        "born": [day - timedelta(days=n % 9_000) for n in numbers],
        "is_active": [n % 3 == 0 for n in numbers],
        "is_late": [n % 7 == 0 for n in numbers],
        "price": pa.array([Decimal(n) / 4 for n in numbers], pa.decimal128(12, 2)),
        "note": [None if n % 10 == 0 else f'said "{n}", then left' for n in numbers],
        "customer": [f"Customer näme {n * 7919 % 99991}" for n in numbers],
        "sku": [f"SKU-{n:05}" for n in numbers],
        "region": [("north", "south", "east", "west")[n % 4] for n in numbers],
        "city": [f"city {n % 300}" for n in numbers],
        **{f"count_{at}": [(n * 31 + at) % 10_000 for n in numbers] for at in range(4)},
        **{f"rate_{at}": [(n * 17 + at) / 8 for n in numbers] for at in range(3)},
    }
    batch = pa.table(columns).combine_chunks().to_batches()[0]
    with path.open("wb") as sink:
        blocks = (batch.slice(0, rows - at) for at in range(0, rows, BLOCK_ROWS))
        formats.writer(formats.Format.PARQUET).write(batch.schema, blocks, sink)


def prepare(cloud: Cloud, rows: int) -> str:
    """Upload a table of so many rows; return its name."""
    name = f"rows_{rows}"
    with tempfile.TemporaryDirectory() as folder:
        write(path := Path(folder) / f"{name}.parquet", rows)
        cloud.upload(path)
    return name


def accept(cloud: Cloud, kind: str, source: str, target: str) -> str:
    """Ask for an export as a person would; returns the job's id."""
    body = {"connector_name": cloud.bodies[kind]["name"], "table_name": target}
    job = cloud.api.export(**body, source={"uri": f"gs://local-project-tables/{source}.parquet"})
    return str(job["id"])


def memory(cloud: Cloud, kinds: list[str], rows: int) -> bool:
    """Print the peaks; return whether they are within the targets."""
    lines, is_met = (
        [("memory", f"{rows:,} rows, MB", f"{TIMES_AS_MANY * rows:,} rows, MB", "ratio", "CPU s", "wall s")],
        True,
    )
    sources = [prepare(cloud, rows), prepare(cloud, TIMES_AS_MANY * rows)]
    for kind in (kind for kind in kinds if kind in MEMORY_KINDS):
        peaks, last = [], {}
        for source in sources:
            found = cloud.fresh(CHILD, "job", accept(cloud, kind, source, f"{kind}_{source}"))
            last = checked(found)
            peaks.append(found["peak_mb"])
        ratio = peaks[1] / peaks[0]
        is_met = is_met and ratio <= MOST_GROWTH and peaks[1] < MOST_MB
        figures = (
            f"{peaks[0]:.0f}",
            f"{peaks[1]:.0f}",
            f"{ratio:.2f}",
            f"{last['cpu_s']:.0f}",
            f"{last['wall_s']:.0f}",
        )
        lines.append((kind, *figures))
        print(table(lines[:1] + lines[-1:]), flush=True)
    print(
        f"target: ratio at most {MOST_GROWTH}, below {MOST_MB:.0f} MB: {'met' if is_met else 'MISSED'}; {load_average()}\n"
    )
    return is_met


def cost(cloud: Cloud, kinds: list[str], rows: int) -> bool:
    """Print the cost of the job machinery; return whether it is within the targets."""
    source, is_met = prepare(cloud, rows), True
    cloud.set_latency(LATENCY_MS)
    for kind in kinds:
        target = f"cost_{kind}"
        jobs = [accept(cloud, kind, source, target) for _ in range(RUNS)]
        name = cloud.bodies[kind]["name"]
        whole = checked(cloud.fresh(CHILD, "job", *" + ".join(jobs).split()))
        transfer = checked(cloud.fresh(CHILD, "bare", *" + ".join([f"{name} {source} {target}"] * RUNS).split()))
        runs = {"bare": transfer, "job": whole}
        far, near = ({part: seconds(run, is_far=is_far) for part, run in runs.items()} for is_far in (True, False))
        share, near_share = (figures["job"] / figures["bare"] - 1 for figures in (far, near))
        is_met = is_met and share <= MOST_COST[kind]
        head = (f"{kind}, {rows:,} rows", "CPU s", "Postgres CPU s", "calls", "exchanges", "seconds", "wall s")
        shown = [
            (
                part,
                f"{run['cpu_s']:.2f}",
                f"{warehouse_cpu_s(run):.2f}",
                str(run["calls"]),
                str(run["exchanges"]),
                f"{far[part]:.2f}",
                f"{run['wall_s']:.2f}",
            )
            for part, run in runs.items()
        ]
        print(table([head, *shown]))
        steps = ", ".join(f"{step} {spent:.2f}" for step, spent in whole["steps"].items())
        print(f"CPU s by step: {steps}; bare: write {transfer['steps'].get('write', 0):.2f}")
        print(
            f"machinery over the bare transfer: {share:.0%}, target {MOST_COST[kind]:.0%} "
            f"(exchanges with Postgres for nothing: {near_share:.0%}); {load_average()}\n",
            flush=True,
        )
    cloud.set_latency(0)
    return is_met


def seconds(run: dict[str, Any], *, is_far: bool) -> float:
    """CPU of both sides, and the latency of every call; `is_far` counts exchanges with Postgres as calls, too."""
    calls = run["calls"] + (run["exchanges"] if is_far else 0)
    return float(run["cpu_s"] + warehouse_cpu_s(run) + calls * LATENCY_MS / 1000)


def warehouse_cpu_s(run: dict[str, Any]) -> float:
    """Postgres' CPU seconds, where the run spoke with it: what it does by itself meanwhile is nobody's cost."""
    return float(run["warehouse_cpu_s"]) if run["exchanges"] else 0.0


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """Return the run of least CPU behind the first one. Raises if any did not succeed."""
    runs: list[dict[str, Any]] = found["runs"]
    for run in runs:
        if not run["ended"].startswith("success"):
            raise RuntimeError(f"a run that was to be measured ended as {run['ended']}")
    return min(runs[1:] or runs, key=lambda run: float(run["cpu_s"] + warehouse_cpu_s(run)))


MEASURES = {"memory": memory, "cost": cost}


def chosen(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line: what to measure, both without a word, of how many rows, through which kinds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="*", default=list(MEASURES), choices=list(MEASURES))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="*", default=list(MOST_COST), choices=list(MOST_COST))
    return parser.parse_args(arguments)


def main() -> int:
    """Print what was asked for; return 0 if every target is met."""
    options = chosen()
    with running() as cloud:
        for body in cloud.bodies.values():
            cloud.api.register(body)
        met = [MEASURES[what](cloud, options.kinds, options.rows) for what in options.what]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
