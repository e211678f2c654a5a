"""Power BI's refusals, in each of the forms that it is known to use.

Bodies quoted in public threads: PowerBINotAuthorizedException and `{"Message"}` (community.fabric.microsoft.com td-p/4399905),
`{"message"}` with Retry-After (RuiRomano/pbimonitor#58), "is not Push API dataset" (microsoft/PowerBI-CSharp#105), rows per hour
(msdn dn950053), "Another refresh request is already executing" (public code), "Request Throttled"
(BusinessApplicationPlatform-Connectors-public#450). Codes and statuses not named there are unverified.
"""

from __future__ import annotations

from infra.local.sandboxes._base import Response, VendorError


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> VendorError:
    """`{"error": {"code", "message"}}`."""
    return VendorError(Response(status, {"error": {"code": code, "message": message}}, headers or {}))


def invalid(message: str) -> VendorError:
    """400 for a request that breaks a rule."""
    return refusal(400, "InvalidRequest", message)


def not_imitated(what: str) -> VendorError:
    """501 for what the service has and the sandbox does not imitate."""
    return refusal(501, "NotImitated", f"The sandbox does not imitate {what}.")


def bare(status: int, code: str, details: list[tuple[str, str]] | None = None) -> VendorError:
    """The form with `pbi.error` and no message."""
    listed = [{"code": name, "detail": {"type": 1, "value": value}} for name, value in details or []]
    inner = {"code": code, "parameters": {}, "details": listed, "exceptionCulprit": 1}
    return VendorError(Response(status, {"error": {"code": code, "pbi.error": inner}}))


def not_authorised() -> VendorError:
    """401 for no token, and for a principal that is no member."""
    return bare(401, "PowerBINotAuthorizedException")


def token_expired() -> VendorError:
    """403 for a token that is not valid any more."""
    return refusal(403, "TokenExpired", "Access token has expired, resubmit with a new access token")


def not_found(what: str) -> VendorError:
    """404 for a dataset, table or workspace that is not there."""
    return refusal(404, "PowerBIEntityNotFound", f"{what} is not found")


def not_push(dataset_id: str) -> VendorError:
    """404 for row calls on another kind of dataset."""
    return refusal(404, "ItemNotFound", f"Dataset [{dataset_id}] is not Push API dataset.")


def throttled(retry_after_s: int) -> VendorError:
    """429 for too many calls."""
    message = (
        "You have exceeded the amount of requests allowed in the current time frame and further requests will fail. "
        f"Retry in {retry_after_s} seconds."
    )
    return VendorError(Response(429, {"message": message}, {"Retry-After": str(retry_after_s)}))


def rows_throttled(retry_after_s: int) -> VendorError:
    """429 for too many rows in an hour."""
    message = (
        "You are over your rows per hour limit for this dataset. To push more rows per hour, upgrade your account to "
        "Power BI Pro or retry your push later."
    )
    return refusal(429, "TooManyRequests", message, {"Retry-After": str(retry_after_s)})


def dax(message: str) -> VendorError:
    """400 for a query that cannot be run."""
    details = [("DetailsMessage", message), ("AnalysisServicesErrorCode", "3241803789")]
    return bare(400, "DatasetExecuteQueriesError", details)
