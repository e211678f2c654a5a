"""Removes live secret values from text: raw, URL-encoded, base64 and JSON-escaped forms."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

SHORTEST = 6  # our choice: shorter values would blank out ordinary words
MASK = "[redacted]"
SECRET_MEMBER = re.compile(r"private|secret|password|token$|^key$", re.IGNORECASE)
"""Members of a key file that are secret: `private_key` is, `universe_domain` and `client_email` are not."""


LINK_WORD = re.compile(r"(?<=files/)[^\s/]+|[0-9a-fA-F]{64}")


class _Known:
    """The secret values that this process has seen, longest first; guarded because handlers run in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        if len(value) < SHORTEST:
            return
        escaped = json.dumps(value)[1:-1]
        forms = {
            value,
            escaped,
            json.dumps(escaped)[1:-1],
            quote(value, safe=""),
            quote_plus(value),
            *_base64_forms(value.encode()),
        }
        with self._lock:
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


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
    """Return the text with every registered secret replaced by `[redacted]`."""
    return _known.redact(text)


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
