"""What Cloud Scheduler accepts, its defaults and limits, and when a cron expression fires.

Source: the reference of google.cloud.scheduler.v1 (in the docstrings of google-cloud-scheduler) and
https://docs.cloud.google.com/scheduler/docs/configuring/cron-job-schedules.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cronsim import CronSim, CronSimError
from google.cloud.scheduler_v1 import types

from infra.local.emulators.dispatch import http_host
from infra.local.emulators.grpc_server import RpcError

MAX_JOB_BYTES = 1024 * 1024  # "The maximum allowed size for a job is 1MB."
MAX_DESCRIPTION_CHARACTERS = 500
MAX_HEADER_BYTES = 80 * 1024
MAX_URL_CHARACTERS = 2083
MIN_DEADLINE_S, DEFAULT_DEADLINE_S, MAX_DEADLINE_S = 15, 180, 1800
MAX_RETRIES = 5
DEFAULT_MIN_BACKOFF_S = 5
DEFAULT_MAX_BACKOFF_S = 3600
DEFAULT_DOUBLINGS = 5
USER_AGENT = "Google-Cloud-Scheduler"

_LOCATION = r"projects/[A-Za-z0-9.:-]+/locations/[A-Za-z0-9-]+"
_JOB = _LOCATION + r"/jobs/[A-Za-z0-9_-]{1,500}"
_FIELD = re.compile(r"[0-9A-Za-z*,/-]+")
_NAMES = re.compile(r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun", re.IGNORECASE)
_ENGLISH = re.compile(r"every |(first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th)\b", re.IGNORECASE)
_BODY_METHODS = {"POST", "PUT", "PATCH"}
_IGNORED_HEADERS = {"host", "content-length", "user-agent"}
_IGNORED_PREFIXES = ("x-google-", "x-appengine-", "x-cloudscheduler")


def check_location(name: str) -> str:
    """`name`, if it is `projects/P/locations/L`."""
    return _check(name, _LOCATION, "projects/PROJECT_ID/locations/LOCATION_ID")


def check_job_name(name: str) -> str:
    """`name`, if it is a full job name."""
    return _check(name, _JOB, "projects/PROJECT_ID/locations/LOCATION_ID/jobs/JOB_ID")


def next_slot(schedule: str, time_zone: str, after: datetime) -> datetime:
    """The first planned time after `after`, UTC.

    A time that a change to summer time skips fires when the clocks have moved; one that occurs twice fires once.

    Raises:
        RpcError: INVALID_ARGUMENT, the schedule has not five valid fields or never fires, or the zone is unknown.
    """
    if time_zone.lower() == "utc":
        zone: zoneinfo.ZoneInfo = zoneinfo.ZoneInfo("UTC")
    elif time_zone in _zones():
        zone = zoneinfo.ZoneInfo(time_zone)
    else:
        raise _invalid(f"Job.time_zone {time_zone[:100]!r} is no name of the tz database, e.g. 'Europe/Paris' or 'utc'")
    if _ENGLISH.match(schedule.strip()):
        raise _invalid(
            f"Job.schedule {schedule[:100]!r}: the English-like (App Engine) form is not imitated by the local emulator"
        )
    fields = schedule.split()
    if len(fields) != 5 or not all(_is_plain(field) for field in fields):
        raise _invalid(f"Job.schedule {schedule[:100]!r} must be five unix-cron fields, e.g. '0 6 * * 1'")
    try:
        planned: datetime = next(CronSim(" ".join(fields), after.astimezone(zone)))
    except (CronSimError, StopIteration) as exc:
        raise _invalid(f"Job.schedule {schedule[:100]!r} is invalid or never fires: {exc}") from exc
    return planned.astimezone(UTC)


def fill_job(job: Any) -> None:
    """Put the vendor's defaults where a job says nothing; among its headers the vendor's own shows, as on the real service."""
    retry, target = job.retry_config, job.http_target
    job.time_zone = job.time_zone or "UTC"
    target.http_method = target.http_method or types.HttpMethod.POST
    for name in [name for name in target.headers if name.lower() == "user-agent"]:
        del target.headers[name]
    target.headers["User-Agent"] = USER_AGENT
    if target.body and not any(name.lower() == "content-type" for name in target.headers):
        target.headers["Content-Type"] = "application/octet-stream"
    if not job.HasField("attempt_deadline"):
        job.attempt_deadline.FromSeconds(DEFAULT_DEADLINE_S)
    if not retry.HasField("min_backoff_duration"):
        retry.min_backoff_duration.FromSeconds(DEFAULT_MIN_BACKOFF_S)
    if not retry.HasField("max_backoff_duration"):
        retry.max_backoff_duration.FromSeconds(DEFAULT_MAX_BACKOFF_S)
    if not retry.HasField("max_retry_duration"):
        retry.max_retry_duration.FromSeconds(0)
    retry.max_doublings = retry.max_doublings or DEFAULT_DOUBLINGS


def check_job(job: Any) -> None:
    """Refuse a job the vendor refuses, or that asks for what is not imitated; its defaults are filled in.

    The schedule is checked by `next_slot`.
    """
    check_job_name(job.name)
    if len(job.description) > MAX_DESCRIPTION_CHARACTERS:
        raise _invalid(f"Job.description must not contain more than {MAX_DESCRIPTION_CHARACTERS} characters")
    for name in ("pubsub_target", "app_engine_http_target"):
        if job.HasField(name):
            raise RpcError("UNIMPLEMENTED", f"Job.{name} is not imitated by the local Cloud Scheduler emulator")
    if not job.HasField("http_target"):
        raise _invalid("Job.target must be set: give http_target")
    fill_job(job)
    _check_target(job.http_target)
    _check_retry(job.retry_config)
    if not MIN_DEADLINE_S <= job.attempt_deadline.ToTimedelta().total_seconds() <= MAX_DEADLINE_S:
        raise _invalid("Job.attempt_deadline must be in the interval [15s, 1800s] for HTTP targets")
    if job.ByteSize() > MAX_JOB_BYTES:
        raise _invalid(f"Job is {job.ByteSize()} bytes; the maximum allowed size is {MAX_JOB_BYTES}")


def sent_headers(target: Any) -> dict[str, str]:
    """The user's headers that go out: without those that the vendor replaces."""
    return {
        name: value
        for name, value in target.headers.items()
        if name.lower() not in _IGNORED_HEADERS and not name.lower().startswith(_IGNORED_PREFIXES)
    }


def may_retry(retry: Any, retries: int, first_attempt: datetime, now: datetime) -> bool:
    """Whether a failed execution that was retried `retries` times is tried again: until both limits are reached."""
    if retry.retry_count == 0:
        return False
    limit: timedelta = retry.max_retry_duration.ToTimedelta()
    return retries < int(retry.retry_count) or (limit > timedelta(0) and now - first_attempt < limit)


def _check_target(target: Any) -> None:
    if not http_host(target.uri):
        raise _invalid(f"HttpTarget.uri must begin with http:// or https://; got {target.uri[:200]!r}")
    if len(target.uri) > MAX_URL_CHARACTERS:
        raise _invalid(f"HttpTarget.uri is {len(target.uri)} characters long; at most {MAX_URL_CHARACTERS}")
    method = types.HttpMethod(target.http_method).name
    if target.body and method not in _BODY_METHODS:
        raise _invalid(f"HttpTarget.body is allowed only with POST, PUT or PATCH; got {method}")
    if sum(len(name) + len(value) for name, value in target.headers.items()) >= MAX_HEADER_BYTES:
        raise _invalid("HttpTarget.headers must be less than 80KB")
    if target.HasField("oauth_token"):
        raise RpcError("UNIMPLEMENTED", "HttpTarget.oauth_token is not imitated by the local emulator; use oidc_token")
    if target.HasField("oidc_token") and "@" not in target.oidc_token.service_account_email:
        raise _invalid("HttpTarget.oidc_token.service_account_email must be a service account's email")


def _check_retry(retry: Any) -> None:
    if not 0 <= retry.retry_count <= MAX_RETRIES:
        raise _invalid(f"RetryConfig.retry_count must be between 0 and {MAX_RETRIES}; got {retry.retry_count}")
    if retry.max_doublings < 0:
        raise _invalid("RetryConfig.max_doublings must not be negative")
    for name in ("max_retry_duration", "min_backoff_duration", "max_backoff_duration"):
        if getattr(retry, name).ToNanoseconds() < 0:
            raise _invalid(f"RetryConfig.{name} must not be negative")
    if retry.min_backoff_duration.ToNanoseconds() > retry.max_backoff_duration.ToNanoseconds():
        raise _invalid("RetryConfig.min_backoff_duration must not be greater than max_backoff_duration")


def _is_plain(field: str) -> bool:
    """Whether a cron field holds only what unix-cron knows: numbers, names, `* , - /` (no L, W, # or ?)."""
    return _FIELD.fullmatch(field) is not None and not re.search(r"[A-Za-z]", _NAMES.sub("", field))


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _check(name: str, pattern: str, form: str) -> str:
    if not re.fullmatch(pattern, name):
        raise _invalid(f"Invalid resource name {name[:600]!r}: expected {form!r}")
    return name


def _invalid(message: str) -> RpcError:
    return RpcError("INVALID_ARGUMENT", message)
