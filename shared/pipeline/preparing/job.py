"""Preparing the rows of a job: what its record asks for, and what is recorded of it before anything else happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import models
from shared.pipeline.formats import Format, Scan
from shared.pipeline.freezing import FrozenSource
from shared.pipeline.preparing.drift import Columns, columns_of, compare
from shared.pipeline.preparing.prepare import Plan, Prepared, prepare
from shared.ports import Clock, ObjectInfo, Objects

ASKED_EVERY = timedelta(seconds=20)
"""Our choice: how often a long pass looks whether the job was cancelled or taken over."""

NOTHING = json.dumps(None)
"""What is remembered of a target that no job has published to: it was looked at, and nothing was there."""

Save = Callable[[Mapping[str, Any]], None]


def is_asked(job: Mapping[str, Any]) -> bool:
    """Whether a job's rows are to be mapped or checked."""
    return bool(job.get("mapping") or job.get("contract"))


def prepared_before(objects: Objects, job: Mapping[str, Any]) -> FrozenSource | None:
    """Return what an earlier attempt of the job prepared, None if none did."""
    return _prepared(objects, job, job.get("source_as_of")) if job.get("prepared") else None


def _prepared(objects: Objects, record: Mapping[str, Any], as_of: datetime | None = None) -> FrozenSource:
    info, scan = ObjectInfo(**record["prepared"]), Scan.from_json(json.loads(record["prepared_scan"]))
    return FrozenSource.single(objects, info, Format.PARQUET, scan, as_of)


@dataclass(frozen=True)
class Place:
    """Where preparing reads and writes, and how it records: `save` raises when the job is lost or to be cancelled."""

    objects: Objects
    clock: Clock
    bucket: str
    save: Save


def prepare_job(place: Place, job: Mapping[str, Any], source: FrozenSource) -> FrozenSource:
    """Prepare a job's frozen rows, and record what came of it: drift and rejects too where the job fails for them.

    `job["before"]` is what the last success on its target delivered, as `remembered` gave it.

    Raises:
        MappingError: the mapping or the contract does not fit the source.
        SourceError: the contract, or `max_rejects`, fails the job.
    """
    plan = Plan(
        bucket=place.bucket,
        folder=f"jobs/{job['id']}/{job['fence']}-",
        mapping=_mapping(job),
        contract=msgspec.convert(job.get("contract") or {}, models.Contract),
        before=_before(job),
        max_rejects=job.get("max_rejects"),
        beat=_asking(place),
        delivered=tuple(_prepared(place.objects, earlier) for earlier in job.get("delivered", ())),
    )
    found = prepare(place.objects, source, plan)
    place.save({"before": job.get("before"), **_fields(found, source)})
    if found.failure is not None:
        raise found.failure
    assert found.source is not None
    return found.source


def _mapping(job: Mapping[str, Any]) -> models.Mapping | None:
    """What is left to do here: SQL over a BigQuery source ran in BigQuery when the rows were frozen."""
    mapping = dict(job.get("mapping") or {})
    if job["source"].get("kind") == "bigquery":
        mapping.pop("sql", None)
    return msgspec.convert(mapping, models.Mapping) if mapping else None


def _fields(found: Prepared, source: FrozenSource) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "drift": found.drift,
        "rejected_count": found.rejected,
        "discarded_values": found.discarded_values,
        "rejects_uri": found.rejects.uri if found.rejects else None,
        "rejects": asdict(found.rejects) if found.rejects else None,
    }
    if found.rejected_rows and found.read is not None:
        fields["rejected_rows"] = {
            "frozen": asdict(found.rejected_rows),
            "frozen_format": Format.PARQUET.value,
            "scan": json.dumps(Scan(found.read, found.rejected).to_json()),
            "source_as_of": source.as_of,
        }
    if found.source is not None:
        fields["prepared"] = asdict(found.source.parts[0].info)
        fields["prepared_scan"] = json.dumps(found.source.scan.to_json())
        fields["progress"] = msgspec.to_builtins(models.Progress(rows_total=found.source.scan.rows))
    return fields


def _asking(place: Place) -> Callable[[int], None]:
    """A look at the job's record now and then."""
    last: list[datetime] = [place.clock.now()]

    def beat(rows: int) -> None:  # noqa: ARG001 - how far it is matters to nobody yet
        if place.clock.now() - last[0] >= ASKED_EVERY:
            last[0] = place.clock.now()
            place.save({})

    return beat


def remembered(job: Mapping[str, Any]) -> str:
    """What is kept of a successful job's columns for the next one's drift. Text, for Firestore has no lists of lists."""
    return json.dumps(json.loads(job.get("prepared_scan") or job["scan"])["columns"])


def drift_of(job: Mapping[str, Any], source: FrozenSource) -> dict[str, Any] | None:
    """How a job's columns differ from the last success on its target, None if there was none or nothing differs."""
    found = compare(_before(job), columns_of(source.scan.schema))
    return None if found is None else found.to_json()


def _before(job: Mapping[str, Any]) -> Columns | None:
    before = json.loads(job.get("before") or NOTHING)
    return None if before is None else [(name, kind) for name, kind in before]
