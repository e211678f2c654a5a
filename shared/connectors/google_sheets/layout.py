"""Where a table lies in a spreadsheet: tabs, what we own of a tab, and the ranges between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gspread.utils import rowcol_to_a1

FIELDS = (
    "spreadsheetId,properties(title,autoRecalc),"
    "sheets(properties(sheetId,title,sheetType,gridProperties(rowCount,columnCount)),developerMetadata),developerMetadata"
)
MAX_CELLS = 10_000_000  # of a spreadsheet; see `limits`
TOKEN_KEY = "bi_connectors.publish"  # noqa: S105 - a key of developer metadata, no secret
STAGING_KEY = "bi_connectors.staging"
STAGING_PREFIX = "__staging_"
STAGING_LIFE = timedelta(
    days=2
)  # our choice: no job is driven that long; the mark of a staging tab says when it was made
MAX_TITLE = 100  # error text of the API: "The sheet name cannot be greater than 100 characters."
LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class Area:
    """Rows `top` to `bottom` and columns `left` to `right`, zero-based, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def is_empty(self) -> bool:
        return self.bottom <= self.top or self.right <= self.left

    def within(self, rows: int, columns: int) -> Area:
        """The part that lies on a grid of this size."""
        return Area(self.top, min(self.bottom, rows), self.left, min(self.right, columns))

    def moved(self, rows: int, columns: int) -> Area:
        return Area(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def grid_range(self, sheet_id: int) -> dict[str, int]:
        """Google's GridRange."""
        return {
            "sheetId": sheet_id,
            "startRowIndex": self.top,
            "endRowIndex": self.bottom,
            "startColumnIndex": self.left,
            "endColumnIndex": self.right,
        }

    def a1(self, title: str) -> str:
        """A1 notation with the quoted title."""
        first, last = rowcol_to_a1(self.top + 1, self.left + 1), rowcol_to_a1(self.bottom, self.right)
        return f"{quoted(title)}!{first}:{last}"


def quoted(title: str) -> str:
    """A sheet title for A1 notation."""
    return "'" + title.replace("'", "''") + "'"


@dataclass(frozen=True)
class Owned:
    """Our range of a tab.

    Attributes:
        rows, columns: its size, header included.
        formats: number formats that we set, by column, counted from the range's first.
        sequence: number of the publish that left it.
        top, left: where it begins, zero-based.
        header: `header_digest` of its first row; empty in marks of the release that kept no edges (`edges`).
    """

    rows: int
    columns: int
    formats: Mapping[int, str] = field(default_factory=dict)
    sequence: int = 0
    top: int = 0
    left: int = 0
    header: str = ""

    @property
    def area(self) -> Area:
        return Area(self.top, self.top + self.rows, self.left, self.left + self.columns)


def header_digest(names: Sequence[str]) -> str:
    """Column names in 16 characters: a tab's metadata has no room for thousands of them."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Token:
    """The mark of one publish in a tab's developer metadata: made inside the atomic call, so its id can be made only once.

    `overwrote` counts cells that somebody filled at that moment, and that are gone (`publish.overwritten`).
    """

    metadata_id: int
    job_id: str
    owned: Owned
    overwrote: int = 0

    def value(self) -> str:
        owned = self.owned
        formats = {str(column): kind for column, kind in owned.formats.items()}
        content = {
            "job": self.job_id,
            "n": owned.sequence,
            "rows": owned.rows,
            "columns": owned.columns,
            "formats": formats,
            "top": owned.top,
            "left": owned.left,
            "header": owned.header,
            **({"overwrote": self.overwrote} if self.overwrote else {}),
        }
        return json.dumps(content, separators=(",", ":"))

    @property
    def size(self) -> int:
        """Characters that it takes of the tab's metadata."""
        return len(TOKEN_KEY) + len(self.value())

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> Token | None:
        """The token in a piece of developer metadata; None if it is somebody else's, or not readable."""
        if metadata.get("metadataKey") != TOKEN_KEY:
            return None
        try:
            content = json.loads(metadata["metadataValue"])
            formats = {int(column): str(kind) for column, kind in content["formats"].items()}
            owned = Owned(
                int(content["rows"]),
                int(content["columns"]),
                formats,
                int(content["n"]),
                int(content.get("top", 0)),
                int(content.get("left", 0)),
                str(content.get("header", "")),
            )
            return cls(int(metadata["metadataId"]), str(content["job"]), owned, int(content.get("overwrote", 0)))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


@dataclass(frozen=True)
class StagingMark:
    """What tells our staging tabs from a person's tab of a like name: made with the tab, in its developer metadata."""

    job_id: str
    made_at: datetime

    def request(self, sheet_id: int) -> dict[str, Any]:
        """The request that puts it on a tab."""
        value = json.dumps({"job": self.job_id, "at": self.made_at.isoformat()}, separators=(",", ":"))
        metadata = {"metadataKey": STAGING_KEY, "metadataValue": value, "visibility": "DOCUMENT"}
        return {"createDeveloperMetadata": {"developerMetadata": {**metadata, "location": {"sheetId": sheet_id}}}}

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> StagingMark | None:
        """The mark in a piece of developer metadata; None if it is something else, or not readable."""
        if metadata.get("metadataKey") != STAGING_KEY:
            return None
        try:
            content = json.loads(metadata["metadataValue"])
            made_at = datetime.fromisoformat(content["at"])
            return cls(str(content["job"]), made_at) if made_at.tzinfo else None
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Tab:
    """One worksheet. Tabs that are no grids (charts) have no cells."""

    sheet_id: int
    title: str
    rows: int
    columns: int
    tokens: tuple[Token, ...] = ()
    staging: StagingMark | None = None

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @property
    def owned(self) -> Owned | None:
        """What the newest publish left here, as it was then."""
        newest = max(self.tokens, key=lambda token: token.owned.sequence, default=None)
        return None if newest is None else newest.owned

    @property
    def sequence(self) -> int:
        """Number of the newest publish, 0 before the first."""
        return self.owned.sequence if self.owned else 0


@dataclass(frozen=True)
class Workbook:
    """A spreadsheet as it is now."""

    title: str
    auto_recalc: str
    tabs: Sequence[Tab]
    metadata_ids: frozenset[int]

    @classmethod
    def parse(cls, resource: Mapping[str, Any]) -> Workbook:
        """From the resource that `FIELDS` asks for."""
        tabs, ids = [], {int(one["metadataId"]) for one in resource.get("developerMetadata", [])}
        for sheet in resource.get("sheets", []):
            properties, metadata = sheet["properties"], sheet.get("developerMetadata", [])
            grid = properties.get("gridProperties", {})
            tokens = tuple(token for one in metadata if (token := Token.parse(one)))
            ids |= {int(one["metadataId"]) for one in metadata}
            size = (grid.get("rowCount", 0), grid.get("columnCount", 0))
            staging = next((mark for one in metadata if (mark := StagingMark.parse(one))), None)
            tabs.append(Tab(properties.get("sheetId", 0), properties["title"], *size, tokens, staging))
        about = resource["properties"]
        return cls(about.get("title", ""), about.get("autoRecalc", "ON_CHANGE"), tabs, frozenset(ids))

    @property
    def cells(self) -> int:
        return sum(tab.cells for tab in self.tabs)

    def tab(self, title: str) -> Tab | None:
        """By title; Google takes titles that differ in case only for the same."""
        exact = next((tab for tab in self.tabs if tab.title == title), None)
        return exact or next((tab for tab in self.tabs if tab.title.lower() == title.lower()), None)

    def by_id(self, sheet_id: int) -> Tab | None:
        return next((tab for tab in self.tabs if tab.sheet_id == sheet_id), None)

    def token(self, job_id: str) -> tuple[Tab, Token] | None:
        """The mark that this job's publish left, and the tab that carries it."""
        return next(((tab, t) for tab in self.tabs for t in tab.tokens if t.job_id == job_id), None)

    def stale_staging(self, job_id: str, now: datetime) -> list[Tab]:
        """Our staging tabs, other than this job's, that are older than `STAGING_LIFE`: name and mark must both be ours."""
        named = [tab for tab in self.tabs if tab.title.startswith(STAGING_PREFIX) and tab.staging]
        return [t for t in named if t.staging and t.staging.job_id != job_id and t.staging.made_at < now - STAGING_LIFE]

    def without(self, tabs: Sequence[Tab]) -> Workbook:
        """As it will be when these tabs are removed."""
        gone = {tab.sheet_id for tab in tabs}
        return replace(self, tabs=[tab for tab in self.tabs if tab.sheet_id not in gone])


def staging_title(job_id: str) -> str:
    """`__staging_<job>`, with a digest in place of an id that is too long for a title."""
    title = STAGING_PREFIX + job_id
    return title if len(title) <= MAX_TITLE else STAGING_PREFIX + hashlib.sha256(job_id.encode()).hexdigest()


def derived_id(job_id: str, purpose: str, taken: frozenset[int] | set[int]) -> int:
    """A positive 31-bit id that follows from the job, the first one of a fixed sequence that is not taken."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{job_id}\n{purpose}\n{attempt}".encode()).digest()
        candidate = int.from_bytes(digest[:4], "big") & LARGEST_ID
        if candidate and candidate not in taken:
            return candidate
        attempt += 1
