"""Stored documents of the services: encoding, paging, idempotency. One form for every collection."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from shared.errors import IdempotencyError, InvalidRequestError, NotFoundError
from shared.models import SCHEMA
from shared.ports import Document, Documents, Query, Transaction

T = TypeVar("T", bound=msgspec.Struct)

KEY = re.compile(
    r"(?!\.{1,2}$|__.*__$)[^/\0-\x1f\ud800-\udfff]{1,375}"
)  # in bytes at most 1,500: firebase.google.com/docs/firestore/quotas
PAGE_SIZE = 50
MAX_PAGE_SIZE = 100
IDEMPOTENCY_LIFETIME = timedelta(hours=24)


def to_record(value: msgspec.Struct, **more: Any) -> dict[str, Any]:
    """Return the document of a model: builtins, datetimes kept as such, the schema version beside them."""
    return {**to_builtins(value), **more, "schema": SCHEMA}


def to_builtins(value: Any) -> Any:
    """Return a model as builtins, datetimes kept as such."""
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def from_record(kind: type[T], record: Mapping[str, Any]) -> T:
    """Return the model of a document; members that only the engine uses are left out."""
    return msgspec.convert(record, kind, strict=False)


def find(documents: Documents, collection: str, name: str) -> Document | None:
    """Return the document of a name that a caller chose, None if there is none: also if none could have that name."""
    return documents.get(f"{collection}/{name}") if KEY.fullmatch(name) else None


def find_all(documents: Documents, *paths: str) -> list[Document | None]:
    """What `find` returns for each `collection/name`, in one call."""
    possible = [path for path in paths if KEY.fullmatch(path.split("/", 1)[1])]
    found = dict(zip(possible, documents.get_all(possible), strict=True))
    return [found.get(path) for path in paths]


def require(documents: Documents, path: str, what: str) -> Document:
    """Return the document. Raises `NotFoundError` naming `what`."""
    return there(find(documents, *path.split("/", 1)), what)


def there(found: Document | None, what: str) -> Document:
    """Return a document that was looked for. Raises `NotFoundError` naming `what`."""
    if found is None:
        raise NotFoundError(f"{what} does not exist; check the name, or list what there is")
    return found


@dataclass(frozen=True)
class Page:
    """What a caller asks of a listing: at most `size` items after `token`."""

    size: int = PAGE_SIZE
    token: str | None = None


def list_page(documents: Documents, query: Query, page: Page) -> tuple[list[Document], str | None]:
    """Return one page and the token of the next, None at the end. A token belongs to the query that it was made for.

    Raises:
        InvalidRequestError: the token was made for another listing or filter, is not one of ours, or its item is gone.
    """
    filters = made_for_listing(query.collection, query.where, query.order_by)
    start_after = read_token(page.token, filters) if page.token else None
    last_id = (start_after or "").removeprefix(
        f"{query.collection}/"
    )  # in another collection: no id that a document has
    if start_after is not None and find(documents, query.collection, last_id) is None:
        raise InvalidRequestError(
            "page_token's place in the listing is gone; start again without it", field="page_token"
        )
    size = max(1, min(page.size, MAX_PAGE_SIZE))
    found = documents.query(
        Query(query.collection, query.where, query.order_by, query.descending, size + 1, start_after),
    )
    if len(found) <= size:
        return found, None
    return found[:size], page_token(found[size - 1].path, filters)


def made_for_listing(*what: Any) -> str:
    """Return what binds a page token to the listing that it is made for: told by all that decides what the listing holds."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def page_token(path: str, filters: str) -> str:
    """Return the token of the page after a place of a listing."""
    return base64.urlsafe_b64encode(json.dumps([filters, path]).encode()).decode().rstrip("=")


def read_token(token: str, filters: str) -> str:
    """Return the place that a token tells. Raises `InvalidRequestError`: it is none, or was made for another listing."""
    try:
        found_filters, path = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidRequestError("page_token is not one that a listing returned", field="page_token") from exc
    if found_filters != filters:
        raise InvalidRequestError("page_token was made for another filter; start again without it", field="page_token")
    return str(path)


class Once(Protocol):
    """What makes a thing happen once: asked and written in the transaction that makes it. All of `earlier` is reads."""

    @property
    def reads(self) -> Sequence[str]:
        """The documents that `earlier` looks at, so that they can be read together with others."""

    def earlier(self, tx: Transaction, now: datetime) -> str | None:
        """Return the id of what was made before, None if it is to be made now."""

    def keep(self, tx: Transaction, result: str, now: datetime) -> None:
        """Store the id of what is made."""


@dataclass(frozen=True)
class Idempotency:
    """A caller's Idempotency-Key with what it was first used for. `body` holds no secrets."""

    key: str
    route: str
    caller: str
    body: Mapping[str, Any]

    @property
    def path(self) -> str:
        return "idempotency_keys/" + hashlib.sha256(f"{self.caller}\n{self.route}\n{self.key}".encode()).hexdigest()

    @property
    def reads(self) -> Sequence[str]:
        return (self.path,)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.body, sort_keys=True, default=str).encode()).hexdigest()

    def earlier(self, tx: Transaction, now: datetime) -> str | None:
        """Return the id that an earlier request with this key made, None if there is none.

        Raises:
            IdempotencyError: the key was used with another body.
        """
        found = tx.get(self.path)
        if found is None or found.data["expire_at"] <= now:
            return None
        if found.data["digest"] != self.digest:
            raise IdempotencyError("this Idempotency-Key was used with another body; use a new key for a new request")
        return str(found.data["result"])

    def keep(self, tx: Transaction, result: str, now: datetime) -> None:
        """Store what the key made, in the transaction that makes it."""
        expire_at = now + IDEMPOTENCY_LIFETIME
        tx.set(self.path, {"schema": SCHEMA, "digest": self.digest, "result": result, "expire_at": expire_at})


def earlier_result(tx: Transaction, once: Once | None, now: datetime) -> str | None:
    """Return the id of what was made before, None if it is to be made now (always, without `once`)."""
    return None if once is None else once.earlier(tx, now)


def keep_result(tx: Transaction, once: Once | None, result: str, now: datetime) -> None:
    """Store the id of what is made, in the transaction that makes it."""
    if once is not None:
        once.keep(tx, result, now)
