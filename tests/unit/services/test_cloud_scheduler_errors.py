"""What Cloud Scheduler answers becomes one of our errors, whatever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.api_core import exceptions

from shared.errors import InvalidRequestError, VendorUnavailableError
from shared.ports import CronJob
from shared.stores.cloud_scheduler import CloudScheduler

google: Any = exceptions  # has no types
JOB = CronJob("a" * 26, "0 6 * * *", "UTC", "http://refresh/x", "http://refresh", {})


class Failing:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def call(request: Any, **more: Any) -> None:
            raise self._error

        return call


def scheduler(error: Exception) -> CloudScheduler:
    found = CloudScheduler("p", "us-central1", "bi", "s@test.iam", None)
    found.__dict__["_client"] = Failing(error)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        google.PermissionDenied,
        google.Unauthenticated,
        google.NotFound,
        google.AlreadyExists,
        google.Conflict,
        google.Aborted,
        google.FailedPrecondition,
        google.ResourceExhausted,
        google.Cancelled,
        google.ServiceUnavailable,
        google.Unknown,
    ],
)
def test_what_may_pass_is_kept_and_tried_again(kind: Any) -> None:
    for call in (lambda: scheduler(kind("no")).put(JOB), lambda: scheduler(kind("no")).list()):
        with pytest.raises(VendorUnavailableError) as caught:
            call()
        assert caught.value.code == "scheduler_unavailable"


def test_a_missing_grant_is_named() -> None:
    with pytest.raises(VendorUnavailableError, match="cronKeeper and callerUser"):
        scheduler(google.PermissionDenied("lacks cloudscheduler.jobs.create")).put(JOB)


def test_a_job_that_is_gone_is_deleted() -> None:
    scheduler(google.NotFound("no")).delete(JOB.id)


def test_what_is_not_valid_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="refused the schedule: no"):
        scheduler(google.InvalidArgument("no")).put(JOB)


class Disabled:
    """A client whose job Cloud Scheduler has disabled: it is neither paused nor does it run, and nobody can resume it."""

    def create_job(self, request: Any, **more: Any) -> None:
        raise google.AlreadyExists("it is there")

    def update_job(self, request: Any, **more: Any) -> Any:
        stored = type(request["job"])(request["job"])
        stored.state = stored.State.DISABLED
        return stored

    def resume_job(self, request: Any, **more: Any) -> None:
        raise google.FailedPrecondition("The job must be in PAUSED state to be resumed.")


def test_a_job_that_is_disabled_is_not_said_to_run() -> None:
    found = CloudScheduler("p", "us-central1", "bi", "s@test.iam", None)
    found.__dict__["_client"] = Disabled()
    found.put(replace(JOB, paused=True))
    with pytest.raises(VendorUnavailableError, match="did not do what was asked"):
        found.put(JOB)
