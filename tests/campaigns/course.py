"""One target in one mode: jobs run on it one after the other, each with its deaths and stops, and the target is read after each."""

from __future__ import annotations

import json
import signal
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
from tests.campaigns.simulated_target import Row, differences, published
from tests.campaigns.targets import Target, rows_of
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Worker, Workshop

MOST_TASKS = 60
RIVAL_S = 1.5
"""A rival that waits longer than this for what the stopped worker holds (a lock at the vendor) sees it wake up."""
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


@dataclass
class Course:
    """Runs jobs on one table. `live` is what the target must hold; every run's source has its own version number.

    `settle` is called when a job has ended and the target is about to be read.
    """

    workshop: Workshop
    target: Target
    mode: Mode
    table: str
    live: tuple[Row, ...] = ()
    version: int = 0
    place: int = 0
    repaired: int = 0
    settle: Callable[[], None] = lambda: None
    reached: set[str] = field(default_factory=set)

    def points(self) -> list[int]:
        """Run one job that nothing happens to (after a first one that makes the table); return the numbers of its commit points.

        The world is the same right after one effect and right before the next, so the point before is taken for the first only.
        """
        first = self.run([], mode=Mode.REPLACE if self.mode in self.target.refuses else self.mode)
        names: list[str] = []
        verdict = self.run([], names)
        if not (first.is_clean and verdict.is_clean):
            raise RuntimeError(
                f"{self.target.name} {self.mode}: a job that nothing happened to failed: {first.notes + verdict.notes}"
            )
        self.reached = set(names)
        return [number for number, name in enumerate(names, 1) if number == 1 or name.endswith(":after")]

    def run(self, script: Sequence[Signals], names: list[str] | None = None, mode: Mode | None = None) -> Verdict:
        """Accept a job and drive it to its end; the n-th worker gets the n-th signals. A stopped worker wakes once a rival ended."""
        mode = mode or self.mode
        self.version += 1
        job_id, status, notes = self._drive(list(script), names, mode)
        self.settle()
        verdict = Verdict(runs=1, notes=notes)
        source = [tuple(row.values()) for row in rows_of(self.version, is_append=mode is Mode.APPEND)]
        if problem := self._wrong(job_id, mode, status):
            verdict.stuck += 1
            verdict.notes.append(problem)
        if status is JobStatus.SUCCESS:
            self.live = published(self.live, mode, source)
        found = self._found()
        if not self.target.is_atomic and differences(self.live, found) != (0, 0):
            found = self._repaired(job_id, found)
        verdict.lost, verdict.duplicated = differences(self.live, found)
        if verdict.lost or verdict.duplicated:
            verdict.notes.append(
                f"job {job_id}: the target lacks {verdict.lost} rows and has {verdict.duplicated} too many"
            )
        self.live = found
        return verdict

    def _wrong(self, job_id: str, mode: Mode, status: JobStatus | None) -> str:
        """Say what is wrong with a job's end, nothing if it is the right one."""
        refusal = self.target.refuses.get(mode)
        if refusal is None and status is JobStatus.SUCCESS:
            return ""
        code, reason = self._reason(job_id)
        if refusal is not None and status is JobStatus.FAILED and code == refusal:
            return ""
        return f"job {job_id} is {status} ({code}): {reason}"

    def _found(self) -> tuple[Row, ...]:
        return tuple(self.target.read(self.table) or ())

    def _repaired(self, job_id: str, found: tuple[Row, ...]) -> tuple[Row, ...]:
        """Let the sweeper look one lease later, as it does after a replace that cannot be fenced, and what it started run."""
        self.workshop.machine.clock.sleep(2 * EXPIRED_S)
        self._new_tasks()

        def sweep(services: Services) -> None:
            services.sweeper.sweep()

        done(self.workshop.spawn(sweep))
        self._work_off(job_id, self._new_tasks(), [], None, [])
        again = self._found()
        if differences(self.live, again) == (0, 0):
            self.repaired += sum(differences(self.live, found))
        return again

    def _drive(
        self, script: list[Signals], names: list[str] | None, mode: Mode
    ) -> tuple[str, JobStatus | None, list[str]]:
        self._new_tasks()  # those of jobs before
        wanted = Wanted(self.target.name, self.table, mode, self.version)
        job_id: str = done(self.workshop.spawn(lambda services: accept(services, wanted)))
        notes = list[str]()
        return job_id, self._work_off(job_id, self._new_tasks(), script, names, notes), notes

    def _work_off(
        self, job_id: str, pending: list[Task], script: list[Signals], names: list[str] | None, notes: list[str]
    ) -> JobStatus:
        """Give tasks to workers until none is left, as Cloud Tasks does; return where the job stands then."""
        clock, status = self.workshop.machine.clock, None
        sleeper: tuple[Worker, Task] | None = None
        for _ in range(MOST_TASKS):
            if not pending:
                if sleeper is None:
                    break
                self._wake(sleeper[0], notes)
                pending, sleeper = self._new_tasks(), None
                continue
            task = earliest(pending)
            if task.at is not None:
                clock.sleep((task.at - clock.now()).total_seconds())
            worker = self.workshop.spawn(_work(task), script.pop(0) if script else None)
            if sleeper is not None and not worker.wait(RIVAL_S):
                self._wake(sleeper[0], notes)
                sleeper = None
            if worker.code is None and not worker.is_stopped:
                worker.wait(120.0)
            if worker.is_stopped:
                sleeper = (worker, task)
                clock.sleep(EXPIRED_S)
                pending.append(task)
            elif worker.code == -signal.SIGKILL:
                clock.sleep(EXPIRED_S)
                pending.append(task)
            elif worker.code != 0:
                notes.append(f"a worker failed: {worker.result}")
                pending.append(later(task, clock.now() + timedelta(seconds=5)))
            else:
                status = JobStatus(worker.result) if job_of(task) == job_id else status
                if names is not None:
                    names += worker.names
            pending += self._new_tasks()
        if sleeper is not None:
            self._wake(sleeper[0], notes)
        return status if status and status.is_final else self._status(job_id)

    def _reason(self, job_id: str) -> tuple[str, str]:
        def work(services: Services) -> tuple[str, str]:
            job = services.exports.get(job_id).data
            return str((job.get("error") or {}).get("code")), str(job.get("error_message"))

        code, reason = done(self.workshop.spawn(work))
        return code, reason

    def _status(self, job_id: str) -> JobStatus:
        def work(services: Services) -> str:
            return str(services.exports.get(job_id).data["status"])

        return JobStatus(done(self.workshop.spawn(work)))

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
    """One export: the rows of a version, to a connector's table."""

    connector: str
    table: str
    mode: Mode
    version: int


def accept(services: Services, wanted: Wanted) -> str:
    """Put the rows of this version into the file of the table's name, and ask for its export. Returns the job's id."""
    rows = rows_of(wanted.version, is_append=wanted.mode is Mode.APPEND)
    with services.stores.objects.writer("tables", f"{wanted.table}.jsonl", content_type="text/plain") as sink:
        sink.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    body: dict[str, Any] = {"connector_name": wanted.connector, "table_name": wanted.table, "mode": wanted.mode.value}
    body["max_shrink"] = 1.0
    if wanted.mode is Mode.UPSERT:
        body["key"] = ["id"]
    return str(services.exports.start(msgspec.convert(body, ExportRequest), "ann@example.com").data["id"])


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

    def work(services: Services) -> str:
        services.exports.run(job_id, task.body["seq"])
        found = services.stores.documents.get(f"export_jobs/{job_id}")
        return str(found.data["status"]) if found else "failed"

    return work
