"""BigQuery's error bodies: `{"error": {code, message, errors: [{message, domain, reason}], status}}`.

Forms and reasons: docs.cloud.google.com/bigquery/docs/error-messages; texts as quoted in public threads, see COVERAGE.md.
"""

from __future__ import annotations

from typing import Any

from infra.local.sandboxes._base import Response, VendorError

STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    501: "UNIMPLEMENTED",
}


def bigquery_error(code: int, reason: str, message: str, **more: Any) -> Response:
    """The body that every refusal has; `more` goes beside `reason` (location, locationType)."""
    detail = {"message": message, "domain": "global", "reason": reason, **more}
    return Response(code, {"error": {"code": code, "message": message, "errors": [detail], "status": STATUS[code]}})


def refuse(code: int, reason: str, message: str, **more: Any) -> VendorError:
    """An exception that answers with `bigquery_error`."""
    return VendorError(bigquery_error(code, reason, message, **more))


def invalid_query(message: str) -> VendorError:
    """400 for a statement that does not parse, or names what is not there."""
    return refuse(400, "invalidQuery", message, location="q", locationType="parameter")


def not_imitated(what: str) -> VendorError:
    """501 that names the part of a request that this sandbox lacks."""
    return refuse(501, "notImplemented", f"not imitated by this sandbox: {what}")
