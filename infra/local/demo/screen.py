"""What the demo shows: steps, live bars on a terminal, plain lines elsewhere, and the closing table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_PLAIN_WIDTH = 140
_PLAIN_EVERY_S = 2.0


class Screen:
    """Prints to standard output. Bars may be moved from several threads."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=_PLAIN_WIDTH, no_color=True)
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        """Announce one step with the seconds since the start."""
        self._console.print(f"[bold][{time.monotonic() - self._started:6.1f} s][/bold] {text}", markup=True)

    def say(self, text: str) -> None:
        """One line below a step."""
        self._console.print(f"           {text}", markup=False, soft_wrap=True)

    @contextmanager
    def bars(self, names: Sequence[str]) -> Iterator[Bars]:
        """One bar a name while the block runs."""
        width = max(map(len, names))
        if not self._console.is_terminal:
            yield Bars(names, None, lambda name, text: self.say(f"{name:{width}}  {text}"))
            return
        columns = (TextColumn("           {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns, TextColumn("{task.fields[phase]}"), TimeElapsedColumn(), console=self._console
        ) as progress:
            yield Bars(names, progress)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The closing table; columns of figures to the right."""
        table = Table(title=title, title_justify="left")
        for name in columns:
            right = name not in {"table", "from", "to", "verdict"} and not name.startswith("checksum")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


class Bars:
    """Progress of several jobs side by side."""

    def __init__(
        self, names: Sequence[str], progress: Progress | None, say: Callable[[str, str], object] = print
    ) -> None:
        self._progress = progress
        self._say = say
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, str]] = {}
        self._tasks: dict[str, TaskID] = {}
        if progress is not None:
            width = max(map(len, names))
            self._tasks = {name: progress.add_task(f"{name:{width}}", total=None, phase="") for name in names}

    def move(self, name: str, done: int, total: int | None, phase: str) -> None:
        """Show `done` of `total` rows (None: not counted yet) and what is being done."""
        if self._progress is not None:
            self._progress.update(self._tasks[name], completed=done, total=total, phase=phase)
            return
        with self._lock:
            at, last_phase = self._said.get(name, (0.0, ""))
            if phase == last_phase and time.monotonic() - at < _PLAIN_EVERY_S:
                return
            self._said[name] = (time.monotonic(), phase)
            share = f"{done:,} of {total:,} rows" if total is not None else ""
            self._say(name, f"{phase:10} {share}".rstrip())
