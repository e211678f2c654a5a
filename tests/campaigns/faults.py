"""Part `faults`: vendors in every bad mood, at several rates and many seeds; jobs run one after the other, no worker dies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.connectors._base import Mode
from shared.models import JobStatus
from shared.ports import Task
from tests.campaigns.course import accept, done, job_of, register
from tests.campaigns.crashes import machine
from tests.campaigns.link import FaultyLink
from tests.campaigns.machine import Machine
from tests.campaigns.report import Report, Row
from tests.campaigns.simulated_target import Row as Cells
from tests.campaigns.simulated_target import differences, published
from tests.campaigns.targets import TARGETS, Target, rows_of
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop

RATES = (0.01, 0.1, 0.3, 0.5)
MOST_TASKS = 400
GAVE_UP = "jobs that gave up for the vendor, with their reason"
PARTLY = "failed replaces that left a part (not atomic)"
TOKENS = {"google_sheets": "google", "power_bi": "entra"}


def moods(machine: Machine, vendor: str) -> list[dict[str, Any]]:
    """Return every fault of a vendor's HTTP API; a Retry-After comes in seconds and as a date."""
    date = format_datetime(machine.clock.now() + timedelta(seconds=40), usegmt=True)
    found: list[dict[str, Any]] = [
        {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}},
        {"kind": "status", "status": 429, "headers": {"Retry-After": date}},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "html_5xx"},
        {"kind": "reset_before"},
        {"kind": "lost_reply"},
        {"kind": "reset_in_body"},
        {"kind": "duplicate"},
    ]
    if vendor == "power_bi":
        body = {"error": {"code": "DatasetExecuteQueriesError", "pbi.error": {"code": "DatasetExecuteQueriesError"}}}
        answer = {"results": [{"tables": [{"rows": []}], **body}]}
        found.append({"kind": "status", "status": 200, "path": "executeQueries", "body": answer})
    return found


@dataclass
class Patient:
    """One vendor's target in one mode, under faults, in a process of its own."""

    machine: Machine
    target: Target
    mode: Mode
    link: FaultyLink | None
    live: tuple[Cells, ...] = ()
    version: int = 0
    seen: int = 0
    gave_up: int = 0
    parts: int = 0
    failing: list[tuple[str, list[str]]] = field(default_factory=list)

    @property
    def table(self) -> str:
        return f"faults_{self.mode.value}"

    def suffer(self, services: Services, seeds: Sequence[int], rates: Sequence[float]) -> tuple[Verdict, Patient]:
        """Run one job for each seed and rate."""
        total = Verdict()
        for rate in rates:
            for seed in seeds:
                verdict = self._one(services, seed, rate)
                if not verdict.is_clean:
                    self.failing.append(
                        (f"{self.target.kind} {self.mode.value} rate {rate} seed {seed}", verdict.notes)
                    )
                verdict.notes = []
                total.add(verdict)
        self.target, self.link = None, None  # type: ignore[assignment]  # what cannot go through a pipe stays here
        self.machine = None  # type: ignore[assignment]  # as above
        return total, self

    def _one(self, services: Services, seed: int, rate: float) -> Verdict:
        self.version += 1
        rng = random.Random(f"{self.target.kind} {self.mode} {seed} {rate}")
        self._tasks()
        job_id = accept(services, self.target.kind, self.table, self.mode, self.version)
        self._arm(rng, rate)
        faults = self._work_off(services, rng, rate)
        self._disarm()
        job = services.exports.get(job_id).data
        verdict, status = Verdict(runs=1, notes=faults), JobStatus(job["status"])
        source = [tuple(row.values()) for row in rows_of(self.version, is_append=self.mode is Mode.APPEND)]
        if status is JobStatus.SUCCESS:
            self.live = published(self.live, self.mode, source)
        elif status.is_final:
            self.gave_up += 1
        else:
            verdict.stuck += 1
        found = tuple(self.target.read(self.table) or ())
        lost, duplicated = differences(self.live, found)
        if status is not JobStatus.SUCCESS and not self.target.is_atomic and (lost or duplicated):
            self.parts += 1
        else:
            verdict.lost, verdict.duplicated = lost, duplicated
        self.live = found
        verdict.notes.append(f"job {job_id} is {status.value}: {job.get('error_message')}")
        return verdict

    def _work_off(self, services: Services, rng: random.Random, rate: float) -> list[str]:
        clock, notes = self.machine.clock, list[str]()
        pending = self._tasks()
        for _ in range(MOST_TASKS):
            if not pending:
                break
            task = min(pending, key=lambda one: one.at.timestamp() if one.at else 0.0)
            pending.remove(task)
            if task.at is not None:
                clock.sleep((task.at - clock.now()).total_seconds())
            if self.target.kind in TOKENS and rng.random() < rate:
                self.machine.admin("POST", "/tokens/expire", {"vendor": TOKENS[self.target.kind]})
            try:
                services.exports.run(job_of(task), task.body["seq"])
            except Exception as error:  # noqa: BLE001 - a fault of ours: Cloud Tasks would deliver the task again
                notes.append(f"fault of ours: {type(error).__name__}: {error}"[:300])
                at = clock.now() + timedelta(seconds=5)
                pending.append(Task(task.queue, task.url, task.name, task.body, at, task.deadline_s))
            pending += self._tasks()
        return notes

    def _arm(self, rng: random.Random, rate: float) -> None:
        if self.link is not None:
            self.link.doom(rate, rng.randrange(1 << 30))
            return
        known = moods(self.machine, self.target.kind)
        for mood in known:
            share = {"probability": rate / len(known), "seed": rng.randrange(1 << 30), "times": -1}
            self.machine.admin("POST", "/faults", {"vendor": self.target.kind, **share, **mood})

    def _disarm(self) -> None:
        if self.link is not None:
            self.link.doom(0.0, 0)
        self.machine.admin("DELETE", "/faults")

    def _tasks(self) -> list[Task]:
        every = self.machine.tasks.read()
        fresh, self.seen = every[self.seen :], len(every)
        return fresh


def run(report: Report, *, seeds: Sequence[int], rates: Sequence[float] = RATES) -> None:
    """Run every seed at every rate on every vendor; the modes take turns by seed."""
    report.start(f"faults: {len(seeds)} seeds x {len(rates)} rates x {len(TARGETS)} vendors")
    with machine() as running:
        for make in TARGETS:
            _suffer(report, running, make, seeds, rates)


def _suffer(
    report: Report, running: Machine, make: Callable[[Machine], Target], seeds: Sequence[int], rates: Sequence[float]
) -> None:
    target = make(running)
    workshop, link = Workshop(running), None
    if target.kind == "looker":
        link = FaultyLink(running.ports.of("postgres"))
        target.registration["warehouse"]["port"] = link.port
    register(workshop, target)
    modes = sorted(kinds.capabilities(target.kind).modes)
    for number, mode in enumerate(modes):
        patient = Patient(running, target, mode, link)
        mine = seeds[number :: len(modes)]
        worker = workshop.spawn(partial(patient.suffer, seeds=mine, rates=rates), quiet=True)
        verdict, after = done(worker, timeout_s=7200.0)
        row = Row("faults", target.kind, mode.value, verdict=verdict)
        row.excepted = {GAVE_UP: after.gave_up, PARTLY: after.parts}
        for name, notes in after.failing:
            report.failed(f"make campaign PART=faults, {name}", notes, [])
        report.add(row)
    if link is not None:
        link.close()
