"""Reads requests by `members`, with Google's refusals: names and values that the API does not have never reach a handler.

Texts from public threads: unknown names (googleapis/google-api-python-client#930, google-api-dotnet-client#2161), query
parameters (VBA-tools/VBA-Web#332), lists (google-api-nodejs-client#1220), rows (nithinmurali/pygsheets#47), unions and objects
where a scalar belongs (protobuf's JSON parser). Unverified: the names of enums' types; the text for masks in a body.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.sandboxes._base import Request, VendorError

from .errors import google_error, invalid
from .masks import Mask, parse_mask
from .members import ENUMS, MESSAGES, Member, Message, snake

_PACKAGE = "type.googleapis.com/google.apps.sheets.v4."
_LIST_VALUE = "type.googleapis.com/google.protobuf.ListValue"
_SCALARS = {
    "str": "TYPE_STRING",
    "int": "TYPE_INT32",
    "double": "TYPE_DOUBLE",
    "bool": "TYPE_BOOL",
    "mask": "TYPE_STRING",
}
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,30})?([eE][+-]?\d{1,3})?")
_UNSET = object()
_MAX_VIOLATIONS = 20


@dataclass(frozen=True)
class Call:
    """A request as the handler gets it: nothing in `query` and `body` but known members of the right types.

    Attributes:
        query: Set parameters by their names in camel case; repeated ones as lists.
        body: The message; null and unspecified members are left out.
        mask: What of the answer is asked for; empty for all.
    """

    email: str
    query: dict[str, Any]
    body: dict[str, Any]
    mask: Mask
    body_bytes: int


@dataclass
class _Problems:
    """What is wrong with a request: refusals (400), and what is not imitated (501)."""

    violations: list[dict[str, str]] = field(default_factory=list)
    not_imitated: list[str] = field(default_factory=list)

    def add(self, at: str, text: str) -> None:
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append({**({"field": at} if at else {}), "description": text})

    def wrong(self, at: str, kind: str, value: Any) -> None:
        shown = json.dumps(value, ensure_ascii=False)[:200] if not isinstance(value, dict | list) else "{ }"
        self.add(at, f"Invalid value at '{at}' ({kind}), {shown}")

    def unknown(self, at: str, name: str, why: str = "Cannot find field.") -> None:
        place = f" at '{at}'" if at else ""
        self.add(at, f'Invalid JSON payload received. Unknown name "{name}"{place}: {why}')

    def raise_any(self) -> None:
        """Raises `VendorError`: 400 with every refusal, else 501 with the first that is not imitated."""
        if self.violations:
            detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": self.violations}
            text = "\n".join(one["description"] for one in self.violations)
            raise VendorError(google_error(400, text, [detail]))
        if self.not_imitated:
            raise VendorError(google_error(501, f"The sandbox does not imitate {self.not_imitated[0]}."))


def read_call(request: Request, email: str, query: str, body: tuple[str, str] | None, answer: str) -> Call:
    """Read a request by the messages named; `body` is a message and the field that it is bound to ("" for the whole).

    Raises:
        VendorError: 400 with Google's text and field violations; 501 naming a member that is not imitated.
        BadJson: The body is not JSON.
    """
    problems = _Problems()
    found = _query(problems, request, MESSAGES[query])
    content: dict[str, Any] = {}
    if body is not None and request.body:
        parsed = request.json()
        if not isinstance(parsed, dict):
            problems.unknown("", "", "Root element must be a message.")
        else:
            content = _message(problems, MESSAGES[body[0]], parsed, body[1], body[1])
    problems.raise_any()
    text = found.pop("fields", "")
    if " " in text:  # the Drive API takes blanks in masks, Sheets does not: ringo380/claude-google-sheets-mcp#4
        raise invalid("Request contains an invalid argument.")
    mask, known = _named(parse_mask(text), answer)
    if not known:
        raise invalid("Request contains an invalid argument.")
    return Call(email, found, content, mask, len(request.body))


def _query(problems: _Problems, request: Request, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in request.query_pairs:
        member = message.members.get(name) or MESSAGES["CommonQuery"].members.get(name)
        if member is None:
            why = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            problems.unknown("", name, why)
            continue
        value: Any = _flag(text) if member.type == "bool" else text
        value = _one(problems, member, value, snake(member.name), member.name)
        if value is not _UNSET and member.is_repeated:
            found.setdefault(member.name, []).append(value)
        elif value is not _UNSET:
            found[member.name] = value
    return found


def _flag(text: str) -> Any:
    return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)


def _message(problems: _Problems, message: Message, value: dict[str, Any], at: str, shown: str) -> dict[str, Any]:
    """The members that are set. `at` is the path as Google prints it, `shown` the one that a caller wrote."""
    found: dict[str, Any] = {}
    union = ""
    for name, content in value.items():
        member = message.members.get(name)
        if member is None:
            problems.unknown(at, name)
            continue
        if content is None:
            continue
        if member.name in message.oneof_members and message.oneof:
            if union:
                text = f"oneof field '{message.oneof}' is already set. Cannot set '{name}'"
                problems.add(at, f"Invalid value at '{at}' (oneof), {text}")
            union = member.name
        below = f"{at}.{snake(member.name)}" if at else snake(member.name)
        told = f"{shown}.{member.name}" if shown else member.name
        read = _many if member.is_repeated else _one
        result = read(problems, member, content, below, told)
        if result is not _UNSET:
            found[member.name] = result
    return found


def _many(problems: _Problems, member: Member, value: Any, at: str, shown: str) -> Any:
    if not member.is_imitated and not value:
        return _UNSET
    if not isinstance(value, list):
        problems.wrong(at, _kind(member), value)
        return _UNSET
    items = (_one(problems, member, item, f"{at}[{i}]", f"{shown}[{i}]") for i, item in enumerate(value))
    return [({} if member.type in MESSAGES else "") if item is _UNSET else item for item in items]


def _one(problems: _Problems, member: Member, value: Any, at: str, shown: str) -> Any:
    kind = member.type
    if not member.is_imitated:
        if value or kind == "any":
            problems.not_imitated.append(shown)
        return _UNSET
    if isinstance(value, list) and kind not in ("rows", "any"):
        parent, _, last = at.rpartition(".")
        problems.unknown(parent, last, "Proto field is not repeating, cannot start list.")
        return _UNSET
    if kind in MESSAGES:
        if not isinstance(value, dict):
            problems.wrong(at, _kind(member), value)
            return _UNSET
        return _message(problems, MESSAGES[kind], value, at, shown)
    if isinstance(value, dict) and kind != "any":
        parent, _, last = at.rpartition(".")
        place = f" at '{parent}'" if parent else ""
        problems.add(parent, f"Invalid value{place} ({last}), Starting an object on a scalar field")
        return _UNSET
    if kind == "rows":
        return _rows(problems, value, at)
    if kind in ENUMS:
        return _enum(problems, member, value, at, shown)
    read = _scalar(kind, value)
    if read is _UNSET:
        problems.wrong(at, _kind(member), value)
    elif kind == "mask":
        return _body_mask(problems, member, read, at)
    return read


def _kind(member: Member) -> str:
    if member.type == "rows":
        return _LIST_VALUE
    return _SCALARS.get(member.type) or _PACKAGE + member.type


def _scalar(kind: str, value: Any) -> Any:
    """The value as its type; numbers may come as text, as in protobuf's JSON. `_UNSET` if it is of another type."""
    if kind == "any":
        return value
    if kind in ("str", "mask"):
        return value if isinstance(value, str) else _UNSET
    if kind == "bool":
        return value if isinstance(value, bool) else _flag(value) if value in ("true", "false") else _UNSET
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if any(letter in value for letter in ".eE") else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return _UNSET
    if kind == "double":
        return value
    return int(value) if value == int(value) and -(2**31) <= value < 2**31 else _UNSET


def _enum(problems: _Problems, member: Member, value: Any, at: str, shown: str) -> Any:
    enum = ENUMS[member.type]
    if isinstance(value, str):
        if value in enum.imitated:
            return value
        if value.endswith("_UNSPECIFIED") or value == "":
            return _UNSET
        if value in enum.not_imitated or "*" in enum.not_imitated:
            problems.not_imitated.append(f"{shown} {value}")
            return _UNSET
    problems.wrong(at, _kind(member), value)
    return _UNSET


def _rows(problems: _Problems, value: Any, at: str) -> Any:
    if not isinstance(value, list):
        problems.wrong(at, _LIST_VALUE, value)
        return _UNSET
    for index, row in enumerate(value):
        if not isinstance(row, list):
            problems.wrong(f"{at}[{index}]", _LIST_VALUE, row)
        elif not {dict, list}.isdisjoint(map(type, row)):
            across = next(i for i, cell in enumerate(row) if isinstance(cell, dict | list))
            kind = "struct_value" if isinstance(row[across], dict) else "list_value"
            batch = re.match(r"data\[\d+\]", at)
            problems.add(
                "", f"Invalid {batch[0] + ': Invalid ' if batch else ''}values[{index}][{across}]: {kind} {{ }}"
            )
    return value


def _body_mask(problems: _Problems, member: Member, text: str, at: str) -> Any:
    try:
        mask, known = _named(parse_mask(text), member.mask_of)
    except VendorError:
        mask, known = {}, False
    if not known:
        problems.wrong(at, "type.googleapis.com/google.protobuf.FieldMask", text)
        return _UNSET
    return mask


def _named(mask: Mapping[str, Any], message: str) -> tuple[Mask, bool]:
    """The mask with names in camel case, and whether all of them exist below this message."""
    if message not in MESSAGES:
        return dict(mask), message == "any" or not mask
    found: Mask = {}
    for name, below in mask.items():
        if name == "*":
            found[name] = {}
            continue
        member = MESSAGES[message].members.get(name)
        if member is None:
            return {}, False
        found[member.name], known = _named(below, member.type)
        if not known:
            return {}, False
    return found, True
