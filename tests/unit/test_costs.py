"""The cost model, and that infra/COST.md says what it computes."""

from __future__ import annotations

import re
from pathlib import Path

from shared.pipeline.costs import WORKERS, of_work, receipt

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
