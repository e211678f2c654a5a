"""spreadsheets.batchUpdate: every request is applied to a copy of the book in turn; one refusal and the copy is dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import cell_requests, metadata, sheet_requests
from .book import Book
from .errors import invalid, refuse
from .refusal import Refusal

MAX_REQUESTS = 100_000  # "Cannot exceed 100000 requests in a single batch." github.com/airbytehq/airbyte/issues/42904

Handler = Callable[["Change", dict[str, Any]], dict[str, Any]]


@dataclass
class Change:
    """A book being changed, and the knobs that bound it."""

    book: Book
    settings: Mapping[str, Any]

    def check_cells(self) -> None:
        """Raises `Refusal` when the tabs together hold more cells than a spreadsheet may."""
        limit = int(self.settings["max_cells"])
        if self.book.cells() > limit:
            raise Refusal(
                f"This action would increase the number of cells in the workbook above the limit of {limit} cells."
            )

    def check_time(self, cells: int) -> None:
        """Raises `VendorError` (504) when copying so many cells would take longer than Google waits."""
        speed = float(self.settings["copy_cells_per_s"])
        if speed and cells / speed > float(self.settings["timeout_s"]):
            raise refuse(504, "Deadline expired before operation could complete.")


HANDLERS: Mapping[str, Handler] = {
    "addSheet": sheet_requests.add_sheet,
    "deleteSheet": sheet_requests.delete_sheet,
    "updateSheetProperties": sheet_requests.update_sheet_properties,
    "updateSpreadsheetProperties": sheet_requests.update_spreadsheet_properties,
    "appendDimension": sheet_requests.append_dimension,
    "insertDimension": sheet_requests.insert_dimension,
    "deleteDimension": sheet_requests.delete_dimension,
    "copyPaste": cell_requests.copy_paste,
    "repeatCell": cell_requests.repeat_cell,
    "updateCells": cell_requests.update_cells,
    "appendCells": cell_requests.append_cells,
    "findReplace": cell_requests.find_replace,
    "createDeveloperMetadata": metadata.create,
    "updateDeveloperMetadata": metadata.update,
    "deleteDeveloperMetadata": metadata.delete,
}


def apply_batch(
    book: Book, requests: list[dict[str, Any]], settings: Mapping[str, Any]
) -> tuple[Book, list[dict[str, Any]]]:
    """Return a changed copy of `book` and one reply for each request (as `binding` reads them), in order.

    Raises:
        VendorError: 400 naming the first request that cannot be applied.
    """
    if not requests:
        raise invalid("Must specify at least one request.")
    if len(requests) > MAX_REQUESTS:
        raise invalid(f"Cannot exceed {MAX_REQUESTS} requests in a single batch.")
    change = Change(book.clone(), settings)
    replies = [_apply(change, index, request) for index, request in enumerate(requests)]
    return change.book, replies


def _apply(change: Change, index: int, request: dict[str, Any]) -> dict[str, Any]:
    if not request:
        raise invalid(f"Invalid requests[{index}]: No request set.")
    ((kind, body),) = request.items()
    try:
        return HANDLERS[kind](change, body)
    except Refusal as error:
        raise invalid(f"Invalid requests[{index}].{kind}: {error}") from error
