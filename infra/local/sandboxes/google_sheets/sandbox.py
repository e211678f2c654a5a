"""Routes of sheets.googleapis.com. Contract: the discovery document of the Sheets API v4."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, route

from . import admin, metadata, values
from .batch_update import Change, apply_batch
from .binding import Call, read_call
from .book import Book
from .errors import forbidden, google_error, insufficient_scope, invalid, not_found, unauthenticated
from .masks import select
from .quota import DEFAULTS, Quota
from .refusal import Refusal
from .resource import spreadsheet
from .store import BookStore

if TYPE_CHECKING:
    from infra.local.accounts import Accounts

SCOPE = "https://www.googleapis.com/auth/"
WRITE_SCOPES = tuple(SCOPE + name for name in ("spreadsheets", "drive", "drive.file"))
READ_SCOPES = (*WRITE_SCOPES, SCOPE + "spreadsheets.readonly", SCOPE + "drive.readonly")
BOOK = "/v4/spreadsheets/<book>"


Handler = Callable[..., dict[str, Any]]


def api(
    method: str, pattern: str, kind: str, query: str, body: tuple[str, str] | None, answer: str
) -> Callable[[Handler], Handler]:
    """A route that authorises, reads the request by its messages (`members`), and cuts the answer to the field mask."""

    def mark(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def respond(self: GoogleSheetsSandbox, request: Request, **arguments: Any) -> Response:
            call = read_call(request, self.authorise(request, kind), query, body, answer)
            return Response(200, select(handler(self, call, **arguments), call.mask))

        return route(method, pattern)(respond)  # type: ignore[return-value]  # the server calls it, nobody else

    return mark


class GoogleSheetsSandbox(Sandbox):
    """Google Sheets API v4, for service accounts whose tokens the Google token sandbox issued."""

    name: ClassVar[str] = "google_sheets"
    hosts: ClassVar[tuple[str, ...]] = ("sheets.googleapis.com",)
    default_settings: ClassVar[Mapping[str, Any]] = {
        **DEFAULTS,
        "max_cells": 10_000_000,
        "max_tabs": 200,
        "copy_cells_per_s": 0,
        "timeout_s": 180,
    }

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.store = BookStore(self.db)
        self.quota = Quota(context.clock, context.settings)
        self.advised_payloads_exceeded = 0

    def seed(self, accounts: Accounts) -> None:
        admin.seed(self, accounts)

    def admin(self, request: Request, path: str) -> Response | None:
        return admin.answer(self, request, path)

    def not_imitated(self, route: str) -> Response:
        """A 501 in Google's form, which its clients read."""
        message = f"not imitated by this sandbox: {route}"
        return Response(501, {"error": {"code": 501, "message": message, "status": "UNIMPLEMENTED"}, "route": route})

    def bad_request(self, message: str) -> Response:
        return google_error(400, f"Invalid JSON payload received. {message}")

    @api("GET", BOOK, "read", "GetQuery", None, "Spreadsheet")
    def get_spreadsheet(self, call: Call, book: str) -> dict[str, Any]:
        with self.lock:
            found = self._open(call, book, "read")
            wants_data = bool(call.query.get("includeGridData"))
            return spreadsheet(found, call.mask, call.query.get("ranges", []), grid_data=wants_data)

    @api("POST", "/v4/spreadsheets", "write", "NoQuery", None, "Spreadsheet")
    def create_spreadsheet(self, call: Call) -> dict[str, Any]:
        """A service account has no Drive storage: Google refuses."""
        del call
        raise forbidden()

    @api(
        "POST",
        BOOK + ":batchUpdate",
        "write",
        "NoQuery",
        ("BatchUpdateSpreadsheetRequest", ""),
        "BatchUpdateSpreadsheetResponse",
    )
    def batch_update(self, call: Call, book: str) -> dict[str, Any]:
        with self.transaction():
            found = self._open(call, book, "write")
            changed, replies = apply_batch(found, call.body.get("requests", []), self.settings)
            self.store.save(changed)
            answer: dict[str, Any] = {"spreadsheetId": book, "replies": replies}
            if call.body.get("includeSpreadsheetInResponse"):
                ranges, wants_data = call.body.get("responseRanges", []), bool(call.body.get("responseIncludeGridData"))
                answer["updatedSpreadsheet"] = spreadsheet(changed, {}, ranges, grid_data=wants_data)
            return answer

    @api("GET", BOOK + "/values/<text>", "read", "ReadQuery", None, "ValueRange")
    def values_get(self, call: Call, book: str, text: str) -> dict[str, Any]:
        with self.lock:
            return values.get(self._open(call, book, "read"), text, call.query)

    @api("GET", BOOK + "/values:batchGet", "read", "BatchReadQuery", None, "BatchGetValuesResponse")
    def values_batch_get(self, call: Call, book: str) -> dict[str, Any]:
        with self.lock:
            found = self._open(call, book, "read")
            ranges = call.query.get("ranges", [])
            if not ranges:
                raise invalid("Must specify at least one range.")
            parts = [values.get(found, text, call.query) for text in ranges]
            return {"spreadsheetId": book, "valueRanges": parts}

    @api("PUT", BOOK + "/values/<text>", "write", "UpdateQuery", ("ValueRange", "data"), "UpdateValuesResponse")
    def values_update(self, call: Call, book: str, text: str) -> dict[str, Any]:
        with self.transaction():
            changed = self._open(call, book, "write").clone()
            values.check_body_range(changed, text, call.body)
            result = values.update(changed, text, call.body, call.query, self.clock.now().date())
            self.store.save(changed)
            return {"spreadsheetId": book, **result}

    @api(
        "POST",
        BOOK + "/values:batchUpdate",
        "write",
        "NoQuery",
        ("BatchUpdateValuesRequest", ""),
        "BatchUpdateValuesResponse",
    )
    def values_batch_update(self, call: Call, book: str) -> dict[str, Any]:
        with self.transaction():
            changed = self._open(call, book, "write").clone()
            today = self.clock.now().date()
            results = [
                {"spreadsheetId": book, **values.update(changed, part.get("range", ""), part, call.body, today)}
                for part in call.body.get("data", [])
            ]
            self.store.save(changed)
            return {"spreadsheetId": book, **_totals(results), "responses": results}

    @api(
        "POST",
        BOOK + "/values:batchClear",
        "write",
        "NoQuery",
        ("BatchClearValuesRequest", ""),
        "BatchClearValuesResponse",
    )
    def values_batch_clear(self, call: Call, book: str) -> dict[str, Any]:
        with self.transaction():
            changed = self._open(call, book, "write").clone()
            cleared = [values.clear(changed, text) for text in call.body.get("ranges", [])]
            self.store.save(changed)
            return {"spreadsheetId": book, "clearedRanges": cleared}

    @api(
        "POST",
        BOOK + "/values/<text>:append",
        "write",
        "AppendQuery",
        ("ValueRange", "data"),
        "AppendValuesResponse",
    )
    def values_append(self, call: Call, book: str, text: str) -> dict[str, Any]:
        with self.transaction():
            changed = self._open(call, book, "write").clone()
            values.check_body_range(changed, text, call.body)
            result = values.append(changed, text, call.body, call.query, self.clock.now().date())
            try:
                Change(changed, self.settings).check_cells()
            except Refusal as error:
                raise invalid(str(error)) from error
            self.store.save(changed)
            return {"spreadsheetId": book, **result, "updates": {"spreadsheetId": book, **result["updates"]}}

    @api(
        "POST",
        BOOK + "/values/<text>:clear",
        "write",
        "NoQuery",
        ("ClearValuesRequest", ""),
        "ClearValuesResponse",
    )
    def values_clear(self, call: Call, book: str, text: str) -> dict[str, Any]:
        with self.transaction():
            changed = self._open(call, book, "write").clone()
            cleared = values.clear(changed, text)
            self.store.save(changed)
            return {"spreadsheetId": book, "clearedRange": cleared}

    @api("GET", BOOK + "/developerMetadata/<int:metadata_id>", "read", "NoQuery", None, "DeveloperMetadata")
    def metadata_get(self, call: Call, book: str, metadata_id: int) -> dict[str, Any]:
        with self.lock:
            found = self._open(call, book, "read").metadata.get(metadata_id)
        if found is None:
            raise not_found()
        return found

    @api(
        "POST",
        BOOK + "/developerMetadata:search",
        "read",
        "NoQuery",
        ("SearchDeveloperMetadataRequest", ""),
        "SearchDeveloperMetadataResponse",
    )
    def metadata_search(self, call: Call, book: str) -> dict[str, Any]:
        with self.lock:
            return metadata.search(self._open(call, book, "read"), call.body.get("dataFilters", []))

    def authorise(self, request: Request, kind: str) -> str:
        """The email of the token's account; takes one call of its quota. Raises `VendorError` (401, 403, 429)."""
        grant = self.context.tokens.grant("google", request.bearer)
        if grant is None:
            raise unauthenticated()
        if not grant.has_scope(*(READ_SCOPES if kind == "read" else WRITE_SCOPES)):
            raise insufficient_scope()
        self.quota.take(kind, grant.subject)
        return grant.subject

    def _open(self, call: Call, spreadsheet_id: str, kind: str) -> Book:
        if call.body_bytes > 2_000_000:  # Google's advice, not a limit
            self.advised_payloads_exceeded += 1
        book = self.store.get(spreadsheet_id)
        if book is None:
            raise not_found()
        role = self.store.role(spreadsheet_id, call.email)
        if role is None or (kind == "write" and role != "writer"):
            raise forbidden()
        return book


def _totals(results: list[dict[str, Any]]) -> dict[str, int]:
    totals = {
        "totalUpdatedRows": sum(one.get("updatedRows", 0) for one in results),
        "totalUpdatedColumns": max((one.get("updatedColumns", 0) for one in results), default=0),
        "totalUpdatedCells": sum(one.get("updatedCells", 0) for one in results),
        "totalUpdatedSheets": len({one["updatedRange"].rpartition("!")[0] for one in results}),
    }
    return {key: value for key, value in totals.items() if value}
