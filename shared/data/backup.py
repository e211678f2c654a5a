"""Documents as lines of JSON, and what such lines hold: one line a document, nothing held in memory but a page.

A backup is of one moment, that of its beginning, whatever is written while it runs. Its last line says how many documents come
before and what their lines hash to, so that a file that was cut, even between two lines, or lost one is not taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
"""All but `quotas` and `breakers`, which fill by themselves within minutes, and the mark of a restore."""
BELOW = {"export_jobs": "chunks"}
PAGE = 300  # our choice: documents in memory at once
_TIME = "$time"
_END = "$end"
_MARK = re.compile(r"\$+time")


@dataclass(frozen=True)
class Whole:
    """What the closing line says of the lines before it: how many there are, and `sha256:…` of their bytes."""

    documents: int
    sha256: str


def lines(documents: Documents) -> Iterator[bytes]:
    """Yield every document as a line, by collection and path, and the closing line."""
    digest, count = hashlib.sha256(), 0
    for line in map(_line, _documents(documents)):
        digest.update(line)
        count += 1
        yield line
    end = {"documents": count, "sha256": f"sha256:{digest.hexdigest()}"}
    yield json.dumps({_END: end}).encode() + b"\n"


def _documents(documents: Documents) -> Iterator[Document]:
    at = documents.moment()
    for collection in COLLECTIONS:
        for document in every(documents, collection, at):
            yield document
            if collection in BELOW:
                yield from every(documents, f"{document.path}/{BELOW[collection]}", at)


def every(documents: Documents, collection: str, at: datetime | None = None) -> Iterator[Document]:
    """Yield the documents of a collection by path, page by page, as they were at a moment of the database's.

    Without `at` each page is as it is when it is read, and what is deleted meanwhile may be left out, nothing else.
    """
    page = documents.query(Query(collection, limit=PAGE, at=at))
    while page:
        yield from page
        page = _after(documents, collection, page, at) if len(page) == PAGE else []


class Reading:
    """The documents of a backup's lines, path and content; once they are all read, `whole` says what they were.

    With `unclosed`, lines without a closing one are taken for whole ones.

    Raises, while it is read:
        InvalidRequestError: a line is none that `lines` wrote, or the closing line is missing or says something else.
    """

    def __init__(self, source: Iterable[bytes], *, unclosed: bool = False) -> None:
        self._source = source
        self._unclosed = unclosed
        self.whole = Whole(0, "")

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        digest, count, told = hashlib.sha256(), 0, None
        for number, line in enumerate(self._source, 1):
            if told is not None:
                raise InvalidRequestError(
                    f"line {number} comes after the closing line of this backup; restore an unchanged one"
                )
            found = _parsed(line, number)
            if isinstance(found, Whole):
                told = found
                continue
            digest.update(line)
            count += 1
            yield found
        self.whole = Whole(count, f"sha256:{digest.hexdigest()}")
        self._compare(told)

    def _compare(self, told: Whole | None) -> None:
        if told is None and not self._unclosed:
            message = (
                f"after its {self.whole.documents} documents this backup has no closing line, so its end is missing; take a whole "
                "one, or with --unclosed what there is of this one"
            )
            raise InvalidRequestError(message)
        if told is not None and told != self.whole:
            message = (
                f"this backup was made of {told.documents} documents, {told.sha256}, and now holds {self.whole.documents}, "
                f"{self.whole.sha256}: lines were lost or changed; take a whole one"
            )
            raise InvalidRequestError(message)


def checked(source: Iterable[bytes], *, unclosed: bool = False) -> Whole:
    """Return what these lines are, having read them all. Raises `InvalidRequestError`: as `Reading`, or there is no document."""
    reading = Reading(source, unclosed=unclosed)
    for _ in reading:
        pass
    if reading.whole.documents == 0:
        raise InvalidRequestError("there is no document in this backup; name one that holds some")
    return reading.whole


def _parsed(line: bytes, number: int) -> tuple[str, dict[str, Any]] | Whole:
    try:
        match json.loads(line, object_hook=_decoded):
            case {"$end": {"documents": int(documents), "sha256": str(sha256)}}:
                return Whole(documents, sha256)
            case [path, dict(data)] if _is_kept(path):
                return path, data
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(_no_line(number)) from exc
    raise InvalidRequestError(_no_line(number))


def _no_line(number: int) -> str:
    return f"line {number} is not one of a backup; is the file whole?"


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
