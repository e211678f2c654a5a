"""Developer metadata: small key-value pairs on a spreadsheet, a sheet, a row or a column.

Those of a row or column stay with it when rows or columns are inserted or deleted before it, and go with it when it is deleted
(the discovery document, DeveloperMetadata).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from .book import Book
from .masks import copy_fields, paths
from .refusal import Refusal

if TYPE_CHECKING:
    from .batch_update import Change

MAX_CHARACTERS = (
    30_000  # keys and values of one location together: developers.google.com/workspace/sheets/api/guides/metadata
)


def create(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    asked = body.get("developerMetadata") or {}
    if not asked.get("metadataKey"):
        raise Refusal("metadataKey must be set.")
    if "visibility" not in asked:
        raise Refusal("Invalid visibility.")
    made = {
        "metadataId": _new_id(change.book, asked.get("metadataId")),
        "metadataKey": asked["metadataKey"],
        **({"metadataValue": asked["metadataValue"]} if asked.get("metadataValue") else {}),
        "location": _location(change.book, asked.get("location") or {}),
        "visibility": asked["visibility"],
    }
    change.book.metadata[made["metadataId"]] = made
    _check_size(change.book, made["location"])
    return {"createDeveloperMetadata": {"developerMetadata": made}}


def update(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    fields = paths(body.get("fields", {}))
    if not fields:
        raise Refusal("At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)")
    asked = body.get("developerMetadata") or {}
    names = [key for key in asked if key != "metadataId"] if ("*",) in fields else [path[0] for path in fields]
    changed = []
    for old in _matching(change.book, body.get("dataFilters") or []):
        new = dict(old)
        for name in names:
            copy_fields(asked, new, (name,))
        if new.get("metadataId") != old["metadataId"]:
            raise Refusal("metadataId cannot be changed.")
        if not new.get("metadataKey") or "visibility" not in new:
            raise Refusal("metadataKey and visibility must be set.")
        new["location"] = _location(change.book, new.get("location") or {})
        change.book.metadata[old["metadataId"]] = new
        _check_size(change.book, new["location"])
        changed.append(new)
    return {"updateDeveloperMetadata": {"developerMetadata": changed}}


def delete(change: Change, body: dict[str, Any]) -> dict[str, Any]:
    gone = _matching(change.book, [body.get("dataFilter") or {}])
    for one in gone:
        del change.book.metadata[one["metadataId"]]
    return {"deleteDeveloperMetadata": {"deletedDeveloperMetadata": gone}}


def search(book: Book, filters: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of developerMetadata:search; an empty object when nothing matches."""
    matched = []
    for one in book.metadata.values():
        hits = [item for item in filters if _matches(one, item.get("developerMetadataLookup") or {})]
        if hits:
            matched.append({"developerMetadata": one, "dataFilters": hits})
    return {"matchedDeveloperMetadata": matched} if matched else {}


def shift(book: Book, sheet_id: int, dimension: str, start: int, count: int) -> None:
    """Follow `count` rows or columns that are inserted (positive) or deleted (negative) at `start`."""
    for key, one in list(book.metadata.items()):
        span = one["location"].get("dimensionRange")
        if span is None or (span["sheetId"], span["dimension"]) != (sheet_id, dimension) or span["endIndex"] <= start:
            continue
        at = span["startIndex"]
        if count < 0 and at < start - count:
            del book.metadata[key]
        else:
            moved = {**span, "startIndex": at + count, "endIndex": at + count + 1}
            book.metadata[key] = {**one, "location": {**one["location"], "dimensionRange": moved}}


def of_sheet(book: Book, sheet_id: int | None) -> list[dict[str, Any]]:
    """Metadata on a sheet itself (not on its rows and columns), or with None on the spreadsheet."""
    if sheet_id is None:
        return [one for one in book.metadata.values() if one["location"]["locationType"] == "SPREADSHEET"]
    return [
        one
        for one in book.metadata.values()
        if one["location"]["locationType"] == "SHEET" and one["location"]["sheetId"] == sheet_id
    ]


def _new_id(book: Book, asked: int | None) -> int:
    if asked is None:
        return random.randrange(1, 2**31 - 1)  # noqa: S311 - an id, not a secret
    if not 0 < asked < 2**31:
        raise Refusal("metadataId must be positive.")
    if asked in book.metadata:
        raise Refusal(
            f"Cannot add developer metadata with ID [{asked}] because developer metadata with that ID already exists."
        )
    return asked


def _location(book: Book, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("spreadsheet"):
        return {"locationType": "SPREADSHEET", "spreadsheet": True}
    span = asked.get("dimensionRange")
    sheet_id = asked.get("sheetId") if span is None else span.get("sheetId", 0)
    if sheet_id is None:
        raise Refusal("location must be set.")
    sheet = book.by_id(sheet_id)
    if sheet is None:
        raise Refusal(f"No grid with id: {sheet_id}")
    if span is None:
        return {"locationType": "SHEET", "sheetId": sheet_id}
    if "dimension" not in span or span.get("startIndex", 0) < 0:
        raise Refusal("dimensionRange must have a dimension and must not start below zero.")
    if span.get("endIndex", 0) - span.get("startIndex", 0) != 1:
        raise Refusal("dimensionRange must represent a single row or column.")
    kind, size = ("ROW", sheet.row_count) if span["dimension"] == "ROWS" else ("COLUMN", sheet.column_count)
    if span["endIndex"] > size:
        raise Refusal(f"dimensionRange must lie inside the grid ({size}).")
    return {"locationType": kind, "dimensionRange": {"startIndex": 0, **span, "sheetId": sheet_id}}


def _check_size(book: Book, location: dict[str, Any]) -> None:
    there = [one for one in book.metadata.values() if one["location"] == location]
    if sum(len(one["metadataKey"]) + len(one.get("metadataValue", "")) for one in there) > MAX_CHARACTERS:
        raise Refusal(f"Developer metadata of one location may hold at most {MAX_CHARACTERS:,} characters.")


def _matching(book: Book, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lookups = [item["developerMetadataLookup"] for item in filters if "developerMetadataLookup" in item]
    if not lookups:
        raise Refusal("the sandbox looks metadata up by developerMetadataLookup only.")
    return [one for one in book.metadata.values() if any(_matches(one, lookup) for lookup in lookups)]


def _matches(one: dict[str, Any], lookup: dict[str, Any]) -> bool:
    plain = all(
        one.get(name) == lookup[name]
        for name in ("metadataId", "metadataKey", "metadataValue", "visibility")
        if name in lookup
    )
    location = one["location"]
    kind = lookup.get("locationType")
    place = lookup.get("metadataLocation")
    if place is not None:
        is_exact = lookup.get("locationMatchingStrategy") == "EXACT_LOCATION"
        plain = plain and (_is_at if is_exact else _intersects)(location, place)
    return plain and (kind is None or location["locationType"] == kind)


def _is_at(location: dict[str, Any], place: dict[str, Any]) -> bool:
    span = place.get("dimensionRange")
    if span is not None:
        return bool(location.get("dimensionRange") == {"sheetId": 0, "startIndex": 0, **span})
    asked = {name: place[name] for name in ("sheetId", "spreadsheet") if name in place}
    return asked == {name: location[name] for name in ("sheetId", "spreadsheet") if name in location}


def _intersects(location: dict[str, Any], place: dict[str, Any]) -> bool:
    """Whether two places have a cell in common; the spreadsheet as a place intersects no other."""
    if place.get("spreadsheet") or location.get("spreadsheet"):
        return bool(place.get("spreadsheet") and location.get("spreadsheet"))
    here, there = (one.get("dimensionRange") or {"sheetId": one.get("sheetId", 0)} for one in (location, place))
    if here["sheetId"] != there.get("sheetId", 0):
        return False
    if "dimension" not in here or here["dimension"] != there.get("dimension"):
        return True
    return bool(there.get("startIndex", 0) <= here["startIndex"] < there.get("endIndex", here["endIndex"]))
