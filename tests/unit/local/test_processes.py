"""Child processes: failures are named, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.processes import Child, Guardian, Part, PartFailedError, stop_all, wait_until_ready

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    guardian = Guardian()
    yield guardian
    guardian.close()


def part(folder: Path, code: str, ready_text: str = "up") -> Part:
    log = folder / "part.log"
    return Part(
        "thing",
        (sys.executable, "-c", code),
        {"PATH": os.defpath, "ONLY": "this"},
        log,
        lambda: ready_text in log.read_text(encoding="utf-8"),
    )


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int, timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_a_part_that_ends_while_starting_is_named_with_its_code_and_last_lines(
    tmp_path: Path, guardian: Guardian
) -> None:
    child = Child(part(tmp_path, "import sys; print('first'); print('the reason'); sys.exit(3)"), guardian)

    with pytest.raises(PartFailedError, match=r"(?s)thing ended with exit code 3.*the reason.*part\.log"):
        wait_until_ready([child], 10)
    child.kill()


def test_a_part_that_is_not_ready_in_time_is_named(tmp_path: Path, guardian: Guardian) -> None:
    child = Child(part(tmp_path, SLEEPER, ready_text="never printed"), guardian)

    with pytest.raises(PartFailedError, match="not ready after 0 s: thing"):
        wait_until_ready([child], 0.2)
    child.kill()


def test_only_the_given_environment_reaches_the_part(
    tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    child = Child(
        part(tmp_path, "import os; print(sorted(os.environ)); print('up', flush=True); import time; time.sleep(60)"),
        guardian,
    )
    wait_until_ready([child], 10)
    child.kill()

    said = child.part.log.read_text(encoding="utf-8")
    assert "'ONLY', 'PATH'" in said  # and LC_CTYPE, which Python itself sets
    assert "SECRET_OF_THE_CALLER" not in said


def test_a_part_that_ignores_the_stop_signal_is_killed_after_the_grace(tmp_path: Path, guardian: Guardian) -> None:
    child = Child(part(tmp_path, STUBBORN), guardian)
    wait_until_ready([child], 10)

    stop_all([child], grace_s=0.3)

    assert child.exit_code() == -signal.SIGKILL


def test_what_a_dead_part_left_in_its_group_is_ended_with_it(tmp_path: Path, guardian: Guardian) -> None:
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); print('pid', p.pid, flush=True)"
    child = Child(part(tmp_path, code, ready_text="pid"), guardian)
    while child.exit_code() is None:
        time.sleep(0.01)
    orphan = int(child.part.log.read_text(encoding="utf-8").split("pid ")[1].split()[0])
    assert is_running(orphan)

    stop_all([child], grace_s=1)

    assert wait_until_gone(orphan)


def test_a_supervisor_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from infra.local.processes import Child, Guardian, Part, wait_until_ready\n"
        f"log, command = Path({str(log)!r}), (sys.executable, '-c', {STUBBORN!r})\n"
        "child = Child(Part('thing', command, {}, log, lambda: 'up' in log.read_text()), Guardian())\n"
        "wait_until_ready([child], 10)\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    root = Path(__file__).parents[3]
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert is_running(pid)

    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()

    assert wait_until_gone(pid)
