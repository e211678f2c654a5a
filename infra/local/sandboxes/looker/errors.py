"""Looker's error bodies: `{"message", "documentation_url"}`, with `errors` for 422 (the contract's Error, ValidationError)."""

from __future__ import annotations

from infra.local.sandboxes._base import Response, VendorError

DOCS = "https://docs.cloud.google.com/looker/docs/r/err/4.0"
"""The present form. The SDK fetches an index from a CDN for the older ones, so the sandbox does not send those."""


def refuse(status: int, message: str, route: str) -> VendorError:
    """Any refusal without field errors; `route` is like `get/datagroups/:datagroup_id`."""
    return VendorError(Response(status, {"message": message, "documentation_url": f"{DOCS}/{status}/{route}"}))


def not_found(route: str) -> VendorError:
    """404: absent, or not permitted; Looker does not tell which."""
    return refuse(404, "Not found", route)


def unauthenticated() -> VendorError:
    """401 as recorded in looker-open-source/looker_deployer#146."""
    body = {"message": "Requires authentication.", "documentation_url": "https://cloud.google.com/looker/docs/"}
    return VendorError(Response(401, body))


def invalid(route: str, field: str, message: str, code: str = "invalid") -> VendorError:
    """422 with one field error."""
    url = f"{DOCS}/422/{route}"
    detail = {"field": field, "code": code, "message": message, "documentation_url": url}
    return VendorError(Response(422, {"message": "Validation Failed", "documentation_url": url, "errors": [detail]}))
