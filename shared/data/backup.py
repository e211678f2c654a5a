"""Documents as lines of JSON, and back: one line a document, nothing held in memory but a page.

A backup is of one moment, that of its beginning, whatever is written while it runs. A restore keeps the functions from working on
half of the documents (`services.restoring`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from shared.errors import ConflictError, InvalidRequestError
from shared.models import SCHEMA, utc
from shared.ports import Document, Documents, Query, Transaction
from shared.services.restoring import MARK

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
"""All but `quotas` and `breakers`, which fill by themselves within minutes, and the mark of a restore."""
BELOW = {"export_jobs": "chunks"}
PAGE = 300  # our choice: documents in memory at once
_TIME = "$time"
_MARK = re.compile(r"\$+time")


def lines(documents: Documents) -> Iterator[bytes]:
    """Yield every document as a line that `restore` takes, by collection and path."""
    at = documents.moment()
    for collection in COLLECTIONS:
        for document in every(documents, collection, at):
            yield _line(document)
            if collection in BELOW:
                yield from map(_line, every(documents, f"{document.path}/{BELOW[collection]}", at))


def every(documents: Documents, collection: str, at: datetime | None = None) -> Iterator[Document]:
    """Yield the documents of a collection by path, page by page, as they were at a moment of the database's.

    Without `at` each page is as it is when it is read, and what is deleted meanwhile may be left out, nothing else.
    """
    page = documents.query(Query(collection, limit=PAGE, at=at))
    while page:
        yield from page
        page = _after(documents, collection, page, at) if len(page) == PAGE else []


def restore(documents: Documents, source: Iterable[bytes], *, replace: bool = False) -> int:
    """Create the documents of these lines; return how many. The same again changes nothing.

    The functions refuse work from the first line on until the last is written: if it raises, until it is done again with success,
    or `resume` is called. With `replace`, what the database holds goes first: have the lines `checked` before.

    Raises:
        ConflictError: a document of that path holds something else; those before it are restored.
        InvalidRequestError: a line is none that `lines` wrote.
    """
    with suppress(ConflictError):
        documents.create(MARK, {"schema": SCHEMA})
    if replace:
        for collection in COLLECTIONS:
            _delete_all(documents, collection)
    count = _create_all(documents, source, replace=replace)
    resume(documents)
    return count


def checked(source: Iterable[bytes]) -> int:
    """Return how many documents these lines are. Raises `InvalidRequestError`: none, or a line is none that `lines` wrote."""
    count = sum(1 for _ in _read(source))
    if count == 0:
        raise InvalidRequestError("there is no line in this backup; name one that holds documents")
    return count


def resume(documents: Documents) -> None:
    """Let the functions work again. Repeatable."""
    documents.delete(MARK)


def _delete_all(documents: Documents, collection: str) -> None:
    while page := documents.query(Query(collection, limit=PAGE)):
        for document in page:
            if collection in BELOW:
                _delete_all(documents, f"{document.path}/{BELOW[collection]}")
            documents.delete(document.path)


def _create_all(documents: Documents, source: Iterable[bytes], *, replace: bool) -> int:
    count = 0
    for path, data in _read(source):
        try:
            documents.create(path, data)
        except ConflictError as exc:
            if replace:  # of a job that was under way, or below a document that went before
                documents.transact(partial(_put, path=path, data=data))
            elif (found := documents.get(path)) is None or found.data != data:
                message = f"{path} holds something else already; restore into an empty database, or with --replace"
                raise ConflictError(message) from exc
        count += 1
    return count


def _put(tx: Transaction, path: str, data: Mapping[str, Any]) -> None:
    tx.set(path, data)


def _read(source: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(source, 1):
        problem = f"line {number} is not one of a backup; is the file whole?"
        try:
            path, data = json.loads(line, object_hook=_decoded)
        except (TypeError, ValueError) as exc:
            raise InvalidRequestError(problem) from exc
        if not (_is_kept(path) and isinstance(data, dict)):
            raise InvalidRequestError(problem)
        yield path, data


def _is_kept(path: Any) -> bool:
    """Whether it is the path of a document that a backup holds."""
    match path.split("/") if isinstance(path, str) else ():
        case [collection, identifier]:
            return collection in COLLECTIONS and bool(identifier)
        case [collection, identifier, below, last]:
            return BELOW.get(collection) == below and bool(identifier and last)
    return False


def _after(documents: Documents, collection: str, page: list[Document], at: datetime | None) -> list[Document]:
    """Return the next page: after the last document, or if that is deleted (then a query begins anew) after one before it."""
    for last in reversed(page):
        found = documents.query(Query(collection, limit=PAGE, start_after=last.path, at=at))
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
