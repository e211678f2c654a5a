"""Documents out of the lines of a backup. The functions do not work on half of them (`services.restoring`).

Who replaces takes audit entries away, those since the backup, so each attempt to restore leaves one of its own, which stays
whatever becomes of it, and its end another. Their ids are of the database's time: behind all that the seals of an older backup
cover. A backup made elsewhere after an attempt has seals that know nothing of it: `audit:verify` then tells of that entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared import audit
from shared.data.backup import BELOW, COLLECTIONS, PAGE, Reading
from shared.errors import ConflictError
from shared.models import SCHEMA
from shared.ports import Documents, Query, Transaction
from shared.services.restoring import MARK

RESOURCE = "database"
"""What the entries of a restore are about: all documents."""


@dataclass(frozen=True)
class How:
    """How to restore.

    Attributes:
        place: where the backup lies, for the audit entries.
        actor: who restores, for the audit entries.
        replace: what the database holds goes first.
        unclosed: a backup without its closing line is taken, too.
    """

    place: str = "lines"
    actor: str = "shared.data"
    replace: bool = False
    unclosed: bool = False


def restore(documents: Documents, source: Iterable[bytes], how: How = How()) -> int:
    """Create the documents of these lines; return how many. The same again changes nothing but adds audit entries.

    The functions refuse work from the first line on until the last is written: if it raises, until it is done again with success,
    or `resume` is called. Have the lines `checked` before: here a line that is wrong is only found when those before it are written.

    Raises:
        ConflictError: a document of that path holds something else; those before it are restored.
        InvalidRequestError: the lines are no backup, or no whole one.
    """
    own = _begin(documents, how)
    gone = sum(_delete_all(documents, collection, own) for collection in COLLECTIONS) if how.replace else 0
    reading = Reading(source, unclosed=how.unclosed)
    _create_all(documents, reading, replace=how.replace)
    _end(documents, how, f"{reading.whole.documents} documents restored, {reading.whole.sha256}; {gone} deleted before")
    return reading.whole.documents


def resume(documents: Documents, actor: str = "shared.data") -> None:
    """Let the functions work again, and say so in the audit log if they did not. Repeatable."""
    now = documents.moment()

    def work(tx: Transaction) -> None:
        if tx.get(MARK) is not None:
            audit.record(tx, now, "database.resume", RESOURCE, actor=actor)
            tx.delete(MARK)

    documents.transact(work)


def _begin(documents: Documents, how: How) -> frozenset[str]:
    """Set the mark; return the paths of the audit entries that say so, of this attempt and of those before it."""
    now = documents.moment()
    seals = documents.query(Query("audit_seals", order_by="number", descending=True, limit=1))
    head = "{number}:{hash}".format(**seals[0].data) if seals else "none"
    note = f"from {how.place}, {'in place of' if how.replace else 'beside'} what there is; its last seal: {head}"

    def work(tx: Transaction) -> frozenset[str]:
        mark = tx.get(MARK)
        before = mark.data.get("entries", []) if mark else []
        entry = audit.record(tx, now, "database.begin_restore", RESOURCE, actor=how.actor, note=note)
        tx.set(MARK, {"schema": SCHEMA, "entries": [*before, entry]})
        return frozenset((*before, entry))

    return documents.transact(work)


def _end(documents: Documents, how: How, note: str) -> None:
    now = documents.moment()

    def work(tx: Transaction) -> None:
        audit.record(tx, now, "database.restore", RESOURCE, actor=how.actor, note=f"from {how.place}, {note}")
        tx.delete(MARK)

    documents.transact(work)


def _delete_all(documents: Documents, collection: str, kept: frozenset[str]) -> int:
    """Delete the documents of a collection but for those at the paths `kept`; return how many."""
    count, after = 0, None
    while page := documents.query(Query(collection, limit=PAGE, start_after=after)):
        for document in page:
            if document.path in kept:
                after = document.path
                continue
            if collection in BELOW:
                count += _delete_all(documents, f"{document.path}/{BELOW[collection]}", kept)
            documents.delete(document.path)
            count += 1
    return count


def _create_all(documents: Documents, source: Reading, *, replace: bool) -> None:
    for path, data in source:
        try:
            documents.create(path, data)
        except ConflictError as exc:
            if replace:  # of a job that was under way, or below a document that went before
                documents.transact(partial(_put, path=path, data=data))
            elif (found := documents.get(path)) is None or found.data != data:
                message = f"{path} holds something else already; restore into an empty database, or with --replace"
                raise ConflictError(message) from exc


def _put(tx: Transaction, path: str, data: Mapping[str, Any]) -> None:
    tx.set(path, data)
