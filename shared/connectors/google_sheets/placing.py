"""Decide where a table goes on its tab, and refuse to cover what is not ours."""

from __future__ import annotations

from dataclasses import replace

from gspread.utils import rowcol_to_a1

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.google_sheets import keys
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import Area, Owned, Tab, Workbook, derived_id
from shared.connectors.google_sheets.publish import Placement
from shared.errors import TargetError


def place(
    client: SheetsClient, workbook: Workbook, plan: DeliveryPlan, title: str, staging: Tab | None = None
) -> Placement:
    """Return the table's place; reads cells only where content could be in the way, and keys.

    A tab without our mark is adopted: the block of rows that starts at A1 and ends at the first empty row counts as the old
    table, to be replaced, appended to or upserted into. Formulas are never covered.

    An upsert into a table is placed finally only with its `staging` tab, whose keys say which rows are new. Without it the
    answer is an upper bound, as if all were; the target's own keys are checked either way.

    Raises:
        TargetError: codes `not_a_grid`, `header_drift`, `formula_in_the_way`, `content_in_the_way`, and those of `keys`.
    """
    tab, columns = workbook.tab(title), len(plan.schema)
    if tab is None:
        taken = {one.sheet_id for one in workbook.tabs}
        sheet_id = int(plan.state.get("target_id") or derived_id(plan.job_id, "target", taken))
        return Placement(None, title, sheet_id, None, 0, plan.rows, columns)
    if tab.cells == 0:
        raise TargetError(
            f"the tab {title!r} is no grid of cells (a chart, or connected data); choose another worksheet",
            code="not_a_grid",
        )
    owned = tab.owned or _adopt(client, tab, columns)
    top = 0
    if plan.mode is not Mode.REPLACE and owned is not None:
        _check_header(client, tab, owned, plan.schema.names)
        top = min(owned.rows, tab.rows)  # a person may have deleted rows
    placement = Placement(tab, tab.title, tab.sheet_id, owned, top, plan.rows, columns)
    if plan.mode is Mode.UPSERT and top > 0:
        key = keys.Key(plan.schema, plan.key)
        live = key.read(client, keys.of_target(tab.title, top - 1))
        if staging is None:
            return placement
        moves, added = keys.moves(key.read(client, keys.of_source(staging.title, plan.rows)), live)
        placement = replace(placement, rows=added, moves=moves)
    _check_empty(client, tab, placement.newly_covered())
    return placement


def _adopt(client: SheetsClient, tab: Tab, columns: int) -> Owned | None:
    """The old table of a tab that we have not written before, None if there is none."""
    area = Area(0, tab.rows, 0, columns).within(tab.rows, tab.columns)
    (cells,) = client.read_values([area.a1(tab.title)], formulas=True)
    height = 0
    while any(height < len(column) and column[height] != "" for column in cells):
        height += 1
    for index, column in enumerate(cells):
        for row, cell in enumerate(column[:height]):
            if isinstance(cell, str) and cell.startswith("="):
                raise TargetError(
                    f"cell {rowcol_to_a1(row + 1, index + 1)} of {tab.title!r} holds a formula, which an export never "
                    "overwrites; choose another worksheet, or move the formula",
                    code="formula_in_the_way",
                )
    return Owned(height, area.right) if height else None


def _check_header(client: SheetsClient, tab: Tab, owned: Owned, names: list[str]) -> None:
    width = max(owned.columns, len(names))
    (cells,) = client.read_values([Area(0, 1, 0, width).within(tab.rows, tab.columns).a1(tab.title)])
    present = [str(column[0]) if column else "" for column in cells]
    present += [""] * (owned.columns - len(present))
    if tab.tokens:
        present = present[: owned.columns]  # what stands to the right of our columns is somebody else's
    if present == names:
        return
    missing = [name for name in names if name not in present]
    unknown = [name for name in present if name not in names]
    parts = [f"missing in the tab: {missing}"] * bool(missing) + [f"only in the tab: {unknown}"] * bool(unknown)
    raise TargetError(
        f"rows cannot be appended to {tab.title!r}: its header is not the table's "
        f"({'; '.join(parts) or 'the same columns in another order'}); replace the table once, or map its columns",
        code="header_drift",
        missing=missing,
        unknown=unknown,
    )


def _check_empty(client: SheetsClient, tab: Tab, areas: list[Area]) -> None:
    if not areas:
        return
    for area, cells in zip(areas, client.read_values([one.a1(tab.title) for one in areas], formulas=True), strict=True):
        for index, column in enumerate(cells):
            row = next((at for at, cell in enumerate(column) if cell != ""), None)
            if row is not None:
                where = rowcol_to_a1(area.top + row + 1, area.left + index + 1)
                raise TargetError(
                    f"cell {where} of {tab.title!r} holds something that this connector did not write, where the table needs "
                    "room; move it aside, or choose another worksheet",
                    code="content_in_the_way",
                )
