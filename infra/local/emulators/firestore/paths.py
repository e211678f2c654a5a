"""Names of documents and collections, and field paths inside a document.

A document name is `projects/P/databases/D/documents/c1/d1/c2/d2`. Here it is taken apart into its root (up to
`/documents`), the key of its collection and its id. A key is the path below the root with NUL for `/`, as bytes:
then plain byte order is Firestore's order, segment by segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.local.emulators.firestore.messages import Message, kind_of
from infra.local.emulators.grpc_server import RpcError

MAX_ID_BYTES = 1500  # firebase.google.com/docs/firestore/quotas
NAME_FIELD = ("__name__",)

FieldPath = tuple[str, ...]

_ROOT = re.compile(r"projects/[^/]+/databases/[^/]+/documents")
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_PLAIN_SEGMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@dataclass(frozen=True)
class DocumentName:
    """A parsed document name: `root` and the key of the `parent` document (b"" at the root) are its database and place."""

    root: str
    parent: bytes
    collection: str
    document: str

    @property
    def full(self) -> str:
        """The name as it goes over the wire."""
        return f"{collection_path(self.root, self.parent, self.collection)}/{self.document}"

    @property
    def key(self) -> bytes:
        """The key under which collections below this document lie."""
        return child_key(self.parent, self.collection, self.document)


def child_key(parent: bytes, *segments: str) -> bytes:
    """The key of a path below `parent`."""
    below = "\0".join(segments).encode()
    return parent + b"\0" + below if parent else below


def collection_path(root: str, parent: bytes, collection: str) -> str:
    """The full path of a collection, as document names begin with it."""
    return "/".join([root, *parent.decode().split("\0"), collection]) if parent else f"{root}/{collection}"


def parse_document(name: str) -> DocumentName:
    """Take a document name apart.

    Raises:
        RpcError: INVALID_ARGUMENT, the name is malformed or an id in it is not allowed.
    """
    root, segments = _split_root(name)
    if not segments or len(segments) % 2:
        raise RpcError(
            "INVALID_ARGUMENT", f'Document name "{name}" lacks a document id: expected collection/document pairs.'
        )
    for segment in segments:
        check_id(segment, name)
    return DocumentName(root, "\0".join(segments[:-2]).encode(), segments[-2], segments[-1])


def parse_parent(name: str) -> tuple[str, bytes]:
    """The root and key of a parent: the database's `/documents` (key b"") or a document.

    Raises:
        RpcError: INVALID_ARGUMENT, it is neither.
    """
    root, segments = _split_root(name)
    if len(segments) % 2:
        raise RpcError(
            "INVALID_ARGUMENT", f'Parent "{name}" is a collection: expected the database\'s documents or a document.'
        )
    return root, "\0".join(segments).encode()


def check_id(segment: str, where: str) -> None:
    """Refuse ids that Firestore does not allow (firebase.google.com/docs/firestore/quotas).

    Raises:
        RpcError: INVALID_ARGUMENT.
    """
    if segment in ("", ".", ".."):
        raise RpcError(
            "INVALID_ARGUMENT", f'Resource id "{segment}" in "{where}" is invalid: it may not be empty, "." or "..".'
        )
    if _RESERVED.fullmatch(segment):
        raise RpcError("INVALID_ARGUMENT", f'Resource id "{segment}" is invalid because it is reserved.')
    if len(segment.encode()) > MAX_ID_BYTES:
        raise RpcError("INVALID_ARGUMENT", f"Resource id is longer than {MAX_ID_BYTES} bytes: {segment[:40]}...")


def _split_root(name: str) -> tuple[str, list[str]]:
    found = _ROOT.match(name)
    if not found or name[found.end() : found.end() + 1] not in ("", "/"):
        raise RpcError("INVALID_ARGUMENT", f'Invalid name "{name}": expected projects/P/databases/D/documents/...')
    rest = name[found.end() + 1 :]
    return found.group(), rest.split("/") if rest else []


def parse_field_path(text: str) -> FieldPath:
    """The segments of a field path: plain names, or any name in backquotes with backslash escapes.

    Raises:
        RpcError: INVALID_ARGUMENT, the path is malformed.
    """
    segments: list[str] = []
    position = 0
    while True:
        quoted = text.startswith("`", position)
        segment, position = _quoted_segment(text, position) if quoted else _plain_segment(text, position)
        segments.append(segment)
        if position == len(text):
            return tuple(segments)
        if text[position] != ".":
            raise RpcError("INVALID_ARGUMENT", f'Invalid property path "{text}".')
        position += 1


def format_field_path(path: FieldPath) -> str:
    """The text that `parse_field_path` reads as this path."""
    if path == NAME_FIELD:
        return "__name__"
    return ".".join("`" + segment.replace("\\", "\\\\").replace("`", "\\`") + "`" for segment in path)


def _plain_segment(text: str, start: int) -> tuple[str, int]:
    end = text.find(".", start)
    end = len(text) if end < 0 else end
    segment = text[start:end]
    if not _PLAIN_SEGMENT.fullmatch(segment):
        raise RpcError("INVALID_ARGUMENT", f'Invalid property path "{text}": quote "{segment}" with backquotes.')
    return segment, end


def _quoted_segment(text: str, start: int) -> tuple[str, int]:
    letters: list[str] = []
    position = start + 1
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            letters.append(text[position + 1])
            position += 2
        elif text[position] == "`":
            return "".join(letters), position + 1
        else:
            letters.append(text[position])
            position += 1
    raise RpcError("INVALID_ARGUMENT", f'Invalid property path "{text}": a backquote is not closed.')


def get_field(fields: Message, path: FieldPath) -> Message | None:
    """The Value at `path` in a map of fields; None if there is none."""
    value = None
    for depth, segment in enumerate(path):
        if segment not in fields:
            return None
        value = fields[segment]
        if depth < len(path) - 1:
            if kind_of(value) != "map_value":
                return None
            fields = value.map_value.fields
    return value


def put_field(fields: Message, path: FieldPath, value: Message) -> None:
    """Set `path` to a copy of `value`; what is in the way and not a map is replaced by a map."""
    for segment in path[:-1]:
        inner = fields[segment]
        if kind_of(inner) != "map_value":
            inner.map_value.SetInParent()
        fields = inner.map_value.fields
    fields[path[-1]].CopyFrom(value)


def remove_field(fields: Message, path: FieldPath) -> None:
    """Delete `path`; nothing if it is not there."""
    for segment in path[:-1]:
        if segment not in fields or kind_of(fields[segment]) != "map_value":
            return
        fields = fields[segment].map_value.fields
    if path[-1] in fields:
        del fields[path[-1]]
