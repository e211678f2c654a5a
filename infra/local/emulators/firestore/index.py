"""Index entries of a document: which (field, value) pairs a query may look it up by.

Values are cut, so an entry finds a superset; the query always looks at the document itself afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.local.emulators.firestore.messages import Message, kind_of
from infra.local.emulators.firestore.ordering import sort_key
from infra.local.emulators.firestore.paths import FieldPath

MAX_KEY_BYTES = 200  # our choice: longer values only cost a second look
MAX_ENTRIES = 150  # our choice: a document with more is left out, and its collection is scanned instead

Entry = tuple[str, bytes]


def field_name(path: FieldPath) -> str:
    """The index name of a field."""
    return ".".join(segment.replace("\\", "\\\\").replace(".", "\\.") for segment in path)


def element_name(path: FieldPath) -> str:
    """The index name of the elements of an array field."""
    return field_name(path) + "\\[]"


def cut(key: bytes) -> bytes:
    """The part of a sort key that the index holds."""
    return key[:MAX_KEY_BYTES]


def entries_of(fields: Message) -> set[Entry] | None:
    """All index entries of a document; None if it has too many to be indexed."""
    found: set[Entry] = set()
    for entry in _walk(fields, ()):
        found.add(entry)
        if len(found) > MAX_ENTRIES:
            return None
    return found


def _walk(fields: Message, above: FieldPath) -> Iterator[Entry]:
    for name, value in fields.items():
        path = (*above, name)
        yield field_name(path), cut(sort_key(value))
        kind = kind_of(value)
        if kind == "map_value":
            yield from _walk(value.map_value.fields, path)
        elif kind == "array_value":
            inside = element_name(path)
            for element in value.array_value.values:
                yield inside, cut(sort_key(element))
