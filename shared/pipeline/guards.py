"""What is checked before a target is touched, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.connectors._base import Delivery
from shared.errors import ConflictError
from shared.pipeline.freezing import FrozenSource


def shrink_reason(rows_before: int | None, rows_now: int, max_shrink: float) -> str | None:
    """Return why a replace should wait for approval, None if it may go on.

    `rows_before` is what the last successful job left on the target, None if there was none; `max_shrink` is the largest share
    of them, 0 to 1, that may go. A table that becomes empty is held unless everything may go.
    """
    if not rows_before or max_shrink >= 1.0:
        return None
    if rows_now == 0:
        return f"the source is empty and the target holds {rows_before} rows; approve the job if that is right"
    lost = (rows_before - rows_now) / rows_before
    if lost <= max_shrink:
        return None
    return (
        f"the source has {rows_now} rows and the target holds {rows_before}: {lost:.0%} would go, more than max_shrink "
        f"({max_shrink:.0%}); approve the job if that is right"
    )


def check_rows(delivery: Delivery, source: FrozenSource) -> None:
    """Meet every value that the target cannot hold while the target is still as it was; for targets without staging.

    Raises:
        TargetError: naming the first such value's row and column.
    """
    rows = delivery.chunk_rows
    for index, table in enumerate(source.tables(0, rows)):
        delivery.fingerprint(table, index * rows)


def refuse_overtaken(job: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    """Refuse a job that was held and approved, or lifted, when one accepted later has published since, unless that was forced.

    And a repair when anything else has published since it was asked for: what it brings back is no longer the last good state.
    """
    is_late = job.get("approved") or job.get("lifted")
    has_newer = target.get("last_accepted", 0) > job["accepted"]
    if job.get("repair"):
        has_newer = is_late = target.get("last_job_id") != job["retry_of"]
    if is_late and not job.get("forced") and has_newer:
        raise ConflictError("a job that was accepted later published to this target in the meantime", code="superseded")
