"""What Cloud Tasks accepts, its defaults and its limits.

Source unless said otherwise: the reference of google.cloud.tasks.v2 (the docstrings of google-cloud-tasks carry it),
https://docs.cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2, and https://docs.cloud.google.com/tasks/docs/quotas.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

from google.cloud.tasks_v2 import types

from infra.local.emulators.dispatch import http_host
from infra.local.emulators.grpc_server import RpcError

MAX_TASK_BYTES = 1024 * 1024  # quotas page: 1 MB (the older text of CreateTask says 100KB)
MAX_HEADER_BYTES = 80 * 1024
MAX_URL_CHARACTERS = 2083
MAX_AHEAD = timedelta(days=30)  # quotas page: furthest schedule_time
RETENTION = timedelta(days=31)  # quotas page: then a task is deleted, dispatched or not
NAME_KEPT = timedelta(hours=1)  # quotas page: about an hour (the newest text of CreateTask says: up to 24 hours)
MIN_DEADLINE_S, DEFAULT_DEADLINE_S, MAX_DEADLINE_S = 15, 600, 1800
DEFAULT_RATE, MAX_RATE = 500.0, 500.0
DEFAULT_CONCURRENT, MAX_CONCURRENT = 1000, 5000
DEFAULT_ATTEMPTS = 100
DEFAULT_MIN_BACKOFF = timedelta(milliseconds=100)
DEFAULT_MAX_BACKOFF = timedelta(hours=1)
DEFAULT_DOUBLINGS = 16
MAX_BURST = 100  # our choice: what a default queue (500/s) is known to show; the rule behind it is not published

_LOCATION = r"projects/[A-Za-z0-9.:-]+/locations/[A-Za-z0-9-]+"
_QUEUE = _LOCATION + r"/queues/[A-Za-z0-9-]{1,100}"
_TASK = _QUEUE + r"/tasks/[A-Za-z0-9_-]{1,500}"
_BODY_METHODS = {"POST", "PUT", "PATCH"}
_IGNORED_HEADERS = {"host", "content-length", "user-agent"}
_IGNORED_PREFIXES = ("x-google-", "x-appengine-", "x-cloudtasks-")


def check_location(name: str) -> str:
    """`name`, if it is `projects/P/locations/L`."""
    return _check(name, _LOCATION, "projects/PROJECT_ID/locations/LOCATION_ID")


def check_queue_name(name: str) -> str:
    """`name`, if it is a full queue name."""
    return _check(name, _QUEUE, "projects/PROJECT_ID/locations/LOCATION_ID/queues/QUEUE_ID")


def check_task_name(name: str) -> str:
    """`name`, if it is a full task name."""
    return _check(name, _TASK, "projects/PROJECT_ID/locations/LOCATION_ID/queues/QUEUE_ID/tasks/TASK_ID")


def fill_queue(queue: Any) -> None:
    """Put the vendor's defaults where a new queue says nothing (zero and absent are the same in this API)."""
    rates, retry = queue.rate_limits, queue.retry_config
    rates.max_dispatches_per_second = rates.max_dispatches_per_second or DEFAULT_RATE
    rates.max_concurrent_dispatches = rates.max_concurrent_dispatches or DEFAULT_CONCURRENT
    fill_retry(retry)


def fill_retry(retry: Any) -> None:
    """Put the vendor's defaults where a retry config says nothing."""
    retry.max_attempts = retry.max_attempts or DEFAULT_ATTEMPTS
    retry.max_doublings = retry.max_doublings or DEFAULT_DOUBLINGS
    if not retry.HasField("min_backoff"):
        retry.min_backoff.FromTimedelta(DEFAULT_MIN_BACKOFF)
    if not retry.HasField("max_backoff"):
        retry.max_backoff.FromTimedelta(DEFAULT_MAX_BACKOFF)


def check_queue(queue: Any) -> None:
    """Refuse a queue the vendor refuses, or asks for what is not imitated; set its output-only burst size."""
    check_queue_name(queue.name)
    for name in ("app_engine_routing_override", "http_target"):
        if queue.HasField(name):
            raise RpcError("UNIMPLEMENTED", f"Queue.{name} is not imitated by the local Cloud Tasks emulator")
    rates = queue.rate_limits
    if not 0 < rates.max_dispatches_per_second <= MAX_RATE:
        raise _invalid(f"Queue.rate_limits.max_dispatches_per_second must be above 0 and at most {MAX_RATE:g}")
    if not 0 < rates.max_concurrent_dispatches <= MAX_CONCURRENT:
        raise _invalid(f"Queue.rate_limits.max_concurrent_dispatches must be between 1 and {MAX_CONCURRENT}")
    rates.max_burst_size = min(MAX_BURST, math.ceil(rates.max_dispatches_per_second))
    check_retry(queue.retry_config)


def check_retry(retry: Any) -> None:
    """Refuse a retry config outside the vendor's ranges."""
    if retry.max_attempts < -1 or retry.max_attempts == 0:
        raise _invalid("RetryConfig.max_attempts must be -1 (unlimited) or at least 1")
    if retry.max_doublings < 0:
        raise _invalid("RetryConfig.max_doublings must be non-negative")
    durations = {name: getattr(retry, name) for name in ("min_backoff", "max_backoff", "max_retry_duration")}
    for name, value in durations.items():
        if value.ToNanoseconds() < 0:
            raise _invalid(f"RetryConfig.{name} must be non-negative")
    if retry.min_backoff.ToNanoseconds() > retry.max_backoff.ToNanoseconds():
        raise _invalid("RetryConfig.min_backoff must not be greater than RetryConfig.max_backoff")


def check_new_task(task: Any, queue_name: str, now: datetime) -> None:
    """Refuse a task the vendor refuses, or asks for what is not imitated; fill in its defaults.

    `task` is changed: name left as it is, method, deadline and schedule time set, output-only fields cleared.
    """
    for name in ("create_time", "first_attempt", "last_attempt", "dispatch_count", "response_count", "view"):
        task.ClearField(name)
    if task.HasField("app_engine_http_request"):
        raise RpcError("UNIMPLEMENTED", "App Engine tasks are not imitated by the local Cloud Tasks emulator")
    if not task.HasField("http_request"):
        raise _invalid("Task.message_type must be set: give http_request")
    if task.name and not check_task_name(task.name).startswith(f"{queue_name}/tasks/"):
        raise _invalid(f"Task.name {task.name!r} must be in the parent queue {queue_name!r}")
    _check_request(task.http_request)
    if task.HasField("retry_config"):
        fill_retry(task.retry_config)
        check_retry(task.retry_config)
    _fill_times(task, now)
    if task.ByteSize() > MAX_TASK_BYTES:
        raise _invalid(f"Task size too large: {task.ByteSize()} bytes, at most {MAX_TASK_BYTES}")


def sent_headers(request: Any) -> dict[str, str]:
    """The user's headers that go out: without those that the vendor ignores or replaces."""
    return {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in _IGNORED_HEADERS and not name.lower().startswith(_IGNORED_PREFIXES)
    }


def is_exhausted(retry: Any, attempts: int, first_attempt: datetime, now: datetime) -> bool:
    """Whether a failed task gets no further attempt: both limits reached, as far as both are set."""
    limit_s: float = retry.max_retry_duration.ToTimedelta().total_seconds()
    is_over_time = limit_s > 0 and (now - first_attempt).total_seconds() >= limit_s
    if retry.max_attempts == -1:
        return is_over_time
    return attempts >= int(retry.max_attempts) and (limit_s == 0 or is_over_time)


def _check_request(request: Any) -> None:
    if not http_host(request.url):
        raise _invalid(f"HttpRequest.url must begin with http:// or https://; got {request.url[:200]!r}")
    if len(request.url) > MAX_URL_CHARACTERS:
        raise _invalid(f"HttpRequest.url is {len(request.url)} characters long; at most {MAX_URL_CHARACTERS}")
    request.http_method = request.http_method or types.HttpMethod.POST
    method = types.HttpMethod(request.http_method).name
    if request.body and method not in _BODY_METHODS:
        raise _invalid(f"HttpRequest.body is allowed only with POST, PUT or PATCH; got {method}")
    if sum(len(name) + len(value) for name, value in request.headers.items()) >= MAX_HEADER_BYTES:
        raise _invalid("HttpRequest.headers must be less than 80KB")
    if request.HasField("oauth_token"):
        raise RpcError("UNIMPLEMENTED", "HttpRequest.oauth_token is not imitated by the local emulator; use oidc_token")
    if request.HasField("oidc_token") and "@" not in request.oidc_token.service_account_email:
        raise _invalid("HttpRequest.oidc_token.service_account_email must be a service account's email")


def _fill_times(task: Any, now: datetime) -> None:
    if not task.HasField("dispatch_deadline"):
        task.dispatch_deadline.FromSeconds(DEFAULT_DEADLINE_S)
    if not MIN_DEADLINE_S <= task.dispatch_deadline.ToTimedelta().total_seconds() <= MAX_DEADLINE_S:
        raise _invalid("Task.dispatch_deadline must be in the interval [15s, 1800s] for HTTP tasks")
    asked = task.schedule_time.ToDatetime(now.tzinfo) if task.HasField("schedule_time") else now
    if asked > now + MAX_AHEAD:
        raise _invalid("Task.schedule_time must be at most 30 days (720h) in the future")
    task.schedule_time.FromDatetime(max(asked, now))
    task.create_time.FromDatetime(now.replace(microsecond=0))  # "truncated to the nearest second"


def _check(name: str, pattern: str, form: str) -> str:
    if not re.fullmatch(pattern, name):
        raise _invalid(f"Invalid resource name {name[:600]!r}: expected {form!r}")
    return name


def _invalid(message: str) -> RpcError:
    return RpcError("INVALID_ARGUMENT", message)
