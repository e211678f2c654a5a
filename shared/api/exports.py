"""Handlers of the export function: jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.api.dispatch import Call, Download, Reply, etag
from shared.api.routes import API
from shared.models import Job, JobStatus
from shared.services.exports import RETRY_AFTER_S
from shared.services.records import Page, from_record


def start_export(call: Call) -> Reply:
    """Accept one export: 202 and the job, or the first answer again for a repeated idempotency key."""
    return _reply(call.services.exports.start(call.body, call.caller.email, call.idempotency()))


def get_job(call: Call) -> Reply:
    """Get one job, with `wait` once it changed."""
    job = from_record(Job, call.services.exports.wait(call.path["id"], call.query.get("wait", 0.0)).data)
    return Reply(job, headers=_headers(job))


def list_jobs(call: Call) -> Reply:
    """List jobs, newest first."""
    page = Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
    return Reply(call.services.exports.list_jobs(call.query.get("connector_name"), call.query.get("status"), page))


def cancel_job(call: Call) -> Reply:
    """Cancel: the job as it is now; a running one ends at its next checkpoint."""
    call.services.exports.operations.cancel(call.path["id"])
    return _job(call, call.path["id"])


def approve_job(call: Call) -> Reply:
    """Let a held job go on."""
    call.services.exports.operations.approve(call.path["id"], force=bool(call.query.get("force")))
    return _job(call, call.path["id"])


def reject_job(call: Call) -> Reply:
    """End a held job."""
    call.services.exports.operations.reject(call.path["id"])
    return _job(call, call.path["id"])


def retry_job(call: Call) -> Reply:
    """Start a new job from the rows of one that did not succeed."""
    return _again(call, frozenset({JobStatus.FAILED, JobStatus.CANCELLED}))


def republish_job(call: Call) -> Reply:
    """Start a new job from the rows of one that succeeded."""
    return _again(call, frozenset({JobStatus.SUCCESS}))


def download_file(call: Call) -> Reply:
    """Send the file that a job kept."""
    found = call.services.exports.rejects.file(call.path["id"])
    return Reply(Download(*found))


def link_file(call: Call) -> Reply:
    """Make a link to the file that a job kept."""
    signed = bool(call.query.get("signed"))
    return Reply(call.services.exports.file_links.make(call.path["id"], call.caller.email, signed=signed))


def follow_link(call: Call) -> Reply:
    """Send the file that a link leads to."""
    return Reply(Download(*call.services.exports.file_links.open(call.path["id"])))


def list_rejects(call: Call) -> Reply:
    """List what a job left out, in the order of its rows."""
    page = Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
    return Reply(call.services.exports.rejects.page(call.path["id"], page))


def replay_rejects(call: Call) -> Reply:
    """Start a new job from the rows that one left out."""
    force = bool(call.query.get("force"))
    rejects = call.services.exports.rejects
    new = rejects.replay(call.path["id"], call.body, call.caller.email, call.idempotency(), force=force)
    return _job(call, new)


def erase_job(call: Call) -> Reply:
    """Erase a job that has ended."""
    call.services.exports.operations.erase(call.path["id"])
    return Reply(status=204)


def _again(call: Call, after: frozenset[JobStatus]) -> Reply:
    new = call.services.exports.operations.again(call.path["id"], call.caller.email, call.idempotency(), after=after)
    return _job(call, new)


def _job(call: Call, job_id: str) -> Reply:
    return _reply(call.services.exports.get(job_id).data)


def _reply(record: Mapping[str, Any]) -> Reply:
    job = from_record(Job, record)
    return Reply(job, headers={"Location": f"{API}/export-jobs/{job.id}", **_headers(job)})


def _headers(job: Job) -> dict[str, str]:
    """The ETag is that of the answer: a job's document changes also where nobody sees it."""
    version = etag(hashlib.sha256(msgspec.json.encode(job)).hexdigest()[:32])
    return version if job.status.is_final else {**version, "Retry-After": str(RETRY_AFTER_S)}
