"""The cost model, and that infra/COST.md says what it computes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from shared.pipeline.costs import WORKERS, of_work, receipt
from tests.benchmarks import scale

PAGE = (Path(__file__).resolve().parents[2] / "infra" / "COST.md").read_text()
CHUNK_ROWS = 10_000


def test_the_page_says_what_a_million_rows_cost_by_the_model() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) USD \|", PAGE, re.MULTILINE))
    computed = {
        kind: f"{of_work(kind, 1_000_000, chunks=1_000_000 // CHUNK_ROWS, tasks=1, stored_bytes=75_000_000).usd:.4f}"
        for kind in WORKERS
    }
    assert listed == computed


def test_a_receipt_grows_with_rows_tasks_and_bytes() -> None:
    small = of_work("looker", 1_000, chunks=1, tasks=1, stored_bytes=10_000)
    assert of_work("looker", 1_000_000, chunks=1, tasks=1, stored_bytes=10_000).usd > small.usd
    assert of_work("looker", 1_000, chunks=1, tasks=5, stored_bytes=10_000).usd > small.usd
    assert of_work("looker", 1_000, chunks=1, tasks=1, stored_bytes=10**12).usd > small.usd
    assert small.documents_written == 12


def test_a_job_that_never_began_has_a_receipt_too() -> None:
    cost = receipt({"connector_type": "power_bi", "progress": {"rows_done": 0}, "seq": 0})
    assert cost["tasks"] == 1
    assert 0 < cost["usd"] < 0.001


def test_a_kind_that_nobody_measured_is_reckoned_as_the_dearest() -> None:
    unknown = of_work("tableau", 1_000_000, chunks=1, tasks=1, stored_bytes=0)
    assert unknown == of_work("google_sheets", 1_000_000, chunks=1, tasks=1, stored_bytes=0)


@pytest.mark.parametrize("table", "\n".join(scale.tables()).split("\n\n"))
def test_the_page_says_what_the_simulation_of_scale_computes(table: str) -> None:
    assert table in PAGE


def test_the_simulation_reckons_a_job_as_its_receipt_does() -> None:
    for kind in WORKERS:
        done = {"rows_done": scale.ROWS, "chunks_done": 1}
        job = {"connector_type": kind, "progress": done, "frozen": {"size_bytes": scale.STORED_BYTES}, "seq": 0}
        assert receipt(job) == scale.job(kind).record()


def test_a_limit_that_is_halved_doubles_the_wait_and_one_that_nobody_meets_changes_nothing() -> None:
    before = scale.simulate(10_000, 1)

    def with_less(name: str, factor: float) -> scale.Day:
        rates = [replace(rate, a_minute=rate.a_minute * factor) if rate.name == name else rate for rate in scale.RATES]
        return scale.simulate(10_000, 1, rates)

    first = before.held_back[0]
    idle = next(rate.name for rate in scale.RATES if rate.name not in before.held_back)
    assert with_less(first, 0.5).longest_wait_min == pytest.approx(2 * before.longest_wait_min, abs=2)
    assert with_less(idle, 0.9) == before


def test_every_schedule_beyond_what_a_limit_carries_waits_longer_than_said() -> None:
    project = next(rate for rate in scale.RATES if "one project" in rate.name)
    most = scale.carried(project, 60)
    assert scale.simulate(most, 1).longest_wait_min <= 60
    assert scale.simulate(most + 100, 1).longest_wait_min > 60


def test_what_is_refused_is_beyond_a_number() -> None:
    assert scale.refused(998) == []
    assert [count.most for count in scale.refused(999)] == [1_000]
    assert [count.most for count in scale.refused(6_100)] == [1_000, 600]
