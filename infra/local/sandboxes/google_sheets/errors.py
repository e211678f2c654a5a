"""Google's error bodies, as recorded or quoted in public threads; texts that nobody published are marked in COVERAGE.md."""

from __future__ import annotations

from typing import Any

from infra.local.sandboxes._base import Response, VendorError

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}


def google_error(code: int, message: str, details: list[dict[str, Any]] | None = None) -> Response:
    """The `{"error": ...}` body that every Google JSON API answers with."""
    error: dict[str, Any] = {"code": code, "message": message, "status": STATUS[code]}
    if details:
        error["details"] = details
    return Response(code, {"error": error})


def refuse(code: int, message: str, details: list[dict[str, Any]] | None = None) -> VendorError:
    """An exception that answers with `google_error`."""
    return VendorError(google_error(code, message, details))


def invalid(message: str) -> VendorError:
    """400 INVALID_ARGUMENT."""
    return refuse(400, message)


def not_found() -> VendorError:
    """404 for a spreadsheet, or metadata, that does not exist."""
    return refuse(404, "Requested entity was not found.")


def forbidden() -> VendorError:
    """403 for a spreadsheet that exists but is not shared, or shared for reading only."""
    return refuse(403, "The caller does not have permission")


def unauthenticated() -> VendorError:
    """401 for a missing, unknown or expired access token."""
    return refuse(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid"
        " authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )


def insufficient_scope() -> VendorError:
    """403 for a token that was asked for without a spreadsheets or drive scope."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "domain": "googleapis.com",
        "metadata": {"service": "sheets.googleapis.com"},
    }
    return refuse(403, "Request had insufficient authentication scopes.", [info])


def quota_exceeded(kind: str, limit: str, project_number: str) -> VendorError:
    """429 with the full ErrorInfo. `kind` is "Read" or "Write", `limit` e.g. "per minute per user". No Retry-After is sent."""
    camel = "".join(word.capitalize() for word in limit.split())
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": f"projects/{project_number}",
            "quota_limit": f"{kind}Requests{camel}",
            "quota_metric": f"sheets.googleapis.com/{kind.lower()}_requests",
            "service": "sheets.googleapis.com",
        },
    }
    message = (
        f"Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests {limit}' of service"
        f" 'sheets.googleapis.com' for consumer 'project_number:{project_number}'."
    )
    return refuse(429, message, [info])
