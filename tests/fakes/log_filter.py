"""Cloud Logging's filter language, as far as our metrics and alerts use it, over the JSON lines that functions write; and what Cloud
Monitoring's adds to it, `one_of("…", "…")`, over a point's labels.

Rules: cloud.google.com/logging/docs/view/logging-query-language and .../logging/docs/structured-logging. What the agent takes out of a
line (severity, time, trace …) is not in `jsonPayload`; a line that holds only a message is text, not JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

TAKEN_OUT = ("severity", "time")
_TOKEN = re.compile(r'\s*(\(|\)|,|AND\b|OR\b|"(?:[^"\\]|\\.)*"|[<>]=?|=~|!=|=|[\w.\-]+)')


def entry(line: str) -> dict[str, Any]:
    """Return the log entry that Cloud Logging makes of a line."""
    payload = json.loads(line)
    severity = payload.get("severity", "DEFAULT")
    kept = {k: v for k, v in payload.items() if k not in TAKEN_OUT and not k.startswith("logging.googleapis.com/")}
    if set(kept) == {"message"}:
        return {"severity": severity, "textPayload": kept["message"]}
    return {"severity": severity, "jsonPayload": kept}


def matches(text: str, found: dict[str, Any]) -> bool:
    """Return whether an entry passes a filter. Raises `ValueError` for what this does not understand."""
    return _Parser(text).whole(found)


class _Parser:
    """Recursive descent: OR binds tighter than AND, as in Cloud Logging."""

    def __init__(self, text: str) -> None:
        self._tokens = [match.group(1) for match in _TOKEN.finditer(text)]
        if "".join(self._tokens) != re.sub(r"\s+(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", "", text):
            raise ValueError(f"a filter that cannot be read: {text}")

    def whole(self, found: dict[str, Any]) -> bool:
        result = self._all(found)
        if self._tokens:
            raise ValueError(f"unexpected {self._tokens[0]!r} in a filter")
        return result

    def _all(self, found: dict[str, Any]) -> bool:
        result = self._any(found)
        while self._tokens and self._tokens[0] == "AND":
            self._tokens.pop(0)
            right = self._any(found)
            result = result and right
        return result

    def _any(self, found: dict[str, Any]) -> bool:
        result = self._one(found)
        while self._tokens and self._tokens[0] == "OR":
            self._tokens.pop(0)
            right = self._one(found)
            result = result or right
        return result

    def _one(self, found: dict[str, Any]) -> bool:
        if self._tokens[0] == "(":
            self._tokens.pop(0)
            result = self._all(found)
            self._expect(")")
            return result
        field, operator = self._tokens.pop(0), self._tokens.pop(0)
        return any(_holds(_value(found, field), operator, wanted) for wanted in self._values())

    def _values(self) -> list[str]:
        separator = "OR"
        if self._tokens[0] == "one_of":
            self._tokens.pop(0)
            separator = ","
        if self._tokens[0] != "(":
            return [self._tokens.pop(0).strip('"')]
        self._tokens.pop(0)
        listed = [self._tokens.pop(0).strip('"')]
        while self._tokens[0] == separator:
            self._tokens.pop(0)
            listed.append(self._tokens.pop(0).strip('"'))
        self._expect(")")
        return listed

    def _expect(self, token: str) -> None:
        if self._tokens.pop(0) != token:
            raise ValueError(f"a filter lacks {token!r}")


def _value(found: dict[str, Any], field: str) -> Any:
    value: Any = found
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _holds(value: Any, operator: str, wanted: str) -> bool:
    if value is None:
        return False
    if operator == "=":
        return str(value) == wanted
    if operator in ("<", ">", "<=", ">="):
        number, bound = float(value), float(wanted)
        return {"<": number < bound, ">": number > bound, "<=": number <= bound, ">=": number >= bound}[operator]
    raise ValueError(f"an operator that nothing here uses: {operator}")
