"""Reading back over several waits for quota."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from shared.connectors.google_sheets import delivery as sheets
from shared.errors import VendorUnavailableError
from tests.conformance.connectors.google_sheets_book import Book, make
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["make", "sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")


def test_a_read_back_goes_on_at_the_page_where_it_had_to_wait(
    make: Callable[..., Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "READ_BACK_CELLS", 20)
    table = pa.table({"id": list(range(95)), "name": [f"n{row}" for row in range(95)]})
    book = make()
    plan, expected, _ = book.stage(book.plan(table), table)
    read, pages = sheets.SheetsDelivery._page, []

    def short_of_quota(delivery: sheets.SheetsDelivery, top: int, bottom: int) -> list[list[object]]:
        if len(pages) % 4 == 3:
            pages.append((0, 0))
            raise VendorUnavailableError("the quota is used up", code="quota_wait", retry_after_s=30.0)
        pages.append((top, bottom))
        return read(delivery, top, bottom)

    monkeypatch.setattr(sheets.SheetsDelivery, "_page", short_of_quota)
    waits = 0
    while True:
        try:
            found = book.open(plan).read_back()
            break
        except VendorUnavailableError as error:
            plan, waits = replace(plan, checkpoint=error.checkpoint), waits + 1
    assert expected.differences(found) == []
    assert waits == 3
    assert [page for page in pages if page != (0, 0)] == [
        (0, 11),
        *((row + 1, min(row + 11, 96)) for row in range(10, 95, 10)),
    ]
