"""Part `schedules`: ticks that come one to five times, out of order, late or never, in processes that die.

Every planned time must be accounted for once, by a run or by a reason that its policies give; no run may be there twice.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar

from shared.models import Missed, Overlap
from shared.ports import Document, Query, Stores, Transaction
from shared.services import occurrence_attempt
from shared.services import occurrences as under_test
from shared.services.cron import Cron
from tests.campaigns.report import Report, Row
from tests.campaigns.simulated import silence
from tests.campaigns.teeth import AlteredDocuments, AlteredTransaction
from tests.campaigns.ticking import World, request
from tests.campaigns.verdict import Verdict

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
LATE, SKEW, SOON = timedelta(minutes=10), timedelta(seconds=5), timedelta(minutes=5)
CRONS = (("*/15 * * * *", 1.0), ("5,35 * * * *", 1.0), ("@hourly", 1.0), ("0 */6 * * *", 0.5), ("30 2 * * *", 0.3))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca")
TICKS = 50
"""Planned times of one seed."""


class Died(BaseException):
    """The process ended here, without any clean-up."""


class Mortal:
    """Points at which the process dies now and then."""

    def __init__(self, rng: Random, rate: float) -> None:
        self._rng, self._rate = rng, rate
        self.reached = self.deaths = 0

    def reach(self, name: str) -> None:
        self.reached += 1
        if self._rng.random() < self._rate:
            self.deaths += 1
            raise Died(name)


@dataclass(frozen=True)
class Tooth:
    """A guard's name, the stores without it, and what else is different."""

    guard: str
    alter: Callable[[Stores], Stores] = lambda stores: stores
    has_minutes: bool = True
    skew: timedelta = SKEW
    apart: timedelta = occurrence_attempt.FORCED_APART


@dataclass
class Played:
    verdict: Verdict
    ticks: int
    deliveries: int
    deaths: int
    log: list[str] = field(default_factory=list)


class Play:
    """One seed."""

    def __init__(self, seed: int, tooth: Tooth | None) -> None:
        self.rng = Random(seed)
        self.tooth = tooth or Tooth("")
        self.mortal = Mortal(Random(seed + 1), 0.0)
        self.world = World(self.mortal, self.tooth.alter)
        self.world.go_to(datetime(2026, self.rng.randint(1, 12), self.rng.randint(1, 28), tzinfo=UTC))
        self.world.vendor.minutes = lambda: self.rng.choice((0.5, 3.0, 10.0, 25.0, 90.0))
        self.services = self.world.services
        cron = self.rng.choices([name for name, _ in CRONS], [weight for _, weight in CRONS])[0]
        self.missed, self.overlap = self.rng.choice(list(Missed)), self.rng.choice(list(Overlap))
        zone = self.rng.choice(ZONES)
        document = self.services.schedules.create(
            request(cron_expression=cron, timezone=zone, missed=self.missed.value, overlap=self.overlap.value),
            "a person",
        )
        self.id = document.data["id"]
        self.cron = Cron(cron, zone)
        self.begun = self.world.clock.now()
        self.slots = list(itertools.islice(self.cron.after(self.begun), TICKS))
        self.log = [f"{cron} in {zone}, missed {self.missed.value}, overlap {self.overlap.value}"]
        self.outages = self._outages()
        self.presses = 0
        self.deliveries = 0
        self._heap: list[tuple[datetime, int, datetime, int]] = []
        self._count = itertools.count()

    def run(self) -> Played:
        self._plan()
        self.mortal._rate = 0.002
        end = max([self.slots[-1], *(until for _, until in self.outages)]) + timedelta(hours=6)
        while (moment := self._next_moment()) < end or self._is_behind():
            self.world.go_to(moment)
            self._at(self.world.clock.now())
        self.mortal._rate = 0.0
        self.services.schedules.set_enabled(self.id, enabled=False)
        for _ in range(60 * 4):
            self.world.go_to((self.world.clock.now() + MINUTE).replace(second=0, microsecond=0))
            self._at(self.world.clock.now())
        verdict = Judge(self).verdict()
        return Played(verdict, len(self.slots), self.deliveries, self.mortal.deaths, self.log)

    def _outages(self) -> list[tuple[datetime, datetime]]:
        found: list[tuple[datetime, datetime]] = []
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            start = self.rng.choice(self.slots) - timedelta(minutes=self.rng.uniform(0, 30))
            end = start + timedelta(minutes=self.rng.choice((8, 45, 240, 900)))
            if found and start <= found[0][1] + SOON and found[0][0] <= end + SOON:  # two that meet are one
                found = [(min(start, found[0][0]), max(end, found[0][1]))]
            else:
                found.append((start, end))
        return found

    def is_down(self, moment: datetime) -> bool:
        return any(start <= moment < end for start, end in self.outages)

    def _plan(self) -> None:
        for slot, after in itertools.zip_longest(self.slots, self.slots[1:]):
            if self.rng.random() >= 0.1:
                for _ in range(self.rng.randint(1, 5)):
                    late = self.rng.choices((3.0, 540.0, 5400.0), (80, 15, 5))[0]
                    self._push(slot + timedelta(seconds=self.rng.uniform(-2.0, late)), slot)
            if after and self.rng.random() < 0.05 and after - slot > timedelta(minutes=14):
                at = slot + timedelta(minutes=self.rng.uniform(6, 9))
                copies = [at + timedelta(seconds=self.rng.uniform(0, 230)) for _ in range(self.rng.randint(1, 3))]
                if not any(self.is_down(copy) for copy in (*copies, at + MINUTE)):
                    self.presses += 1
                    for copy in copies:
                        self._push(copy, after)

    def _push(self, at: datetime, header: datetime, tries: int = 0) -> None:
        heapq.heappush(self._heap, (at, next(self._count), header, tries))

    def _is_behind(self) -> bool:
        """Whether planned times that were missed still wait for their turn."""
        schedule = self.world.fakes.documents.get(f"schedules/{self.id}")
        return (
            schedule is not None and self.missed is Missed.RUN_ALL and schedule.data["handled_until"] < self.slots[-1]
        )

    def _next_moment(self) -> datetime:
        """The next delivery, task or minute, whichever is first; minutes of which nothing can come are left out."""
        now = self.world.clock.now()
        minute = (now + MINUTE).replace(second=0, microsecond=0)
        schedule = self.world.fakes.documents.get(f"schedules/{self.id}")
        assert schedule is not None
        if not (schedule.data["active"] or schedule.data["queued"]):
            behind = [slot for slot in self.slots if slot > schedule.data["handled_until"]]
            minute = max(minute, behind[0] + MINUTE) if behind else minute + timedelta(days=1)
        found = [minute.replace(second=0)]
        if self._heap:
            found.append(self._heap[0][0])
        if (task := self.world.next_task()) is not None:
            found.append(max(task, now + timedelta(seconds=1)) if self.is_down(now) else task)
        return min(found)

    def _at(self, now: datetime) -> None:
        if self.is_down(now):
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)
            return
        while self._heap and self._heap[0][0] <= now:
            _, _, header, tries = heapq.heappop(self._heap)
            self.deliveries += 1
            if not self._alive(partial(self._fire, header)) and tries < 3:
                self._push(now + timedelta(seconds=5 * 2**tries), header, tries + 1)
        tasks = list(self.world.fakes.tasks.pending)
        if not self._alive(lambda: self.world.run_due_tasks(self.services)):
            now_pending = self.world.fakes.tasks.pending
            now_pending += [task for task in tasks if task not in now_pending]  # not answered: they come again
        if now.second == 0 and self.tooth.has_minutes:
            self._alive(self.services.occurrences.tend_all)

    def _fire(self, header: datetime) -> None:
        self.services.occurrences.fire(self.id, header)

    def _alive(self, work: Callable[[], object]) -> bool:
        """Whether the process lived through it; if not, another one takes over, and the sweep wakes what was lost."""
        try:
            work()
        except Died:
            self.services = self.world.process()
            rate, self.mortal._rate = self.mortal._rate, 0.0
            for item in self.world.fakes.documents.query(
                Query("refresh_runs", (("status", "in", ["pending", "running"]),))
            ):
                self.services.refreshes.following.wake(item.data)
            self.mortal._rate = rate
            return False
        return True


class Judge:
    """Compares what the documents and the vendor hold with what the policies promise, by rules of its own."""

    def __init__(self, play: Play) -> None:
        self._play = play
        documents = play.world.fakes.documents
        found = [item.data for item in documents.query(Query("occurrences"))]
        self._planned = sorted(
            (one for one in found if one["trigger"] == "schedule"), key=lambda one: one["planned_at"]
        )
        self._forced = [one for one in found if one["trigger"] == "forced"]
        self._runs = {item.data["id"]: item.data for item in documents.query(Query("refresh_runs"))}
        self._result = Verdict(runs=1)

    def verdict(self) -> Verdict:
        accounted: dict[datetime, Mapping[str, Any]] = {}
        slots = list(self._play.cron.between(self._play.begun, self._play.world.clock.now()))
        for one in self._planned:
            until = [slot for slot in slots if slot <= one["planned_at"]]
            for slot in until[-one["count"] :]:
                if slot in accounted:
                    self._doubled(f"{slot} is accounted for twice")
                accounted[slot] = one
        for slot in self._play.slots:
            if slot not in accounted:
                self._missed(f"{slot} is not accounted for")
            else:
                self._judge(slot, accounted[slot])
        self._judge_runs()
        return self._result

    def _judge(self, slot: datetime, one: Mapping[str, Any]) -> None:
        seen, status, reason = one["created_at"], one["status"], one["reason"] or ""
        if seen < slot - SKEW:
            self._missed(f"{slot} was used up before its time, at {seen}")
        outages = [end for start, end in self._play.outages if start <= slot + SOON and end > slot]
        if seen > self._has_its_turn(max([slot, *outages]) + SOON):
            self._missed(f"{slot} was seen to at {seen} only")
        is_late = seen - slot > LATE
        if status == "queued" or (status == "started" and one["run_id"] not in self._runs):
            self._missed(f"{slot} is {status} and has no run")
        elif status == "failed":
            self._missed(f"{slot} failed: {one['error']}")
        elif status == "started" and is_late and self._play.missed is Missed.SKIP:
            self._doubled(f"{slot} was late and ran")
        elif status == "skipped" and not self._is_allowed(slot, seen, reason, is_late=is_late):
            self._missed(f"{slot} was left out at {seen}: {reason}")

    def _has_its_turn(self, until: datetime) -> datetime:
        """Until when a planned time is to be seen to: of all that are made up for, each waits while runs follow one another."""
        if self._play.missed is Missed.RUN_ALL:
            for run in sorted(self._runs.values(), key=lambda run: run["created_at"]):
                if run["created_at"] <= until and run["ended_at"] is not None:
                    until = max(until, run["ended_at"] + SOON)
        return until

    def _is_allowed(self, slot: datetime, seen: datetime, reason: str, *, is_late: bool) -> bool:
        play = self._play
        if reason.startswith("missed"):
            later = [one for one in self._planned if slot < one["planned_at"] <= seen]
            by_policy = {
                Missed.SKIP: True,
                Missed.RUN_ONCE: any(not (one["reason"] or "").startswith("missed") for one in later),
                Missed.RUN_ALL: len(list(play.cron.between(slot, seen))) >= 24,
            }
            return is_late and by_policy[play.missed]
        if is_late and play.missed is Missed.RUN_ALL:
            return False  # all run, whatever the overlap
        if "has not ended" in reason:
            return play.overlap is Overlap.SKIP and any(
                run["created_at"] <= seen <= run["ended_at"] + MINUTE for run in self._runs.values()
            )
        if "waits" in reason:
            return play.overlap is Overlap.QUEUE_ONE
        return "newer" in reason and play.overlap is Overlap.CANCEL_RUNNING

    def _judge_runs(self) -> None:
        named = [one["run_id"] for one in (*self._planned, *self._forced) if one["status"] == "started"]
        for run_id in self._runs:
            if named.count(run_id) != 1:
                self._doubled(f"run {run_id} belongs to {named.count(run_id)} occurrences")
        for one in (*self._planned, *self._forced):
            run = self._runs.get(one.get("run_id") or "")
            if run is not None and one["run_status"] != run["status"]:
                self._missed(f"the end of run {run['id']}, {run['status']}, was never recorded: {one['run_status']}")
        started = [run_id for run_id, _, _ in self._play.world.vendor.starts]
        self._result.doubled += len(started) - len(set(started))
        if self._play.world.vendor.refused:
            self._doubled(f"the vendor was asked {self._play.world.vendor.refused} times while a refresh ran")
        if len(self._forced) > self._play.presses:
            self._doubled(f"{self._play.presses} presses made {len(self._forced)} forced runs")
        elif len(self._forced) < self._play.presses:
            self._missed(f"{self._play.presses} presses made {len(self._forced)} forced runs")
        if stuck := [run["id"] for run in self._runs.values() if run["status"] in ("pending", "running")]:
            self._result.stuck += len(stuck)
            self._result.notes.append(f"runs without an end: {stuck}")

    def _missed(self, note: str) -> None:
        self._result.missed += 1
        self._result.notes.append(note)

    def _doubled(self, note: str) -> None:
        self._result.doubled += 1
        self._result.notes.append(note)


def play(seed: int, tooth: Tooth | None = None) -> Played:
    """Play one seed."""
    chosen, skew, apart = tooth or Tooth(""), under_test.SKEW, occurrence_attempt.FORCED_APART
    under_test.SKEW, occurrence_attempt.FORCED_APART = chosen.skew, chosen.apart
    try:
        with silence():
            return Play(seed, tooth).run()
    finally:
        under_test.SKEW, occurrence_attempt.FORCED_APART = skew, apart


class Forgetful(AlteredTransaction):
    """A transaction that does not know what was handled, and overwrites what exists."""

    def create(self, path: str, data: Mapping[str, Any]) -> None:
        if path.startswith("occurrences/"):
            self._inner.set(f"{path}-{data['created_at'].isoformat()}", data)
        else:
            self._inner.create(path, data)


class ForgetfulDocuments(AlteredDocuments):
    def transact(self, work: Callable[[Transaction], T]) -> T:
        return self._inner.transact(lambda tx: work(Forgetful(tx, self._alter)))  # type: ignore[arg-type]  # delegates the rest


def _unhandled(found: Document | None) -> Document | None:
    if found is None or not found.path.startswith("schedules/"):
        return found
    return Document(found.path, {**found.data, "handled_until": datetime(2000, 1, 1, tzinfo=UTC)}, found.version)


def _never_running(found: Document | None) -> Document | None:
    if found is None or not found.path.startswith("schedules/"):
        return found
    return Document(found.path, {**found.data, "active": None}, found.version)


TEETH = (
    Tooth(
        "what was handled, in the transaction",
        lambda s: replace(s, documents=ForgetfulDocuments(s.documents, _unhandled)),
    ),
    Tooth("the run that goes on", lambda s: replace(s, documents=AlteredDocuments(s.documents, _never_running))),
    Tooth("the look at every minute", has_minutes=False),
    Tooth("forced runs told apart", skew=timedelta(days=1)),
    Tooth("the repeat of a forced run known as one", apart=MINUTE),
)


def play_many(seeds: Iterable[int], tooth: int | None = None) -> list[tuple[int, Played]]:
    return [(seed, play(seed, None if tooth is None else TEETH[tooth])) for seed in seeds]


def until_noticed(tooth: int, seeds: int) -> Verdict:
    """Play seeds without a guard until its absence shows, at most `seeds` of them."""
    total = Verdict()
    for seed in range(seeds):
        total.add(play(seed, TEETH[tooth]).verdict)
        if total.missed or total.doubled:
            break
    return total


def run(report: Report, *, first_seed: int, seeds: int) -> None:
    report.start(f"schedules: {seeds * TICKS} planned times, {TICKS} a seed, from seed {first_seed}")
    row = Row("schedules", "in memory", "all policies")
    deliveries = deaths = 0
    batches = [range(at, min(at + 10, first_seed + seeds)) for at in range(first_seed, first_seed + seeds, 10)]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for batch in pool.imap_unordered(play_many, batches):
            for seed, one in batch:
                row.verdict.add(one.verdict)
                row.points += one.ticks
                deliveries, deaths = deliveries + one.deliveries, deaths + one.deaths
                if not one.verdict.is_clean:
                    report.failed(f"make campaign PART=schedules SEED={seed}", one.verdict.notes, one.log)
    report.add(row)
    report.say(f"  {deliveries} deliveries, {deaths} deaths of a process")
    for number, tooth in enumerate(TEETH):
        found = until_noticed(number, 40)
        report.tooth(tooth.guard, found, is_noticed=bool(found.missed or found.doubled))
