"""Handlers of the register function: the audit log."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply
from shared.api.routes import AUDIT_FILTERS
from shared.services.records import Page


def list_entries(call: Call) -> Reply:
    """List entries, newest first, with any of the filters."""
    filters = {item.name: call.query[item.name] for item in AUDIT_FILTERS if item.name in call.query}
    page = Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
    return Reply(call.services.audit.page(filters, page))


def verify(call: Call) -> Reply:
    """Check the next seals; `ok: false` is an answer, not an error."""
    return Reply(call.services.audit.verify(call.query.get("page_token")))
