"""A slice of `make campaign` for `make test`: some seeds of the simulation, every guard missed when it is gone, and one real target."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.campaigns.simulated import play_many, silence, until_noticed
from tests.campaigns.simulation import play
from tests.campaigns.teeth import TEETH


def test_no_row_is_lost_or_doubled_and_no_job_is_stuck_in_400_histories() -> None:
    total, failing, reached = play_many(range(400))
    assert failing == []
    assert str(total) == "runs=400 lost=0 duplicated=0 stuck=0 mixed=0 undercut=0 missed=0 doubled=0"
    assert reached["vendor.publish:after"] > 350
    assert reached["tasks.enqueue:after"] > 400


@pytest.mark.parametrize("tooth", range(len(TEETH)), ids=[tooth.guard for tooth in TEETH])
def test_a_missing_guard_is_noticed(tooth: int) -> None:
    assert TEETH[tooth].is_noticed(until_noticed(tooth, 400))


def test_a_seed_gives_the_same_history_every_time() -> None:
    with silence():
        assert [play(seed).log for seed in range(30)] == [play(seed).log for seed in range(30)]


def test_exports_to_a_real_target_survive_a_sample_of_deaths_and_faults() -> None:
    """As `make campaign-quick PART=kill,faults POINT=google_sheets/append`: real workers, sandboxes, Firestore and Cloud Storage."""
    wanted = ("--quick", "--part", "kill,faults", "--point", "google_sheets/append")
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns", *wanted], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"campaign: runs=\d\d lost=0 duplicated=0 stuck=0 mixed=0 undercut=0 .*teeth=3/3", last), last
