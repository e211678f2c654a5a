"""Index entries of a document: which (field, value) pairs a query may look it up by.

Only fields that a query asked for have entries. Values are cut, so an entry finds a superset; the query always looks at the
document itself afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from infra.local.emulators.firestore.messages import Message, kind_of
from infra.local.emulators.firestore.ordering import sort_key
from infra.local.emulators.firestore.paths import FieldPath

MAX_KEY_BYTES = 200  # our choice: longer values only cost a second look
MAX_ENTRIES = 150  # our choice: a document with more is left out, and its collection is scanned instead

Entry = tuple[str, bytes]
_SEGMENT = re.compile(r"(?:[^.\\]|\\.)+")


class Wanted:
    """The index names of a collection that entries are kept for."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self.maps = frozenset(
            name[: end.start() - 1] for name in self.names for end in _SEGMENT.finditer(name) if end.start()
        )
        """The names of the maps that hold a wanted field at any depth."""

    def __or__(self, names: Iterable[str]) -> Wanted:
        return Wanted(self.names.union(names))


def field_name(path: FieldPath) -> str:
    """The index name of a field."""
    return ".".join(map(_escaped, path))


def _escaped(segment: str) -> str:
    return segment.replace("\\", "\\\\").replace(".", "\\.")


def element_name(path: FieldPath) -> str:
    """The index name of the elements of an array field."""
    return field_name(path) + "\\[]"


def cut(key: bytes) -> bytes:
    """The part of a sort key that the index holds."""
    return key[:MAX_KEY_BYTES]


def entries_of(fields: Message, wanted: Wanted) -> set[Entry] | None:
    """The index entries of a document; None if it has too many to be indexed."""
    found: set[Entry] = set()
    for entry in _walk(fields, "", wanted) if wanted.names else ():
        found.add(entry)
        if len(found) > MAX_ENTRIES:
            return None
    return found


def _walk(fields: Message, above: str, wanted: Wanted) -> Iterator[Entry]:
    """`above` is the index name of the map that holds the fields, with a dot behind it."""
    for name, value in fields.items():
        field = above + _escaped(name)
        if field in wanted.names:
            yield field, cut(sort_key(value))
        if field in wanted.maps and kind_of(value) == "map_value":
            yield from _walk(value.map_value.fields, f"{field}.", wanted)
        if (inside := f"{field}\\[]") in wanted.names and kind_of(value) == "array_value":
            for element in value.array_value.values:
                yield inside, cut(sort_key(element))
