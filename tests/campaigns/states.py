"""Part `states`: Hypothesis drives an export job through every operation that people and the machinery have, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.connectors._base import Mode
from shared.errors import ConflictError, NotFoundError
from shared.models import JobStatus
from shared.pipeline.transitions import TRANSITIONS
from shared.ports import Task
from tests.campaigns.report import Report, Row
from tests.campaigns.rig import Collaborators, register_target, request, services_on
from tests.campaigns.simulated import silence
from tests.campaigns.simulated_target import SimulatedVendor, differences, published
from tests.campaigns.simulation import KilledError
from tests.campaigns.teeth import Tokenless
from tests.campaigns.verdict import Verdict
from tests.fakes.stores import InMemoryStores

ENDED = frozenset({JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED})


STORES = ("documents.transact:before", "documents.transact:after", "objects.copy:after", "tasks.enqueue:before")
VENDOR = ("vendor.begin:after", "vendor.write:after", "vendor.publish:before", "vendor.publish:after")


class DyingPoints:
    """Kills the worker at the next point of this name; an empty name is none."""

    def __init__(self) -> None:
        self.name = ""

    def reach(self, name: str) -> None:
        if name == self.name:
            self.name = ""
            raise KilledError(name)


class JobMachine(RuleBasedStateMachine):
    """Jobs of one target. What the machine believes: each job's rows and mode, and the last status that was seen."""

    collaborators: ClassVar[Collaborators] = Collaborators()

    def __init__(self) -> None:
        super().__init__()
        self.vendor, self.fakes, self.points = SimulatedVendor(), InMemoryStores(), DyingPoints()
        self.services = services_on(self.fakes.stores(), self.vendor, self.points, self.collaborators)
        self.rows: dict[str, tuple[Mode, list[tuple[Any, ...]]]] = {}
        self.seen: dict[str, JobStatus] = {}
        self.version = 0

    @initialize()
    def register(self) -> None:
        register_target(self.services)

    @rule(mode=st.sampled_from([Mode.REPLACE, Mode.APPEND]), count=st.integers(0, 5), guarded=st.booleans())
    def start(self, mode: Mode, count: int, guarded: bool) -> None:
        self.version += 1
        rows = [(100 * self.version + n, f"row {n}") for n in range(count)]
        wanted = request(mode, [{"id": row[0], "name": row[1]} for row in rows], max_shrink=0.5 if guarded else 1.0)
        self.rows[self.services.exports.start(wanted, "ann@example.com")["id"]] = (mode, rows)
        self.fakes.clock.sleep(1)

    @precondition(lambda self: self.fakes.tasks.pending)
    @rule(data=st.data(), dies_at=st.sampled_from(["", *STORES, *VENDOR]), again=st.booleans())
    def work(self, data: st.DataObject, dies_at: str, again: bool) -> None:
        task: Task = data.draw(st.sampled_from(self.fakes.tasks.pending))
        if task.at is not None and task.at > self.fakes.clock.now():
            self.fakes.clock.sleep((task.at - self.fakes.clock.now()).total_seconds())
        self.points.name = dies_at
        job_id = task.url.rsplit("/", 1)[1].removesuffix(":run")
        try:
            self.services.exports.run(job_id, task.body["seq"])
        except KilledError:
            again = True
        except NotFoundError:
            again = False  # the job was erased
        finally:
            self.points.name = ""
        if not again:
            self.fakes.tasks.pending.remove(task)

    @rule(seconds=st.sampled_from([1, 40, 100, 400]))
    def wait(self, seconds: int) -> None:
        self.fakes.clock.sleep(seconds)

    @rule()
    def sweep(self) -> None:
        self.services.sweeper.sweep()

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), operation=st.sampled_from(["cancel", "approve", "force", "reject", "erase"]))
    def operate(self, data: st.DataObject, operation: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.rows)))
        jobs = self.services.exports.operations
        calls: dict[str, Callable[[], None]] = {
            "cancel": lambda: jobs.cancel(job_id),
            "approve": lambda: jobs.approve(job_id, force=False),
            "force": lambda: jobs.approve(job_id, force=True),
            "reject": lambda: jobs.reject(job_id),
            "erase": lambda: jobs.erase(job_id),
        }
        try:
            calls[operation]()
        except (ConflictError, NotFoundError):
            pass

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Retry or republish: a new job from what the old one froze."""
        job_id = data.draw(st.sampled_from(sorted(self.rows)))
        try:
            again = self.services.exports.operations.again(job_id, "ann@example.com", None, after=ENDED)
        except (ConflictError, NotFoundError):
            return
        self.rows[again] = self.rows[job_id]
        self.fakes.clock.sleep(1)

    @invariant()
    def every_change_of_status_is_in_the_table(self) -> None:
        for job_id in self.rows:
            found = self.fakes.documents.get(f"export_jobs/{job_id}")
            if found is None:
                assert self.seen.get(job_id) in ENDED, f"{job_id} is gone and had not ended"
                continue
            status, before = JobStatus(found.data["status"]), self.seen.get(job_id, JobStatus.PENDING)
            assert status is before or _is_reachable(before, status), f"{job_id} went from {before} to {status}"
            self.seen[job_id] = status

    @invariant()
    def the_target_holds_exactly_what_was_published(self) -> None:
        live: tuple[tuple[Any, ...], ...] = ()
        jobs = [publication.job_id for publication in self.vendor.publications]
        assert len(jobs) == len(set(jobs)), "a job was published twice"
        for job_id in jobs:
            live = published(live, *self.rows[job_id])
            assert self.seen.get(job_id) in (None, JobStatus.RUNNING, JobStatus.SUCCESS), (
                f"{job_id} is {self.seen[job_id]}"
            )
        assert differences(live, self.vendor.live) == (0, 0)
        for job_id, status in self.seen.items():
            assert status is not JobStatus.SUCCESS or job_id in jobs, f"{job_id} is a success and was never published"

    def teardown(self) -> None:
        """Whatever happened, everything that is not held ends when nobody interferes any more."""
        self.points.name = ""
        for _ in range(300):
            self.fakes.clock.sleep(31)
            self.services.sweeper.sweep()
            for task in list(self.fakes.tasks.pending):
                self.fakes.tasks.pending.remove(task)
                if self.fakes.documents.get(
                    f"export_jobs/{(job_id := task.url.rsplit('/', 1)[1].removesuffix(':run'))}"
                ):
                    self.services.exports.run(job_id, task.body["seq"])
            self.every_change_of_status_is_in_the_table()
            if all(status in ENDED or status is JobStatus.HELD for status in self.seen.values()):
                break
        self.the_target_holds_exactly_what_was_published()
        left = {
            job_id: status
            for job_id, status in self.seen.items()
            if status not in ENDED and status is not JobStatus.HELD
        }
        assert not left, f"jobs without an end: {left}"


def _is_reachable(before: JobStatus, after: JobStatus) -> bool:
    """Whether the table leads from one status to the other, in any number of steps (one call may take several)."""
    reached, edge = {before}, {before}
    while edge:
        edge = {status for known in edge for status in TRANSITIONS[known]} - reached
        reached |= edge
    return after in reached


class TokenlessMachine(JobMachine):
    """The same without the target's token: the machine must notice."""

    collaborators = Collaborators(delivery=Tokenless)


def run(report: Report, *, examples: int, first_seed: int, steps: int = 40) -> None:
    """Run that many histories of that many steps; the first failing one is shown."""
    report.start(f"states: {examples} histories of up to {steps} steps")
    row = Row("states", "in memory", "all", points=len(JobStatus), verdict=Verdict(runs=examples))
    if notes := play(JobMachine, examples, first_seed, steps):
        row.verdict.stuck += 1
        report.failed(f"make campaign PART=states SEED={first_seed}", [notes], [])
    report.add(row)
    bitten = Verdict(runs=examples, stuck=bool(play(TokenlessMachine, min(examples, 300), first_seed, steps)))
    report.tooth("publish token in the target (states)", bitten, is_noticed=bitten.stuck > 0)


def play(machine: type[JobMachine], examples: int, first_seed: int, steps: int) -> str:
    """Return what a failing history says, nothing if none fails."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a history that failed is shown as it was: making it small takes minutes
        suppress_health_check=list(HealthCheck),
    )
    try:
        with silence():
            run_state_machine_as_test(seed(first_seed)(machine), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever a history found is this part's result
        return "\n".join([repr(error), *getattr(error, "__notes__", [])])[:3000]
    return ""
