"""Problem documents (RFC 9457): one form for every refusal, the framework's own included."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from shared.errors import BIConnectorsError, VendorUnavailableError
from shared.redaction import redact

MEDIA_TYPE = "application/problem+json"
SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable and `type` leads to its page; `detail` says what happened and what to do; "
    "`retryable` whether time can help.",
    "properties": {
        "type": {"type": "string", "pattern": "^/problems/"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
    "required": ["type", "title", "status", "code", "detail", "retryable"],
}


def problem(status: int, code: str, detail: str, *, retryable: bool = False, **members: Any) -> dict[str, Any]:
    """Return the members of a problem document. `code` is stable; `detail` says what happened and what to do."""
    return {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": redact(detail),
        "retryable": retryable,
        **members,
    }


def of_error(error: BIConnectorsError) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the problem document of an error of ours, and the headers that go with it."""
    headers = {}
    if isinstance(error, VendorUnavailableError) and error.retry_after_s:
        headers["Retry-After"] = str(int(error.retry_after_s) + 1)
    members = json.loads(json.dumps(error.details, default=str))
    return problem(error.status, error.code, error.message, retryable=error.retryable, **members), headers
