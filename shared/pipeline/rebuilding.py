"""What a table without atomic replace is made of: the last replace and the appends since, whose rows together bring it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.errors import ConflictError
from shared.models import Mode
from shared.pipeline.formats import Scan
from shared.pipeline.freezing import FrozenSource

if TYPE_CHECKING:
    import pyarrow as pa

MOST_APPENDS = 20
"""Our choice: a repair reads the rows of so many jobs, and keeps them from being forgotten; whoever appends more often replaces now
and then, or has no repair."""


def made_of(target: Mapping[str, Any], job: Mapping[str, Any]) -> list[str]:
    """Return the jobs whose rows together are what the target holds once `job` has succeeded.

    The first one replaced; if it appended, what the table held before it is not known (too many appends, or none of our rows).
    """
    if Mode(job["mode"]) is not Mode.APPEND:
        return [job["id"], *job.get("rows_of", ())]
    last = target.get("last_job_id")
    before = target.get("made_of") or ([last] if last else [])
    return [*before, job["id"]] if len(before) <= MOST_APPENDS else [job["id"]]


def joined(sources: Sequence[FrozenSource]) -> FrozenSource:
    """Return one source of the rows of all, in order, nothing copied.

    Raises:
        ConflictError: code `repair_impossible`, their columns fit no common type.
    """
    if len(sources) == 1:
        return sources[0]
    first = sources[0]
    rows = sum(source.scan.rows for source in sources)
    scan = Scan(_schema([source.scan.schema for source in sources]), rows, first.scan.options)
    parts = tuple(replace(part, format=source.format) for source in sources for part in source.parts)
    return FrozenSource(first.objects, first.format, scan, parts, first.as_of)


def _schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    import pyarrow as pa

    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    try:
        return pa.schema([_field([s.field(name) for s in schemas if name in s.names]) for name in names])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConflictError(
            f"the rows of the last replace and of the appends since cannot be put into one table: {error}; export it again",
            code="repair_impossible",
        ) from error


def _field(fields: Sequence[pa.Field]) -> pa.Field:
    """Return a column that holds the values of all; a time without a zone is one in UTC where another has it."""
    import pyarrow as pa

    zoned = [field for field in fields if pa.types.is_timestamp(field.type) and field.type.tz]
    if zoned and all(pa.types.is_timestamp(field.type) for field in fields):
        return zoned[0]
    widest = pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive")
    return widest.field(0)
