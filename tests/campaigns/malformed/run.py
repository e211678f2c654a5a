"""Exports each malformed file in a process forked for it; told are its reason, its memory, and whether anything was written."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from shared.bootstrap import Services
from shared.config import read_settings
from shared.models import ExportRequest
from shared.services.connectors import Connectors
from tests.campaigns.malformed.files import FORMATS, rows, thousand
from tests.campaigns.report import Report, Row
from tests.campaigns.rig import NAME, SETTINGS, register_target
from tests.campaigns.simulated import silence
from tests.campaigns.verdict import Verdict
from tests.campaigns.worker import warm
from tests.fakes.connector import InMemoryConnector, InMemoryVendor
from tests.fakes.stores import InMemoryStores

MOST_MIB = 512
MOST_S = 300.0
UNCLEAR = {"internal", "worker_died"}
"""Reasons that name a fault of ours, not of the file."""


@dataclass
class Outcome:
    """What the process of one file told before it ended; `died` by which signal, or that it took too long."""

    fmt: str
    kind: str
    died: str = ""
    status: str = ""
    code: str = ""
    message: str = ""
    is_touched: bool = False
    is_whole: bool = False
    peak_mib: int = 0

    @property
    def is_refused(self) -> bool:
        return self.status == "failed"

    @property
    def problem(self) -> str:
        """What is wrong, empty if nothing: refused with a reason and nothing written, or damaged where no reader looks."""
        if self.died:
            return f"the process {self.died}"
        if self.peak_mib > MOST_MIB:
            return f"{self.peak_mib} MiB of memory"
        if not self.is_refused:
            return (
                ""
                if self.is_whole and self.status == "success"
                else f"{self.status} with other rows than the sound file"
            )
        if self.is_touched:
            return "something was written"
        is_clear = self.code not in UNCLEAR and len(self.message) > 30
        return "" if is_clear else f"no clear reason: {self.code} {self.message}"


@dataclass
class Count:
    """The files of one format."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return sum(outcome.is_refused for outcome in self.outcomes)

    @property
    def peak_mib(self) -> int:
        return max((outcome.peak_mib for outcome in self.outcomes), default=0)

    @property
    def problems(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.problem]


def export(path: Path, fmt: str) -> dict[str, Any]:
    """Export the file with the real engine into a target in memory; what came of it as JSON values."""
    fakes, vendor = InMemoryStores(), InMemoryVendor()
    stores = fakes.stores()
    services = Services(read_settings(SETTINGS), stores)
    connectors = Connectors(stores, "bi", services.connectors._runtime, load=lambda *_: InMemoryConnector(vendor))
    services.__dict__["connectors"] = connectors
    register_target(services)
    fakes.objects.put("tables", f"people.{fmt}", path.read_bytes())
    request = msgspec.convert({"connector_name": NAME, "table_name": "people"}, ExportRequest)
    job_id = services.exports.start(request, "ann@example.com")["id"]
    tasks = fakes.tasks.pending
    while tasks:
        task = tasks.pop(0)
        services.exports.run(job_id, task.body["seq"])
    job = services.exports.get(job_id).data
    error = job.get("error") or {}
    return {
        "status": job["status"],
        "code": error.get("code", ""),
        "message": error.get("message", ""),
        "is_touched": bool(set(vendor.calls) - {"preflight", "abandon", "is_published"}) or bool(vendor.live),
        "is_whole": vendor.live.get("people") == rows(),
    }


def isolated(path: Path, fmt: str, kind: str) -> Outcome:
    """Run `export` in a forked process; a process that dies or hangs is told too."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _child(path, fmt, reading, writing)
    os.close(writing)
    outcome = Outcome(fmt, kind)
    end, told = time.monotonic() + MOST_S, b""
    while select.select([reading], [], [], max(end - time.monotonic(), 0))[0]:
        part = os.read(reading, 65536)
        if not part:
            break
        told += part
    else:
        os.kill(pid, signal.SIGKILL)
        outcome.died = f"took more than {MOST_S:.0f} s"
    os.close(reading)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    outcome.peak_mib = used.ru_maxrss // 1024
    if told:
        for name, value in json.loads(told).items():
            setattr(outcome, name, value)
    if not outcome.died and (code or not told):
        outcome.died = f"ended with {code}"
    return outcome


def _child(path: Path, fmt: str, reading: int, writing: int) -> None:
    try:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # a bomb must not take the machine with it
        try:
            with silence():
                told = export(path, fmt)
        except BaseException as error:  # noqa: BLE001 - told to the parent, whatever it is
            told = {"died": f"raised {type(error).__name__}: {error}"[:500]}
        os.write(writing, json.dumps(told).encode())
    finally:
        os._exit(0)


@contextmanager
def made(first_seed: int, each: int, only: frozenset[str] = frozenset()) -> Iterator[list[tuple[Path, str, str]]]:
    """Yield (file, format, kind) of the malformed files, made in a process of its own so that this one stays small."""
    folder = Path(tempfile.mkdtemp(prefix="malformed"))
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for number, one in enumerate(thousand(first_seed, each, only)):
                (folder / f"{number:05d}~{one.kind}.{one.fmt}").write_bytes(one.data)
            code = 0
        finally:
            os._exit(code)
    try:
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise RuntimeError("the malformed files could not be made")
        yield [(path, path.suffix[1:], path.stem.split("~")[1]) for path in sorted(folder.iterdir())]
    finally:
        shutil.rmtree(folder)


def counts(first_seed: int, each: int, only: frozenset[str] = frozenset()) -> dict[str, Count]:
    """Export `each` malformed files of every format; what came of them, by format."""
    warm()
    found = {fmt: Count() for fmt in FORMATS}
    with made(first_seed, each, only) as files:
        for path, fmt, kind in files:
            found["json" if fmt == "jsonl" else fmt].outcomes.append(isolated(path, fmt, kind))
    return found


def run(report: Report, *, each: int, first_seed: int) -> None:
    """Export them all; one line a format, and every file that was not refused as it should be."""
    report.say(f"\nmalformed: {each} files of each format, each in a process of its own")
    report.say(f"{'format':<9} {'files':>6} {'refused':>8} {'harmless':>9} {'died':>5} {'peak MiB':>9}  reasons")
    for fmt, count in counts(first_seed, each).items():
        codes = Counter(outcome.code for outcome in count.outcomes if outcome.is_refused)
        died = sum(bool(outcome.died) for outcome in count.outcomes)
        told = ", ".join(f"{code} {times}" for code, times in codes.most_common())
        harmless = len(count.outcomes) - count.refused - died
        report.say(
            f"{fmt:<9} {len(count.outcomes):>6} {count.refused:>8} {harmless:>9} {died:>5} {count.peak_mib:>9}  {told}"
        )
        verdict = Verdict(runs=len(count.outcomes), stuck=died, mixed=len(count.problems) - died)
        report.rows.append(Row("malformed", fmt, "all", verdict=verdict))
        for outcome in count.problems:
            report.failed(
                f"make campaign PART=malformed SEED={first_seed}", [f"{fmt}, {outcome.kind}: {outcome.problem}"], []
            )
