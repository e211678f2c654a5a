"""Handlers of the export function: tables."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.errors import NotFoundError
from shared.models import Table
from shared.services.records import Page, from_record
from shared.services.tables import NAME


def put_table(call: Call) -> Reply:
    """Register a table: 201 if it is new, 200 if it was replaced."""
    document, is_new = call.services.tables.put(call.path["name"], call.body, call.if_match())
    return Reply(from_record(Table, document.data), status=201 if is_new else 200, headers=etag(document.version))


def get_table(call: Call) -> Reply:
    """Get one table."""
    document = call.services.tables.get(_known(call))
    return Reply(from_record(Table, document.data), headers=etag(document.version))


def list_tables(call: Call) -> Reply:
    """List tables by name."""
    return Reply(
        call.services.tables.list(Page(call.query.get("page_size", Page().size), call.query.get("page_token")))
    )


def delete_table(call: Call) -> Reply:
    """Forget a table; its file stays."""
    call.services.tables.delete(_known(call), call.if_match())
    return Reply(status=204)


def _known(call: Call) -> str:
    """Return the path's name. Raises `NotFoundError` if no table can be called so."""
    name = call.path["name"]
    if not NAME.fullmatch(name):
        raise NotFoundError(f"table {name!r} does not exist; check the name, or list what there is")
    return name
