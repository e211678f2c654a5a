"""Lines that are objects with the same keys in the same order, cut into columns by position instead of parsed.

Machines write such lines, and looking for a handful of letters in a whole block costs half of what a parser does. Whatever is not
certain to be what a parser would read gives None, and the block goes to one. Why what is left is certain: every line starts where
one ended, every key stands where the schema has it, letter by letter, and what stands between two of them is one value: a number,
`true`, `false`, `null`, or a text whose first and last quotes, together with those of the keys, are all the quotes there are
that no backslash takes away. Texts with backslashes are parsed by orjson, the digits of numbers by Arrow. UTF-8 is checked before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shared.pipeline.formats.column_types import BOOL, DOUBLE, STRING, text_scalar
from shared.pipeline.formats.json_spelling import are_exact

Numbers = np.ndarray[Any, Any]
_PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f]+')
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_QUOTE, _COLON, _BACKSLASH, _SPACE, _NEWLINE, _CLOSING = b'":\\ \n}'
_MINUS, _POINT, _ZERO = b"-.0"
_BETWEEN = text_scalar('","')


@dataclass(frozen=True)
class _Cells:
    """The values of a block, by row and column: what a value's first letter is, and where its text starts and stops.

    The quotes of texts are left out. `quotes` is how many stand in the block, those of the keys and inside of texts too.
    """

    text: bytes
    letters: Numbers
    quotes: int
    starts: Numbers
    stops: Numbers
    firsts: Numbers
    nulls: Numbers


def cut(text: bytes, schema: pa.Schema) -> pa.RecordBatch | None:
    """The rows of some complete lines of UTF-8; None unless they are certain to be exactly what the schema says.

    The schema's types are int64, double, bool and string.
    """
    cells = _cells(text, schema.names)
    if cells is None:
        return None
    taker = _taker(cells, np.array([kind.equals(STRING) for kind in schema.types]))
    if taker is None:
        return None
    arrays: list[pa.Array] = [None] * len(schema)
    rows = len(cells.starts)
    for kind in set(schema.types):
        at = [index for index, other in enumerate(schema.types) if other.equals(kind)]
        found = _columns(cells, taker, kind, at)
        if found is None:
            return None
        for number, index in enumerate(at):
            arrays[index] = found.slice(number * rows, rows)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cells(text: bytes, names: list[str]) -> _Cells | None:
    letters = np.frombuffer(text, np.uint8)
    rows = int(
        np.count_nonzero(letters < _SPACE)
    )  # each is seen below to end in a line break: no other stands anywhere
    if not rows or not all(map(_PLAIN_NAME.fullmatch, names)):
        return None
    are_quotes = letters == _QUOTE
    colons = _colons(letters, are_quotes, rows * len(names))
    if colons is None:
        return None
    colons = colons.reshape(rows, len(names))
    leads = _leads(text, colons[0], names)
    starts = colons + (2 if leads[0].endswith(b" ") else 1)
    begins = starts - np.array([len(lead) for lead in leads], np.int32)
    is_inside = begins.min() == begins[0, 0] == 0 and starts.max() <= len(text)
    if not is_inside or not _are_there(text, begins, starts, leads):
        return None
    stops = np.empty_like(starts)
    stops[:, :-1] = begins[:, 1:]
    stops[:-1, -1], stops[-1, -1] = begins[1:, 0] - 2, len(text) - 2
    ends = stops[:, -1]
    if not (stops > starts).all() or not ((letters[ends] == _CLOSING) & (letters[ends + 1] == _NEWLINE)).all():
        return None
    firsts = letters[starts]
    nulls = firsts == ord("n")
    if not _are_null(letters, starts, stops, nulls):
        return None
    return _Cells(text, letters, int(np.count_nonzero(are_quotes)), starts, stops, firsts, nulls)


def _colons(letters: Numbers, are_quotes: Numbers, count: int) -> Numbers | None:
    """Where the colons of `count` keys stand: after a quote."""
    are_colons = letters == _COLON
    are_colons[1:] &= are_quotes[:-1]
    colons = np.flatnonzero(are_colons).astype(np.int32)  # half as much to move about from here on
    if len(colons) != count:  # also after quotes inside of texts, or as the first letter of one
        before = letters[colons - 2]
        colons = colons[(before != _BACKSLASH) & (before != _COLON) & (before != _SPACE)]
    return colons if len(colons) == count else None


def _leads(text: bytes, colons: Numbers, names: list[str]) -> list[bytes]:
    """What stands before each value, by the blanks of the first line."""
    after = b'": ' if text[colons[0] + 1] == _SPACE else b'":'
    leads = [b'"' + name.encode() + after for name in names]
    is_wide = len(names) > 1 and text[colons[1] + len(after) - 2 - len(leads[1])] == _SPACE
    return [(b", " if is_wide else b",") + lead if number else b"{" + lead for number, lead in enumerate(leads)]


def _are_there(text: bytes, begins: Numbers, starts: Numbers, leads: list[bytes]) -> bool:
    """Whether each lead stands at its place in each row: all of them, taken one after the other, are those of one row again and again."""
    found = _taken(_pieces(text, begins, starts), np.arange(0, 2 * begins.size, 2, dtype=np.int32))
    return bool(found.buffers()[2].equals(pa.py_buffer(b"".join(leads) * len(begins))))


def _pieces(text: bytes, starts: Numbers, stops: Numbers) -> pa.Array:
    """What stands between each two places, and between those what stands from one piece to the next."""
    offsets = np.empty((*starts.shape, 2), np.int32)
    offsets[..., 0], offsets[..., 1] = starts, stops
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(STRING, 2 * starts.size - 1, buffers)


def _taken(texts: pa.Array, places: Numbers, valid: pa.Buffer | None = None) -> pa.Array:
    """The texts at some places, which are int32; null where `valid` says so."""
    indices = pa.Array.from_buffers(pa.int32(), len(places), [valid, pa.py_buffer(places)])
    return pc.take(texts, indices, boundscheck=False)


def _are_null(letters: Numbers, starts: Numbers, stops: Numbers, nulls: Numbers) -> bool:
    """Whether the values that start with its first letter are `null`."""
    chosen = np.flatnonzero(nulls)
    at = starts.ravel()[chosen]
    is_long_enough = (stops.ravel()[chosen] - at == len("null")).all()
    return bool(
        is_long_enough and all((letters[at + 1 + offset] == letter).all() for offset, letter in enumerate(b"ull"))
    )


@dataclass(frozen=True)
class _Taker:
    """All values of a block as one array of texts, and where each of them stands in it, by row and column."""

    texts: pa.Array
    places: Numbers
    nulls: Numbers

    def take(self, columns: list[int]) -> pa.Array:
        """The texts of some columns, one column after the other."""
        places = self.places.T[columns].ravel()
        return _taken(self.texts, places, _valid(self.nulls[:, columns]))


def _valid(nulls: Numbers) -> pa.Buffer | None:
    """Arrow's bits for nulls by row and column, one column after the other."""
    return pa.py_buffer(np.packbits(~nulls.T.ravel(), bitorder="little")) if nulls.any() else None


def _taker(cells: _Cells, are_texts: Numbers) -> _Taker | None:
    """None unless quotes stand around the values of text columns, around nothing else, and nowhere else."""
    letters, starts, stops = cells.letters, cells.starts, cells.stops
    quoted = cells.firsts == _QUOTE
    if not ((quoted == are_texts) | cells.nulls).all():
        return None
    starts += quoted
    stops -= quoted
    if not (stops >= starts).all() or not ((letters[stops] == _QUOTE) | ~quoted).all():
        return None
    escapes = _escapes(letters)
    quotes = cells.quotes - np.count_nonzero(letters[escapes + 1] == _QUOTE)
    if quotes != 2 * (starts.size + np.count_nonzero(quoted)):
        return None
    places = np.arange(0, 2 * starts.size, 2, dtype=np.int32).reshape(starts.shape)
    texts = _pieces(cells.text, starts, stops)
    if len(escapes):
        return _with_decoded(cells, escapes, texts, places)
    return _Taker(texts, places, cells.nulls)


def _escapes(letters: Numbers) -> Numbers:
    """Where the backslashes stand that take the meaning of the next letter: every other one of a run."""
    found = rare(letters == _BACKSLASH)
    if not len(found):
        return found
    numbers = np.arange(len(found))
    firsts = np.where(np.diff(found, prepend=-2) != 1, numbers, 0)
    escapes: Numbers = found[(numbers - np.maximum.accumulate(firsts)) % 2 == 0]
    return escapes


def rare(are_there: Numbers) -> Numbers:
    """Where a few of many flags are set: only eights that have one are looked at, which takes half of the time of `np.flatnonzero`."""
    whole = len(are_there) // 8 * 8
    eights = np.flatnonzero(are_there[:whole].view(np.uint64) != 0)
    inside = np.flatnonzero(are_there[:whole].reshape(-1, 8)[eights])
    return np.concatenate((eights[inside // 8] * 8 + inside % 8, whole + np.flatnonzero(are_there[whole:])))


def _with_decoded(cells: _Cells, escapes: Numbers, texts: pa.Array, places: Numbers) -> _Taker | None:
    """The texts with backslashes are parsed and stand behind the others. None if one is no JSON text."""
    starts, stops = cells.starts.ravel(), cells.stops.ravel()
    at = np.searchsorted(starts, escapes, side="right") - 1
    if (escapes + 1 >= stops[at]).any():  # the last quote is a letter of the text
        return None
    at = at[np.diff(at, prepend=-1) != 0]
    chosen = _taken(texts, places.ravel()[at])
    ends = pa.Array.from_buffers(pa.int32(), 2, [None, pa.py_buffer(np.array([0, len(at)], np.int32))])
    joined = pc.binary_join(pa.ListArray.from_arrays(ends, chosen), _BETWEEN)[0]
    try:
        decoded = orjson.loads(b'["' + joined.as_buffer().to_pybytes() + b'"]')
    except orjson.JSONDecodeError:
        return None
    places.ravel()[at] = 2 * starts.size + np.arange(len(at), dtype=np.int32)
    more = pc.cast(pl.Series(decoded, dtype=pl.String).to_arrow(), STRING)
    return _Taker(_joined(texts, more), places, cells.nulls)


def _joined(texts: pa.Array, more: pa.Array) -> pa.Array:
    """The texts, one that is of no use, and more of them: `pa.concat_arrays` takes three times as long."""
    data = b"".join((texts.buffers()[2], more.buffers()[2]))
    ends = np.frombuffer(more.buffers()[1], np.int32, len(more) + 1) + np.int32(texts.buffers()[2].size)
    offsets = np.concatenate((np.frombuffer(texts.buffers()[1], np.int32), ends))
    return pa.Array.from_buffers(STRING, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _columns(cells: _Cells, taker: _Taker, kind: pa.DataType, at: list[int]) -> pa.Array | None:
    """The values of all columns of one type, one column after the other."""
    if kind.equals(STRING):
        return taker.take(at)
    if kind.equals(BOOL):
        return _flags(cells, at)
    texts = taker.take(at)
    if not _are_numbers(cells, texts, at, may_have_point=kind.equals(DOUBLE)):
        return None
    try:
        numbers = pc.cast(texts, kind)
    except pa.ArrowInvalid:  # digits beyond 64 bits, two points
        return None
    if not kind.equals(DOUBLE):
        return numbers
    is_kept = pc.all(pc.is_finite(numbers)).as_py() is not False and are_exact(texts, numbers)
    return numbers if is_kept else None


def _flags(cells: _Cells, at: list[int]) -> pa.Array | None:
    letters, nulls = cells.letters, cells.nulls[:, at]
    starts, lengths = cells.starts[:, at], cells.stops[:, at] - cells.starts[:, at]
    if lengths.min() < len("true"):
        return None
    fours = np.ndarray((len(letters) - 3,), "<u4", cells.text, strides=(1,))[starts]
    are_true = (fours == int.from_bytes(b"true", "little")) & (lengths == len("true"))
    are_false = (
        (fours == int.from_bytes(b"fals", "little")) & (letters[starts + 4] == ord("e")) & (lengths == len("false"))
    )
    if not (are_true | are_false | nulls).all():
        return None
    bits = pa.py_buffer(np.packbits(are_true.T.ravel(), bitorder="little"))
    return pa.Array.from_buffers(BOOL, starts.size, [_valid(nulls), bits])


def _are_numbers(cells: _Cells, texts: pa.Array, at: list[int], *, may_have_point: bool) -> bool:
    """Whether Arrow, which takes more than JSON has, reads of these texts only JSON numbers. What it refuses, it may: two points."""
    written = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    are_digits = written - _ZERO < 10
    has_minus = has_point = False
    if not are_digits.all():
        has_minus, has_point = bool((written == _MINUS).any()), may_have_point and bool((written == _POINT).any())
        are_known = (
            are_digits | (written == _MINUS) | (written == _POINT) if has_point else are_digits | (written == _MINUS)
        )
        if not are_known.all():
            return may_have_point and pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py() is not False
    letters, nulls = cells.letters, cells.nulls[:, at]
    starts, stops, firsts = cells.starts[:, at], cells.stops[:, at], cells.firsts[:, at]
    if has_minus:
        starts += firsts == _MINUS
        firsts = letters[starts]
    if (has_minus or has_point) and not (((firsts - _ZERO < 10) & (letters[stops - 1] - _ZERO < 10)) | nulls).all():
        return False
    zeros = np.flatnonzero(firsts == _ZERO)
    after = starts.ravel()[zeros] + 1
    return bool(((after >= stops.ravel()[zeros]) | (letters[after] == _POINT)).all())
