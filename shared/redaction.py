"""Removes live secret values from text: raw, in URLs, in base64 and JSON, however often escaped; and ID tokens, whosever they are."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

SHORTEST = 6  # our choice: shorter values would blank out ordinary words
SHORTEST_LINE = 16  # our choice: of a secret of several lines (a PEM), a line that is shorter is no secret by itself
MASK = "[redacted]"
SECRET_MEMBER = re.compile(r"private|secret|password|token$|^key$", re.IGNORECASE)
"""Members of a key file that are secret: `private_key` is, `universe_domain` and `client_email` are not."""

TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?<=bearer )[\w.~+/=-]{16,}", re.IGNORECASE)
"""A JSON Web Token, and what an Authorization header carries: nobody registers those, and each is somebody's identity for an hour."""

LINK_WORD = re.compile(r"(?<=files/)[^\s/]+|[0-9a-fA-F]{64}")
DEEPEST = 3  # our choice: JSON in JSON in a URL
_ESCAPED = re.compile(
    r"(?:%[0-9a-fA-F]{2})+|(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]",
)
"""What a URL and JSON make of letters, a run of them at a time: one letter may take several."""


class _Known:
    """The secret values that this process has seen, longest first; guarded because handlers run in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        if len(value) < SHORTEST:
            return
        as_form = value.replace(" ", "+")
        forms = {
            value,
            as_form,
            *_secret_lines(value),
            *_base64_forms(value.encode()),
        }
        with self._lock:
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """Return the text without any form of a value, raw or behind up to `DEEPEST` levels of escapes."""
        forms = self._forms
        if not forms:
            return text
        for form in forms:
            if form in text:
                text = text.replace(form, MASK)
        read = text
        places: Sequence[int] = range(len(text) + 1)
        found: set[tuple[int, int]] = set()
        for _ in range(DEEPEST):
            if not _ESCAPED.search(read):
                break
            read, places = _unescaped(read, places)
            found |= {(places[start], places[end]) for start, end in _spans(read, forms)}
        return _masked(text, found)


def _secret_lines(value: str) -> Iterator[str]:
    """Yield the lines of a secret of several, without those that only say what it is."""
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----"))


def _unescaped(text: str, places: Sequence[int]) -> tuple[str, Sequence[int]]:
    """Return the text with one level of escapes read, and where each of its letters, and its end, is in the first text."""
    read: list[str] = []
    where: list[int] = []
    last = 0
    for found in _ESCAPED.finditer(text):
        start, end = found.span()
        read.append(text[last:start])
        where.extend(places[last:start])
        for letter, offset in _letters(found.group()):
            read.append(letter)
            where.append(places[start + offset])
        last = end
    read.append(text[last:])
    where.extend(places[last:])
    return "".join(read), where


def _letters(escapes: str) -> Iterator[tuple[str, int]]:
    """Yield each letter of a run of escapes of one sort, and where its escape begins."""
    if escapes[0] == "%":
        try:
            letters = bytes.fromhex(escapes.replace("%", "")).decode()
        except UnicodeDecodeError:
            letters = bytes.fromhex(escapes.replace("%", "")).decode("latin-1")
            yield from ((letter, 3 * index) for index, letter in enumerate(letters))
            return
        offset = 0
        for letter in letters:
            yield letter, offset
            offset += 3 * len(letter.encode())
        return
    text = json.loads(f'"{escapes}"')
    offset = 0
    for letter in text:
        yield letter, offset
        offset += len(escapes) if len(escapes) == 2 else 12 if ord(letter) > 0xFFFF else 6


def _spans(text: str, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
    for form in forms:
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = text.find(form, start + 1)


def _masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with the mask in place of each stretch; those that overlap are one."""
    kept: list[str] = []
    last = 0
    for start, end in sorted(spans):
        if start >= last:
            kept += [text[last:start], MASK]
        last = max(last, end)
    return "".join([*kept, text[last:]])


def _base64_forms(value: bytes) -> set[str]:
    """Return what base64 makes of the value wherever it stands in a text, e.g. behind `user:`, in both alphabets.

    A letter holds 6 bits: those that the value fills alone are the same whatever stands around it.
    """
    forms = set()
    for skip in range(3):
        start, end = -(-8 * skip // 6), 8 * (skip + len(value)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(bytes(skip) + value).decode()[start:end])
    return forms


_known = _Known()


def remember(secrets: Mapping[str, object]) -> None:
    """Register the text values of credential fields; of an object among them (a key file) only the members that are secret."""
    for value in secrets.values():
        if isinstance(value, str):
            _known.add(value)
        elif isinstance(value, Mapping):
            remember({member: part for member, part in value.items() if SECRET_MEMBER.search(member)})


def redact(text: str) -> str:
    """Return the text with every registered secret, and every token, replaced by `[redacted]`."""
    return TOKEN.sub(MASK, _known.redact(text))


def hinted(text: str) -> str:
    """Return what may be told of a text that came where it does not belong: people paste secrets there."""
    return text if len(text) < SHORTEST else f"{text[:2]}… ({len(text)} characters)"


def without_word(path: str) -> str:
    """Return a path for a log, without the word of a link to a kept file: whoever has the word has the file."""
    return LINK_WORD.sub("…", path)


def redact_value(value: object) -> object:
    """Return a JSON value with `redact` done to every text in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_value(part) for key, part in value.items()}
    return [redact_value(part) for part in value] if isinstance(value, list | tuple) else value
