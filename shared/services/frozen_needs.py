"""Whose frozen rows unfinished jobs start from: a retry, a republish or a replay copies them once it has the turn; a repair reads
those of other jobs until it ends. Until then they are neither forgotten nor erased."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.models import JobStatus
from shared.ports import Documents, Query

UNFINISHED = [status.value for status in JobStatus if not status.is_final]


def rows_needed(documents: Documents, bucket: str) -> dict[str, str]:
    """Return the ids of the jobs whose rows in the frozen bucket an unfinished job needs, each with the id of one that does."""
    found = {}
    for item in documents.query(Query("export_jobs", (("status", "in", UNFINISHED),))):
        for needed in _needed_by(item.data, bucket):
            found[needed] = str(item.data["id"])
    return found


def _needed_by(job: Mapping[str, Any], bucket: str) -> set[str]:
    """Return whose rows a job needs. A copy of a copy that never froze names the first one's objects, so objects are asked."""
    origins = [job.get("delivered")]
    if not job.get("frozen"):
        origins += [job.get("frozen_from"), job.get("source")]
    folders = (name.split("/") for place, name in _objects(origins) if place == bucket)
    owners = {parts[1] for parts in folders if parts[0] == "jobs" and len(parts) > 2}
    return (owners | set(job.get("rows_of") or ())) - {job["id"]}


def _objects(value: Any) -> Iterator[tuple[str, str]]:
    """Yield bucket and name of every object that a record names, however deep."""
    if isinstance(value, Mapping):
        if isinstance(value.get("bucket"), str) and isinstance(value.get("name"), str):
            yield value["bucket"], value["name"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _objects(one)
