"""Several parts of a campaign at once, each in a process of its own, with one last line for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns.report import Report

MOST_AT_ONCE = 4
"""Parts beside one another, even where there are more processors: each starts a machine of its own, with a Postgres server."""
LONGEST_FIRST = ("pairs", "faults", "pause", "kill", "simulation", "flights", "replies", "guards", "removed", "api")
"""Parts that take minutes, so that none of them is begun last."""


@dataclass
class Parts:
    """Runs parts as `command(part, result)` says, and takes their results together."""

    command: Callable[[str, Path], Sequence[str]]
    at_once: int = field(default_factory=lambda: min(os.cpu_count() or 1, MOST_AT_ONCE))
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, report: Report, parts: Sequence[str]) -> None:
        """Say what each part said, as it ends. A part that ended without a result counts as one failure."""
        with (
            tempfile.TemporaryDirectory(prefix="campaign") as folder,
            ThreadPoolExecutor(self.at_once) as pool,
            self._stopping(pool),
        ):
            results = {part: Path(folder) / f"{part}.json" for part in sorted(parts, key=_place)}
            told = {pool.submit(self._tell, part, result): part for part, result in results.items()}
            for one in as_completed(told):
                part, output = told[one], one.result()
                report.say(output.rstrip())
                if results[part].exists():
                    report.take(json.loads(results[part].read_text()))
                else:
                    report.count(part, 1, failures=1)

    def _tell(self, part: str, result: Path) -> str:
        with subprocess.Popen(
            self.command(part, result), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            with self._lock:
                self._running.add(process)
            output, _ = process.communicate()
            with self._lock:
                self._running.discard(process)
        return output

    @contextmanager
    def _stopping(self, pool: ThreadPoolExecutor) -> Iterator[None]:
        """Leave nothing running when the block is left early: a part that is told to stop ends what it started."""
        try:
            yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with self._lock:
                for process in self._running:
                    process.terminate()
            raise


def _place(part: str) -> int:
    return LONGEST_FIRST.index(part) if part in LONGEST_FIRST else len(LONGEST_FIRST)


def this_program(arguments: Sequence[str]) -> Callable[[str, Path], Sequence[str]]:
    """Return the command of one part: this program with the same arguments, for that part, its result into a file."""
    return lambda part, result: [
        sys.executable, "-m", "tests.campaigns", *arguments, "--part", part, "--result", str(result)
    ]  # fmt: skip
