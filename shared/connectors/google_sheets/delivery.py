"""One job's way into one tab: a hidden staging tab, verified, then one atomic batch."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pyarrow as pa

from shared.connectors._base import Begun, Chunk, DeliveryPlan, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint, row_fingerprint
from shared.connectors.google_sheets import edges, encode, keys, limits
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import (
    FIELDS,
    Area,
    Owned,
    StagingMark,
    Tab,
    Token,
    Workbook,
    derived_id,
    staging_title,
)
from shared.connectors.google_sheets.placing import order_of, place
from shared.connectors.google_sheets.publish import (
    Marks,
    Placement,
    mark_id,
    mark_overwritten,
    overwritten,
    owned_after,
    publish_requests,
)
from shared.errors import TargetError, VendorUnavailableError, VerificationError
from shared.ports import Clock

CHUNK_CELLS = 150_000  # our choice: near 1.5 MB at the 10 bytes a cell that were measured
CHUNK_ROWS = 20_000  # our choice: bounds memory for narrow tables
READ_BACK_CELLS = 300_000  # our choice: 20,000 rows of 15 columns, an answer near 3 MB
KEPT_MARKS = 20  # our choice: marks of the last publishes, so that a late question about one is answered rightly
PUBLISH_ATTEMPTS = 3  # our choice: a publish that another one overtook is worked out anew this often


class SheetsDelivery:
    """See `shared.connectors._base.Delivery`. Everything that matters is in the plan or in the spreadsheet."""

    is_staged = True

    def __init__(self, client: SheetsClient, plan: DeliveryPlan, clock: Clock) -> None:
        self._client = client
        self._plan = plan
        self._clock = clock
        self._columns = len(plan.schema)
        self._title = str(plan.options.get("worksheet") or plan.table_name)
        self._staging_title = staging_title(plan.job_id)
        self._live_rows: int | None = None
        self.chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_CELLS // max(1, self._columns)))

    def preflight(self) -> None:
        """A few reads. Raises `TargetError` for types, limits, another table's header, bad keys, content in the way, or a range
        that people changed."""
        limits.check_plan(self._plan, self._title)
        workbook = self._look()
        if workbook.token(self._plan.job_id) is not None:
            return
        workbook = workbook.without(workbook.stale_staging(self._plan.job_id, self._clock.now()))
        placement = self._placed(workbook)
        has_staging = workbook.tab(self._staging_title) is not None
        staging_cells = 0 if has_staging else (self._plan.rows + 1) * self._columns
        limits.check_room(workbook, placement, staging_cells, self._plan)
        limits.check_tabs(workbook, (not has_staging) + (placement.tab is None))

    def live_rows(self) -> int:
        """Data rows of our range, or of a person's table that would be taken over; no call once `preflight` looked."""
        if self._live_rows is None:
            self._placed(self._look())
        return self._live_rows or 0

    def begin(self) -> Begun:
        """Make the hidden staging tab of the exact size with its header; an existing one of this job is kept.

        Staging tabs that dead jobs left are removed: those of our name and mark that are older than `STAGING_LIFE`.
        """
        workbook = self._look()
        if stale := workbook.stale_staging(self._plan.job_id, self._clock.now()):
            self._remove(stale)
            workbook = self._look()
        staging = workbook.tab(self._staging_title)
        size = (self._plan.rows + 1, self._columns)
        if staging is None or (staging.rows, staging.columns) != size:
            staging = self._make_staging(workbook, staging)
        taken = {tab.sheet_id for tab in workbook.tabs} | {staging.sheet_id}
        target = workbook.tab(self._title)
        target_id = target.sheet_id if target else derived_id(self._plan.job_id, "target", taken)
        state = {"staging_id": staging.sheet_id, "target_id": target_id, "removed_staging_tabs": len(stale)}
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
        if self._plan.mode is Mode.UPSERT:
            keys.Key(self._plan.schema, self._plan.key).refuse_empty(table, first_row)
        return row_fingerprint(encode.canonical_source(table, first_row))

    def read_back(self) -> Fingerprint:
        """Read the whole staging tab, a page a call; after a wait for quota, from the page where it stood.

        Raises:
            VerificationError: its header is not ours.
            TargetError: code `key_twice`, two rows of an upsert have one key.
        """
        before = self._plan.checkpoint.get("read_back") or {"rows": 0, "found": Fingerprint(0, 0).to_json()}
        start, total = before["rows"], Fingerprint.from_json(before["found"])
        page = max(1, READ_BACK_CELLS // max(1, self._columns))
        try:
            if self._plan.rows == 0:
                self._check_header(self._page(0, 1))
            while start < self._plan.rows:
                end = min(self._plan.rows, start + page)
                cells = self._page(start + 1 if start else 0, end + 1)
                if start == 0:
                    self._check_header([column[:1] for column in cells])
                    cells = [column[1:] for column in cells]
                total = total + row_fingerprint(encode.canonical_cells(cells, self._plan.schema, end - start))
                start = end
            if self._plan.mode is Mode.UPSERT:
                key = keys.Key(self._plan.schema, self._plan.key)
                key.read(self._client, keys.of_source(self._staging_title, self._plan.rows))
        except VendorUnavailableError as error:
            error.checkpoint = {"read_back": {"rows": start, "found": total.to_json()}}
            raise
        return total

    def _check_header(self, cells: list[list[Any]]) -> None:
        found = [str(column[0]) if column else "" for column in cells]
        if found != list(self._plan.schema.names):
            raise VerificationError(
                f"the staging tab's header is {found!r}, expected {list(self._plan.schema.names)!r}"
            )

    def is_published(self) -> bool:
        """Look for this job's mark on the spreadsheet's tabs; one read."""
        return self._look().token(self._plan.job_id) is not None

    def publish(self) -> Published:
        """Send the one batch; an unknown or refused outcome is settled by asking for this job's mark.

        A batch that is refused because another publish or a person's edit came first is worked out anew on what that one left.

        Raises:
            TargetError: as `preflight`; and once it is live, for what people did between the look and the batch and no call can
                rule out: codes `content_overwritten` (cells that the rows newly cover were filled), `key_twice` and `key_empty`
                (an upsert's rows were sorted or typed over).
        """
        for attempt in range(1, PUBLISH_ATTEMPTS + 1):
            workbook = self._look()
            if mark := workbook.token(self._plan.job_id):
                return self._found(*mark)
            placement, staging = self._placement(workbook)
            token = Token(mark_id(placement, workbook.metadata_ids), self._plan.job_id, self._owned_after(placement))
            marks = Marks(token, limits.surplus_marks(placement.tab, token, KEPT_MARKS))
            requests = publish_requests(placement, staging.sheet_id, self._plan.schema, marks)
            try:
                answer = self._client.batch_update(requests, f"publishing {self._title!r}")
            except TargetError:
                after = self._look()
                if mark := after.token(self._plan.job_id):
                    return self._found(*mark)
                now = after.tab(self._title)
                if attempt == PUBLISH_ATTEMPTS or now is None or now == placement.tab:
                    raise
            else:
                break
        if count := overwritten(answer):
            token = replace(token, overwrote=count)
            self._client.batch_update([mark_overwritten(token)], "keeping what was overwritten")
        tab = Tab(placement.sheet_id, placement.title, *placement.grid)
        self._check_live(tab, token, token.owned.area)
        return self._published(tab, token)

    def abandon(self) -> None:
        """Delete the staging tab, if it is there."""
        if (staging := self._look().tab(self._staging_title)) is None:
            return
        try:
            self._client.batch_update([_delete(staging)], "removing the staging tab")
        except TargetError:
            if self._look().tab(self._staging_title) is not None:
                raise

    def _look(self) -> Workbook:
        return Workbook.parse(self._client.get(FIELDS))

    def _page(self, top: int, bottom: int) -> list[list[Any]]:
        return self._client.read_values([Area(top, bottom, 0, self._columns).a1(self._staging_title)])[0]

    def _placement(self, workbook: Workbook) -> tuple[Placement, Tab]:
        staging = workbook.tab(self._staging_title)
        if staging is None:
            raise TargetError(
                f"the staging tab {self._staging_title!r} is gone: somebody deleted it; start the export again",
                code="staging_gone",
            )
        placement = place(self._client, workbook, self._plan, self._title, staging)
        limits.check_room(workbook, placement, 0, self._plan)
        return placement, staging

    def _placed(self, workbook: Workbook) -> Placement:
        placement = place(self._client, workbook, self._plan, self._title)
        self._live_rows = placement.owned.rows - 1 if placement.owned else 0
        return placement

    def _check_live(self, tab: Tab, token: Token, area: Area | None) -> None:
        """Raise `TargetError` if a person's edit and the batch met: asked again, a target that is live gives the same answer."""
        if token.overwrote:
            raise TargetError(
                f"the rows are in {tab.title!r}, and {token.overwrote:,} cells went that somebody filled there at the moment of "
                "publishing; they are in the spreadsheet's version history",
                code="content_overwritten",
            )
        if self._plan.mode is Mode.UPSERT and area is not None:
            owned = replace(token.owned, top=area.top, left=area.left)
            order = order_of(self._client, tab, owned, self._plan)
            block = keys.of_target(tab.title, owned, area.bottom - area.top - 1, order)
            keys.Key(self._plan.schema, self._plan.key).read(self._client, block)

    def _owned_after(self, placement: Placement) -> Owned:
        return owned_after(placement, self._plan.schema)

    def _remove(self, tabs: list[Tab]) -> None:
        """Delete tabs one by one: one that cannot go, or that another job removed, is no reason to stop."""
        for tab in tabs:
            with contextlib.suppress(TargetError):
                self._client.batch_update([_delete(tab)], "removing a dead job's staging tab")

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
        requests: list[dict[str, Any]] = [_delete(wrong)] if wrong else []
        requests.append({"addSheet": {"properties": properties}})
        cells = {"start": start, "rows": [{"values": header}], "fields": "userEnteredValue"}
        requests.append({"updateCells": cells})
        requests.append(StagingMark(self._plan.job_id, self._clock.now()).request(sheet_id))
        try:
            self._client.batch_update(requests, "making the staging tab")
        except TargetError:
            made = self._look().tab(self._staging_title)
            if made is None or (made.rows, made.columns) != (rows, columns):
                raise
            return made
        return Tab(sheet_id, self._staging_title, rows, columns)

    def _found(self, tab: Tab, token: Token) -> Published:
        """What an earlier call published, looked at where it lies now, unless another publish followed."""
        is_newest = tab.sequence == token.owned.sequence and self._plan.mode is Mode.UPSERT
        area = edges.area_of(edges.read(self._client, tab), tab.sequence) if is_newest else None
        self._check_live(tab, token, area)
        return self._published(tab, token)

    def _published(self, tab: Tab, token: Token) -> Published:
        url = f"https://docs.google.com/spreadsheets/d/{self._client.spreadsheet_id}/edit#gid={tab.sheet_id}"
        details = {"worksheet": tab.title, "sheet_id": tab.sheet_id, "range": token.owned.area.a1(tab.title)}
        return Published(url, {**details, "rows": token.owned.rows - 1, "columns": token.owned.columns})


def _delete(tab: Tab) -> dict[str, Any]:
    return {"deleteSheet": {"sheetId": tab.sheet_id}}
