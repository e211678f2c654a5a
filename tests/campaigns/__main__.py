"""`make campaign`: proof that exports are exactly once, whatever dies. See `--help`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.campaigns import (
    api,
    crashes,
    faults,
    flights,
    reconciling,
    removed,
    replies,
    schedules,
    simulated,
    states,
    zones,
)
from tests.campaigns.guards import run as guards
from tests.campaigns.malformed import run as malformed
from tests.campaigns.report import EXCEPTED, Report
from tests.campaigns.spot import Spot
from tests.campaigns.tables import run as tables
from tests.campaigns.targets import TARGETS
from tests.campaigns.together import Parts, this_program


def simulation(report: Report, options: argparse.Namespace) -> None:
    seeds = 1 if options.seed is not None else 500 if options.quick else 10_000
    simulated.run(report, first_seed=options.seed or 0, seeds=seeds, teeth_seeds=400)


def crashing(part: str, report: Report, options: argparse.Namespace) -> None:
    plan = crashes.Plan(spot=options.point)
    if options.quick:
        third = ("kill", "pause", "pairs").index(part)
        plan = replace(plan, every=15, pairs=12, has_teeth=part == "kill", third=third)
    crashes.run(report, part, plan)


def faulty(report: Report, options: argparse.Namespace) -> None:
    first = options.seed or 0
    seeds = range(first, first + (1 if options.seed is not None else 3 if options.quick else 200))
    faults.run(report, faults.Plan(seeds, options.point, has_teeth=not options.quick or bool(options.point)))


def without_replies(report: Report, options: argparse.Namespace) -> None:
    every = 15 if options.quick else 1
    third = 0 if options.quick else None
    replies.run(report, replies.Plan(every, options.point, has_teeth=not options.quick, third=third))


def every_state(report: Report, options: argparse.Namespace) -> None:
    states.run(report, examples=60 if options.quick else 600, first_seed=options.seed or 0)


def same_flights(report: Report, options: argparse.Namespace) -> None:
    flights.run(report, rows=3_000 if options.quick else None)


def generated_requests(report: Report, options: argparse.Namespace) -> None:
    api.run(report, cases=500 if options.quick else 10_000, seed=options.seed or 0, is_sample=options.quick)


def every_table(report: Report, options: argparse.Namespace) -> None:
    tables.run(report, examples=4 if options.quick else 25, first_seed=options.seed or 0)


def every_malformed_file(report: Report, options: argparse.Namespace) -> None:
    malformed.run(report, each=25 if options.quick else 250, first_seed=options.seed or 0)


def every_guard(report: Report, options: argparse.Namespace) -> None:
    guards.run(report, every=15 if options.quick else 1)


def without_a_guard(report: Report, options: argparse.Namespace) -> None:
    removed.run(report, every=6 if options.quick else 1)


def ticking(report: Report, options: argparse.Namespace) -> None:
    seeds = 1 if options.seed is not None else 20 if options.quick else 200
    schedules.run(report, first_seed=options.seed or 0, seeds=seeds)


def by_the_minute(report: Report, options: argparse.Namespace) -> None:
    zones.run(report, zones=2 if options.quick else len(zones.ZONES))


def torn_writes(report: Report, options: argparse.Namespace) -> None:
    reconciling.run(report)


PARTS: dict[str, Callable[[Report, argparse.Namespace], None]] = {
    "simulation": simulation,
    "kill": partial(crashing, "kill"),
    "pause": partial(crashing, "pause"),
    "pairs": partial(crashing, "pairs"),
    "faults": faulty,
    "replies": without_replies,
    "removed": without_a_guard,
    "states": every_state,
    "schedules": ticking,
    "cron": by_the_minute,
    "reconcile": torn_writes,
    "flights": same_flights,
    "api": generated_requests,
    "tables": every_table,
    "malformed": every_malformed_file,
    "guards": every_guard,
}


def stop(campaign: int, *_: object) -> None:
    """End the campaign's own process through every `with`, so that nothing is left running; one forked from it at once.

    Not by SystemExit, which Hypothesis would take for a failing example.
    """
    if os.getpid() != campaign:
        os._exit(1)
    raise KeyboardInterrupt


def main() -> int:
    """Run the parts that were asked for; return 0 if each ran, nothing was lost, doubled, stuck or mixed and every tooth bit."""
    parser = argparse.ArgumentParser(prog="make campaign")
    parser.add_argument("--part", default="", help=f"one or more of {', '.join(PARTS)}, with commas; default all")
    parser.add_argument("--quick", action="store_true", help="a sample that ends within five minutes")
    parser.add_argument("--seed", type=int, help="replay one seed of a part that has seeds")
    parser.add_argument(
        "--point", type=Spot.parse, default="", help=f"target/mode/point of a real target ({', '.join(TARGETS)})"
    )
    parser.add_argument("--result", type=Path, help="a file for the figures of the part, in place of the last line")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, partial(stop, os.getpid()))
    chosen = [part for part in options.part.split(",") if part] or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        parser.error(f"unknown part {unknown[0]!r}; parts: {', '.join(PARTS)}")
    report = Report()
    if len(chosen) > 1:
        with report.timed("all parts"):
            Parts(this_program(sys.argv[1:])).run(report, chosen)
    else:
        with report.timed(chosen[0]):
            PARTS[chosen[0]](report, options)
        is_whole = not options.quick and not options.point and options.seed is None
        report.require(chosen[0], is_whole=is_whole)
    if options.result:
        options.result.write_text(json.dumps(report.result()))
        return 0
    for name, meaning in EXCEPTED.items():
        report.say(f"{name}: {meaning}")
    return report.end()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("campaign: stopped")
