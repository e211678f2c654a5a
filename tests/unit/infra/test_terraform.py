"""A program that does not end in time is told of in words, and nothing of it stays."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from infra.check import guide
from infra.check.terraform import CheckError, run_to_the_end

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


def _read(reader: int) -> bytes | None:
    """Return what is there, nothing at the end, None while somebody could still write."""
    return os.read(reader, 100) if select.select([reader], [], [], 10.0)[0] else None


def test_what_ends_in_time_is_told_whole(tmp_path: Path) -> None:
    done = run_to_the_end(["bash", "-c", "echo out; echo err >&2; exit 3"], tmp_path, dict(os.environ), 60, "bash")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_walk_that_does_not_end_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "WALK_S", 0.2)
    with pytest.raises(CheckError, match=r"a walk through infra/DEPLOY.md did not end within 0.2 s"):
        guide.walk([guide.Step("For ever", "while :; do :; done\n")])
