"""ListDocuments and ListCollectionIds, page by page. A page token is the last id of the page before, in base64."""

from __future__ import annotations

import base64
import binascii
from itertools import islice

from infra.local.emulators.firestore.messages import Document, Message, raw
from infra.local.emulators.firestore.paths import child_key, collection_path, parse_document
from infra.local.emulators.firestore.queries import Place, masked
from infra.local.emulators.firestore.storage import Store
from infra.local.emulators.grpc_server import RpcError

DEFAULT_PAGE = 300


def list_documents(store: Store, place: Place, request: Message) -> Message:
    """A ListDocumentsResponse in order of ids; with `show_missing` also documents that only have children (no times).

    Raises:
        RpcError: INVALID_ARGUMENT or UNIMPLEMENTED for a bad token or another order.
    """
    if request.order_by not in ("", "__name__"):
        raise RpcError(
            "UNIMPLEMENTED", f"ListDocuments ordered by {request.order_by} is not imitated by the local emulator"
        )
    after, size = _from_token(request.page_token), request.page_size or DEFAULT_PAGE
    path = collection_path(place.root, place.parent, request.collection_id)
    found = {document.name.rpartition("/")[2]: document for document in _page(store, place, request, after, size + 1)}
    if request.show_missing:
        for identifier in _missing_parents(store, place, request.collection_id):
            if identifier > after and store.get(parse_document(f"{path}/{identifier}"), place.at) is None:
                found[identifier] = Document(name=f"{path}/{identifier}")
    ids = sorted(found, key=str.encode)
    documents = [found[identifier] for identifier in ids[:size]]
    if request.HasField("mask"):
        documents = [masked(document, request.mask.field_paths) for document in documents]
    token = _to_token(ids[size - 1]) if len(ids) > size else ""
    return raw.ListDocumentsResponse(documents=documents, next_page_token=token)


def list_collection_ids(store: Store, place: Place, request: Message) -> Message:
    """A ListCollectionIdsResponse in order of ids: collections that hold a document, at whatever depth."""
    depth = len(place.parent.split(b"\0")) if place.parent else 0
    after, size = _from_token(request.page_token), request.page_size or DEFAULT_PAGE
    paths = (child_key(parent, name) for parent, name in store.live_below(place.root, place.parent, place.at))
    ids = sorted({path.split(b"\0")[depth].decode() for path in paths}, key=str.encode)
    ids = [identifier for identifier in ids if identifier > after]
    token = _to_token(ids[size - 1]) if len(ids) > size else ""
    return raw.ListCollectionIdsResponse(collection_ids=ids[:size], next_page_token=token)


def _page(store: Store, place: Place, request: Message, after: str, most: int) -> list[Message]:
    collections = store.collection(place.root, place.parent, request.collection_id)
    if not request.collection_id or not collections:
        return []
    if place.at is not None:
        past = sorted(store.scan_at(collections[0], place.at), key=lambda document: document.name.encode())
        return list(islice((document for document in past if document.name.rpartition("/")[2] > after), most))
    rows = store.scan(collections[0], after or None)
    return list(islice((document for document in rows if document.name.rpartition("/")[2] != after), most))


def _missing_parents(store: Store, place: Place, collection: str) -> set[str]:
    """Ids in the collection that have documents below them."""
    above = child_key(place.parent, collection) + b"\0"
    parents = (parent for parent, _ in store.live_below(place.root, place.parent, place.at))
    return {parent.removeprefix(above).split(b"\0")[0].decode() for parent in parents if parent.startswith(above)}


def _to_token(identifier: str) -> str:
    return base64.urlsafe_b64encode(identifier.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise RpcError("INVALID_ARGUMENT", f"The page token {token!r} is not one of this method's answers.") from exc
