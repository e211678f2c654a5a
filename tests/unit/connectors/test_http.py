"""How vendors' answers are classified, and what is waited for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.connectors import _http, _retry
from shared.errors import CredentialError, TargetError, VendorUnavailableError
from tests.fakes.stores import FakeClock

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def classify(status: int, retry_after: str | None = None) -> Exception:
    return _http.classify("Vendor", status, "why", retry_after=retry_after, now=NOW, doing="writing")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_troubles_are_retryable(status: int) -> None:
    assert isinstance(classify(status), VendorUnavailableError)


def test_refusals_are_told_apart_by_who_can_mend_them() -> None:
    assert isinstance(classify(401), CredentialError)
    assert isinstance(classify(403), CredentialError)
    assert isinstance(classify(400), TargetError)
    assert isinstance(classify(404), TargetError)


def test_retry_after_is_read_in_both_forms() -> None:
    assert _http.retry_after_s("37", NOW) == 37.0
    assert _http.retry_after_s("Mon, 05 Jan 2026 12:01:30 GMT", NOW) == 90.0
    assert _http.retry_after_s("soon", NOW) is None
    assert _http.retry_after_s(None, NOW) is None
    assert _http.retry_after_s("nan", NOW) is None
    week = _http.LONGEST_RETRY_AFTER_S
    assert [_http.retry_after_s(value, NOW) for value in ("inf", "1e300", "Mon, 05 Jan 2099 12:00:00 GMT")] == [
        week
    ] * 3


@pytest.mark.parametrize(
    "value",
    ["0", "-5", "Mon, 05 Jan 2026 11:00:00 GMT", "Mon, 05 Jan 99999999999999999999 00:00:00 GMT", "-inf", "nan"],
)
def test_a_retry_after_that_asks_for_no_time_is_no_leave_to_come_at_once(value: str) -> None:
    assert _http.retry_after_s(value, NOW) is None


def test_a_short_retry_after_is_waited_exactly_then_tried_again() -> None:
    clock, calls = FakeClock(NOW), []

    def work() -> str:
        calls.append(clock.now())
        if len(calls) < 3:
            raise VendorUnavailableError("busy", retry_after_s=7.0)
        return "done"

    assert _retry.call(work, clock) == "done"
    assert [(at - NOW).total_seconds() for at in calls] == [0.0, 7.0, 14.0]


def test_waits_that_add_up_to_more_than_twenty_seconds_are_not_slept() -> None:
    clock, calls = FakeClock(NOW), []

    def work() -> str:
        calls.append(clock.now())
        raise VendorUnavailableError("busy", retry_after_s=9.0)

    with pytest.raises(VendorUnavailableError):
        _retry.call(work, clock)
    assert [(at - NOW).total_seconds() for at in calls] == [0.0, 9.0, 18.0]


def test_a_long_retry_after_is_not_slept() -> None:
    clock = FakeClock(NOW)

    def work() -> str:
        raise VendorUnavailableError("busy", retry_after_s=21.0)

    with pytest.raises(VendorUnavailableError):
        _retry.call(work, clock)
    assert clock.now() == NOW


def test_attempts_end_and_other_errors_are_not_repeated() -> None:
    clock, calls = FakeClock(NOW), []

    def busy() -> str:
        calls.append(1)
        raise VendorUnavailableError("busy")

    with pytest.raises(VendorUnavailableError):
        _retry.call(busy, clock)
    assert len(calls) == 4
    calls.clear()

    def refused() -> str:
        calls.append(1)
        raise TargetError("no")

    with pytest.raises(TargetError):
        _retry.call(refused, clock)
    assert len(calls) == 1
