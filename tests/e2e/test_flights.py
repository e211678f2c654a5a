"""A slice of `make campaign PART=flights`: the same table from every format to every target, and back; Sheets refuses the whole."""

from __future__ import annotations

from pathlib import Path

from infra.local.supervisor import LocalCloud
from tests.campaigns import flights
from tests.campaigns.report import Report


def test_flights_are_the_same_table_every_time(cloud: LocalCloud, tmp_path: Path) -> None:
    report = Report()
    flights.judge(flights.Cloud.of(cloud), tmp_path, report, rows=500)
    lines = {(line.target, line.mode): line.verdict for line in report.rows}
    assert set(lines) == {
        *((target, fmt) for target in ("powerbi", "looker") for fmt in ("parquet", "csv", "jsonl", "xlsx")),
        ("sheets", "csv"),
        ("sheets", "refused"),
    }
    assert all(verdict.is_clean and verdict.runs for verdict in lines.values()), lines
    assert sum(verdict.runs for verdict in lines.values()) == 15  # 10 exports, 5 files back
