"""Removes live secret values from text: raw, URL-encoded, base64 and JSON-escaped forms."""

from __future__ import annotations

import base64
import json
import threading
from urllib.parse import quote, quote_plus

SHORTEST = 6  # our choice: shorter values would blank out ordinary words
MASK = "[redacted]"


class _Known:
    """The secret values that this process has seen, longest first; guarded because handlers run in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        if len(value) < SHORTEST:
            return
        escaped = json.dumps(value)[1:-1]
        encoded = base64.b64encode(value.encode()).decode()
        forms = {
            value,
            escaped,
            json.dumps(escaped)[1:-1],
            quote(value, safe=""),
            quote_plus(value),
            encoded,
            encoded.rstrip("="),
        }
        with self._lock:
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


_known = _Known()


def remember(value: object) -> None:
    """Register a secret: text, or a mapping whose text values are all taken (a service account key)."""
    if isinstance(value, str):
        _known.add(value)
    elif isinstance(value, dict):
        for part in value.values():
            remember(part)


def redact(text: str) -> str:
    """Return the text with every registered secret replaced by `[redacted]`."""
    return _known.redact(text)
