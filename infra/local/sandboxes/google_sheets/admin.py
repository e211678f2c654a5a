"""What people do in the browser: make spreadsheets, share them, type into them; and dumps for tests."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from infra.local.sandboxes._base import Request, Response

from . import values
from .a1 import quoted
from .book import DEFAULT_COLUMNS, DEFAULT_ROWS, Book, Formula, Grid, Sheet
from .metadata import of_sheet
from .resource import spreadsheet

if TYPE_CHECKING:
    from infra.local.accounts import Accounts

    from .sandbox import GoogleSheetsSandbox

DASHBOARD = [
    ["Volunteer dashboard"],
    [],
    ["Rows of weather", "=COUNTA(weather!A2:A)"],
    ["Made by a person: exports must leave this tab alone"],
]


def seed(sandbox: GoogleSheetsSandbox, accounts: Accounts) -> None:
    """Make the demo spreadsheet, shared with the demo service account, unless it exists."""
    google = accounts.google
    with sandbox.transaction():
        if sandbox.store.get(google.spreadsheet_id) is None:
            tab = {"title": "Dashboard", "rows": 100, "columns": 10, "values": DASHBOARD}
            make(sandbox, google.spreadsheet_id, "Volunteer dashboard", [tab])
            sandbox.store.share(google.spreadsheet_id, google.service_account_key["client_email"], "writer")


def answer(sandbox: GoogleSheetsSandbox, request: Request, path: str) -> Response | None:
    """Admin routes; see COVERAGE.md."""
    match (request.method, path.strip("/").split("/")):
        case ("GET", ["spreadsheets"]):
            with sandbox.lock:
                return Response(200, {"spreadsheets": [_summary(sandbox, one) for one in sandbox.store.list()]})
        case ("POST", ["spreadsheets"]):
            body = request.json() if request.body else {}
            name = body.get("id") or "1" + secrets.token_urlsafe(32)
            with sandbox.transaction():
                make(
                    sandbox, name, body.get("title", "Untitled spreadsheet"), body.get("tabs") or [{"title": "Sheet1"}]
                )
                for email, role in (body.get("share") or {}).items():
                    sandbox.store.share(name, email, role)
            return Response(201, {"id": name})
        case ("POST", ["quota", "reset"]):
            sandbox.quota.reset()
            return Response(200, {})
        case (_, ["spreadsheets", name, *rest]):
            with sandbox.transaction():
                book = sandbox.store.get(name)
                return (
                    Response(404, {"error": f"no spreadsheet {name}"})
                    if book is None
                    else _one(sandbox, request, book, rest)
                )
    return None


def make(sandbox: GoogleSheetsSandbox, spreadsheet_id: str, title: str, tabs: list[dict[str, Any]]) -> None:
    """Create a spreadsheet; each tab has `title` and may have `rows`, `columns`, `sheetId`, `values` (typed by a person)."""
    properties = {"title": title, "locale": "en_US", "autoRecalc": "ON_CHANGE", "timeZone": "Etc/GMT"}
    book = Book(spreadsheet_id, properties, [], {}, 1)
    for index, tab in enumerate(tabs):
        grid = {"rowCount": tab.get("rows", DEFAULT_ROWS), "columnCount": tab.get("columns", DEFAULT_COLUMNS)}
        made = {
            "sheetId": tab.get("sheetId", index),
            "title": tab["title"],
            "sheetType": "GRID",
            "gridProperties": grid,
        }
        book.sheets.append(Sheet(book.next_key, made, Grid(lambda _: [], 0)))
        book.next_key += 1
    for tab in tabs:
        if tab.get("values"):
            _type(sandbox, book, f"{quoted(tab['title'])}!A1", tab["values"])
    sandbox.store.save(book)


def _type(sandbox: GoogleSheetsSandbox, book: Book, text: str, rows: list[list[Any]]) -> None:
    options = {"valueInputOption": "USER_ENTERED"}
    values.update(book, text, {"values": rows}, options, sandbox.clock.now().date())


def _summary(sandbox: GoogleSheetsSandbox, spreadsheet_id: str) -> dict[str, Any]:
    book = sandbox.store.get(spreadsheet_id)
    if book is None:
        return {"id": spreadsheet_id}
    tabs = [sheet.title for sheet in book.sheets]
    shares = sandbox.store.shares(spreadsheet_id)
    return {
        "id": spreadsheet_id,
        "title": book.properties["title"],
        "cells": book.cells(),
        "tabs": tabs,
        "shares": shares,
    }


def _one(sandbox: GoogleSheetsSandbox, request: Request, book: Book, rest: list[str]) -> Response | None:
    name = book.spreadsheet_id
    match (request.method, rest):
        case ("GET", []):
            whole = spreadsheet(book, {}, [], grid_data=False)
            extra = {"metadata": list(book.metadata.values()), "large_payloads": sandbox.advised_payloads_exceeded}
            return Response(200, {**_summary(sandbox, name), **extra, "resource": whole})
        case ("DELETE", []):
            sandbox.store.delete(name)
            return Response(200, {})
        case ("POST", ["share"]):
            body = request.json()
            sandbox.store.share(name, body["email"], body.get("role"))
            return Response(200, {"shares": sandbox.store.shares(name)})
        case ("POST", ["type"]):
            body, changed = request.json(), book.clone()
            _type(sandbox, changed, body["range"], body["values"])
            sandbox.store.save(changed)
            return Response(200, {})
        case ("GET", ["tabs", *title]):
            sheet = book.by_title("/".join(title))
            return (
                Response(404, {"error": f"no tab {'/'.join(title)}"})
                if sheet is None
                else Response(200, _dump(book, sheet))
            )
    return None


def _dump(book: Book, sheet: Sheet) -> dict[str, Any]:
    rows = [
        [cell.text if isinstance(cell, Formula) else cell for cell in row]
        for row in sheet.grid.rows(0, sheet.grid.last_row())
    ]
    return {
        "sheetId": sheet.sheet_id,
        "title": sheet.title,
        "properties": sheet.properties,
        "values": rows,
        "formats": sheet.formats.to_json(),
        "metadata": of_sheet(book, sheet.sheet_id),
    }
