"""The one place that waits and tries a vendor call again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from shared.errors import VendorUnavailableError
from shared.ports import Clock

T = TypeVar("T")

MAX_ATTEMPTS = 4  # our choice: with full jitter from 0.5 s this rides out a few seconds of trouble
LONGEST_WAIT_S = (
    20.0  # our choice: a longer wait, or more of them in all, is billed sleep; the job continues in another task
)
BASE_S = 0.5


def call(work: Callable[[], T], clock: Clock, *, attempts: int = MAX_ATTEMPTS) -> T:
    """Return `work()`, tried again after `VendorUnavailableError`; `work` must be safe to repeat.

    Waits the vendor's `retry_after_s` exactly, else a full-jitter exponential time. What would make it wait for more than
    `LONGEST_WAIT_S` in all is not slept: the error goes to the caller, who continues later.
    """

    def is_worth_waiting(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, VendorUnavailableError) or error.code == "quota_wait":  # waited as long as one may
            return False
        return state.idle_for + (error.retry_after_s or 0.0) <= LONGEST_WAIT_S

    jitter = tenacity.wait_random_exponential(multiplier=BASE_S, max=LONGEST_WAIT_S)

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, VendorUnavailableError) and error.retry_after_s is not None:
            return error.retry_after_s
        return float(jitter(state))

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=wait_s,
        retry=is_worth_waiting,
        sleep=clock.sleep,
        reraise=True,
    )
    return retrying(work)
