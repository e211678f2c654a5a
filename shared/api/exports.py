"""Handlers of the export function: jobs."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.models import Job
from shared.ports import Document
from shared.services.exports import RETRY_AFTER_S
from shared.services.records import Page, from_record


def start_export(call: Call) -> Reply:
    """Accept one export: 202 and the job, or the first answer again for a repeated idempotency key."""
    document = call.services.exports.start(call.body, call.caller.email, call.idempotency())
    headers = {"Location": f"{API}/export-jobs/{document.data['id']}", **_headers(document)}
    return Reply(from_record(Job, document.data), headers=headers)


def get_job(call: Call) -> Reply:
    """Get one job, with `wait` once it changed."""
    document = call.services.exports.wait(call.path["id"], call.query.get("wait", 0.0))
    return Reply(from_record(Job, document.data), headers=_headers(document))


def list_jobs(call: Call) -> Reply:
    """List jobs, newest first."""
    page = Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
    return Reply(call.services.exports.list_jobs(call.query.get("connector_name"), call.query.get("status"), page))


def _headers(document: Document) -> dict[str, str]:
    is_final = document.data["status"] in ("success", "failed", "cancelled")
    return etag(document.version) if is_final else {**etag(document.version), "Retry-After": str(RETRY_AFTER_S)}
