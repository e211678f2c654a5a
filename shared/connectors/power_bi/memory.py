"""What exports to one table of a dataset remember from one job to the next.

The remembered `target` has dataset_id, table, columns (Power BI does not tell a push table's columns), and `unfinished` from a
job's begin until its publish: job_id, mode, base (as in the job's state) and rows_before.

Release 0.1.0 remembered by connector and table, so one memory held several datasets: the one that was written last with its
`dataset_name`, the others in `others` by that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.power_bi.dataset import FENCE, PushTable
from shared.errors import TargetError

Json = Any


def entry_of(target: Mapping[str, Json], dataset_name: str) -> dict[str, Json]:
    """Return what is remembered of this dataset name, empty if nothing is."""
    if target.get("dataset_name") in (None, dataset_name):
        return {key: value for key, value in target.items() if key != "others"}
    return dict(target.get("others", {}).get(dataset_name, {}))


def refuse_unfinished(
    plan: DeliveryPlan, entry: Mapping[str, Json], table: PushTable, client_id: str, rows_now: int
) -> None:
    """Refuse to append to what another job left half done: its rows cannot be told from others and would come twice.

    Args:
        rows_now: rows in the table.

    Raises:
        TargetError: code `table_unfinished`.
    """
    left = entry.get("unfinished")
    if not left or left["job_id"] == plan.job_id or plan.options.get("delivery") == "at_least_once":
        return
    if Mode(left["mode"]) is Mode.REPLACE:
        what = f"the replace {left['job_id']} emptied table {plan.table_name!r} and did not finish"
    else:
        number = None if left["base"] is None else table.sequence_number(client_id)
        rows = rows_now - left["rows_before"]
        if number is not None:  # exact where a count may lag; a begin that nobody remembers moved it by a whole fence
            rows = (number - left["base"]) % FENCE
        if rows == 0:
            return
        what = f"the append {left['job_id']} left {rows:,} of its rows in table {plan.table_name!r} and did not finish"
    raise TargetError(
        f"{what}; an append now would make them permanent. Replace the table first, or accept rows that are missing or come twice "
        "with the target option delivery: at_least_once",
        code="table_unfinished",
    )
