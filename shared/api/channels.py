"""Handlers of channels and of the notices that are sent to them."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.models import Channel
from shared.services.records import Page, from_record


def put_channel(call: Call) -> Reply:
    """Make or replace a channel: 201 if it is new, 200 if it was replaced."""
    name = call.path["name"]
    document, is_new = call.services.channels.put(name, call.body, call.if_match())
    headers = {"Location": f"{API}/channels/{name}", **etag(document.version)}
    return Reply(from_record(Channel, document.data), status=201 if is_new else 200, headers=headers)


def list_channels(call: Call) -> Reply:
    """List channels by name."""
    return Reply(call.services.channels.list(_page(call)))


def get_channel(call: Call) -> Reply:
    """Get one channel with its ETag."""
    document = call.services.channels.get(call.path["name"])
    return Reply(from_record(Channel, document.data), headers=etag(document.version))


def delete_channel(call: Call) -> Reply:
    """Delete one channel with its URL and secret."""
    call.services.channels.delete(call.path["name"], call.if_match())
    return Reply(status=204)


def test_channel(call: Call) -> Reply:
    """Send a test notice; a receiver that does not take it is `ok: false`, not an error."""
    return Reply(call.services.channels.test(call.path["name"]))


def list_notices(call: Call) -> Reply:
    """List notices, newest first."""
    return Reply(call.services.notices.page(_page(call)))


def _page(call: Call) -> Page:
    return Page(call.query.get("page_size", Page().size), call.query.get("page_token"))
