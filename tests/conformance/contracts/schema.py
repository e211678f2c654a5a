"""Checks JSON values against schemas of Swagger 2, OpenAPI 3 and Google discovery, each member of an object documented.

All three are read in one dialect: `$ref` is a JSON pointer, `nullable` allows null, `type: any` or no type allows anything.
An object is closed unless it has `additionalProperties`, or no `properties` at all (a free object).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One deviation. `at` is a path like `tables[].name` (positions left out); `value` is what stands there."""

    kind: str
    at: str
    text: str
    value: Any = field(default=None, compare=False, repr=False)


class SchemaChecker:
    """Checks values against the schemas of one document.

    Args:
        document: what `$ref` pointers lead into.
    """

    def __init__(self, document: Schema) -> None:
        self._document = document

    def check(self, schema: Schema, value: Any, at: str = "", *, sending: bool = False) -> Iterator[Problem]:
        """Yield each deviation of `value`, in order. With `sending`, a member that only the vendor sets is one too."""
        flat = self.flat(schema)
        if value is None:
            if not flat.get("nullable") and flat.get("type", "any") != "any":
                yield Problem("null", at, "null is not documented", value)
            return
        yield from _check_scalar(flat, value, at)
        if isinstance(value, list) and flat.get("type") == "array":
            for item in value:
                yield from self.check(flat.get("items", {}), item, f"{at}[]", sending=sending)
        if isinstance(value, dict) and (flat.get("type") == "object" or "properties" in flat):
            yield from self._check_members(flat, value, at, sending=sending)

    def flat(self, schema: Schema) -> dict[str, Any]:
        """Return the schema with `$ref` and `allOf` worked in; what stands beside a `$ref` wins over it."""
        merged: dict[str, Any] = {}
        parts = [self._resolve(schema["$ref"])] if "$ref" in schema else []
        for part in (*parts, *schema.get("allOf", [])):
            found = self.flat(part)
            properties = {**merged.get("properties", {}), **found.get("properties", {})}
            required = [*merged.get("required", []), *found.get("required", [])]
            merged.update(found)
            if properties or "properties" in found:
                merged.update(properties=properties, required=required, type="object")
        own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "properties", "required")}
        merged.update(own)
        if "properties" in schema:
            merged["properties"] = {**merged.get("properties", {}), **schema["properties"]}
            merged.setdefault("type", "object")
        if isinstance(schema.get("required"), list):
            merged["required"] = [*merged.get("required", []), *schema["required"]]
        return merged

    def _check_members(self, flat: Schema, value: dict[str, Any], at: str, *, sending: bool) -> Iterator[Problem]:
        properties = flat.get("properties")
        others = flat.get("additionalProperties", properties is None)
        for name in flat.get("required", []):
            if name not in value and not (sending and self._is_read_only((properties or {}).get(name, {}))):
                yield Problem("required", _join(at, name), "a required member is missing")
        for name, item in value.items():
            where = _join(at, name)
            if name in (properties or {}):
                schema = (properties or {})[name]
                if sending and self._is_read_only(schema):
                    yield Problem("read-only", where, "only the vendor sets this member", item)
                yield from self.check(schema, item, where, sending=sending)
            elif isinstance(others, Mapping):
                yield from self.check(others, item, _join(at, "*"), sending=sending)
            elif not others:
                yield Problem("member", where, "this member is not documented", item)

    def _is_read_only(self, schema: Schema) -> bool:
        described = str(schema.get("description", ""))
        return bool(schema.get("readOnly")) or described.startswith("Output only") or "is read-only" in described

    def _resolve(self, pointer: str) -> Schema:
        found: Any = self._document
        for part in pointer.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        resolved: Schema = found
        return resolved


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _check_scalar(flat: Schema, value: Any, at: str) -> Iterator[Problem]:
    kind = flat.get("type", "any")
    is_number_for_bool = isinstance(value, bool) and kind in ("integer", "number")
    if kind != "any" and (not isinstance(value, _TYPES[kind]) or is_number_for_bool):
        yield Problem("type", at, f"expected {kind}, got {type(value).__name__} {str(value)[:60]!r}", value)
        return
    if "enum" in flat and value not in flat["enum"]:
        yield Problem("enum", at, f"{value!r} is none of {', '.join(map(str, flat['enum']))}", value)
    form = flat.get("format")
    if form in _FORMATS and not _FORMATS[form](value):
        yield Problem("format", at, f"{value!r} is no {form}", value)
    if isinstance(value, str):
        if "pattern" in flat and not re.search(flat["pattern"], value):
            yield Problem("pattern", at, f"{value!r} does not match {flat['pattern']}", value)
        if len(value) > flat.get("maxLength", len(value)):
            yield Problem("length", at, f"{len(value)} characters, at most {flat['maxLength']}", value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = flat.get("minimum"), flat.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            yield Problem("range", at, f"{value} is not within {low} to {high}", value)


def _is_uuid(value: Any) -> bool:
    try:
        return str(UUID(value)) == str(value).lower()
    except (ValueError, AttributeError):
        return False


def _is_moment(value: Any) -> bool:
    """RFC 3339: a zone is needed."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except (ValueError, TypeError):
        return False


def _is_date(value: Any) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == str(value)
    except (ValueError, TypeError):
        return False


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            return low <= int(value) <= high
        except (ValueError, TypeError):
            return False

    return check


# Dots, slashes or parentheses: developers.google.com/workspace/sheets/api/guides/field-masks
_PATHS = re.compile(r"\*|[A-Za-z_][\w.,/()*]*[\w)*]")
_FORMATS: dict[str, Callable[[Any], bool]] = {
    "uuid": _is_uuid,
    "date-time": _is_moment,
    "google-datetime": _is_moment,
    "date": _is_date,
    "int32": _is_whole(-(2**31), 2**31 - 1),
    "int64": _is_whole(-(2**63), 2**63 - 1),
    "url": lambda value: bool(urlsplit(value).scheme and urlsplit(value).netloc),
    "uri-reference": lambda value: " " not in value,
    "google-fieldmask": lambda value: bool(_PATHS.fullmatch(value)) and value.count("(") == value.count(")"),
}
