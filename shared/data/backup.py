"""Documents as lines of JSON, and back: one line a document, nothing held in memory but a page.

Not a snapshot of one moment: what changes while it runs is in it as before or as after. Firestore's own backups are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from shared.errors import ConflictError, InvalidRequestError
from shared.models import utc
from shared.ports import Document, Documents, Query

COLLECTIONS = (
    "connectors",
    "tables",
    "schedules",
    "targets",
    "export_jobs",
    "refresh_runs",
    "occurrences",
    "channels",
    "notices",
    "idempotency_keys",
    "file_links",
    "audit",
    "audit_seals",
)
"""All but `quotas` and `breakers`, which fill by themselves within minutes."""
BELOW = {"export_jobs": "chunks"}
PAGE = 300  # our choice: documents in memory at once
_TIME = "$time"
_MARK = re.compile(r"\$+time")


def lines(documents: Documents) -> Iterator[bytes]:
    """Yield every document as a line that `restore` takes, by collection and path."""
    for collection in COLLECTIONS:
        for document in every(documents, collection):
            yield _line(document)
            if collection in BELOW:
                yield from map(_line, every(documents, f"{document.path}/{BELOW[collection]}"))


def every(documents: Documents, collection: str) -> Iterator[Document]:
    """Yield the documents of a collection by path, page by page. What is deleted meanwhile may be left out, nothing else."""
    page = documents.query(Query(collection, limit=PAGE))
    while page:
        yield from page
        page = _after(documents, collection, page) if len(page) == PAGE else []


def restore(documents: Documents, source: Iterable[bytes]) -> int:
    """Create the documents of these lines; return how many. The same again changes nothing.

    Raises:
        ConflictError: a document of that path holds something else; those before it are restored.
        InvalidRequestError: a line is none that `lines` wrote.
    """
    count = 0
    for number, line in enumerate(source, 1):
        try:
            path, data = json.loads(line, object_hook=_decoded)
        except (TypeError, ValueError) as exc:
            raise InvalidRequestError(f"line {number} is not one of a backup; is the file whole?") from exc
        try:
            documents.create(path, data)
        except ConflictError as exc:
            found = documents.get(path)
            if found is None or found.data != data:
                message = f"{path} holds something else already; restore into an empty database"
                raise ConflictError(message) from exc
        count += 1
    return count


def _after(documents: Documents, collection: str, page: list[Document]) -> list[Document]:
    """Return the next page: after the last document, or if that is deleted (then a query begins anew) after one before it."""
    for last in reversed(page):
        found = documents.query(Query(collection, limit=PAGE, start_after=last.path))
        if not found or found[0].path > last.path:
            return [document for document in found if document.path > page[-1].path]
    message = f"a whole page of {collection} was deleted meanwhile; run it again"
    raise ConflictError(message)


def _line(document: Document) -> bytes:
    return json.dumps([document.path, _encoded(document.data)], ensure_ascii=False).encode() + b"\n"


def _encoded(value: Any) -> Any:
    match value:
        case datetime():
            return {_TIME: utc(value).isoformat()}
        case dict():
            return {_escaped(key): _encoded(item) for key, item in value.items()}
        case list() | tuple():
            return [_encoded(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    raise InvalidRequestError(f"a document holds {type(value).__name__}, which a backup cannot")


def _escaped(key: str) -> str:
    """A key of a document that looks like a mark of ours, or like one that was escaped, gets one `$` more."""
    return f"${key}" if _MARK.fullmatch(key) else key


def _decoded(found: dict[str, Any]) -> Any:
    if found.keys() == {_TIME} and isinstance(found[_TIME], str):
        return datetime.fromisoformat(found[_TIME])
    return {key[1:] if key != _TIME and _MARK.fullmatch(key) else key: value for key, value in found.items()}
