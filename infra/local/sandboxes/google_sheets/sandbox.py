"""Routes of sheets.googleapis.com. Contract: the discovery document of the Sheets API v4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, route

from . import admin, metadata, values
from .batch_update import Change, apply_batch
from .book import Book
from .errors import forbidden, google_error, insufficient_scope, invalid, not_found, unauthenticated
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

    def bad_request(self, message: str) -> Response:
        return google_error(400, f"Invalid JSON payload received. {message}")

    @route("GET", BOOK)
    def get_spreadsheet(self, request: Request, book: str) -> Response:
        with self.lock:
            found = self._open(request, book, "read")
            wants_data = request.query.get("includeGridData", "").lower() == "true"
            fields = request.query.get("fields")
            return Response(200, spreadsheet(found, fields, request.query_list("ranges"), grid_data=wants_data))

    @route("POST", "/v4/spreadsheets")
    def create_spreadsheet(self, request: Request) -> Response:
        """A service account has no Drive storage: Google refuses."""
        self._authorise(request, "write")
        raise forbidden()

    @route("POST", BOOK + ":batchUpdate")
    def batch_update(self, request: Request, book: str) -> Response:
        with self.transaction():
            found = self._open(request, book, "write")
            body = _object(request)
            changed, replies = apply_batch(found, body.get("requests"), self.settings)
            self.store.save(changed)
            answer: dict[str, Any] = {"spreadsheetId": book, "replies": replies}
            if body.get("includeSpreadsheetInResponse"):
                answer["updatedSpreadsheet"] = spreadsheet(
                    changed, None, body.get("responseRanges") or [], grid_data=bool(body.get("responseIncludeGridData"))
                )
            return Response(200, answer)

    @route("GET", BOOK + "/values/<path:text>")
    def values_get(self, request: Request, book: str, text: str) -> Response:
        with self.lock:
            return Response(200, values.get(self._open(request, book, "read"), text, dict(request.query)))

    @route("GET", BOOK + "/values:batchGet")
    def values_batch_get(self, request: Request, book: str) -> Response:
        with self.lock:
            found = self._open(request, book, "read")
            ranges = request.query_list("ranges")
            if not ranges:
                raise invalid("Must specify at least one range.")
            parts = [values.get(found, text, dict(request.query)) for text in ranges]
            return Response(200, {"spreadsheetId": book, "valueRanges": parts})

    @route("PUT", BOOK + "/values/<path:text>")
    def values_update(self, request: Request, book: str, text: str) -> Response:
        with self.transaction():
            changed = self._open(request, book, "write").clone()
            result = values.update(changed, text, _object(request), dict(request.query), self.clock.now().date())
            self.store.save(changed)
            return Response(200, {"spreadsheetId": book, **result})

    @route("POST", BOOK + "/values:batchUpdate")
    def values_batch_update(self, request: Request, book: str) -> Response:
        with self.transaction():
            changed = self._open(request, book, "write").clone()
            body = _object(request)
            today = self.clock.now().date()
            results = [
                {"spreadsheetId": book, **values.update(changed, part.get("range", ""), part, body, today)}
                for part in body.get("data") or []
            ]
            self.store.save(changed)
            return Response(200, {"spreadsheetId": book, **_totals(results), "responses": results})

    @route("POST", BOOK + "/values:batchClear")
    def values_batch_clear(self, request: Request, book: str) -> Response:
        with self.transaction():
            changed = self._open(request, book, "write").clone()
            cleared = [values.clear(changed, text) for text in _object(request).get("ranges") or []]
            self.store.save(changed)
            return Response(200, {"spreadsheetId": book, "clearedRanges": cleared})

    @route("POST", BOOK + "/values/<path:text>:append")
    def values_append(self, request: Request, book: str, text: str) -> Response:
        with self.transaction():
            changed = self._open(request, book, "write").clone()
            result = values.append(changed, text, _object(request), dict(request.query), self.clock.now().date())
            try:
                Change(changed, self.settings).check_cells()
            except Refusal as error:
                raise invalid(str(error)) from error
            self.store.save(changed)
            return Response(
                200, {"spreadsheetId": book, **result, "updates": {"spreadsheetId": book, **result["updates"]}}
            )

    @route("POST", BOOK + "/values/<path:text>:clear")
    def values_clear(self, request: Request, book: str, text: str) -> Response:
        with self.transaction():
            changed = self._open(request, book, "write").clone()
            cleared = values.clear(changed, text)
            self.store.save(changed)
            return Response(200, {"spreadsheetId": book, "clearedRange": cleared})

    @route("GET", BOOK + "/developerMetadata/<int:metadata_id>")
    def metadata_get(self, request: Request, book: str, metadata_id: int) -> Response:
        with self.lock:
            found = self._open(request, book, "read").metadata.get(metadata_id)
        if found is None:
            raise not_found()
        return Response(200, found)

    @route("POST", BOOK + "/developerMetadata:search")
    def metadata_search(self, request: Request, book: str) -> Response:
        with self.lock:
            found = self._open(request, book, "read")
            return Response(200, metadata.search(found, _object(request).get("dataFilters") or []))

    def _authorise(self, request: Request, kind: str) -> str:
        grant = self.context.tokens.grant("google", request.bearer)
        if grant is None:
            raise unauthenticated()
        if not grant.has_scope(*(READ_SCOPES if kind == "read" else WRITE_SCOPES)):
            raise insufficient_scope()
        self.quota.take(kind, grant.subject)
        return grant.subject

    def _open(self, request: Request, spreadsheet_id: str, kind: str) -> Book:
        email = self._authorise(request, kind)
        if len(request.body) > 2_000_000:  # Google's advice, not a limit
            self.advised_payloads_exceeded += 1
        book = self.store.get(spreadsheet_id)
        if book is None:
            raise not_found()
        role = self.store.role(spreadsheet_id, email)
        if role is None or (kind == "write" and role != "writer"):
            raise forbidden()
        return book


def _object(request: Request) -> dict[str, Any]:
    body = request.json() if request.body else {}
    if not isinstance(body, dict):
        raise invalid("Invalid JSON payload received. Root element must be a message.")
    return body


def _totals(results: list[dict[str, Any]]) -> dict[str, int]:
    totals = {
        "totalUpdatedRows": sum(one.get("updatedRows", 0) for one in results),
        "totalUpdatedColumns": max((one.get("updatedColumns", 0) for one in results), default=0),
        "totalUpdatedCells": sum(one.get("updatedCells", 0) for one in results),
        "totalUpdatedSheets": len({one["updatedRange"].rpartition("!")[0] for one in results}),
    }
    return {key: value for key, value in totals.items() if value}
