"""The campaign's own instruments: what they notice, and what they let pass."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests

from tests.campaigns.network import Network
from tests.campaigns.spot import Spot, replay
from tests.fakes.stores import FakeClock

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
URL = "https://api.powerbi.com/v1.0/myorg/groups"


def answer(status: int, retry_after: str | None = None) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    if retry_after is not None:
        made.headers["Retry-After"] = retry_after
    return made


def network(clock: FakeClock) -> Network:
    return Network(clock, lambda tokens: None, is_on=True)


@pytest.mark.parametrize("retry_after", ["7", "Mon, 05 Jan 2026 12:00:07 GMT"])
@pytest.mark.parametrize(("waited_s", "undercut"), [(6.9, 1), (7.0, 0)])
def test_a_call_before_the_time_that_retry_after_named_is_noticed(
    retry_after: str, waited_s: float, undercut: int
) -> None:
    clock = FakeClock(NOW)
    way, request = network(clock), requests.Request("GET", URL).prepare()
    way.pass_on(lambda: answer(429, retry_after), request)
    clock.sleep(waited_s)
    way.pass_on(lambda: answer(200), request)
    assert len(way.undercut) == undercut


def test_a_connection_that_breaks_can_look_like_one_that_was_silent_for_as_long_as_the_client_waits() -> None:
    clock = FakeClock(NOW)
    way, request = network(clock), requests.Request("GET", URL).prepare()
    way.times_out = True

    def breaks() -> requests.Response:
        raise requests.ConnectionError("reset")

    with pytest.raises(requests.ReadTimeout):
        way.pass_on(breaks, request)
    assert (clock.now() - NOW).total_seconds() == 190.0


def test_tokens_end_in_mid_job_and_not_right_after_they_were_issued() -> None:
    ended: list[str] = []
    way, request = network(FakeClock(NOW)), requests.Request("GET", URL).prepare()
    way.expire, way.expiry = ended.append, 1.0
    for _ in range(20):
        way.pass_on(lambda: answer(200), request)
    assert ended == ["entra", "entra"]


def test_the_command_that_is_printed_for_a_failing_run_names_just_that_run() -> None:
    command = replay("pairs", "looker", "append", "17+40")
    assert command == "make campaign PART=pairs POINT=looker/append/17+40"
    assert Spot.parse("looker/append/17+40") == Spot("looker", "append", "17+40")
    assert replay("faults", "looker", "append", 0.3, 12).endswith(" POINT=looker/append/0.3 SEED=12")


@pytest.mark.parametrize(
    ("text", "taken"),
    [("", True), ("looker", True), ("looker/append", True), ("looker/replace/3", False), ("power_bi", False)],
)
def test_a_spot_takes_the_courses_that_it_names(text: str, taken: bool) -> None:
    assert Spot.parse(text).takes("looker", "append") is taken


def test_a_spot_of_four_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="target/mode/what"):
        Spot.parse("looker/append/1/2")
