"""What a history is judged by: rows lost, rows too many, jobs not at their end, readers that saw a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.connectors._base import Mode
from shared.models import JobStatus
from shared.ports import Documents
from tests.campaigns.simulated_target import Row, SimulatedVendor, differences, published

CHANGED = frozenset({"source_changed", "source_gone"})


@dataclass
class Accepted:
    """One request that a client sent until it was answered, with the rows that its source held then.

    Attributes:
        is_file: its rows come from the file of the table's name, not from the request.
        may_fail: the vendor was in trouble for longer than a job waits.
        is_wanted: its client repeated it until it was answered.
        may_change: the source was overwritten after the request; a job that had not frozen it yet ends as `source_changed`.
    """

    key: str
    mode: Mode
    rows: Sequence[Row]
    job_ids: set[str] = field(default_factory=set)
    may_fail: bool = False
    is_file: bool = False
    may_change: bool = False
    is_wanted: bool = True


@dataclass
class Verdict:
    """Zeros, or what went wrong. `stuck` counts jobs without an end, with an end that nothing caused, records that lie, and
    faults of our own workers; `undercut` calls that a vendor got before the time that its Retry-After had named; `missed` and `doubled`
    planned times of schedules.
    """

    runs: int = 0
    lost: int = 0
    duplicated: int = 0
    stuck: int = 0
    mixed: int = 0
    undercut: int = 0
    missed: int = 0
    doubled: int = 0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_workers(cls, faults: list[str], runs: int = 1) -> Verdict:
        """Begin the verdict of a run with what went wrong with our own workers: each counts, whatever became of the job."""
        return cls(runs, stuck=len(faults), notes=faults)

    @property
    def is_clean(self) -> bool:
        return not (
            self.lost or self.duplicated or self.stuck or self.mixed or self.undercut or self.missed or self.doubled
        )

    def add(self, other: Verdict) -> None:
        self.runs += other.runs
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.stuck += other.stuck
        self.mixed += other.mixed
        self.undercut += other.undercut
        self.missed += other.missed
        self.doubled += other.doubled
        self.notes += other.notes

    def __str__(self) -> str:
        figures = ("runs", "lost", "duplicated", "stuck", "mixed", "undercut", "missed", "doubled")
        return " ".join(f"{name}={getattr(self, name)}" for name in figures)


def judge(accepted: Sequence[Accepted], documents: Documents, vendor: SimulatedVendor, *, mixed: int = 0) -> Verdict:
    """Compare what was asked for with the jobs' records and with every publication of the vendor."""
    verdict = Verdict(runs=1, mixed=mixed)
    rows_of: dict[str, Accepted] = {job_id: one for one in accepted for job_id in one.job_ids}
    for one in accepted:
        _judge_jobs(one, documents, vendor, verdict)
    live: tuple[Row, ...] = ()
    seen: set[str] = set()
    for publication in vendor.publications:
        one_job = rows_of.get(publication.job_id)
        if one_job is None:
            verdict.stuck += 1
            verdict.notes.append(f"job {publication.job_id} was published and no client knows it")
        elif one_job.key not in seen:
            live = published(live, one_job.mode, one_job.rows)
            seen.add(one_job.key)
    _judge_order(documents, vendor, verdict)
    lost, duplicated = differences(live, vendor.live)
    verdict.lost += lost
    verdict.duplicated += duplicated
    if lost or duplicated:
        verdict.notes.append(f"the target lacks {lost} rows and has {duplicated} too many")
    return verdict


def _judge_jobs(one: Accepted, documents: Documents, vendor: SimulatedVendor, verdict: Verdict) -> None:
    if not one.job_ids and one.is_wanted:
        verdict.stuck += 1
        verdict.notes.append(f"request {one.key} was never answered")
    for job_id in one.job_ids:
        found = documents.get(f"export_jobs/{job_id}")
        data: dict[str, Any] = found.data if found else {"status": "pending"}
        status = JobStatus(data["status"])
        times = sum(publication.job_id == job_id for publication in vendor.publications)
        wrong = _wrong(one, status, (data.get("error") or {}).get("code"), times)
        if (
            wrong is None
            and status is JobStatus.SUCCESS
            and (says := told(data)) != (expected := finished(len(one.rows)))
        ):
            wrong = f"ended, and then its record became {says}, not {expected}"
        if wrong:
            verdict.stuck += 1
            verdict.notes.append(f"job {job_id} ({one.key}, {one.mode.value}): {wrong}; {data.get('error_message')}")


def _judge_order(documents: Documents, vendor: SimulatedVendor, verdict: Verdict) -> None:
    """Jobs publish to a target in the order of its line."""
    found = [documents.get(f"export_jobs/{publication.job_id}") for publication in vendor.publications]
    places = [document.data["turn"] for document in found if document is not None]
    if places != sorted(places):
        verdict.stuck += 1
        verdict.notes.append(f"jobs published out of turn: {places}")


def told(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a finished job's record says of itself."""
    progress = record["progress"]
    return record["phase"], record.get("record_count"), progress["rows_done"], progress["rows_total"]


def finished(rows: int) -> tuple[Any, ...]:
    """Return what it must say, whoever else still believed to hold the job."""
    return "finished", rows, rows, rows


def _wrong(one: Accepted, status: JobStatus, code: str | None, times: int) -> str | None:
    if not status.is_final:
        return f"has no end, it is {status.value}"
    if status is JobStatus.SUCCESS:
        return None if times else "is a success and was never published"
    if times:
        return f"is {status.value} and was published {times} times"
    if one.may_fail or (one.may_change and code in CHANGED):
        return None
    return f"is {status.value} ({code}) although all that happened could be overcome"
