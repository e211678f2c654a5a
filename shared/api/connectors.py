"""Handlers of the register function."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply, etag
from shared.api.routes import API
from shared.errors import PreconditionFailedError, PreconditionRequiredError
from shared.models import Connector
from shared.ports import Document
from shared.services.connector_bodies import split_secrets
from shared.services.records import Page, from_record


def register(call: Call) -> Reply:
    """Register: 201 and the connector; 200 if the same name and body is registered already."""
    config, _ = split_secrets(call.body)
    key = call.idempotency({"name": call.body.name, "config": config, "reference": call.body.credentials_secret})
    document, is_new = call.services.connectors.register(call.body.name, call.body, call.body.credentials_secret, key)
    headers = {"Location": f"{API}/{call.body.name}", **etag(document.version)}
    return Reply(_shown(document), status=201 if is_new else 200, headers=headers)


def list_connectors(call: Call) -> Reply:
    """List connectors by name, a page at a time."""
    return Reply(call.services.connectors.list(_page(call)))


def get_connector(call: Call) -> Reply:
    """Get one connector with its ETag."""
    document = call.services.connectors.get(call.path["name"])
    return Reply(_shown(document), headers=etag(document.version))


def change_connector(call: Call) -> Reply:
    """Change one connector; If-Match says which version the caller read, and is required."""
    version = call.if_match()
    if version is None:
        raise PreconditionRequiredError("send If-Match with the ETag that you read")
    document = call.services.connectors.change(call.path["name"], call.body, _valid(version))
    return Reply(_shown(document), headers=etag(document.version))


def delete_connector(call: Call) -> Reply:
    """Delete one connector, its credentials, and with `force` its schedules."""
    name, force, version = call.path["name"], bool(call.query.get("force")), call.if_match()
    present = call.services.connectors.get(name).version
    if version is not None and version != present:
        raise PreconditionFailedError(f"connector {name!r} changed since it was read; read it again")
    if force:
        call.services.schedules.delete_of(name)
    call.services.connectors.delete(name, force=force, version=version)
    return Reply(status=204)


def test_connector(call: Call) -> Reply:
    """Test one connector; a failed check is `ok: false`, not an error."""
    return Reply(call.services.connectors.test(call.path["name"]))


def test_all(call: Call) -> Reply:
    """Test all connectors."""
    return Reply(call.services.connectors.test_all())


def _shown(document: Document) -> Connector:
    return from_record(Connector, document.data)


def _page(call: Call) -> Page:
    return Page(call.query.get("page_size", Page().size), call.query.get("page_token"))


def _valid(version: str) -> str:
    """Return the version if it has the form of ours; any other cannot be the present one."""
    seconds, _, nanos = version.partition(".")
    if not (seconds.isdigit() and nanos.isdigit()):
        raise PreconditionFailedError("If-Match is not an ETag of this connector; read it again")
    return version
