"""Where rows come from: a module for each kind of source, and what they share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.errors import SourceError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa


class BytesOpener:
    """Bytes in memory as a source that can be opened again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        return len(self._data)

    def open(self) -> Any:
        """A fresh handle at the start."""
        import io

        return io.BytesIO(self._data)


def staged_rows(rows: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the rows of a request, each the text of a JSON object, as JSON Lines: every value as it was spelled.

    Raises `SourceError` naming the row that has a key twice, or is nested too deeply to be read.
    """
    for number, row in enumerate(rows, 1):
        text = bytes(row)
        try:
            json.loads(text, object_pairs_hook=unique_keys, parse_int=str, parse_float=str)
        except KeyTwiceError as exc:
            raise key_twice(number, exc.key) from exc
        except RecursionError as exc:
            message = f"row {number} is nested too deeply to be read; send its inner parts as text"
            raise SourceError(message, code="row_invalid", row=number) from exc
        yield text.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"  # no text holds a line break: JSON escapes them


class KeyTwiceError(ValueError):
    """An object of JSON has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values, for `json.loads`. Raises `KeyTwiceError`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise KeyTwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]  # None, so that the first time counts as not seen
    return found


def key_twice(row: int, key: str) -> SourceError:
    """Return the refusal of a row that has a key twice: readers differ in which of the values they take."""
    message = f"row {row} has the key {shown(key)} twice, and nothing says which value counts; leave one of them out"
    return SourceError(message, code="row_invalid", row=row, column=key)


def rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows as tables of exactly `rows` rows, except the last; nothing if there are none. Copies no values."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while rest.num_rows:
            piece = rest.slice(0, rows - count)
            held.append(piece)
            count += piece.num_rows
            rest = rest.slice(piece.num_rows)
            if count == rows:
                yield pa.Table.from_batches(held)
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)
