"""Erase a person's rows from what exports kept: requests, frozen and prepared rows, rejects, files.

A job that keeps such a row loses everything that it kept, and what its failure said, which may quote a value. So may what refreshes,
occurrences and notices say: `words`.
No row is cut out of a file: what is kept is what was delivered, or nothing.
What was delivered to a BI tool, the sources themselves and this project's backups are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import audit
from shared.data.backup import BELOW, every
from shared.data.words import ERASED, OF_JOBS, changed, silence, without_aggregates
from shared.errors import SourceError
from shared.models import JobStatus
from shared.pipeline.freezing import FrozenSource, frozen_before
from shared.pipeline.preparing.job import prepared_before
from shared.ports import Documents, Objects, Stores, Transaction
from shared.services.job_operations import JobOperations

ROWS_AT_ONCE = 10_000  # our choice: rows in memory at once


@dataclass(frozen=True)
class Person:
    """Which rows: those of exports of `table` whose `column` holds `value`, written as an export to CSV writes it."""

    table: str
    column: str
    value: str


@dataclass
class Erased:
    """What became of the jobs of a table, by id.

    Attributes:
        silenced: not jobs, but the paths of refresh runs, occurrences, notices and schedules whose words quoted the value.
        erased: they kept such a row, and keep nothing any more.
        running: they keep such a row and have not ended; cancel them or let them end, then erase again.
        unread: what they kept could not be searched, for they froze nothing or it is damaged; look at them, or delete them.
    """

    silenced: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def erase(stores: Stores, operations: JobOperations, person: Person, actor: str) -> Erased:
    """Search every job of the table that keeps rows, and erase what those with such a row keep. Repeatable.

    `actor` is who erases, for the audit entries; their ids are of the database's time, for this may run on anybody's machine.
    """
    _note_begun(stores.documents, person, actor)
    found = Erased(silenced=list(silence(stores.documents, person.value)))
    for document in every(stores.documents, "export_jobs"):
        job = document.data
        if job["table_name"] != person.table:
            continue
        if JobStatus(job["status"]).is_final and (words := changed(job, OF_JOBS, person.value)):
            stores.documents.update(document.path, words)
        if job.get("erasing"):  # begun and not ended: what is left may not show any more whose rows they are
            _forget(stores, operations, job, actor)
            found.erased.append(job["id"])
            continue
        if not _keeps_rows(stores.objects, job):
            continue
        try:
            holds = _holds(stores.objects, job, person)
        except SourceError:
            holds = None
        if holds is None:
            found.unread.append(job["id"])
        elif holds and JobStatus(job["status"]).is_final:
            _forget(stores, operations, job, actor)
            found.erased.append(job["id"])
        elif holds:
            found.running.append(job["id"])
    return found


def _note_begun(documents: Documents, person: Person, actor: str) -> None:
    """Leave an entry, for words are changed in documents that say of no job. It names the column; the value is to be forgotten."""
    now, note = documents.moment(), f"rows of the table {person.table!r} that hold some value in {person.column!r}"
    documents.transact(lambda tx: audit.record(tx, now, "database.erase_rows", "database", actor=actor, note=note))


def _keeps_rows(objects: Objects, job: Mapping[str, Any]) -> bool:
    """Whether there is anything of the job: a kept file outlives its frozen rows."""
    if not job.get("frozen_erased"):
        return True
    return _kept_file(objects, job) is not None


def _holds(objects: Objects, job: Mapping[str, Any], person: Person) -> bool | None:
    """Whether a row is kept, None if that cannot be said."""
    if job.get("frozen_erased"):
        return None  # a file is kept, without what says how to read it
    sources = _sources(objects, job)
    if not sources:
        return None
    return any(_finds(source, person) for source in sources)


def _sources(objects: Objects, job: Mapping[str, Any]) -> list[FrozenSource]:
    """Everything that the job's rejects and file were made of."""
    frozen = frozen_before(objects, job if job.get("frozen") else {**job, **(job.get("frozen_from") or {})})
    return [source for source in (frozen, prepared_before(objects, job)) if source is not None]


def _finds(source: FrozenSource, person: Person) -> bool:
    from shared.pipeline.preparing.casting import as_text

    if person.column not in source.scan.schema.names:
        return False
    tables = source.tables(0, ROWS_AT_ONCE)
    return any(person.value in as_text(part).to_pylist() for table in tables for part in _chunks(table, person.column))


def _chunks(table: Any, column: str) -> Iterator[Any]:
    yield from table.column(column).chunks


def _kept_file(objects: Objects, job: Mapping[str, Any]) -> tuple[str, str] | None:
    bucket, _, name = (job.get("export_uri") or "").removeprefix("gs://").partition("/")
    return (bucket, name) if bucket and objects.stat(bucket, name) is not None else None


def _forget(stores: Stores, operations: JobOperations, job: Mapping[str, Any], actor: str) -> None:
    """Erase all that a job keeps. First the audit entry and what bars the job from starting again, in one transaction; then the rows."""
    now, path = stores.documents.moment(), f"export_jobs/{job['id']}"

    def work(tx: Transaction) -> None:
        barred = {"frozen_erased": True, "erasing": True, "recheck_at": None, "updated_at": now}
        tx.update(path, barred | _silent(job))
        if not job.get("erasing"):
            audit.record(tx, now, "job.erase_rows", path, actor=actor)

    stores.documents.transact(work)
    operations.forget_rows(job)
    if place := _kept_file(stores.objects, job):
        stores.objects.delete(*place)
    for chunk in every(stores.documents, f"{path}/{BELOW['export_jobs']}"):
        stores.documents.update(chunk.path, _uncounted(chunk.data, ("fingerprint",)))
    gone = {"rows_kept": False, "export_uri": None, "rejects_uri": None, "erasing": False}
    stores.documents.update(path, gone | _uncounted(job, ("expected", "begun")))


def _silent(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the job's words without what they said; a failure keeps its code."""
    said = {name: job[name] for name in OF_JOBS if job.get(name)}
    texts = {name: ERASED for name, word in said.items() if isinstance(word, str)}
    errors = {name: word for name, word in said.items() if isinstance(word, dict) and "code" in word}
    return texts | {name: {**error, "message": ERASED, "details": {}} for name, error in errors.items()}


def _uncounted(data: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Return what says in aggregates what the rows were: the extremes of a column are values of it."""
    return {name: without_aggregates(data[name]) for name in fields if data.get(name)}
