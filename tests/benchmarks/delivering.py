"""What `deliver` measures, in a process of its own: one job as the worker does it, or the bare transfer of the same rows.

`python -m tests.benchmarks.delivering job <job id>` or `… bare <connector> <rows' table> <target>`; the last line printed is JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import functions_framework  # noqa: F401 - the worker's process has it loaded
import msgspec
import requests

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.connectors._base import Chunk, DeliveryPlan, Mode
from shared.connectors._guard import unguarded
from shared.connectors._quota import NoQuota
from shared.models import JobStatus
from shared.pipeline.formats import Format, ReadOptions, reader
from shared.pipeline.freezing import PinnedObject
from shared.services.connectors import Connectors
from tests.benchmarks.skipping import services_on
from tests.benchmarks.warehouse import exchanges_in, server_cpu_s

QUOTA_WINDOW_S = 61
STEPS = ("preflight", "begin", "write", "fingerprint", "read_back", "is_published", "publish")


class SkippingClock:
    """The real time plus an offset: whoever sleeps moves it, and the sandboxes' clocks with it. For one thread at work."""

    def __init__(self, admin_url: str) -> None:
        self._offset = timedelta()
        self._admin_url = admin_url

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._offset += timedelta(seconds=seconds)
            requests.post(f"{self._admin_url}/clock", json={"advance_s": seconds}, timeout=30, proxies={"http": ""})


class Timed:
    """A connector or delivery whose steps add their CPU seconds to `spent`."""

    def __init__(self, inner: Any, spent: Counter[str]) -> None:
        self._inner, self._spent = inner, spent

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if name == "open_delivery":
            return lambda plan: Timed(member(plan), self._spent)
        return self._timed(name, member) if name in STEPS else member

    def _timed(self, name: str, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return member(*arguments, **named)
            finally:
                self._spent[name] += time.process_time() - started

        return call


def services_with(clock: Any, spent: Counter[str]) -> Services:
    """The shipped services on the shipped adapters; the clock is another, and the connectors' steps are timed."""
    services = services_on(clock)
    runtime = services.connectors._runtime

    def load(*arguments: Any) -> Timed:
        return Timed(kinds.load(*arguments), spent)

    services.__dict__["connectors"] = Connectors(services.stores, services.settings.prefix, runtime, load=load)
    return services


def job(services: Services, _: Counter[str], job_id: str) -> tuple[str, Callable[[], None]]:
    """Work on a job, box after box at its time, as Cloud Tasks would have it; return how it ended. It leaves nothing to tidy up."""
    while True:
        found = services.exports.get(job_id).data
        if JobStatus(found["status"]).is_final or found["status"] == "held":
            return f"{found['status']} {found.get('error_message') or ''}".strip(), lambda: None
        services.clock.sleep((found["next_task_at"] - services.clock.now()).total_seconds())
        services.exports.run(job_id, found["seq"])


def bare(services: Services, spent: Counter[str], name: str, table: str, target: str) -> tuple[str, Callable[[], None]]:
    """The same calls of the connector with the same rows: target found and made ready, every chunk sent; nothing else.

    Where rows are staged the target is the jobs' own, so that preflight finds as much. Returns how it ended, and what removes its
    staging.
    """
    document = services.connectors.get(name)
    config = msgspec.convert(document.data["config"], kinds.DECLARATIONS[document.data["connector_type"]].Config)
    secrets = services.connectors._read_secrets(document)
    runtime = replace(services.connectors._runtime, quota=NoQuota(), guard=unguarded)
    connector = Timed(kinds.load(config, secrets, runtime), spent)
    info = services.stores.objects.stat(services.settings.tables_bucket, f"{table}.parquet")
    assert info is not None
    pinned = PinnedObject(services.stores.objects, info)
    scan = reader(Format.PARQUET).scan(pinned, ReadOptions())
    plan = DeliveryPlan(f"bare-{time.time_ns()}", target, Mode.REPLACE, scan.schema, scan.rows)
    if not connector.open_delivery(plan).is_staged:
        plan = replace(plan, table_name=f"bare_{table}")
    delivery = connector.open_delivery(plan)
    delivery.preflight()
    delivery = connector.open_delivery(replace(plan, state=delivery.begin().state))
    import pyarrow as pa

    row = 0
    for index, batch in enumerate(reader(Format.PARQUET).batches(pinned, scan, 0, delivery.chunk_rows)):
        delivery.write(Chunk(index, row, pa.Table.from_batches([batch])))
        row += batch.num_rows
    return f"success {row}", delivery.abandon


def main() -> None:
    what, *arguments = sys.argv[1:]
    clock, spent = SkippingClock(os.environ["SANDBOX_ADMIN"]), Counter[str]()
    services = services_with(clock, spent)
    runs = []
    for group in " ".join(arguments).split("+"):  # the runs before the last warm the process up
        spent.clear()
        run = job if what == "job" else bare
        before, started, cpu = _outside(), time.monotonic(), time.process_time()
        ended, tidy = run(services, spent, *group.split())
        wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
        outside = {name: figure - before[name] for name, figure in _outside().items()}
        runs.append({"ended": ended, "wall_s": wall_s, "cpu_s": cpu_s, "steps": dict(spent), **outside})
        tidy()
        clock.sleep(QUOTA_WINDOW_S)  # the bare transfer asks no quota: each run begins in a window of its own
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak
    print(json.dumps({"runs": runs, "peak_mb": int(peak[1]) / 1024}))


def _outside() -> dict[str, float]:
    """Calls that the vendors' sandboxes answered so far, exchanges with Postgres, and its CPU seconds."""
    counts = requests.get(f"{os.environ['SANDBOX_ADMIN']}/calls", timeout=30, proxies={"http": ""}).json()
    return {
        "calls": sum(vendor["total"] for vendor in counts.values()),
        "exchanges": exchanges_in(os.environ["WAREHOUSE_LINK"]),
        "warehouse_cpu_s": server_cpu_s(int(os.environ["WAREHOUSE_PID"])),
    }


if __name__ == "__main__":
    main()
