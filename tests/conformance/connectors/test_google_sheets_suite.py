"""Google Sheets in the connectors' suite; rows are read through the Sheets API, serial numbers turned into dates."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from shared.connectors.google_sheets.connector import GoogleSheetsConnector
from tests.conformance.connectors.google_sheets_book import Book, book, make
from tests.conformance.connectors.suite import ConnectorSuite, Row
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["book", "make", "sandboxes", "vendors"]  # fixtures

EPOCH = dt.datetime(1899, 12, 30)


class SheetsRig:
    """One spreadsheet; a table is the tab of its name."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @property
    def connector(self) -> GoogleSheetsConnector:
        return self._book.other_process().connector

    def rows(self, table_name: str) -> list[Row]:
        cells = self._book.api("GET", f"/values/{table_name}?valueRenderOption=UNFORMATTED_VALUE")["values"]
        names, *rows = cells
        return [_typed(dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=True))) for row in rows]


def _typed(row: Row) -> Row:
    """Empty cells are None, numbers and serial numbers what the column says."""
    known: dict[str, Any] = {name: None if cell == "" else cell for name, cell in row.items()}
    if known["joined"] is not None:
        known["joined"] = EPOCH.date() + dt.timedelta(days=known["joined"])
    if known["seen"] is not None:
        known["seen"] = EPOCH + dt.timedelta(milliseconds=round(known["seen"] * 86_400_000))
    if known["hours"] is not None:
        known["hours"] = float(known["hours"])
    return known


class TestGoogleSheets(ConnectorSuite):
    kind = "google_sheets"

    @pytest.fixture
    def rig(self, book: Book) -> SheetsRig:
        return SheetsRig(book)
