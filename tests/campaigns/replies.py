"""Part `replies`: of every call that a job makes to its vendor, the reply is lost once, in turn; the call had taken effect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shared.connectors._base import Mode
from tests.campaigns.blunt import BLUNT
from tests.campaigns.course import Course, register
from tests.campaigns.crashes import machine
from tests.campaigns.link import FaultyLink
from tests.campaigns.reader import Reader
from tests.campaigns.report import Report, Row
from tests.campaigns.spot import ANYWHERE, Spot, replay
from tests.campaigns.targets import TARGETS, Make, chosen
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import Workshop

POSTGRES = "postgres"


@dataclass(frozen=True)
class Plan:
    """Every n-th call; where; whether guards are taken away, too; and which third of the courses, None for all."""

    every: int = 1
    spot: Spot = ANYWHERE
    has_teeth: bool = True
    third: int | None = None


def run(report: Report, plan: Plan) -> None:
    """Lose the replies on every target in every mode. A job must succeed all the same, or be refused as it is without faults."""
    report.start("replies: `points` are the calls of a job")
    with machine() as running:
        workshop = Workshop(running)
        courses = chosen([make(running) for make in TARGETS.values()], plan.spot, plan.third)
        for name, make in TARGETS.items():
            if modes := [mode for target, mode in courses if target == name]:
                _target(report, workshop, make, modes, plan)


def _target(report: Report, workshop: Workshop, make: Make, modes: list[Mode], plan: Plan) -> None:
    target, link = make(workshop.machine), None
    if target.kind == "looker":
        link = FaultyLink(workshop.machine.ports.of("postgres"))
        target.registration["warehouse"]["port"] = link.port
    register(workshop, target)
    for mode in modes:
        course = Course(workshop, target, mode, f"replies_{target.name}_{mode.value}")
        report.add(Losses(course, link).row(report, make, plan))
    if target.name in BLUNT and plan.has_teeth and not plan.spot.what:
        _bite(report, Course(workshop, target, Mode.APPEND, f"replies_{target.name}_bitten"), link)
    if link is not None:
        link.close()


def _bite(report: Report, course: Course, link: FaultyLink | None) -> None:
    """Append with a delivery that has no guard, until a row comes twice."""
    course.points()
    workshop, blunt, total = course.workshop, BLUNT[course.target.name], Verdict()
    course.workshop = replace(workshop, wrap=lambda delivery: blunt(delivery, workshop.machine))
    losses = Losses(course, link)
    for sandbox, number in reversed(losses.calls()):
        total.add(losses.without_reply(sandbox, number))
        if total.duplicated:
            break
    report.tooth(f"the guards of {course.target.name} (replies)", total, is_noticed=total.duplicated > 0)


@dataclass
class Losses:
    """A course whose jobs each lose one reply.

    `seen` is how many calls each vendor had got when the last job ended, `lost` how many replies that job did without.
    """

    course: Course
    link: FaultyLink | None
    seen: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    def __post_init__(self) -> None:
        self.course.settle = self._settle

    def row(self, report: Report, make: Make, plan: Plan) -> Row:
        """Lose each reply and run a job."""
        target, mode = self.course.target, self.course.mode
        row = Row("replies", target.name, mode.value)
        self.course.points()
        calls = self.calls()
        row.points = len(calls)
        with Reader(self.course.workshop.machine, make, self.course.table, self.course.expected, quiet=True) as reader:
            for sandbox, number in self._chosen(calls, plan):
                verdict = self.without_reply(sandbox, number)
                row.verdict.add(verdict)
                if not verdict.is_clean:
                    report.failed(replay("replies", target.name, mode.value, f"{sandbox}:{number}"), verdict.notes, [])
            row.reads, row.unread = reader.reads, reader.failed
            row.verdict.mixed += reader.mixed
        if mode in target.excepted:
            row.excepted = {"put back": self.course.repaired}
        return row

    def _chosen(self, calls: list[tuple[str, int]], plan: Plan) -> list[tuple[str, int]]:
        if not plan.spot.what:
            return calls[:: plan.every]
        sandbox, number = plan.spot.what.split(":")
        return [(sandbox, int(number))]

    def calls(self) -> list[tuple[str, int]]:
        """Run a job that nothing happens to; return every call of it as (whose, one-based number)."""
        before = self._counts()
        verdict = self.course.run([])
        if not verdict.is_clean:
            raise RuntimeError(f"a job that nothing happened to failed: {verdict.notes}")
        calls = {name: count - before[name] for name, count in self.seen.items()}
        return [(name, number) for name in calls for number in range(1, calls[name] + 1)]

    def _counts(self) -> dict[str, int]:
        machine = self.course.workshop.machine
        told = {name: machine.admin("GET", f"/calls?vendor={name}")["total"] for name in self.course.target.sandboxes}
        return told if self.link is None else {**told, POSTGRES: self.link.counts().messages}

    def without_reply(self, sandbox: str, number: int) -> Verdict:
        """Run a job of which this call's reply is lost.

        A job that makes fewer calls than the one that was counted loses none: `runs` is 0 then, unless something is wrong.
        """
        if sandbox == POSTGRES and self.link is not None:
            self.link.lose(number)
        else:
            fault = {"vendor": sandbox, "kind": "lost_reply", "skip": number - 1}
            self.course.workshop.machine.admin("POST", "/faults", fault)
        verdict = self.course.run([])
        verdict.runs = self.lost
        return verdict

    def _settle(self) -> None:
        """The job has ended: whoever reads the target now loses nothing."""
        machine = self.course.workshop.machine
        self.seen = self._counts()
        self.lost = sum(fault["struck"] for fault in machine.admin("GET", "/faults")["faults"])
        machine.admin("DELETE", "/faults")
        if self.link is not None:
            self.lost += self.link.counts().cuts
            self.link.lose(0)
