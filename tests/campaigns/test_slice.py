"""A slice of `make campaign` for `make test`: some seeds of the simulation, and every guard missed when it is gone."""

from __future__ import annotations

import pytest

from tests.campaigns.simulated import play_many, silence, until_noticed
from tests.campaigns.simulation import play
from tests.campaigns.teeth import TEETH


def test_no_row_is_lost_or_doubled_and_no_job_is_stuck_in_400_histories() -> None:
    total, failing, reached = play_many(range(400))
    assert failing == []
    assert str(total) == "runs=400 lost=0 duplicated=0 stuck=0 mixed=0"
    assert reached["vendor.publish:after"] > 350
    assert reached["tasks.enqueue:after"] > 400


@pytest.mark.parametrize("tooth", range(len(TEETH)), ids=[tooth.guard for tooth in TEETH])
def test_a_missing_guard_is_noticed(tooth: int) -> None:
    assert TEETH[tooth].is_noticed(until_noticed(tooth, 200))


def test_a_seed_gives_the_same_history_every_time() -> None:
    with silence():
        assert [play(seed).log for seed in range(30)] == [play(seed).log for seed in range(30)]
