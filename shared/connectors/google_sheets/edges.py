"""Where our range is now: marks on its first and last row and column, which Google moves with them.

Developer metadata of a row or column "will remain associated at those locations as they move around and the spreadsheet is
edited", and goes when the row or column is deleted (discovery document, DeveloperMetadata). The numbers in the tab's own mark
do not move; they say what was there when it was made. Nothing is documented for named or protected ranges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import Area, Tab, derived_id

EDGE_KEY = "bi_connectors.edge"
SIDES = ("top", "bottom", "left", "right")
Request = dict[str, Any]


@dataclass(frozen=True)
class Edge:
    """One mark. `sequence` is the number of the publish that put it there; `index` is the zero-based row or column."""

    metadata_id: int
    sheet_id: int
    side: str
    sequence: int
    index: int

    @property
    def location(self) -> dict[str, Any]:
        dimension = "ROWS" if self.side in ("top", "bottom") else "COLUMNS"
        span = {"dimension": dimension, "startIndex": self.index, "endIndex": self.index + 1}
        return {"dimensionRange": {"sheetId": self.sheet_id, **span}}

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> Edge | None:
        """The edge in a piece of developer metadata; None if it is not one of ours."""
        try:
            content = json.loads(metadata["metadataValue"])
            span = metadata["location"]["dimensionRange"]
            place = (span.get("sheetId", 0), str(content["side"]), int(content["n"]), span.get("startIndex", 0))
            edge = cls(int(metadata["metadataId"]), *place)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return edge if edge.side in SIDES else None


def read(client: SheetsClient, tab: Tab) -> tuple[Edge, ...]:
    """The edges on a tab, one call; none without a call on a tab that we never wrote."""
    if not tab.tokens:
        return ()
    found = (Edge.parse(one) for one in client.find_metadata(EDGE_KEY))
    return tuple(edge for edge in found if edge and edge.sheet_id == tab.sheet_id)


def area_of(edges: Sequence[Edge], sequence: int) -> Area | None:
    """The range that this publish left, where it lies now; None if one of its edges was deleted."""
    at = {edge.side: edge.index for edge in edges if edge.sequence == sequence}
    if at.keys() != set(SIDES):
        return None
    area = Area(at["top"], at["bottom"] + 1, at["left"], at["right"] + 1)
    return None if area.is_empty else area


def move_requests(
    edges: Sequence[Edge], tab: Tab | None, sheet_id: int, after: Area, sequence: int
) -> Iterator[Request]:
    """Take the edges from where they were seen, and put them around `after`.

    This is a guard as well: an edge that a person's edit moved meanwhile is not found at its place, and making it anew under the
    id that it has is refused, with the whole batch. One that went with its row or column left a smaller grid, on which the mark
    that is tried on the last row and column cannot be made.
    """
    if tab and edges:
        for side, index in (("bottom", tab.rows - 1), ("right", tab.columns - 1)):
            probe = Edge(derived_id(f"{sheet_id}", f"probe {side}", set()), sheet_id, side, 0, index)
            yield from (_made(probe), _gone(probe))
    for edge in edges:
        yield _gone(edge)
    ids = {edge.side: edge.metadata_id for edge in edges}
    places = {"top": after.top, "bottom": after.bottom - 1, "left": after.left, "right": after.right - 1}
    for side in SIDES:
        metadata_id = ids.get(side) or derived_id(f"{sheet_id}", f"edge {side}", set())
        yield _made(Edge(metadata_id, sheet_id, side, sequence, places[side]))


def _made(edge: Edge) -> Request:
    value = json.dumps({"side": edge.side, "n": edge.sequence}, separators=(",", ":"))
    metadata = {
        "metadataId": edge.metadata_id,
        "metadataKey": EDGE_KEY,
        "metadataValue": value,
        "visibility": "DOCUMENT",
    }
    return {"createDeveloperMetadata": {"developerMetadata": {**metadata, "location": edge.location}}}


def _gone(edge: Edge) -> Request:
    lookup = {"metadataId": edge.metadata_id, "metadataLocation": edge.location}
    exactly = {**lookup, "locationMatchingStrategy": "EXACT_LOCATION"}
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": exactly}}}
