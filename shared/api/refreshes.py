"""Handlers of the refresh function: refresh runs."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.models import RefreshRun
from shared.services.records import Page, from_record

DAY_S = 86_400


def start_refresh(call: Call) -> Reply:
    """Accept one refresh: 202 and the run; RateLimit-Policy says how many its vendor takes a day, where it sets a number."""
    connector = call.services.connectors.get(call.path["name"])
    allowed = call.services.connectors.refreshes_a_day(connector)
    document = call.services.refreshes.start(
        connector, call.body.options, call.caller.email, call.idempotency(), timeout=call.body.timeout
    )
    headers = {"Location": f"{API}/refresh-runs/{document.data['id']}", "Retry-After": "2", **etag(document.version)}
    if allowed is not None:
        headers["RateLimit-Policy"] = f'"refreshes";q={allowed};w={DAY_S}'
    return Reply(from_record(RefreshRun, document.data), headers=headers)


def get_run(call: Call) -> Reply:
    """Get one refresh run."""
    document = call.services.refreshes.get(call.path["id"])
    return Reply(from_record(RefreshRun, document.data), headers=etag(document.version))


def cancel_run(call: Call) -> Reply:
    """Cancel: the run as it is now; one that the vendor was asked to cancel ends at the next look."""
    document = call.services.refreshes.cancel(call.path["id"])
    return Reply(from_record(RefreshRun, document.data), headers=etag(document.version))


def list_runs(call: Call) -> Reply:
    """List refresh runs, newest first."""
    return Reply(call.services.refreshes.list_runs(call.query.get("connector_name"), _page(call)))


def _page(call: Call) -> Page:
    return Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
