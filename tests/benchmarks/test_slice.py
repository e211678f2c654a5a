"""Small slices of the benchmarks whose outcome does not depend on the machine: figures of time are printed, never asserted."""

from __future__ import annotations

import pytest

from tests.benchmarks import deliver
from tests.benchmarks.cloud import running
from tests.benchmarks.crowd import gather


@pytest.mark.e2e
def test_a_small_crowd_over_all_kinds_loses_nothing_and_exceeds_no_quota() -> None:
    with running() as cloud:
        crowd = gather(cloud, exports=6, connectors=3)
    assert crowd.endings == {"success": 6}
    assert (crowd.lost, crowd.doubled, sum(crowd.refused.values())) == (0, 0, 0)


def test_a_delivery_is_measured_whole_without_a_word_and_in_the_part_that_is_named() -> None:
    assert deliver.chosen([]).what == ["memory", "cost"]
    assert deliver.chosen(["--what", "cost"]).what == ["cost"]
