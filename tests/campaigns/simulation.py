"""Deterministic simulation: the real engine and services on fakes, one seed, one history.

Workers and clients run in threads of which exactly one runs at any time, so a seed always gives the same history. At every
point (`points.py`) the seed decides whether the caller goes on, dies, sleeps while others run, or loses its call before or
after it took effect. Tasks come late, twice and out of order; workers' clocks differ.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from shared import connectors as kinds
from shared.connectors._base import Mode
from shared.errors import BIConnectorsError, VendorUnavailableError
from shared.ports import Document, Query, Task, Transaction
from shared.services import postponing
from shared.services.records import Idempotency
from tests.campaigns.rig import Collaborators, register_target, request, services_on
from tests.campaigns.simulated_target import Row, SimulatedVendor
from tests.campaigns.verdict import Accepted, Verdict, judge
from tests.fakes.stores import InMemoryDocuments, InMemoryStores

T = TypeVar("T")

REDELIVERED_AFTER_S = (30.0, 95.0, 900.0)
"""A task whose worker sleeps comes again: rarely at once (at-least-once), surely after the dispatch deadline of 900 s."""
MOST_SKEW_S = 10.0
MOST_EVENTS = 6
"""Deaths, sleeps and lost calls a history: one more could end a job rightly (`MAX_IDLE_CLAIMS`, `MAX_WAITS` of the engine)."""
MOST_STEPS = 1500
CONTENTION = 0.05
GIVES_UP = 0.2
"""Of the clients do not repeat a request that was not answered; their job may be accepted all the same."""
SWEEP_EVERY = timedelta(minutes=5)
RETRY_S = 5.0


class SkewedClock:
    """Each actor's clock is off by its own constant."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def now(self) -> datetime:
        actor = self._simulation.running
        return self._simulation.fakes.clock.now() + timedelta(seconds=actor.skew_s if actor else 0.0)

    def sleep(self, seconds: float) -> None:
        self._simulation.fakes.clock.sleep(seconds)


class ContendedDocuments(InMemoryDocuments):
    """Now and then a transaction's work runs once more, its first outcome thrown away, as Firestore's client does."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def transact(self, work: Callable[[Transaction], T]) -> T:
        if self._rng.random() < CONTENTION:
            with contextlib.suppress(Exception):
                work(_Discarded(self))
        return super().transact(work)


class _Discarded:
    """`Transaction` that is never committed."""

    def __init__(self, documents: InMemoryDocuments) -> None:
        self._documents = documents

    def read_ahead(self, paths: Sequence[str]) -> None: ...

    def get(self, path: str) -> Document | None:
        return self._documents.get(path)

    def create(self, path: str, data: Mapping[str, Any]) -> None: ...

    def set(self, path: str, data: Mapping[str, Any]) -> None: ...

    def update(self, path: str, fields: Mapping[str, Any]) -> None: ...

    def delete(self, path: str) -> None: ...


class KilledError(BaseException):
    """The process is gone: nothing of it runs any more."""


class LostCallError(Exception):
    """A store did not answer; whether the call took effect is unknown to the caller."""


@dataclass(frozen=True)
class Mood:
    """How likely each event is at a point, and how many there may be in all."""

    kill: float
    sleep: float
    lose: float
    budget: int
    outage: int
    """Publishes whose reply is lost one after the other; over `MOST_EVENTS` the job may end as failed if it was not published."""
    is_slow: bool
    """Whether those take effect only later, or when their job has given them up."""

    @classmethod
    def of(cls, rng: random.Random) -> Mood:
        kill, sleep, lose = (rng.choice([0.0, 0.005, 0.02, 0.06]) for _ in range(3))
        outage = rng.choice([0, 0, 0, 0, 9])
        slow = bool(outage) and rng.random() < 0.5
        return cls(kill, sleep, lose, budget=rng.randint(1, MOST_EVENTS), outage=outage, is_slow=slow)


@dataclass
class Actor:
    """A worker on one task, or a client with one request, in a thread of its own."""

    name: str
    work: Callable[[], None]
    task: Task | None = None
    skew_s: float = 0.0
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_over: bool = False
    is_dead: bool = False
    error: BaseException | None = None
    wakes_at: datetime | None = None


class Simulation:
    """One history. `run` plays it to its end and judges it."""

    def __init__(self, seed: int, collaborators: Collaborators | None = None, most_jobs: int = 3) -> None:
        self.seed = seed
        self.most_jobs = most_jobs
        self.rng = random.Random(seed)
        self.mood = Mood.of(self.rng)
        self.events = 0
        self.vendor = SimulatedVendor()
        self.fakes = InMemoryStores(documents=ContendedDocuments(self.rng))
        stores = replace(self.fakes.stores(), clock=SkewedClock(self))
        self.services = services_on(stores, self.vendor, self, collaborators or Collaborators())
        self.accepted: list[Accepted] = []
        self.asleep: list[Actor] = []
        self.running: Actor | None = None
        self.done_tasks: list[Task] = []
        self.mixed = 0
        self.reached: Counter[str] = Counter()
        self.log: list[str] = []
        self.next_sweep = self.fakes.clock.now() + SWEEP_EVERY
        self.faults: list[str] = []
        self.verdict = Verdict()
        self._baton = threading.Semaphore(0)

    # Points: called in an actor's thread, which holds the baton.

    def reach(self, name: str) -> None:
        actor = self.running
        if actor is None:
            return
        if actor.is_dead:
            raise KilledError
        self.reached[name] += 1
        if not self.vendor.is_whole():
            self.mixed += 1
        self._lose_publish(name)
        self._arrive(name)
        if self.events >= self.mood.budget:
            return
        draw = self.rng.random()
        if draw < self.mood.kill:
            self._happens("dies", name)
            actor.is_dead = True
            raise KilledError
        draw -= self.mood.kill
        if draw < self.mood.sleep:
            self._happens("sleeps", name)
            self._sleep(actor)
            return
        draw -= self.mood.sleep
        if draw < self.mood.lose:
            self._happens("gets no answer", name)
            raise _no_answer(name)

    def _lose_publish(self, name: str) -> None:
        self.vendor.is_slow = self.mood.is_slow and self.mood.outage > 0
        if name == "vendor.publish:after" and self.mood.outage:
            self.mood = replace(self.mood, outage=self.mood.outage - 1)
            self.log.append("the reply of a publish is lost")
            raise _no_answer(name)

    def _arrive(self, name: str) -> None:
        """Publishes that are on their way arrive at any time, mostly when it is worst: their job has asked, and gives up."""
        if self.vendor.on_its_way and self.rng.random() < (0.7 if name.startswith("vendor.abandon") else 0.005):
            self.log.append(f"what was on its way arrives at {name}")
            self.vendor.arrive()

    def _happens(self, what: str, where: str) -> None:
        self.events += 1
        assert self.running is not None
        self.log.append(f"{self.running.name} {what} at {where}")

    def _sleep(self, actor: Actor) -> None:
        now = self.fakes.clock.now()
        actor.wakes_at = now + timedelta(seconds=self.rng.choice([1, 95, 200, 1000]))
        self.asleep.append(actor)
        self._baton.release()
        actor.go.acquire()

    # The world: called in the one thread that plays the history.

    def run(self) -> None:
        """Play the history, then compare what was accepted with what the target and the records hold."""
        register_target(self.services)
        self._accept_all()
        steps = 0
        while steps < MOST_STEPS and (self.fakes.tasks.pending or self.asleep or self._swept_something()):
            steps += 1
            self._step()
        self.vendor.arrive()
        self.verdict = judge(self.accepted, self.fakes.documents, self.vendor, mixed=self.mixed)
        self.verdict.add(Verdict.of_workers(self.faults, runs=0))

    def _swept_something(self) -> bool:
        """Nobody has anything to do: let the next sweeps come, and tell whether they found work; one that failed is no answer."""
        answers = 0
        while answers < 2 and not (self.fakes.tasks.pending or self.asleep):
            self.fakes.clock.sleep(self._until_next_try().total_seconds())
            answers += self._sweep().error is None
        return bool(self.fakes.tasks.pending or self.asleep)

    def _until_next_try(self) -> timedelta:
        """The time to the next sweep, or to the last of those looks and repairs that were in trouble and are put off."""
        jobs = [item.data for item in self.fakes.documents.query(Query("export_jobs"))]
        put_off = [
            job[due] for due in postponing.SAID for job in jobs if job.get(postponing.since(due)) and job.get(due)
        ]
        return max([SWEEP_EVERY, *(at - self.fakes.clock.now() + timedelta(seconds=1) for at in put_off)])

    def _sweep(self) -> Actor:
        self.next_sweep = self.fakes.clock.now() + SWEEP_EVERY
        sweeper = Actor("sweeper", lambda: void(self.services.sweeper.sweep()))
        self._start(sweeper)
        return sweeper

    def _step(self) -> None:
        now = self.fakes.clock.now()
        ready = [actor for actor in self.asleep if actor.wakes_at is not None and actor.wakes_at <= now]
        if now >= self.next_sweep:
            self._sweep()
        due = [task for task in self.fakes.tasks.pending if task.at is None or task.at <= now]
        choices: list[Callable[[], None]] = [*(partial(self._wake, actor) for actor in ready)]
        choices += [partial(self._dispatch, task) for task in due]
        if self.done_tasks and self.rng.random() < 0.1:
            again = self.rng.choice(self.done_tasks)
            choices.append(lambda: self._start(self._worker(again)))
        if choices and self.rng.random() < 0.9:
            self.rng.choice(choices)()
        else:
            self._advance()

    def _advance(self) -> None:
        now = self.fakes.clock.now()
        times = [task.at for task in self.fakes.tasks.pending if task.at] + [
            a.wakes_at for a in self.asleep if a.wakes_at
        ]
        coming = [at for at in times if at > now]
        jump = (min(coming) - now).total_seconds() if coming and self.rng.random() < 0.7 else self.rng.uniform(0.1, 60)
        self.fakes.clock.sleep(jump)

    def _accept_all(self) -> None:
        """One to three requests on one table, each repeated with its key until it is answered, as a client does."""
        modes = sorted(kinds.capabilities("google_sheets").modes & {Mode.REPLACE, Mode.APPEND})
        for number in range(self.rng.randint(1, self.most_jobs)):
            rows: list[Row] = [(100 * number + i, f"row {i}") for i in range(self.rng.randint(0, 7))]
            accepted = Accepted(f"key-{number}", self.rng.choice(modes), rows)
            self.accepted.append(accepted)
            if self.mood.outage:
                accepted.may_fail = True
            is_file = bool(rows) and self.rng.random() < 0.4
            self._accept(accepted, is_file=is_file)
            self.fakes.clock.sleep(self.rng.uniform(0.01, 5))
            if self.rng.random() < 0.3:
                for _ in range(self.rng.randint(1, 4)):
                    self._step()

    def _accept(self, accepted: Accepted, *, is_file: bool) -> None:
        body = [{"id": row[0], "name": row[1]} for row in accepted.rows]
        if is_file:
            self._overwrite("".join(json.dumps(row) + "\n" for row in body).encode())
        wanted = request(accepted.mode, None if is_file else body)

        key = Idempotency(accepted.key, "/export", "ann@example.com", {"key": accepted.key})

        def work() -> None:
            accepted.job_ids.add(self.services.exports.start(wanted, "ann@example.com", key)["id"])

        patience = 1 if self.rng.random() < GIVES_UP else MOST_EVENTS + 1
        for _ in range(patience):
            client = Actor(f"client {accepted.key}", work)
            self._start(client)
            while not client.is_over:
                self.fakes.clock.sleep(1)
                self._wake(client)
            if client.error is None and not client.is_dead:
                break
        kept = self.fakes.documents.get(key.path)
        if patience == 1 and kept is not None:
            accepted.job_ids.add(kept.data["result"])  # the client never heard of it, and yet it was accepted
        accepted.is_wanted = patience > 1
        accepted.is_file = is_file
        if is_file and self.rng.random() < 0.5:
            self._overwrite(b'{"id": 999999, "name": "later"}\n')

    def _overwrite(self, data: bytes) -> None:
        """Give the source file another content; requests before this one asked for the old one."""
        self.fakes.objects.put("tables", "people.jsonl", data)
        for earlier in self.accepted:
            earlier.may_change = earlier.may_change or earlier.is_file

    def _worker(self, task: Task) -> Actor:
        job_id = task.url.rsplit("/", 1)[1].removesuffix(":run")
        key = next((one.key for one in self.accepted if job_id in one.job_ids), "a job that no client knows")
        name = f"worker of {key}, task {task.name.rsplit('-', 1)[1]}"
        return Actor(name, lambda: self.services.exports.run(job_id, task.body["seq"]), task)

    def _dispatch(self, task: Task) -> None:
        self.fakes.tasks.pending.remove(task)
        self._start(self._worker(task))

    def _start(self, actor: Actor) -> None:
        def run() -> None:
            actor.go.acquire()
            try:
                actor.work()
            except BaseException as error:  # noqa: BLE001 - whatever a worker ends with ends here, as in a process
                actor.error = error
            actor.is_over = True
            self._baton.release()

        actor.skew_s = self.rng.uniform(-MOST_SKEW_S, MOST_SKEW_S)
        threading.Thread(target=run, daemon=True).start()
        self._hand_over(actor)

    def _wake(self, actor: Actor) -> None:
        if actor in self.asleep:
            self.asleep.remove(actor)
            self.log.append(f"{actor.name} wakes")
            self._hand_over(actor)

    def _hand_over(self, actor: Actor) -> None:
        """Let an actor run until it ends or sleeps; then settle its task as Cloud Tasks does."""
        self.running = actor
        actor.go.release()
        self._baton.acquire()
        self.running = None
        if not actor.is_over:
            if actor.task and self.rng.random() < 0.7:
                self._again(actor.task, self.rng.choice(REDELIVERED_AFTER_S))
            return
        if actor.error is not None and not isinstance(actor.error, KilledError | LostCallError | BIConnectorsError):
            self.faults.append(f"fault of ours, {actor.name}: {actor.error!r}")
            self.log.append(self.faults[-1])
        if actor.task is None:
            return
        if actor.error is None:
            self.done_tasks.append(actor.task)
        else:
            self._again(actor.task, RETRY_S)

    def _again(self, task: Task, after_s: float) -> None:
        at = self.fakes.clock.now() + timedelta(seconds=after_s)
        self.fakes.tasks.pending.append(Task(task.queue, task.url, task.name, task.body, at, task.deadline_s))


def _no_answer(name: str) -> Exception:
    """What the caller of a port gets: the vendor's own kind of error, or a store's."""
    if name.startswith("vendor."):
        return VendorUnavailableError(f"no answer at {name}")
    return LostCallError(name)


def void(_: object) -> None:
    """Drop a result."""


def play(seed: int, collaborators: Collaborators | None = None, most_jobs: int = 3) -> Simulation:
    """Play one seed to its end; its `verdict` says what came out, its `log` what happened."""
    simulation = Simulation(seed, collaborators, most_jobs)
    simulation.run()
    return simulation
