"""One job's way into one tab: a hidden staging tab, verified, then one atomic batch."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from shared.connectors._base import Begun, Chunk, DeliveryPlan, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint, row_fingerprint
from shared.connectors.google_sheets import encode
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import (
    FIELDS,
    STAGING_PREFIX,
    Area,
    Tab,
    Token,
    Workbook,
    derived_id,
    staging_title,
)
from shared.connectors.google_sheets.placing import place
from shared.connectors.google_sheets.publish import Placement, owned_after, publish_requests
from shared.errors import TargetError, VerificationError

MAX_CELLS = 10_000_000  # error text of the API: "... above the limit of 10000000 cells."
MAX_COLUMNS = 18_278  # column ZZZ; a third party's figure, not confirmed by Google
MAX_TABS = 200  # as MAX_COLUMNS
CHUNK_CELLS = 150_000  # our choice: near 1.5 MB at the 10 bytes a cell that were measured
CHUNK_ROWS = 20_000  # our choice: bounds memory for narrow tables
READ_BACK_CELLS = 300_000  # our choice: 20,000 rows of 15 columns, an answer near 3 MB


class SheetsDelivery:
    """See `shared.connectors._base.Delivery`. Everything that matters is in the plan or in the spreadsheet."""

    def __init__(self, client: SheetsClient, plan: DeliveryPlan) -> None:
        self._client = client
        self._plan = plan
        self._columns = len(plan.schema)
        self._title = str(plan.options.get("worksheet") or plan.table_name)
        self._staging_title = staging_title(plan.job_id)
        self.chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_CELLS // max(1, self._columns)))

    def preflight(self) -> None:
        """One or two reads. Raises `TargetError` for types, limits, another table's header, or content in the way."""
        self._check_schema()
        workbook = self._look()
        if workbook.token(self._plan.job_id) is not None:
            return
        placement = place(self._client, workbook, self._plan, self._title)
        has_staging = workbook.tab(self._staging_title) is not None
        staging = 0 if has_staging else (self._plan.rows + 1) * self._columns
        needed = workbook.cells + staging + placement.growth
        if needed > MAX_CELLS:
            raise TargetError(
                f"a spreadsheet holds {MAX_CELLS:,} cells; {workbook.title!r} has {workbook.cells:,}, and this table needs "
                f"{staging:,} for staging and {placement.growth:,} in {self._title!r}; use a spreadsheet of its own",
                code="cell_limit",
                cells=needed,
            )
        tabs = len(workbook.tabs) + (not has_staging) + (placement.tab is None)
        if tabs > MAX_TABS:
            raise TargetError(
                f"a spreadsheet holds {MAX_TABS} tabs; {workbook.title!r} has {len(workbook.tabs)} and a staging tab must fit; "
                "delete tabs that nobody needs",
                code="tab_limit",
            )

    def begin(self) -> Begun:
        """Make the hidden staging tab of the exact size with its header; an existing one of this job is kept."""
        workbook = self._look()
        staging = workbook.tab(self._staging_title)
        size = (self._plan.rows + 1, self._columns)
        if staging is None or (staging.rows, staging.columns) != size:
            staging = self._make_staging(workbook, staging)
        taken = {tab.sheet_id for tab in workbook.tabs} | {staging.sheet_id}
        mark = workbook.token(self._plan.job_id)
        token_id = mark[1].metadata_id if mark else derived_id(self._plan.job_id, "token", workbook.metadata_ids)
        target = workbook.tab(self._title)
        target_id = target.sheet_id if target else derived_id(self._plan.job_id, "target", taken)
        stale = sum(tab.title.startswith(STAGING_PREFIX) for tab in workbook.tabs if tab.title != self._staging_title)
        state = {
            "staging_id": staging.sheet_id,
            "token_id": token_id,
            "target_id": target_id,
            "stale_staging_tabs": stale,
        }
        owned = target.owned if target else None
        seen = {"rows": owned.rows, "columns": owned.columns} if owned else {}
        return Begun(state, {"worksheet": self._title, "sheet_id": target_id, **seen})

    def write(self, chunk: Chunk) -> Written:
        """Write one chunk at its rows of the staging tab; one request for each 2 MB."""
        columns = encode.encode(chunk.table, chunk.first_row)
        sent = 0
        for top, bottom, body in encode.bodies(columns, chunk.table.num_rows, chunk.first_row + 1):
            self._client.write_values(Area(top, bottom, 0, self._columns).a1(self._staging_title), body)
            sent += len(body)
        return Written(sent)

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        """Pure. `first_row` (zero-based) only places the row of a `TargetError`; without it rows count from the chunk's start."""
        return row_fingerprint(encode.canonical_source(table, first_row))

    def read_back(self) -> Fingerprint:
        """Read the whole staging tab, a page a call. Raises `VerificationError` if its header is not ours."""
        total, pages = Fingerprint(0, 0), max(1, READ_BACK_CELLS // max(1, self._columns))
        header = self._page(0, 1) if self._plan.rows == 0 else None
        for start in range(0, self._plan.rows, pages):
            end = min(self._plan.rows, start + pages)
            cells = self._page(0 if start == 0 else start + 1, end + 1)
            if start == 0:
                header, cells = [column[:1] for column in cells], [column[1:] for column in cells]
            total = total + row_fingerprint(encode.canonical_cells(cells, self._plan.schema, end - start))
        found = [str(column[0]) if column else "" for column in header or []]
        if found != list(self._plan.schema.names):
            raise VerificationError(
                f"the staging tab's header is {found!r}, expected {list(self._plan.schema.names)!r}"
            )
        return total

    def is_published(self) -> bool:
        """Ask for this job's mark by its id; one read."""
        token_id = self._plan.state.get("token_id")
        if token_id is None:
            return self._look().token(self._plan.job_id) is not None
        found = self._client.metadata(int(token_id))
        token = Token.parse(found) if found else None
        return token is not None and token.job_id == self._plan.job_id

    def publish(self) -> Published:
        """Send the one batch; an unknown or refused outcome is settled by asking for this job's mark."""
        workbook = self._look()
        if mark := workbook.token(self._plan.job_id):
            return self._published(*mark)
        placement = self._placement(workbook)
        staging = workbook.tab(self._staging_title)
        if staging is None:
            raise TargetError(
                f"the staging tab {self._staging_title!r} is gone: somebody deleted it; start the export again",
                code="staging_gone",
            )
        token_id = int(
            self._plan.state.get("token_id") or derived_id(self._plan.job_id, "token", workbook.metadata_ids)
        )
        token = Token(token_id, self._plan.job_id, owned_after(placement, self._plan.schema))
        requests = publish_requests(placement, staging.sheet_id, self._plan.schema, token)
        try:
            self._client.batch_update(requests, f"publishing {self._title!r}")
        except TargetError:
            if mark := self._look().token(self._plan.job_id):
                return self._published(*mark)
            raise
        return self._published(Tab(placement.sheet_id, placement.title, *placement.grid), token)

    def abandon(self) -> None:
        """Delete the staging tab, if it is there."""
        if (staging := self._look().tab(self._staging_title)) is None:
            return
        try:
            self._client.batch_update([{"deleteSheet": {"sheetId": staging.sheet_id}}], "removing the staging tab")
        except TargetError:
            if self._look().tab(self._staging_title) is not None:
                raise

    def _look(self) -> Workbook:
        return Workbook.parse(self._client.get(FIELDS))

    def _page(self, top: int, bottom: int) -> list[list[Any]]:
        return self._client.read_values([Area(top, bottom, 0, self._columns).a1(self._staging_title)])[0]

    def _placement(self, workbook: Workbook) -> Placement:
        return place(self._client, workbook, self._plan, self._title)

    def _make_staging(self, workbook: Workbook, wrong: Tab | None) -> Tab:
        sheet_id = derived_id(self._plan.job_id, "staging", {tab.sheet_id for tab in workbook.tabs})
        rows, columns = self._plan.rows + 1, self._columns
        properties = {
            "sheetId": sheet_id,
            "title": self._staging_title,
            "hidden": True,
            "gridProperties": {"rowCount": rows, "columnCount": columns},
        }
        header = [{"userEnteredValue": {"stringValue": name}} for name in self._plan.schema.names]
        start = {"sheetId": sheet_id, "rowIndex": 0, "columnIndex": 0}
        requests: list[dict[str, Any]] = [{"deleteSheet": {"sheetId": wrong.sheet_id}}] if wrong else []
        requests.append({"addSheet": {"properties": properties}})
        cells = {"start": start, "rows": [{"values": header}], "fields": "userEnteredValue"}
        requests.append({"updateCells": cells})
        try:
            self._client.batch_update(requests, "making the staging tab")
        except TargetError:
            made = self._look().tab(self._staging_title)
            if made is None or (made.rows, made.columns) != (rows, columns):
                raise
            return made
        return Tab(sheet_id, self._staging_title, rows, columns)

    def _published(self, tab: Tab, token: Token) -> Published:
        url = f"https://docs.google.com/spreadsheets/d/{self._client.spreadsheet_id}/edit#gid={tab.sheet_id}"
        area = Area(0, token.owned.rows, 0, token.owned.columns)
        details = {"worksheet": tab.title, "sheet_id": tab.sheet_id, "range": area.a1(tab.title)}
        return Published(url, {**details, "rows": token.owned.rows - 1, "columns": token.owned.columns})

    def _check_schema(self) -> None:
        if not self._columns:
            raise TargetError("the table has no column; a worksheet needs one", code="no_columns")
        if self._columns > MAX_COLUMNS:
            raise TargetError(
                f"a worksheet holds {MAX_COLUMNS:,} columns, the table has {self._columns:,}; select fewer in the mapping",
                code="column_limit",
            )
        if self._plan.mode not in (Mode.REPLACE, Mode.APPEND):
            raise TargetError(f"mode {self._plan.mode} is not offered here; use replace or append", code="mode")
        for field in self._plan.schema:
            if not encode.is_supported(field.type):
                raise TargetError(
                    f"column {field.name!r} is {field.type}, which a sheet cannot hold; cast it to text in the mapping",
                    code="type_not_supported",
                    column=field.name,
                )
        if len(self._title) > 100 or not self._title or self._title.startswith(STAGING_PREFIX):
            raise TargetError(
                f"worksheet {self._title!r} cannot be a tab's title: 1 to 100 characters, not starting with {STAGING_PREFIX}",
                code="worksheet_title",
            )
