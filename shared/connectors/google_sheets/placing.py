"""Decide where a table goes on its tab, and refuse to cover what is not ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gspread.utils import rowcol_to_a1

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.google_sheets import edges, keys
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import Area, Owned, Tab, Workbook, derived_id, header_digest
from shared.connectors.google_sheets.publish import Placement
from shared.errors import TargetError

PAGE_CELLS = 300_000  # our choice: as for reading back, an answer of a few MB
Columns = list[list[Any]]
Order = tuple[int, ...]


def place(
    client: SheetsClient, workbook: Workbook, plan: DeliveryPlan, title: str, staging: Tab | None = None
) -> Placement:
    """Return the table's place; reads cells only at its edges, where content could be in the way, and keys.

    Our range is where its edges are now, whatever people inserted or deleted around it or in it; what they type over our values
    is overwritten. A doubt about what of it, or next to it, is ours refuses the job.

    A tab without our mark is adopted if it has the table's header: the block of rows that starts at A1 and ends at the first
    empty row counts as the old table, to be replaced, appended to or upserted into. Formulas in it are never covered.

    An upsert into a table is placed finally only with its `staging` tab, whose keys say which rows are new. Without it the
    answer is an upper bound, as if all were; the target's own keys are checked either way.

    Raises:
        TargetError: codes `not_a_grid`, `header_drift`, `range_changed`, `formula_in_the_way`, `content_in_the_way`, and those
            of `keys`.
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
    marks = edges.read(client, tab)
    owned, order = (_live_range(tab, marks), ()) if tab.owned else _adopt(client, tab, plan)
    top = owned.rows if owned and plan.mode is not Mode.REPLACE else 0
    placement = Placement(tab, tab.title, tab.sheet_id, owned, top, plan.rows, columns, edges=marks, order=order)
    is_keyed = plan.mode is Mode.UPSERT and owned is not None
    covered = [] if is_keyed else placement.newly_covered()
    if tab.owned and owned:
        placement = replace(placement, order=_check_range(client, tab, owned, plan, covered))
    else:
        _check_empty(client, tab, covered)
    if not is_keyed or owned is None:
        return placement
    key = keys.Key(plan.schema, plan.key)
    live = key.read(client, keys.of_target(tab.title, owned, top - 1, placement.order))
    if staging is None:
        return placement
    staged = key.read(client, keys.of_source(staging.title, plan.rows))
    moves, added = keys.moves(staged, live, len(placement.pieces))
    placement = replace(placement, rows=added, moves=moves)
    _check_empty(client, tab, placement.newly_covered())
    return placement


def _live_range(tab: Tab, marks: Sequence[edges.Edge]) -> Owned | None:
    """Our range where it lies now; the former release left no edges, so there it is where it was."""
    then = tab.owned
    if then is None or not then.header:
        return then
    area = edges.area_of(marks, then.sequence)
    if area is None:
        raise _changed(tab, "a row or column at its edge was deleted")
    rows, columns = area.bottom - area.top, area.right - area.left
    return replace(then, rows=rows, columns=columns, top=area.top, left=area.left)


def _check_range(client: SheetsClient, tab: Tab, owned: Owned, plan: DeliveryPlan, covered: list[Area]) -> Order:
    """Refuse a range that people changed so that it cannot be told what is ours; and what `covered` holds. One call, or two.

    Returns the order of its columns (`Placement.order`).
    """
    then, area = tab.owned or owned, owned.area
    if area.bottom > tab.rows or area.right > tab.columns:
        raise _changed(tab, "rows or columns of it were deleted")
    below = replace(area, top=area.bottom, bottom=area.bottom + 1).within(tab.rows, tab.columns)
    parts = [replace(area, bottom=area.top + 1), replace(area, top=area.bottom - 1)]
    parts += [one for one in (below, *covered) if not one.is_empty]
    header, last, *rest = client.read_values([one.a1(tab.title) for one in parts], formulas=True)
    present = [str(column[0]) if column else "" for column in header]
    present += [""] * (owned.columns - len(present))
    order: Order = ()
    if plan.mode is not Mode.REPLACE:
        order = _order(tab, present, plan)
    elif present != plan.schema.names and header_digest(present) != then.header:
        raise _changed(tab, f"its header is {present[:20]!r} now")
    has_more_below = not below.is_empty and _has_content(rest[0])
    if has_more_below and (owned.rows < then.rows or not then.header):
        raise _changed(tab, f"rows of it were deleted or moved, and row {area.bottom + 1}, next to it, holds something")
    if not then.header and not _has_content(last):
        raise _changed(tab, "rows of it were deleted")
    if owned.rows > then.rows and _rows_with_content(client, tab, area) > then.rows:
        raise _changed(tab, "rows that hold something were inserted")
    _refuse_content(tab, covered, rest[not below.is_empty :])
    return order


def _changed(tab: Tab, what: str) -> TargetError:
    return TargetError(
        f"what was exported to {tab.title!r} was edited so that it cannot be told what of the tab is whose: {what}; undo that "
        "edit, or move what is yours to another tab and delete this one, which the next export makes anew",
        code="range_changed",
    )


def _adopt(client: SheetsClient, tab: Tab, plan: DeliveryPlan) -> tuple[Owned | None, Order]:
    """The old table of a tab that we have not written before, None if there is none, and the order of its columns."""
    area = Area(0, tab.rows, 0, len(plan.schema)).within(tab.rows, tab.columns)
    (cells,) = client.read_values([area.a1(tab.title)], formulas=True)
    height = 0
    while any(height < len(column) and column[height] != "" for column in cells):
        height += 1
    if not height:
        return None, ()
    for index, column in enumerate(cells):
        for row, cell in enumerate(column[:height]):
            if isinstance(cell, str) and cell.startswith("="):
                raise TargetError(
                    f"cell {rowcol_to_a1(row + 1, index + 1)} of {tab.title!r} holds a formula, which an export never "
                    "overwrites; choose another worksheet, or move the formula",
                    code="formula_in_the_way",
                )
    present = [str(column[0]) if column else "" for column in cells]
    order: Order = ()
    if plan.mode is not Mode.REPLACE:
        order = _order(tab, present, plan)
    elif present != plan.schema.names:
        raise TargetError(
            f"{tab.title!r} holds something that this connector did not write, under the header {present[:20]!r} and not the "
            f"table's, {plan.schema.names[:20]!r}; choose another worksheet, or empty this one",
            code="content_in_the_way",
        )
    return Owned(height, area.right), order


def order_of(client: SheetsClient, tab: Tab, owned: Owned, plan: DeliveryPlan) -> Order:
    """The order of the columns of a range whose rows are live (`Placement.order`); one call where it is not the source's."""
    if header_digest(plan.schema.names) == owned.header:
        return ()
    head = replace(owned.area, bottom=owned.area.top + 1)
    (cells,) = client.read_values([head.a1(tab.title)], formulas=True)
    return _order(tab, [str(column[0]) if column else "" for column in cells], plan)


def _order(tab: Tab, present: list[str], plan: DeliveryPlan) -> Order:
    """Where the columns of added rows stand, matched by name; empty where in the same order. Raises `TargetError` if not the same."""
    names = list(plan.schema.names)
    if present == names:
        return ()
    if sorted(present) == sorted(names):
        return tuple(map(present.index, names))
    missing = [name for name in names if name not in present]
    unknown = [name for name in present if name not in names]
    parts = [f"missing in the tab: {missing}"] * bool(missing) + [f"only in the tab: {unknown}"] * bool(unknown)
    raise TargetError(
        f"rows cannot be added to {tab.title!r}: its header is not the table's ({'; '.join(parts) or 'a name stands there twice'}); "
        "replace the table once, or map its columns",
        code="header_drift",
        missing=missing,
        unknown=unknown,
    )


def _check_empty(client: SheetsClient, tab: Tab, areas: list[Area]) -> None:
    if areas:
        _refuse_content(tab, areas, client.read_values([one.a1(tab.title) for one in areas], formulas=True))


def _refuse_content(tab: Tab, areas: list[Area], found: list[Columns]) -> None:
    for area, cells in zip(areas, found, strict=True):
        for index, column in enumerate(cells):
            row = next((at for at, cell in enumerate(column) if cell != ""), None)
            if row is not None:
                where = rowcol_to_a1(area.top + row + 1, area.left + index + 1)
                raise TargetError(
                    f"cell {where} of {tab.title!r} holds something that this connector did not write, where the table needs "
                    "room; move it aside, or choose another worksheet",
                    code="content_in_the_way",
                )


def _has_content(cells: Columns) -> bool:
    return any(cell != "" for column in cells for cell in column)


def _rows_with_content(client: SheetsClient, tab: Tab, area: Area) -> int:
    count, page = 0, max(1, PAGE_CELLS // (area.right - area.left))
    for top in range(area.top, area.bottom, page):
        part = replace(area, top=top, bottom=min(top + page, area.bottom))
        (cells,) = client.read_values([part.a1(tab.title)], formulas=True)
        count += len({at for column in cells for at, cell in enumerate(column) if cell != ""})
    return count
