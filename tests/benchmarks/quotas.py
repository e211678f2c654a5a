"""What sharing quotas costs: transactions per 1,000 calls, the throughput reached, and the time of a transaction.

Run: `python -m tests.benchmarks.quotas`. The simulation runs on virtual time.
"""

from __future__ import annotations

import random
import time

from shared.connectors._quota import Limit, Need
from shared.services.quotas import Quotas, path_of
from tests.fakes.stores import FakeClock
from tests.unit.services.test_quotas import HOURLY, POSTS, ROWS, WRITES, sheets, simulate
from tests.unit.services.vendor_count import CountingDocuments

READS = Limit("google_sheets", "user", "loader@project.iam.gserviceaccount.com", 60, 60.0, "reads")


def small_job(_: random.Random) -> list[Need]:
    return [Need(WRITES)]


def large_posts(_: random.Random) -> list[Need]:
    return [Need(ROWS, 10_000), Need(POSTS), Need(HOURLY, is_binding=False)]


def main() -> None:
    for workers in (1, 2, 5, 10, 20):
        documents = CountingDocuments()
        vendor = simulate(7, workers, sheets, documents, minutes=30)
        calls, delivered = len(vendor.arrivals), vendor.total(120, 1_800)
        print(
            f"sheets, {workers:>2} busy workers: {1_000 * documents.transactions / calls:5.0f} transactions per 1,000 calls, "
            f"{documents.transactions / 1_800:.2f} a second, {delivered / (50 * 28):.0%} of the allowed 50 a minute"
        )
    for name, limit, needs, per_window, call_s in (
        ("sheets, a call every 3 s", WRITES, small_job, 50, (3.0, 3.0)),
        ("power_bi, posts of 10,000 rows", ROWS, large_posts, 833_333, (0.5, 1.5)),
    ):
        documents = CountingDocuments()
        vendor = simulate(7, 1, needs, documents, minutes=180, call_s=call_s)
        print(
            f"{name}: {1_000 * documents.transactions / len(vendor.arrivals):.0f} transactions per 1,000 calls; "
            f"most in a window {vendor.most_in(limit.window_s):,} of {per_window:,}"
        )
    documents, clock = CountingDocuments(), FakeClock()
    quota = Quotas(documents, clock, "one")
    started = time.perf_counter()
    for _ in range(20_000):
        with quota.hold([Need(READS)]):
            clock.sleep(1.5)
    each_us = (time.perf_counter() - started) / 20_000 * 1e6
    found = documents.get(path_of(READS))
    grants = len(found.data["grants"]) if found else 0
    print(f"one call, in memory: {each_us:.0f} us with its share of transactions; {grants} grants in the document")


if __name__ == "__main__":
    main()
