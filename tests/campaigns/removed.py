"""Part `removed`: the guards of real targets taken away one at a time. An accident that does no harm with a guard must do some without."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from shared.bootstrap import Services
from shared.connectors._base import Chunk, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint
from shared.connectors._quota import NoQuota
from shared.connectors.looker import staging
from shared.models import JobStatus
from tests.campaigns.blunt import BluntPowerBI
from tests.campaigns.course import Course, Signals, Wanted, done, register
from tests.campaigns.crashes import before_checkpoints, machine
from tests.campaigns.faults import Patient, in_memory
from tests.campaigns.machine import SHEETS_QUOTAS, lift_quotas
from tests.campaigns.reader import Reader
from tests.campaigns.report import Report
from tests.campaigns.simulated_target import differences
from tests.campaigns.targets import TARGETS, Target
from tests.campaigns.teeth import hiding, uncancellable, unfenced, unshrinking
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop

MOST_ACCIDENTS = 12
LOOKED_AT_S = 60.0


class Around:
    """A delivery in whose place subclasses do something else; attributes are the inner one's, read and set."""

    def __init__(self, inner: Any) -> None:
        self.__dict__["inner"] = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)


class Damaged(Around):
    """A vendor that keeps another number than was sent, in the first row."""

    def write(self, chunk: Chunk) -> Written:
        column = chunk.table.schema.get_field_index("version")
        values = chunk.table.column(column).to_pylist()
        if chunk.index == 0:
            values[0] += 1
        field = chunk.table.schema.field(column)
        written: Written = self.inner.write(
            replace(chunk, table=chunk.table.set_column(column, field, pa.array(values, field.type)))
        )
        return written


class Unread(Damaged):
    """Whose rows nobody compares, either."""

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        return Fingerprint()

    def read_back(self) -> Fingerprint:
        return Fingerprint()


class Uncounted(Around):
    """Nobody asks the target how many rows it holds."""

    def live_rows(self) -> None:
        return None


class ClearsFirst(Around):
    """Empties the live table before it publishes, long enough for a reader to come by."""

    reader: Reader
    clear: Mapping[str, Callable[[Any], None]] = {
        "looker": lambda inner: inner._do(
            "clearing", lambda connection: connection.execute(f'DELETE FROM bi."{inner._plan.table_name}"')
        ),
        "google_sheets": lambda inner: inner._client.call(
            "clearing",
            lambda http: http.values_clear(inner._client.spreadsheet_id, f"{inner._plan.table_name}!A2:C100000"),
        ),
    }

    def publish(self) -> Published:
        self.clear[self.__dict__["kind"]](self.inner)
        wanted, end = self.reader.reads + 2, time.monotonic() + LOOKED_AT_S
        while self.reader.reads < wanted and time.monotonic() < end:
            time.sleep(0.01)
        published: Published = self.inner.publish()
        return published


class Replacing(Around):
    """Publishes whatever the mode is as a replace."""

    def publish(self) -> Published:
        plan = self.inner._plan
        self.inner._plan = replace(plan, mode=Mode.REPLACE, key=())
        try:
            published: Published = self.inner.publish()
        finally:
            self.inner._plan = plan
        return published


def unclaimed(delivery: Any) -> Any:
    """Postgres copies a chunk whether it is recorded already or not."""
    record = delivery._record
    delivery._record = lambda *arguments: record(*arguments) or True
    return delivery


class Tokenless(Around):
    """The job's row of `_bi_publications` is gone when somebody asks for it."""

    def is_published(self) -> bool:
        self._forget()
        return bool(self.inner.is_published())

    def publish(self) -> Published:
        self._forget()
        published: Published = self.inner.publish()
        return published

    def _forget(self) -> None:
        statement = f'DELETE FROM bi."{staging.PUBLICATIONS}" WHERE job_id = %s'
        job_id = self.inner._plan.job_id
        self.inner._do("forgetting the publish", lambda connection: connection.execute(statement, [job_id]))


class Markless(Around):
    """A spreadsheet on which no publish left a mark."""

    def token(self, job_id: str) -> None:
        """None is found."""


def markless(delivery: Any) -> Any:
    look = delivery._look
    delivery._look = lambda: Markless(look())
    return delivery


class Unnumbered(Around):
    """Rows go to Power BI without a sequence number; they are read back as ever."""

    def write(self, chunk: Chunk) -> Written:
        return BluntPowerBI(self.inner, self.__dict__["machine"]).write(chunk)


Accident = Callable[[Course], Iterator[Callable[[], Verdict]]]


@dataclass(frozen=True)
class Removal:
    """One guard of a kind: what happens to jobs of a mode, what takes the guard away, and the figure that must show it."""

    guard: str
    kind: str
    mode: Mode
    accident: Accident
    without: Callable[[Workshop], Workshop]
    shows: str
    vendor: Callable[[Any], Any] = lambda delivery: delivery


def undisturbed(course: Course) -> Iterator[Callable[[], Verdict]]:
    yield lambda: course.run([])


def at(points: Callable[[list[str]], list[int]], what: int) -> Accident:
    """The first worker dies or stops at each of these points in turn, counted by a run with the guard there, or missing, as it is."""

    def accident(course: Course) -> Iterator[Callable[[], Verdict]]:
        course.run([])
        for point in points(course.passed[0])[:MOST_ACCIDENTS]:
            yield lambda point=point: course.run([{point: what}])  # type: ignore[misc]  # called at once

    return accident


def before_deletes(names: list[str]) -> list[int]:
    return [number for number, name in enumerate(names, 1) if name.startswith("vendor DELETE") and "before" in name]


def read_meanwhile(course: Course) -> Iterator[Callable[[], Verdict]]:
    """A job runs while somebody reads the live table."""

    def run() -> Verdict:
        name = course.target.name
        with Reader(course.workshop.machine, TARGETS[name], course.table, course.expected) as reader:
            ClearsFirst.reader = reader
            verdict = course.run([])
            verdict.mixed += reader.mixed
        return verdict

    yield run


def emptied(course: Course) -> Iterator[Callable[[], Verdict]]:
    """The source has one row left, and nobody allowed that."""
    yield lambda: _refused(course, JobStatus.HELD, [], max_shrink=0.5, most_rows=1)


def cancelled(course: Course) -> Iterator[Callable[[], Verdict]]:
    """Somebody cancels a job whose worker has just died."""
    for point in before_checkpoints(course.passed[0])[:1]:
        yield lambda point=point: _refused(course, JobStatus.CANCELLED, [{point: signal.SIGKILL}])  # type: ignore[misc]


def _refused(course: Course, status: JobStatus, script: list[Signals], **more: Any) -> Verdict:
    """Run a job that must come to this status and leave the target as it is."""

    def cancel(job_id: str) -> None:
        def work(services: Services) -> None:
            services.exports.operations.cancel(job_id)

        done(course.workshop.spawn(work))

    course.version += 1
    course.died = cancel
    record, notes = course.drive(Wanted(course.target.name, course.table, course.mode, course.version, **more), script)
    found = course.found()
    lost, duplicated = differences(course.live, found)
    course.live = found
    verdict = Verdict.of_workers(notes)
    verdict.add(Verdict(0, lost, duplicated, stuck=int(record.status is not status)))
    return verdict


def _wrapped(wrap: Callable[[Any], Any]) -> Callable[[Workshop], Workshop]:
    return lambda workshop: replace(workshop, wrap=wrap)


def _clearing(kind: str) -> Callable[[Workshop], Workshop]:
    def wrap(delivery: Any) -> Any:
        around = ClearsFirst(delivery)
        around.__dict__["kind"] = kind
        return around

    return _wrapped(wrap)


def _unnumbered(workshop: Workshop) -> Workshop:
    def wrap(delivery: Any) -> Any:
        around = Unnumbered(delivery)
        around.__dict__["machine"] = workshop.machine
        return around

    return replace(workshop, wrap=wrap)


DIES = at(before_checkpoints, signal.SIGKILL)
STOPS = at(before_checkpoints, signal.SIGSTOP)
REMOVALS = (
    *(Removal(f"read-back verification of {kind}", kind, Mode.APPEND, undisturbed, _wrapped(Unread), "lost", Damaged)
      for kind in ("looker", "google_sheets", "power_bi")),
    Removal("claim of a chunk in Postgres", "looker", Mode.APPEND, DIES, _wrapped(unclaimed), "stuck"),
    Removal("publish token in Postgres", "looker", Mode.APPEND, DIES, _wrapped(Tokenless), "duplicated"),
    Removal("merge of an upsert in Postgres", "looker", Mode.UPSERT, undisturbed, _wrapped(Replacing), "lost"),
    Removal("one atomic publish in Postgres", "looker", Mode.REPLACE, read_meanwhile, _clearing("looker"), "mixed"),
    Removal("mark of a publish on a tab", "google_sheets", Mode.APPEND, DIES, _wrapped(markless), "duplicated"),
    Removal("merge of an upsert on a tab", "google_sheets", Mode.UPSERT, undisturbed, _wrapped(Replacing), "lost"),
    Removal("one atomic publish on a tab", "google_sheets", Mode.REPLACE, read_meanwhile, _clearing("google_sheets"), "mixed"),
    Removal("sequence numbers of Power BI", "power_bi", Mode.APPEND, DIES, _unnumbered, "duplicated"),
    Removal("repair of a late DELETE in Power BI", "power_bi", Mode.REPLACE, at(before_deletes, signal.SIGSTOP),
            lambda workshop: replace(workshop, stores=hiding("recheck_at")), "lost"),
    Removal("fencing token", "looker", Mode.REPLACE, STOPS, lambda workshop: replace(workshop, stores=unfenced), "stuck"),
    Removal("shrink guard", "looker", Mode.REPLACE, emptied,
            lambda workshop: replace(workshop, stores=unshrinking, wrap=Uncounted), "lost"),
    Removal("cancel", "looker", Mode.APPEND, cancelled, lambda workshop: replace(workshop, stores=uncancellable), "duplicated"),
)  # fmt: skip


def run(report: Report, every: int) -> None:
    """Take every n-th guard away."""
    report.start("removed")
    with machine() as running:
        workshop = Workshop(running)
        targets = {kind: TARGETS[kind](running) for kind in sorted({one.kind for one in REMOVALS})}
        for target in targets.values():
            register(workshop, target)
        for number, removal in list(enumerate(REMOVALS))[::every]:
            _remove(report, workshop, targets[removal.kind], removal, f"removed_{number}")
        if every == 1:
            _without_quotas(report, workshop, targets["google_sheets"])


def _remove(report: Report, workshop: Workshop, target: Target, removal: Removal, table: str) -> None:
    """Let each accident happen with the guard and without it, on tables of their own, until it shows that the guard is missing."""
    kept = Course(workshop, target, removal.mode, f"{table}_guarded")
    bitten = Course(workshop, target, removal.mode, table)
    for course in (kept, bitten):
        course.points()
    kept.workshop, bitten.workshop = replace(workshop, wrap=removal.vendor), removal.without(workshop)
    guarded, without = Verdict(), Verdict()
    for with_guard, missing in zip(removal.accident(kept), removal.accident(bitten), strict=False):
        guarded.add(with_guard())
        without.add(missing())
        if getattr(without, removal.shows):
            break
    figure, harmless = getattr(without, removal.shows), getattr(guarded, removal.shows) == 0
    report.tooth(
        removal.guard,
        f"{without}; with it {removal.shows}={getattr(guarded, removal.shows)}",
        is_noticed=figure > 0 and harmless,
    )


def _without_quotas(report: Report, workshop: Workshop, target: Target) -> None:
    """Export many tables to a spreadsheet whose reads and writes are limited as Google's are; count the calls that it refuses."""
    sandbox = target.sandboxes[0]
    workshop.machine.admin("PUT", f"/settings/{sandbox}", dict.fromkeys(SHEETS_QUOTAS))
    refused = []
    for name, runtime in (("guarded", workshop.runtime), ("bitten", lambda given: replace(given, quota=NoQuota()))):
        hurried = replace(workshop, stores=in_memory(workshop.stores), runtime=runtime)
        patient = Patient(hurried, target, Mode.REPLACE, None, f"removed_quotas_{name}")
        workshop.machine.clock.sleep(3600.0)  # every window is empty
        before = _refused_calls(workshop, sandbox)
        done(hurried.spawn(patient.hurry, quiet=True), timeout_s=600.0)
        refused.append(_refused_calls(workshop, sandbox) - before)
    lift_quotas(workshop.machine)
    guarded, bitten = refused
    told = f"{bitten} calls answered with 429; with it {guarded}"
    report.tooth("quota of Google Sheets", told, is_noticed=bitten > 0 and guarded == 0)


def _refused_calls(workshop: Workshop, sandbox: str) -> int:
    routes = workshop.machine.admin("GET", f"/calls?vendor={sandbox}")["routes"]
    return sum(int(statuses.get("429", 0)) for statuses in routes.values())
