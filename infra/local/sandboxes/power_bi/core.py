"""What all routes share: who calls, which workspace and dataset, and the headers of every answer."""

from __future__ import annotations

import functools
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from infra.local.sandboxes._base import BadJson, Request, Response, Sandbox, SandboxContext, VendorError, route

from . import errors
from .quota import Quota
from .store import Store, Table

HOST = "api.powerbi.com"
GROUP = "/v1.0/myorg/groups/<group>"
DATASET = f"{GROUP}/datasets/<dataset>"
CLUSTER = "https://wabi-north-europe-d-primary-redirect.analysis.windows.net/"
CONTEXT = "http://wabi-north-europe-d-primary-redirect.analysis.windows.net/v1.0/myorg/groups"
Handler = TypeVar("Handler", bound=Callable[..., Response])


class Core(Sandbox):
    """Base of the route classes; `PowerBISandbox` joins them."""

    hosts = (HOST,)
    default_settings: ClassVar[Mapping[str, Any]] = {
        "capacity": "premium",
        "quotas": True,
        "sequence_numbers": "enforce",
        "sequence_resets_on_delete": False,
        "empty_rows": "accept",
        "refresh_seconds": 5.0,
        "refresh_outcome": "Completed",
        "refresh_exception": '{"errorCode":"ModelRefreshFailed_CredentialsNotSpecified"}',
        "history_delay_seconds": 2.0,
    }

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.store = Store(self.db)
        self.quota = Quota(self.db)

    def not_imitated(self, route: str) -> Response:
        """A 501 in Power BI's form."""
        error = {"code": "NotImitated", "message": f"not imitated by this sandbox: {route}"}
        return Response(501, {"error": error, "route": route})

    def bad_request(self, message: str) -> Response:
        """400 for a body that is not JSON."""
        return errors.invalid(f"Unable to deserialize the request: {message}").response

    def caller(self, request: Request) -> str:
        """The client id of the token.

        Raises:
            VendorError: 401 without a token, 403 with one that is unknown, expired or for another resource.
        """
        if request.bearer is None:
            raise errors.not_authorised()
        grant = self.context.tokens.grant("entra", request.bearer)
        if grant is None or "analysis.windows.net/powerbi/api" not in grant.scope:
            raise errors.token_expired()
        return grant.subject

    def need_workspace(self, request: Request, group: str) -> sqlite3.Row:
        """The workspace.

        Raises:
            VendorError: 404 if it does not exist, 401 if the caller is no member.
        """
        with self.lock:
            found: sqlite3.Row | None = self.db.execute(
                "SELECT * FROM workspaces WHERE id = ?", (group.lower(),)
            ).fetchone()
            member = self.db.execute(
                "SELECT 1 FROM members WHERE workspace_id = ? AND client_id = ?", (group.lower(), self.caller(request))
            ).fetchone()
        if found is None:
            raise errors.not_found(f"Workspace {group}")
        if member is None:
            raise errors.not_authorised()
        return found

    def need_dataset(self, request: Request, group: str, dataset: str) -> sqlite3.Row:
        """The dataset.

        Raises:
            VendorError: as `need_workspace`; 404 if the workspace has no such dataset.
        """
        self.need_workspace(request, group)
        with self.lock:
            found = self.store.dataset(group.lower(), dataset)
        if found is None:
            raise errors.not_found(f"Dataset {dataset}")
        return found

    def need_push_table(self, request: Request, group: str, dataset: str, table: str) -> tuple[sqlite3.Row, Table]:
        """A table of a push dataset.

        Raises:
            VendorError: as `need_dataset`; 404 for a dataset of another kind, or a table that is not in it.
        """
        row = self.need_dataset(request, group, dataset)
        if row["kind"] != "push":
            raise errors.not_push(dataset)
        with self.lock:
            found = self.store.table(dataset, table)
        if found is None:
            raise errors.not_found(f"Table {table}")
        return row, found


def api(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Like `route`; adds the headers that every answer of Power BI carries, refusals too."""

    def mark(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def answer(self: Core, request: Request, **arguments: Any) -> Response:
            try:
                response = handler(self, request, **arguments)
            except VendorError as error:
                response = error.response
            except BadJson as error:
                response = self.bad_request(str(error))
            headers = {
                "RequestId": str(uuid.uuid4()),
                "home-cluster-uri": CLUSTER,
                "Cache-Control": "no-store, no-cache",
            }
            response.headers = {**headers, **response.headers}
            return response

        return route(method, pattern)(answer)  # type: ignore[return-value]  # same signature as the handler

    return mark


def count(request: Request, name: str, default: int) -> int:
    """A number in the query; the default if it is not there.

    Raises:
        VendorError: 400 for anything but up to nine digits.
    """
    text = request.query.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise errors.invalid(f"{name} is not a number")
    return int(text)


def collection(values: list[dict[str, Any]], context: str) -> Response:
    """200 with an OData collection."""
    return Response(200, {"@odata.context": f"{CONTEXT}/{context}", "value": values})
