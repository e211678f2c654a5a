"""Part `faults`: vendors in every bad mood, at several rates and many seeds; jobs run one after the other, no worker dies.

So nothing but the vendors has to be outside of the worker: documents and objects are in its memory.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from shared.bootstrap import Services
from shared.connectors._base import Mode, Runtime
from shared.models import JobStatus
from shared.ports import Clock, Stores, Task
from tests.campaigns.blunt import BLUNT
from tests.campaigns.course import Wanted, accept, adjust, done, earliest, enrol, job_of, keep_secrets, later
from tests.campaigns.crashes import machine
from tests.campaigns.link import FaultyLink
from tests.campaigns.machine import Machine
from tests.campaigns.moods import Mood, armed, moods
from tests.campaigns.network import Network
from tests.campaigns.reader import Expected, Reader
from tests.campaigns.report import Report, Row
from tests.campaigns.simulated_target import Row as Cells
from tests.campaigns.simulated_target import differences, published
from tests.campaigns.spot import ANYWHERE, Spot, replay
from tests.campaigns.targets import TARGETS, Make, Target, rows_of
from tests.campaigns.teeth import unrepaired
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop
from tests.fakes.stores import InMemoryDocuments, InMemoryObjects

RATES = (0.01, 0.1, 0.3, 0.5)
MOST_TASKS = 400
CALM_S = 7200.0
"""Between two runs: every token, quota window and pause of a breaker ends, so that a seed does the same wherever it stands."""
BITTEN_SEEDS = 30
UNREPAIRED_SEEDS = 3
HURRY = 20
"""Exports at once: over 80 reads of a spreadsheet, and more writes; Google takes 60 of each a minute."""
CALLS, CONNECTIONS, MESSAGES = "HTTP calls", "connections to Postgres", "messages to Postgres"
Runs = Sequence[tuple[float, int]]


@dataclass
class Outcome:
    """What a process full of runs came to; goes through a pipe. `struck` and `of` have how many met a fault, and of how many, by the
    rate that was asked for and what the faults struck at (`CALLS`, …).
    """

    verdict: Verdict = field(default_factory=Verdict)
    struck: Counter[tuple[float, str]] = field(default_factory=Counter)
    of: Counter[tuple[float, str]] = field(default_factory=Counter)
    expired: int = 0
    gave_up: int = 0
    parts: int = 0
    repaired: int = 0
    failing: list[tuple[float, int, list[str]]] = field(default_factory=list)


@dataclass
class Patient:
    """One target in one mode, under faults, in a process of its own. `is_ready` once its table is there."""

    workshop: Workshop
    target: Target
    mode: Mode
    link: FaultyLink | None
    table: str
    moods: Callable[[str, datetime], list[Mood]] = moods
    is_ready: bool = False
    live: tuple[Cells, ...] = ()
    version: int = 0
    place: int = 0
    expected: Expected = field(default_factory=Expected)
    outcome: Outcome = field(default_factory=Outcome)
    kinds: set[str] = field(default_factory=set)
    """Of the faults that struck in the last run."""

    @property
    def machine(self) -> Machine:
        return self.workshop.machine

    def suffer(self, services: Services, runs: Runs) -> Outcome:
        """Run a job for each rate and seed, after one that makes the table and meets no fault."""
        network = Network(self.machine.clock, self._expire)
        enrol(services, self.target, keep_secrets(self.workshop, self.target))
        self._tasks()
        with network.between():
            self.is_ready = self._heal(services)
            if not self.is_ready:
                raise RuntimeError(f"{self.target.name}: a replace that met no fault failed")
            for rate, seed in runs:
                verdict = self._one(services, network, rate, seed)
                if not verdict.is_clean:
                    self.outcome.failing.append((rate, seed, verdict.notes))
                verdict.notes = []
                self.outcome.verdict.add(verdict)
        return self.outcome

    def hurry(self, services: Services) -> None:
        """Ask for exports of as many tables, and do them as fast as the vendor's quota lets us."""
        enrol(services, self.target, keep_secrets(self.workshop, self.target))
        self._tasks()
        table = self.table
        for number in range(HURRY):
            self.table = f"{table}_{number}"
            self._accept(services, self.mode)
        self._work_off(services)

    def _one(self, services: Services, network: Network, rate: float, seed: int) -> Verdict:
        rng = random.Random(f"{self.target.name} {self.mode} {seed} {rate}")
        self._calm(services)
        job_id, source = self._accept(services, self.mode)
        network.draws, network.expiry, network.times_out, network.is_on = rng, rate / 10, bool(seed % 2), True
        self._arm(rng, rate, each_message=seed // 2 % 2 == 1)
        verdict = Verdict.of_workers(self._work_off(services))
        self._disarm(network, rate, MESSAGES if seed // 2 % 2 else CONNECTIONS)
        job = services.exports.get(job_id).data
        status, error = JobStatus(job["status"]), job.get("error") or {}
        verdict.notes.append(f"job {job_id} is {status.value} ({error.get('code')}): {job.get('error_message')}")
        if status is JobStatus.SUCCESS:
            self.live = published(self.live, self.mode, source)
        elif status is JobStatus.FAILED and (error["retryable"] or self._is_caused(error["code"])):
            self.outcome.gave_up += 1
        else:
            verdict.stuck += 1
        self._judge(services, verdict, job_id, is_success=status is JobStatus.SUCCESS)
        verdict.undercut = len(network.undercut)
        verdict.notes += network.undercut
        network.undercut = []
        return verdict

    def _judge(self, services: Services, verdict: Verdict, job_id: str, *, is_success: bool) -> None:
        """Compare the target with what it must hold. After a failure where there is no way back a replace must be repaired, and the
        next replace must mend whatever it was.
        """
        found = self._found()
        lost, duplicated = differences(self.live, found)
        if is_success or self.mode not in self.target.excepted:
            verdict.lost, verdict.duplicated = lost, duplicated
            self.live = found
            self.expected.settle(found)
            return
        self.outcome.parts += bool(lost or duplicated)
        if self.mode is Mode.REPLACE:
            self._require_repair(services, verdict, job_id)
        if not self._heal(services):
            verdict.stuck += 1
            verdict.notes.append("a replace without faults did not mend the table")

    def _require_repair(self, services: Services, verdict: Verdict, job_id: str) -> None:
        """Sweep once while nothing is wrong: then the target must hold what it held before the replace that failed."""
        self._calm(services)
        services.sweeper.sweep()
        verdict.add(Verdict.of_workers(self._work_off(services), runs=0))
        job, (lost, duplicated) = services.exports.get(job_id).data, differences(self.live, self._found())
        if not lost and not duplicated:
            self.outcome.repaired += bool(job.get("repair_job_id"))
            return
        verdict.stuck += 1
        says = f"its repair is {job.get('repair_job_id')}, its repair_error {job.get('repair_error')}"
        verdict.notes.append(f"not repaired: {lost} rows are gone and {duplicated} too many; {says}")

    def _found(self) -> tuple[Cells, ...]:
        return tuple(self.target.read(self.table) or ())

    def _heal(self, services: Services) -> bool:
        """Replace the table while nothing is wrong; return whether it then holds just that."""
        self._calm(services)
        _, source = self._accept(services, Mode.REPLACE)
        self._work_off(services)
        self.live = tuple(source)
        self.expected.settle(self.live)
        return differences(self.live, self._found()) == (0, 0)

    def _accept(self, services: Services, mode: Mode) -> tuple[str, list[Cells]]:
        self.version += 1
        source = [tuple(row.values()) for row in rows_of(self.version, mode)]
        self.expected.add(published(self.live, mode, source))
        return accept(services, Wanted(self.target.name, self.table, mode, self.version)), source

    def _work_off(self, services: Services) -> list[str]:
        """Do the tasks until none is left; return the faults of ours, after which Cloud Tasks would deliver a task again."""
        clock, notes = self.machine.clock, list[str]()
        pending = self._tasks()
        for _ in range(MOST_TASKS):
            if not pending:
                break
            task = earliest(pending)
            if task.at is not None:
                clock.sleep((task.at - clock.now()).total_seconds())
            try:
                services.exports.run(job_of(task), task.body["seq"])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
                notes.append(f"fault of ours: {type(error).__name__}: {error}"[:300])
                pending.append(later(task, clock.now() + timedelta(seconds=5)))
            pending += self._tasks()
        if pending:
            notes.append(f"{len(pending)} tasks are left after {MOST_TASKS}")
        return notes

    def _is_caused(self, code: str) -> bool:
        """Whether a fault struck that makes jobs of this target end so, and that no job can overcome."""
        return self.target.may_fail.get(code) in self.kinds

    def _calm(self, services: Services) -> None:
        self.machine.clock.sleep(CALM_S)
        services.stores.documents.delete(f"breakers/{self.target.name}")

    def _arm(self, rng: random.Random, rate: float, *, each_message: bool) -> None:
        if self.link is not None:
            self.link.doom(rate, rng.randrange(1 << 30), each_message=each_message)
        for sandbox in self.target.sandboxes:
            for mood in armed(self.moods(sandbox, self.machine.clock.now()), rate):
                self.machine.admin("POST", "/faults", {**mood, "seed": rng.randrange(1 << 30), "times": -1})

    def _disarm(self, network: Network, rate: float, links: str) -> None:
        network.is_on = False
        if self.link is not None:
            counts = self.link.counts()
            self.outcome.struck[rate, links] += counts.cuts
            self.outcome.of[rate, links] += counts.messages if links == MESSAGES else counts.connections
            self.link.doom(0.0, 0)
        faults = self.machine.admin("GET", "/faults")["faults"]
        self.kinds = {fault["kind"] for fault in faults if fault["struck"]}
        self.outcome.struck[rate, CALLS] += sum(fault["struck"] for fault in faults)
        most = {(fault["vendor"], fault["path"]): 0 for fault in faults}
        for fault in faults:
            asked = (fault["vendor"], fault["path"])
            most[asked] = max(most[asked], fault["matched"])  # the first of a list is asked about every call
        self.outcome.of[rate, CALLS] += sum(most.values())
        self.machine.admin("DELETE", "/faults")

    def _expire(self, tokens: str) -> None:
        self.outcome.expired += 1
        self.machine.admin("POST", "/tokens/expire", {"vendor": tokens})

    def _tasks(self) -> list[Task]:
        fresh, self.place = self.machine.tasks.since(self.place)
        return fresh


@dataclass(frozen=True)
class Plan:
    """Which seeds, at which rates, where; and whether guards are taken away, too.

    Behaviours of a vendor beside its usual one get every fourth seed.
    """

    seeds: Sequence[int]
    spot: Spot = ANYWHERE
    has_teeth: bool = True

    @property
    def rates(self) -> tuple[float, ...]:
        return (float(self.spot.what),) if self.spot.what else RATES

    def runs(self, target: Target, mode: Mode) -> Runs:
        """Return what one target suffers in one mode: the modes take turns by seed, unless one is asked for."""
        modes = [one for one in target.modes if one not in target.refuses]
        seeds = self.seeds if target.name == target.kind else self.seeds[::4]
        mine = seeds if self.spot.mode else seeds[modes.index(mode) :: len(modes)]
        return [(rate, seed) for rate in self.rates for seed in mine]


def run(report: Report, plan: Plan) -> None:
    """Run every seed at every rate on every vendor; then each kind without its guards, and one that is in a hurry."""
    what = f"faults: {len(plan.seeds)} seeds x {len(plan.rates)} rates; `points` are faults that struck"
    report.start(f"{what}. Two seeds of four break connections to Postgres, the others single messages")
    with machine() as running:
        workshop = Workshop(running)
        for name, make in TARGETS.items():
            if plan.spot.takes(name):
                _suffer(report, workshop, make, plan)


def _suffer(report: Report, workshop: Workshop, make: Make, plan: Plan) -> None:
    target, link = make(workshop.machine), None
    if target.kind == "looker":
        link = FaultyLink(workshop.machine.ports.of("postgres"))
        target.registration["warehouse"]["port"] = link.port
    adjust(workshop, target)
    for mode in target.modes:
        if mode in target.refuses or not plan.spot.takes(target.name, mode.value):
            continue
        patient = Patient(workshop, target, mode, link, f"faults_{target.name}_{mode.value}")
        row = Row("faults", target.name, mode.value)
        with Reader(workshop.machine, make, patient.table, patient.expected, quiet=True) as reader:
            outcome = _in_a_process(patient, plan.runs(target, mode))
            if mode not in target.excepted:
                outcome.verdict.mixed += reader.mixed
            row.reads, row.unread = reader.reads, reader.failed
        row.verdict, row.points = outcome.verdict, outcome.struck.total() + outcome.expired
        row.excepted = {"gave up": outcome.gave_up}
        if mode in target.excepted:
            row.excepted["left part (push replace and append)"] = outcome.parts
        if mode in target.excepted and mode is Mode.REPLACE:
            row.excepted["repaired"] = outcome.repaired
        for rate, seed, notes in outcome.failing:
            report.failed(replay("faults", target.name, mode.value, rate, seed), notes, [])
        report.add(row)
        for what in sorted({what for _, what in outcome.of}):
            report.say(f"  {what}: " + ", ".join(_share(outcome, rate, what) for rate in plan.rates))
    if target.name in BLUNT and plan.has_teeth and not plan.spot.what:
        _bite(report, workshop, target, link)
    if link is not None:
        link.close()


def _share(outcome: Outcome, rate: float, what: str) -> str:
    """Say how many of the calls were struck, beside the rate that was asked for."""
    struck, of = outcome.struck[rate, what], outcome.of[rate, what]
    return f"{rate:.0%} asked, {struck} of {of} struck" + (f" ({struck / of:.1%})" if of else "")


def _in_a_process(patient: Patient, runs: Runs) -> Outcome:
    workshop = replace(patient.workshop, stores=in_memory(patient.workshop.stores))
    outcome: Outcome = done(workshop.spawn(partial(patient.suffer, runs=runs), quiet=True), timeout_s=7200.0)
    return outcome


def in_memory(stores: Callable[[Stores], Stores]) -> Callable[[Stores], Stores]:
    """Return `stores` around documents and objects that end with the process."""
    return lambda given: stores(replace(given, documents=InMemoryDocuments(), objects=InMemoryObjects()))


class HastyClock:
    """Waits half as long as it is told."""

    def __init__(self, inner: Clock) -> None:
        self.now = inner.now
        self._inner = inner

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds / 2)


def hasty(runtime: Runtime) -> Runtime:
    """Connectors that come back before the time that a Retry-After names."""
    return replace(runtime, clock=HastyClock(runtime.clock))


def waits_only(sandbox: str, now: datetime) -> list[Mood]:
    """Only the moods that name a time to come back at."""
    return [mood for mood in moods(sandbox, now) if "Retry-After" in mood.get("headers", {})]


def unreadable(sandbox: str, now: datetime) -> list[Mood]:
    """Power BI takes every row and lets nobody read it back: a replace fails that has touched the table."""
    return [{"vendor": sandbox, "kind": "status", "status": 503, "path": "executeQueries"}]


def _bite(report: Report, workshop: Workshop, target: Target, link: FaultyLink | None) -> None:
    """Append without the target's guards, and with a connector in a hurry; the part must notice both."""
    rows = Patient(workshop, target, Mode.APPEND, link, f"faults_{target.name}_bitten")
    blunt = BLUNT[target.name]
    rows.workshop = replace(workshop, wrap=lambda one: blunt(one, workshop.machine) if rows.is_ready else one)
    total = _until(rows, lambda verdict: verdict.duplicated)
    report.tooth(f"the guards of {target.name} (faults)", total, is_noticed=total.duplicated > 0)
    hurry = replace(workshop, runtime=hasty)
    waits = Patient(hurry, target, Mode.APPEND, None, f"faults_{target.name}_hasty", waits_only)
    total = _until(waits, lambda verdict: verdict.undercut)
    report.tooth(f"patience with {target.name} (faults)", total, is_noticed=total.undercut > 0)
    if Mode.REPLACE in target.excepted:
        _leave_unrepaired(report, workshop, target)


def _leave_unrepaired(report: Report, workshop: Workshop, target: Target) -> None:
    """Let replaces fail after they touched the table, with the repairs and where those find nothing to repair from."""
    kept = Patient(workshop, target, Mode.REPLACE, None, f"faults_{target.name}_repaired", unreadable)
    bitten = replace(kept, workshop=replace(workshop, stores=unrepaired), table=f"faults_{target.name}_unrepaired")
    runs = [(1.0, seed) for seed in range(UNREPAIRED_SEEDS)]
    guarded, without = (_in_a_process(one, runs) for one in (kept, bitten))
    told = f"{without.verdict}; with it stuck={guarded.verdict.stuck}, {guarded.repaired} repaired"
    is_noticed = guarded.verdict.is_clean and guarded.repaired > 0 and without.verdict.stuck > 0
    report.tooth(f"repair of a failed replace of {target.name} (faults)", told, is_noticed=is_noticed)


def _until(patient: Patient, figure: Callable[[Verdict], int]) -> Verdict:
    """Run seeds in a workshop without a guard until the figure shows it."""
    total = Verdict()
    for start in range(0, BITTEN_SEEDS, 3):
        total.add(_in_a_process(patient, [(0.3, seed) for seed in range(start, start + 3)]).verdict)
        if figure(total):
            break
    return total
