"""One target in one mode: jobs run on it one after the other, each with its deaths and stops, and the target is read after each."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.connectors._base import Mode
from shared.models import ExportRequest, JobStatus
from shared.pipeline.lease import LEASE
from shared.ports import Task
from tests.campaigns.reader import Expected
from tests.campaigns.simulated_target import Row, differences, published
from tests.campaigns.targets import Target, rows_of
from tests.campaigns.verdict import Verdict, finished, told
from tests.campaigns.worker import Worker, Workshop

MOST_TASKS = 60
RIVAL_S = 120.0
"""A rival that neither ends nor waits for a lock of the stopped worker in this time fails the run."""
OUTWAITED_TASKS = 15
"""Tasks until a stopped worker wakes in any case; a job gives up after half as many waits for a lock."""
LOOK_S = 0.1
EXPIRED_S = LEASE.total_seconds() + 1
Signals = Mapping[int, int]


def adjust(workshop: Workshop, target: Target) -> None:
    """Set the vendor's behaviour."""
    if target.knobs:
        workshop.machine.admin("PUT", f"/settings/{target.kind}", target.knobs)


def register(workshop: Workshop, target: Target) -> None:
    """Set the vendor's behaviour, and register the target's connector, its credentials in the secrets that all workers share."""
    adjust(workshop, target)
    reference = keep_secrets(workshop, target)
    done(workshop.spawn(lambda services: enrol(services, target, reference)))


def keep_secrets(workshop: Workshop, target: Target) -> str:
    """Put the target's credentials into the secrets of this process and of those that will be forked from it; return where."""
    secret = {name: target.registration[name] for name in kinds.DECLARATIONS[target.kind].SECRET_FIELDS}
    return workshop.secrets.add(f"bi-connector-{target.name}", json.dumps(secret).encode())


def enrol(services: Services, target: Target, reference: str) -> None:
    """Register the target's connector under the target's name."""
    declared = kinds.DECLARATIONS[target.kind]
    body = {name: value for name, value in target.registration.items() if name not in declared.SECRET_FIELDS}
    services.connectors.register(target.name, msgspec.convert(body, declared.Config), reference)


def done(worker: Worker, timeout_s: float = 120.0) -> Any:
    """Wait for a worker that nothing happens to; return what it returned."""
    if not worker.wait(timeout_s) or worker.code != 0:
        worker.kill()
        raise RuntimeError(f"a worker that nobody touched failed: {worker.result}")
    return worker.result


@dataclass(frozen=True)
class Record:
    """How a job's record stood: its status, the error's code and words, and what it tells of its rows."""

    status: JobStatus
    code: str = ""
    reason: str = ""
    told: tuple[Any, ...] = ()

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> Record:
        code = (job.get("error") or {}).get("code")
        return cls(JobStatus(job["status"]), str(code), str(job.get("error_message")), told(job))


@dataclass
class Course:
    """Runs jobs on one table. `live` is what the target must hold; every run's source has its own version number.

    With `outwaits` a stopped worker that holds a lock is not woken because its rival waits for it: the rival's waits end, it gives up,
    and the worker wakes long after.
    `died` is called with a job's id when a worker of it was killed, `settle` when it has ended and the target is about to be read.
    `happened` counts what became of the last run's script: `killed`, `stopped`, `outslept`, `held up` (`report.EXCEPTED`), and `hung`
    workers, which are no part of it.
    `passed` has the points of those of its workers that came to their end, a list for each.
    """

    workshop: Workshop
    target: Target
    mode: Mode
    table: str
    live: tuple[Row, ...] = ()
    version: int = 0
    place: int = 0
    repaired: int = 0
    outwaits: bool = False
    settle: Callable[[], None] = lambda: None
    died: Callable[[str], None] = lambda job_id: None
    happened: Counter[str] = field(default_factory=Counter)
    passed: list[list[str]] = field(default_factory=list)
    expected: Expected = field(default_factory=Expected)

    def points(self) -> list[int]:
        """Run one job that nothing happens to (after a first one that makes the table); return the numbers of its commit points."""
        first = self.run([], mode=Mode.REPLACE if self.mode in self.target.refuses else self.mode)
        verdict = self.run([])
        if not (first.is_clean and verdict.is_clean):
            raise RuntimeError(
                f"{self.target.name} {self.mode}: a job that nothing happened to failed: {(first.notes + verdict.notes)[:4]}"
            )
        return apart(self.passed[0])

    def run(self, script: Sequence[Signals], mode: Mode | None = None) -> Verdict:
        """Accept a job and drive it to its end; the n-th worker gets the n-th signals. A stopped worker wakes once a rival ended."""
        mode = mode or self.mode
        self.version += 1
        source = [tuple(row.values()) for row in rows_of(self.version, mode)]
        self.expected.add(published(self.live, mode, source))
        record, notes = self.drive(Wanted(self.target.name, self.table, mode, self.version), list(script))
        self.settle()
        verdict = Verdict.of_workers(notes)
        if problem := self._wrong(record, mode, len(source)):
            verdict.stuck += 1
            verdict.notes.append(problem)
        if record.status is JobStatus.SUCCESS:
            self.live = published(self.live, mode, source)
        found = self.found()
        if mode in self.target.excepted and differences(self.live, found) != (0, 0):
            found = self._repaired(found, faults := list[str]())
            verdict.add(Verdict.of_workers(faults, runs=0))
        verdict.lost, verdict.duplicated = differences(self.live, found)
        if verdict.lost or verdict.duplicated:
            verdict.notes.append(f"the target lacks {verdict.lost} rows and has {verdict.duplicated} too many")
        self.live = found
        self.expected.settle(found)
        return verdict

    def _wrong(self, record: Record, mode: Mode, rows: int) -> str:
        """Say what is wrong with a job's end, nothing if it is the right one."""
        refusal = self.target.refuses.get(mode)
        if refusal is None and record.status is JobStatus.SUCCESS:
            right = finished(rows)
            return "" if record.told == right else f"the job ended, and its record tells {record.told}, not {right}"
        if refusal is not None and record.status is JobStatus.FAILED and record.code == refusal:
            return ""
        if self.outwaits and record.status is JobStatus.FAILED and record.code == "target_busy":
            return ""
        return f"the job is {record.status} ({record.code}): {record.reason}"

    def found(self) -> tuple[Row, ...]:
        return tuple(self.target.read(self.table) or ())

    def _repaired(self, found: tuple[Row, ...], notes: list[str]) -> tuple[Row, ...]:
        """Let the sweeper look one lease later, as it does after a replace that cannot be fenced, and what it started run."""
        self.workshop.machine.clock.sleep(2 * EXPIRED_S)
        self._new_tasks()

        def sweep(services: Services) -> None:
            services.sweeper.sweep()

        done(self.workshop.spawn(sweep))
        self._work_off("", self._new_tasks(), [], notes)
        again = self.found()
        if differences(self.live, again) == (0, 0):
            self.repaired += sum(differences(self.live, found))
        return again

    def drive(self, wanted: Wanted, script: list[Signals]) -> tuple[Record, list[str]]:
        """Accept a job and work it off; return its record then, and what went wrong with workers."""
        self.happened, self.passed = Counter(), []
        notes = list[str]()
        job_id = self.accept(wanted)
        record = self._work_off(job_id, self._new_tasks(), script, notes)
        if record is None or not record.status.is_final or self.happened["stopped"]:
            record = self.look(job_id)  # whoever woke up may have written since
        return record, notes

    def accept(self, wanted: Wanted) -> str:
        """Ask for an export, as a client does; return the job's id."""
        self._new_tasks()  # those of jobs before
        job_id: str = done(self.workshop.spawn(lambda services: accept(services, wanted)))
        return job_id

    def _work_off(self, job_id: str, pending: list[Task], script: list[Signals], notes: list[str]) -> Record | None:
        """Give tasks to workers until none is left, as Cloud Tasks does; return the job's record as its last worker left it."""
        clock, record = self.workshop.machine.clock, None
        sleeper: Worker | None = None
        for number in range(MOST_TASKS):
            if not pending or (sleeper is not None and number >= OUTWAITED_TASKS):
                if sleeper is None:
                    break
                self.happened["outslept"] += record is not None and record.status.is_final
                self._wake(sleeper, notes)
                pending, sleeper = pending + self._new_tasks(), None
                continue
            task = earliest(pending)
            if task.at is not None:
                clock.sleep((task.at - clock.now()).total_seconds())
            worker = self.workshop.spawn(_work(task), script.pop(0) if script else None)
            if sleeper is not None and self._is_held_up(worker):
                self.happened["held up"] += 1
                self._wake(sleeper, notes)
                sleeper = None
            if is_hung := worker.code is None and not worker.is_stopped and not worker.wait(RIVAL_S):
                notes.append("a worker did not end")
                worker.kill()
            if worker.is_stopped:
                self.happened["stopped"] += 1
                sleeper = worker
                clock.sleep(EXPIRED_S)
                pending.append(task)
            elif worker.code == -signal.SIGKILL:
                self.happened["hung" if is_hung else "killed"] += 1
                clock.sleep(EXPIRED_S)
                self.died(job_id)
                pending.append(task)
            elif worker.code != 0:
                notes.append(f"a worker failed: {worker.result}")
                pending.append(later(task, clock.now() + timedelta(seconds=5)))
            else:
                record = worker.result if job_of(task) == job_id else record
                self.passed.append(worker.names)
            pending += self._new_tasks()
        if sleeper is not None:
            self._wake(sleeper, notes)
            pending += self._new_tasks()
        if pending:
            notes.append(f"{len(pending)} tasks are left after {MOST_TASKS}")
        return record

    def _is_held_up(self, rival: Worker) -> bool:
        """Wait for the rival's end, or until it waits for a lock of the stopped worker; return whether it does."""
        held_up, end = None if self.outwaits else self.target.is_held_up, time.monotonic() + RIVAL_S
        while not rival.wait(LOOK_S if held_up else RIVAL_S):
            if held_up and held_up():
                return True
            if time.monotonic() > end:
                break
        return False

    def look(self, job_id: str) -> Record:
        """Read a job's record."""
        record: Record = done(self.workshop.spawn(lambda services: Record.of(services.exports.get(job_id).data)))
        return record

    def _wake(self, sleeper: Worker, notes: list[str]) -> None:
        sleeper.go_on()
        if not sleeper.wait(120.0):
            notes.append("a worker that woke up did not end")
            sleeper.kill()
        elif sleeper.code not in (0, None):
            notes.append(f"a worker that woke up ended with {sleeper.result}")

    def _new_tasks(self) -> list[Task]:
        fresh, self.place = self.workshop.machine.tasks.since(self.place)
        return fresh


@dataclass(frozen=True)
class Wanted:
    """One export: the rows of a version, or only its first ones, to a connector's table."""

    connector: str
    table: str
    mode: Mode
    version: int
    max_shrink: float = 1.0
    most_rows: int | None = None


def accept(services: Services, wanted: Wanted) -> str:
    """Put the rows of this version into the file of the table's name, and ask for its export. Returns the job's id."""
    rows = rows_of(wanted.version, wanted.mode)[: wanted.most_rows]
    with services.stores.objects.writer("tables", f"{wanted.table}.jsonl", content_type="text/plain") as sink:
        sink.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    body: dict[str, Any] = {"connector_name": wanted.connector, "table_name": wanted.table, "mode": wanted.mode.value}
    body["max_shrink"] = wanted.max_shrink
    if wanted.mode is Mode.UPSERT:
        body["key"] = ["id"]
    return str(services.exports.start(msgspec.convert(body, ExportRequest), "ann@example.com")["id"])


def apart(names: Sequence[str]) -> list[int]:
    """Return the numbers of the points at which the world differs: right after one effect it is as right before the next, so the
    point before is taken for the first only.
    """
    return [number for number, name in enumerate(names, 1) if number == 1 or name.endswith(":after")]


def earliest(pending: list[Task]) -> Task:
    """Take the task that is due first out of `pending`."""
    task = min(pending, key=lambda one: one.at.timestamp() if one.at else 0.0)
    pending.remove(task)
    return task


def job_of(task: Task) -> str:
    """Return the job that a task is for."""
    return task.url.rsplit("/", 1)[1].removesuffix(":run")


def later(task: Task, at: datetime) -> Task:
    """Return the task as Cloud Tasks delivers it again after a failure."""
    return Task(task.queue, task.url, task.name, task.body, at, task.deadline_s)


def _work(task: Task) -> Any:
    job_id = job_of(task)

    def work(services: Services) -> Record:
        services.exports.run(job_id, task.body["seq"])
        return Record.of(services.exports.get(job_id).data)

    return work
