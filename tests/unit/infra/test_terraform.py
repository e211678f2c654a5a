"""A program that does not end in time is told of in words, and nothing of it stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.check import __main__ as infra_check
from infra.check import guide, terraform
from infra.check.terraform import ROOT, CheckError, run_to_the_end

SLOW = 'exec 3>"$0"; echo up >&3; sleep 600 & wait'
"""Holds a pipe open for as long as it, or what it started, lives."""


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for timeout_s in (0.5, 4.0, 32.0):  # a busy machine starts bash late
            with pytest.raises(CheckError, match=r"terraform plan did not end within .* s and was stopped"):
                run_to_the_end(["bash", "-c", SLOW, str(pipe)], tmp_path, dict(os.environ), timeout_s, "terraform plan")
            if _read(reader) == b"up\n":
                break
        assert _read(reader) == b""  # nobody holds the other end
    finally:
        os.close(reader)


def _read(reader: int, within_s: float = 10.0) -> bytes | None:
    """Return what is there, nothing at the end, None while somebody could still write."""
    return os.read(reader, 100) if select.select([reader], [], [], within_s)[0] else None


def test_what_ends_in_time_is_told_whole(tmp_path: Path) -> None:
    done = run_to_the_end(["bash", "-c", "echo out; echo err >&2; exit 3"], tmp_path, dict(os.environ), 60, "bash")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


IN_TWO_THREADS = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from infra.check.terraform import ROOT, CheckError, run_to_the_end, stop_on_signals

def work(_):
    for _ in range(3):
        try:
            run_to_the_end(["bash", "-c", sys.argv[1], sys.argv[2]], Path("."), dict(os.environ), 600, "terraform plan")
        except CheckError:
            pass

stop_on_signals()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(work, range(2)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_told_to_stop_leaves_nothing_of_any_thread(tmp_path: Path, number: signal.Signals) -> None:
    """Mistakes are judged in threads, where no signal arrives; each program has a session of its own, where none of ours does."""
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    asked = [sys.executable, "-c", IN_TWO_THREADS, SLOW, str(pipe)]
    with subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            told = b""
            while told != b"up\nup\n":
                told += _read(reader, 100.0) or pytest.fail("nothing was started")
            process.send_signal(number)
            assert process.wait(60) == 128 + number
            assert _read(reader, 10.0) == b""  # nobody holds the other end
        finally:
            process.kill()
            os.close(reader)


def test_infra_check_itself_stops_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_terraform(_: Path) -> None:
        assert signal.getsignal(signal.SIGTERM) is terraform._stop
        raise CheckError("seen")

    monkeypatch.setattr(infra_check, "find", without_terraform)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert infra_check.main([]) == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_walk_that_does_not_end_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "WALK_S", 0.2)
    with pytest.raises(CheckError, match=r"a walk through infra/DEPLOY.md did not end within 0.2 s"):
        guide.walk([guide.Step("For ever", "while :; do :; done\n")])
