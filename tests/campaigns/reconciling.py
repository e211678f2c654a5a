"""Part `reconcile`: a process dies between every pair of writes to Firestore and Cloud Scheduler, and once more while that is mended.

Afterwards both must say the same, and no schedule may be silent: one that is stored and enabled runs at its next time, even before
anything was mended; one that is paused or deleted does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from shared.bootstrap import Services
from shared.errors import InvalidRequestError
from shared.ports import Query
from shared.services.cron import Cron
from tests.campaigns.report import Report, Row
from tests.campaigns.schedules import Died
from tests.campaigns.simulated import silence
from tests.campaigns.ticking import REFUSED, World, request
from tests.campaigns.verdict import Verdict

MINUTE = timedelta(minutes=1)
WRITES = (
    "cron_jobs.put",
    "cron_jobs.delete",
    "documents.transact",
    "documents.update",
    "documents.create",
    "documents.delete",
)


@dataclass
class At:
    """Dies at the `at`-th point around a write; counts them while `at` is None."""

    at: int | None = None
    names: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        if name.startswith(WRITES):
            self.names.append(name)
            if len(self.names) == self.at:
                raise Died(name)


def _change(services: Services, schedule_id: str) -> None:
    services.schedules.change(schedule_id, {"cron_expression": "10 * * * *"}, "1")


def _change_refused(services: Services, schedule_id: str) -> None:
    services.schedules.change(schedule_id, {"cron_expression": REFUSED}, "1")


OPERATIONS: dict[str, tuple[bool, Callable[[Services, str], object]]] = {
    "create": (True, lambda services, _: services.schedules.create(request(cron_expression="@hourly"), "a person")),
    "create paused": (
        True,
        lambda services, _: services.schedules.create(request(cron_expression="@hourly", enabled=False), "a person"),
    ),
    "change": (True, _change),
    "pause": (True, lambda services, one: services.schedules.set_enabled(one, enabled=False)),
    "resume": (False, lambda services, one: services.schedules.set_enabled(one, enabled=True)),
    "delete": (True, lambda services, one: services.schedules.delete(one)),
    "refused create": (
        True,
        lambda services, _: services.schedules.create(request(cron_expression=REFUSED), "a person"),
    ),
    "no change": (True, _change_refused),
}
"""Name to whether the schedule that is there before is enabled, and what is done."""


@dataclass(frozen=True)
class Without:
    """Guards that are taken away."""

    reconciler: bool = False
    minutes: bool = False


def play(
    name: str, first: int | None, second: int | None, *, mends: bool, without: Without = Without()
) -> tuple[Verdict, At, At]:
    """Die at the `first` point of an operation, and at the `second` of mending; then judge."""
    enabled, act = OPERATIONS[name]
    during, after = At(first), At(second)
    quiet = At()
    with silence():
        world = World(quiet)
        before = world.services.schedules.create(request(cron_expression="@hourly", enabled=enabled), "a person")
        world.point(during)
        _survive(lambda: act(world.process(), before.data["id"]))
        world.point(after)
        if mends and not without.reconciler:
            _survive(lambda: world.process().reconciler.reconcile(dry_run=False))
        world.point(quiet)
        services = world.process()
        if mends and not without.reconciler:
            services.reconciler.reconcile(dry_run=False)
        verdict = Verdict(runs=1)
        _judge_runs(world, services, verdict, without)
        if mends:
            _judge_drift(services, verdict)
    return verdict, during, after


def _survive(work: Callable[[], object]) -> None:
    try:
        work()
    except (Died, InvalidRequestError):
        pass


def _judge_drift(services: Services, verdict: Verdict) -> None:
    for drift in services.reconciler.reconcile(dry_run=True).drifts:
        verdict.stuck += 1
        verdict.notes.append(f"{drift.schedule_id}: {drift.reason}")


def _judge_runs(world: World, services: Services, verdict: Verdict, without: Without) -> None:
    """Let the next time of every schedule come; calls come only from the jobs that Cloud Scheduler holds."""
    documents, now = world.fakes.documents, world.clock.now()
    world.go_to(now + timedelta(hours=1, minutes=11))
    for job in world.fakes.cron_jobs.list():
        if not job.paused:
            services.occurrences.fire(job.id, next(Cron(job.cron, job.time_zone).after(now)))
    for _ in range(3):
        world.go_to(world.clock.now() + MINUTE)
        if not without.minutes:
            services.occurrences.tend_all()
    ran = [item.data["schedule_id"] for item in documents.query(Query("refresh_runs"))]
    for item in documents.query(Query("schedules")):
        is_live = item.data["enabled"] and not item.data["deleting"]
        if is_live and item.data["id"] not in ran:
            verdict.missed += 1
            verdict.notes.append(f"{item.data['id']} is enabled and was silent")
        if not is_live and item.data["id"] in ran:
            verdict.doubled += 1
            verdict.notes.append(f"{item.data['id']} is paused or deleted and ran")


def play_all(name: str, *, without: Without = Without()) -> tuple[Verdict, int]:
    """Every point of an operation, each with every point of mending, and each without any mending."""
    total = Verdict()
    points = len(play(name, None, None, mends=True)[1].names)
    for first in range(1, points + 1):
        total.add(play(name, first, None, mends=False, without=without)[0])
        second: int | None = None
        verdict, _, after = play(name, first, second, mends=True, without=without)
        total.add(verdict)
        for second in range(1, len(after.names) + 1):
            total.add(play(name, first, second, mends=True, without=without)[0])
    return total, points


TEETH = {"the reconciler": Without(reconciler=True), "the look at every minute": Without(minutes=True)}


def noticed(guard: str) -> Verdict:
    """Play every operation without a guard."""
    total = Verdict()
    for name in OPERATIONS:
        total.add(play_all(name, without=TEETH[guard])[0])
    return total


def run(report: Report) -> None:
    report.start("reconcile: a death between every pair of writes")
    for name in OPERATIONS:
        verdict, points = play_all(name)
        report.add(Row("reconcile", "in memory", name[:8], points=points, verdict=verdict))
        if not verdict.is_clean:
            report.failed("make campaign PART=reconcile", verdict.notes, [])
    for guard in TEETH:
        found = noticed(guard)
        report.tooth(guard, found, is_noticed=not found.is_clean)
