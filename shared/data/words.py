"""What documents say in words: why something failed, waits or was left out. Such words may quote a value of a row.

Words have no columns, so what quotes the same text for another reason is silenced too; codes, states and times stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from shared.data.backup import every
from shared.errors import NotFoundError, PreconditionFailedError
from shared.ports import Document, Documents

ERASED = "erased with the rows it told of"
WORDS: Mapping[str, tuple[str, ...]] = {
    "refresh_runs": ("error_message", "error", "waiting"),
    "occurrences": ("reason", "error"),
    "notices": ("message", "deliveries"),
    "schedules": ("sync_error",),
}
"""By collection the fields that are words, or hold them. Those of jobs: `OF_JOBS`."""
OF_JOBS = ("error_message", "error", "held_reason", "waiting", "refresh_error", "repair_error", "gave_up", "drift")
FACTS = frozenset({"code", "status"})
"""Members beside words that are no words."""


def silence(documents: Documents, value: str) -> Iterator[str]:
    """Take the value out of the words of all documents but jobs; yield the paths of those that said it. Repeatable."""
    for collection, fields in WORDS.items():
        for document in every(documents, collection):
            if _silenced(documents, document, fields, value):
                yield document.path


def without(found: Any, value: str) -> Any:
    """Return words, and what holds words, with `ERASED` for every text that quotes the value."""
    match found:
        case str():
            return ERASED if value in found else found
        case dict():
            return {name: item if name in FACTS else without(item, value) for name, item in found.items()}
        case list():
            return [without(item, value) for item in found]
    return found


def changed(data: Mapping[str, Any], fields: tuple[str, ...], value: str) -> dict[str, Any]:
    """Return those fields of a document that quote the value, without it."""
    told = {name: without(data[name], value) for name in fields if data.get(name)}
    return {name: item for name, item in told.items() if item != data[name]}


def without_aggregates(text: str) -> str:
    """Return a fingerprint, or a state that holds some, in JSON, without what it says of columns: extremes are values of rows."""
    return json.dumps(_without_aggregates(json.loads(text)))


def _without_aggregates(found: Any) -> Any:
    match found:
        case dict():
            return {name: {} if name == "aggregates" else _without_aggregates(item) for name, item in found.items()}
        case list():
            return [_without_aggregates(item) for item in found]
    return found


def _silenced(documents: Documents, document: Document | None, fields: tuple[str, ...], value: str) -> bool:
    """Change a document under whoever writes it meanwhile; a notice that is being sent keeps how its sending stands."""
    while document is not None and (words := changed(document.data, fields, value)):
        try:
            documents.update(document.path, words, version=document.version)
        except PreconditionFailedError:
            document = documents.get(document.path)
        except NotFoundError:
            return False
        else:
            return True
    return False
