"""Child processes of the local cloud: each in a group of its own, with a log, stopped as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from infra.local.stop_signals import StoppedError

_LOG_TAIL_LINES = 15
_POLL_S = 0.03


@dataclass(frozen=True)
class Part:
    """One child process to run.

    Attributes:
        name: Also the name of its log.
        is_ready: Asked again and again until true; False or an `OSError` means not yet.
        stop_signal: Asks it to end; the group gets SIGKILL if it does not.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool]
    stop_signal: signal.Signals = field(default=signal.SIGTERM)


class PartFailedError(Exception):
    """A part of the local cloud ended by itself, or did not become ready in time."""


class Guardian:
    """The process that ends every group that is known to it when this process dies, however it dies."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("guardian.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """End this process group when the present process dies."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group has ended; its number may belong to somebody else soon."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the groups that are still known, then the guardian."""
        pipe = self._pipe()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe().write(line.encode())
            self._pipe().flush()

    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


class Child:
    """One running part."""

    def __init__(self, part: Part, guardian: Guardian) -> None:
        self.part = part
        self._guardian = guardian
        part.log.parent.mkdir(parents=True, exist_ok=True)
        with part.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                part.command,
                env=dict(part.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guardian.watch(self._process.pid)

    @property
    def pid(self) -> int:
        """Also the number of the process group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if a signal ended it."""
        return self._process.poll()

    def failure(self) -> str:
        """What a person needs to know about a part that ended: exit code, last lines of the log, where the log is."""
        return f"{self.part.name} ended {_ending(self._process.returncode)}\n{self.log_tail()}"

    def log_tail(self) -> str:
        """The last lines this run has written to its log, indented, and the log's path."""
        with self.part.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").rstrip().splitlines()[-_LOG_TAIL_LINES:]
        said = "".join(f"    | {line}\n" for line in lines) or "    | (it wrote nothing)\n"
        return f"{said}    log: {self.part.log}"

    def ask_to_stop(self) -> None:
        """Send the part's stop signal to its first process; no effect if it has ended."""
        if self.exit_code() is None:
            self._process.send_signal(self.part.stop_signal)

    def kill(self) -> None:
        """End the whole group at once, and anything that a dead leader left in it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guardian.forget(self.pid)


def wait_until_ready(
    children: Iterable[Child], timeout_s: float, stop_requested: threading.Event | None = None
) -> None:
    """Wait for all of them side by side.

    Raises:
        StoppedError: The event was set meanwhile.
        PartFailedError: One ended (its last log lines are in the message), or is not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(children)
    while waiting:
        if stop_requested is not None and stop_requested.is_set():
            raise StoppedError("stopped while starting")
        for child in waiting:
            if child.exit_code() is not None:
                raise PartFailedError(child.failure())
        waiting = [child for child in waiting if not _is_ready(child.part)]
        if waiting and time.monotonic() > deadline:
            tails = "\n".join(f"{child.part.name}:\n{child.log_tail()}" for child in waiting)
            raise PartFailedError(f"not ready after {timeout_s:.0f} s: {tails}")
        if waiting:
            time.sleep(_POLL_S)


def stop_all(children: Iterable[Child], grace_s: float) -> None:
    """Ask all to stop, wait up to `grace_s` for all of them together, kill what is left of every group."""
    remaining = list(children)
    for child in remaining:
        child.ask_to_stop()
    deadline = time.monotonic() + grace_s
    while any(child.exit_code() is None for child in remaining) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for child in remaining:
        child.kill()


def _is_ready(part: Part) -> bool:
    try:
        return part.is_ready()
    except OSError:
        return False


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
