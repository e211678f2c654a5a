"""What Google Sheets holds, and the refusals that keep a job from finding out half-way.

| limit | figure | said by | refused, code |
|---|---|---|---|
| cells of a spreadsheet | 10,000,000 | error text of the API | preflight and again before publishing, `cell_limit` |
| columns of a tab | 18,278 | a third party | preflight, `column_limit` |
| tabs of a spreadsheet | 200 | a third party | preflight, `tab_limit` |
| characters of a tab's title | 100 | error text of the API | preflight, `worksheet_title` |
| characters of a cell | 50,000 | error text of the API | when the value is encoded, `value_not_exact` |
| the same, of a column's name | 50,000 | error text of the API | preflight, `name_too_long` |
| numbers | doubles: integers to 2^53, no NaN | types of the API | when the value is encoded, `value_not_exact` |
| requests of one batch | 100,000 | error text of the API | far above `MAX_MOVES`, ours: before publishing, `too_scattered` |
| characters of a tab's developer metadata | 30,000 | guide of the API | preflight, `metadata_limit`; older marks make room |
| bytes of one request | 2,000,000, advice only | limits page of the API | never: bodies are cut to it (`encode.bodies`) |
| seconds of one request | 180 | limits page of the API | unknown beforehand: Google applies nothing then, and the job fails |
| calls a minute | 60 reads, 60 writes a user | limits page of the API | never: waited for |

Pages: developers.google.com/workspace/sheets/api/limits and developers.google.com/workspace/sheets/api/guides/metadata.
"""

from __future__ import annotations

import pyarrow as pa

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.google_sheets import encode
from shared.connectors.google_sheets.layout import MAX_CELLS, MAX_TITLE, STAGING_PREFIX, Owned, Tab, Token, Workbook
from shared.connectors.google_sheets.publish import Placement, formats_of
from shared.errors import TargetError

MAX_COLUMNS = 18_278  # column ZZZ
MAX_TABS = 200
MAX_METADATA = 30_000


def check_plan(plan: DeliveryPlan, title: str) -> None:
    """Refuse what no spreadsheet can hold; no call is made. Raises `TargetError` naming limit and figure."""
    names, columns = plan.schema.names, len(plan.schema)
    if not columns:
        raise TargetError("the table has no column; a worksheet needs one", code="no_columns")
    if columns > MAX_COLUMNS:
        raise TargetError(
            f"a worksheet holds {MAX_COLUMNS:,} columns, the table has {columns:,}; select fewer in the mapping",
            code="column_limit",
        )
    for field in plan.schema:
        if not encode.is_supported(field.type):
            raise TargetError(
                f"column {field.name!r} is {field.type}, which a sheet cannot hold; cast it to text in the mapping",
                code="type_not_supported",
                column=field.name,
            )
        if (characters := len(field.name.encode("utf-16-le")) // 2) > encode.MAX_CHARACTERS:
            raise TargetError(
                f"column {field.name[:40] + '…'!r} has a name of {characters:,} characters; a cell holds at most "
                f"{encode.MAX_CHARACTERS:,}; rename it in the mapping",
                code="name_too_long",
            )
    if len(title) > MAX_TITLE or not title or title.startswith(STAGING_PREFIX):
        raise TargetError(
            f"worksheet {title!r} cannot be a tab's title: 1 to {MAX_TITLE} characters, not starting with "
            f"{STAGING_PREFIX}",
            code="worksheet_title",
        )
    _check_mark(plan.job_id, plan.schema)
    if plan.mode is Mode.UPSERT:
        _check_key(plan.key, names)


def check_room(workbook: Workbook, placement: Placement, staging_cells: int, plan: DeliveryPlan) -> None:
    """Refuse what would exceed a spreadsheet's cells. `staging_cells` are those that are still to be made."""
    needed = workbook.cells + staging_cells + placement.growth
    if needed > MAX_CELLS:
        table = staging_cells + placement.growth
        advice = (
            "use a spreadsheet of its own"
            if table <= MAX_CELLS
            else "no spreadsheet holds that: select fewer rows or columns"
        )
        at_most = "up to " if plan.mode is Mode.UPSERT and placement.moves is None else ""
        raise TargetError(
            f"a spreadsheet holds {MAX_CELLS:,} cells; {workbook.title!r} has {workbook.cells:,}, and this table needs "
            f"{staging_cells:,} for staging and {at_most}{placement.growth:,} in {placement.title!r}, {table:,} together; "
            f"{advice}",
            code="cell_limit",
            cells=needed,
        )


def check_tabs(workbook: Workbook, new_tabs: int) -> None:
    """Refuse what would exceed a spreadsheet's tabs."""
    if len(workbook.tabs) + new_tabs > MAX_TABS:
        raise TargetError(
            f"a spreadsheet holds {MAX_TABS} tabs; {workbook.title!r} has {len(workbook.tabs)} and needs {new_tabs} more; "
            "delete tabs that nobody needs",
            code="tab_limit",
        )


def surplus_marks(tab: Tab | None, token: Token, kept: int) -> list[Token]:
    """The oldest marks of a tab: those beyond the newest `kept`, and as many more as the metadata's size asks for."""
    newest_first = sorted(tab.tokens if tab else (), key=lambda one: -one.owned.sequence)
    room, stay = MAX_METADATA - token.size, 0
    for old in newest_first[: kept - 1]:
        room -= old.size
        if room < 0:
            break
        stay += 1
    return newest_first[stay:]


def _check_mark(job_id: str, schema: pa.Schema) -> None:
    size = Token(1, job_id, Owned(MAX_CELLS, MAX_COLUMNS, formats_of(schema), MAX_CELLS)).size
    if size > MAX_METADATA:
        raise TargetError(
            f"the formats of {len(formats_of(schema)):,} date and time columns take {size:,} characters of the tab's metadata, "
            f"which holds {MAX_METADATA:,}; cast some to text in the mapping",
            code="metadata_limit",
        )


def _check_key(key: tuple[str, ...], names: list[str]) -> None:
    for name in key:
        if names.count(name) != 1:
            raise TargetError(
                f"the key column {name!r} is in the table {names.count(name)} times, expected once; "
                f"its columns are {names[:20]}",
                code="key_column",
                column=name,
            )
    if not key:
        raise TargetError("an upsert needs key columns, which tell rows apart; name them in `key`", code="key_column")
