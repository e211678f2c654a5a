"""Apply one Write: precondition, new fields, transforms, limits, storage."""

from __future__ import annotations

from infra.local.emulators.firestore.limits import MAX_TRANSFORMS, check_document
from infra.local.emulators.firestore.messages import Document, Message, WriteResult, micros, stamp
from infra.local.emulators.firestore.paths import (
    NAME_FIELD,
    DocumentName,
    get_field,
    parse_document,
    parse_field_path,
    put_field,
    remove_field,
)
from infra.local.emulators.firestore.storage import Store
from infra.local.emulators.firestore.transforms import transformed
from infra.local.emulators.grpc_server import RpcError


def target_of(write: Message) -> str:
    """The full name of the document that a Write is about.

    Raises:
        RpcError: INVALID_ARGUMENT, the Write is empty.
    """
    match write.WhichOneof("operation"):
        case "update":
            return str(write.update.name)
        case "delete":
            return str(write.delete)
        case "transform":
            return str(write.transform.document)
        case _:
            raise RpcError("INVALID_ARGUMENT", "A write has no operation: expected update, delete or transform.")


def apply_write(store: Store, write: Message, now: int) -> Message:
    """Apply one Write at time `now` inside the caller's transaction; answer its WriteResult.

    Raises:
        RpcError: the precondition does not hold, or the document is one that Firestore refuses.
    """
    name = parse_document(target_of(write))
    old = store.get(name)
    if write.HasField("current_document"):
        _check_precondition(write.current_document, old, name.full)
    if write.WhichOneof("operation") == "delete":
        if old is not None:
            store.delete(name, old, now)
        return WriteResult()
    new, results = _new_document(write, name, old, now)
    check_document(name.full, new.fields)
    if old is not None and _same_fields(old, new):
        return WriteResult(
            update_time=old.update_time, transform_results=results
        )  # nothing changed: the old time stays
    created = micros(old.create_time) if old is not None else now
    store.put(name, new.fields, old, created, now)
    return WriteResult(update_time=stamp(now), transform_results=results)


def _check_precondition(condition: Message, old: Message | None, name: str) -> None:
    kind = condition.WhichOneof("condition_type")
    if kind == "exists" and condition.exists and old is None:
        raise RpcError("NOT_FOUND", f"No document to update: {name}")
    if kind == "exists" and not condition.exists and old is not None:
        raise RpcError("ALREADY_EXISTS", f"Document already exists: {name}")
    if kind == "update_time":
        if old is None:
            raise RpcError("FAILED_PRECONDITION", f"no entity to update: the document {name} does not exist")
        if micros(old.update_time) != micros(condition.update_time):
            raise RpcError(
                "FAILED_PRECONDITION", f"the stored version of {name} does not match the required base version"
            )


def _new_document(write: Message, name: DocumentName, old: Message | None, now: int) -> tuple[Message, list[Message]]:
    is_update = write.WhichOneof("operation") == "update"
    new = Document(name=name.full)
    if is_update and not write.HasField("update_mask"):
        new.MergeFrom(Document(fields=write.update.fields))
    elif old is not None:
        new.MergeFrom(Document(fields=old.fields))
    if is_update and write.HasField("update_mask"):
        for text in write.update_mask.field_paths:
            _copy_masked(write.update.fields, new.fields, text)
    results = []
    transforms = [*write.update_transforms, *write.transform.field_transforms]
    if len(transforms) > MAX_TRANSFORMS:
        raise RpcError(
            "INVALID_ARGUMENT", f"{len(transforms)} transforms on {name.full}; at most {MAX_TRANSFORMS} are allowed."
        )
    for transform in transforms:
        path = parse_field_path(transform.field_path)
        value, result = transformed(transform, get_field(new.fields, path), now)
        put_field(new.fields, path, value)
        results.append(result)
    return new, results


def _copy_masked(source: Message, target: Message, text: str) -> None:
    path = parse_field_path(text)
    if path == NAME_FIELD:
        raise RpcError("INVALID_ARGUMENT", "The update mask names __name__, which cannot be written.")
    value = get_field(source, path)
    if value is None:
        remove_field(target, path)
    else:
        put_field(target, path, value)


def _same_fields(old: Message, new: Message) -> bool:
    before = Document(fields=old.fields).SerializeToString(deterministic=True)
    return bool(before == Document(fields=new.fields).SerializeToString(deterministic=True))
