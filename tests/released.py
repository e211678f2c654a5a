"""What a released API description promised and the present one no longer keeps. `python -m tests.released` writes a new release."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "functional" / "released"
FUNCTIONS = ("register", "export", "refresh")
NARROWER = ("enum", "pattern", "minLength", "maxLength", "minimum", "maximum")


def broken(old: Json, new: Json) -> list[str]:
    """Return in words what a client of the old document could trip over with the new one; additions are none."""
    return [
        line
        for path, item in old["paths"].items()
        for method, operation in item.items()
        for line in _operation(f"{method.upper()} {path}", operation, new["paths"].get(path, {}).get(method), old, new)
    ]


def _operation(name: str, old: Json, new: Json | None, before: Json, after: Json) -> Iterator[str]:
    if new is None:
        yield f"{name} is gone"
        return
    if old["x-permission"] != new["x-permission"]:
        yield f"{name} is for {new['x-permission']}, was for {old['x-permission']}"
    known = {(item["name"], item["in"]): item for item in new["parameters"]}
    for item in old["parameters"]:
        if (item["name"], item["in"]) not in known:
            yield f"{name}: parameter {item['name']} is gone"
    had = {(item["name"], item["in"]) for item in old["parameters"]}
    for key, item in known.items():
        if item.get("required") and key not in had:
            yield f"{name}: parameter {item['name']} is required now"
    yield from _bodies(name, old, new, before, after)
    for status, answer in old["responses"].items():
        if status not in new["responses"]:
            yield f"{name} no longer answers {status}"
        elif status.startswith("2"):
            for media, content in answer.get("content", {}).items():
                other = new["responses"][status].get("content", {}).get(media)
                if other is None:
                    yield f"{name}: {status} is not {media} any more"
                    continue
                place = f"{name}: {status}"
                yield from _reply(
                    place, _resolved(content["schema"], before), _resolved(other["schema"], after), before, after
                )


def _bodies(name: str, old: Json, new: Json, before: Json, after: Json) -> Iterator[str]:
    mine, theirs = new.get("requestBody"), old.get("requestBody")
    if mine and mine["required"] and not (theirs and theirs["required"]):
        yield f"{name}: a body is required now"
    for media, content in (theirs or {"content": {}})["content"].items():
        other = (mine or {"content": {}})["content"].get(media)
        if other is None:
            yield f"{name}: takes no {media} any more"
            continue
        yield from _request(
            f"{name}: body", _resolved(content["schema"], before), _resolved(other["schema"], after), before, after
        )


def _request(place: str, old: Json, new: Json, before: Json, after: Json, depth: int = 0) -> Iterator[str]:
    """What was accepted must be accepted: no member gone, none newly required, no value narrowed."""
    if depth > 8:
        return
    if missing := sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{place}: {', '.join(missing)} is required now"
    if gone := _types(old) - _types(new):
        yield f"{place}: takes no {', '.join(sorted(gone))} any more"
    for rule in NARROWER:
        if rule in new and rule not in old and "anyOf" not in old:
            yield f"{place}: {rule} {new[rule]!r} is new"
    if lost := {str(value) for value in old.get("enum", ())} - {
        str(value) for value in new.get("enum", old.get("enum", ()))
    }:
        yield f"{place}: {', '.join(sorted(lost))} is not accepted any more"
    for mine, theirs in zip(old.get("anyOf", ()), new.get("anyOf", ()), strict=False):
        yield from _request(f"{place}: {mine.get('title', 'one form')}", mine, theirs, before, after, depth + 1)
    for member, schema in old.get("properties", {}).items():
        other = new.get("properties", {}).get(member)
        if other is None and new.get("additionalProperties") is False:
            yield f"{place}.{member} is gone"
        elif other is not None:
            yield from _request(
                f"{place}.{member}", _resolved(schema, before), _resolved(other, after), before, after, depth + 1
            )


def _reply(place: str, old: Json, new: Json, before: Json, after: Json, depth: int = 0) -> Iterator[str]:
    """What was answered must be answered: no member gone or no longer sure, no new type."""
    if depth > 8:
        return
    if unsure := sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        yield f"{place}: {', '.join(unsure)} is not sure any more"
    if extra := _types(new) - _types(old):
        yield f"{place}: may be {', '.join(sorted(extra))} now"
    for member, schema in old.get("properties", {}).items():
        other = new.get("properties", {}).get(member)
        if other is None:
            yield f"{place}.{member} is gone"
        else:
            yield from _reply(
                f"{place}.{member}", _resolved(schema, before), _resolved(other, after), before, after, depth + 1
            )
    if "items" in old and isinstance(new.get("items"), Mapping):
        yield from _reply(
            f"{place}[]", _resolved(old["items"], before), _resolved(new["items"], after), before, after, depth + 1
        )


def _resolved(schema: Json, document: Json) -> Json:
    """Return a schema itself: references followed, and of `X or null` the X, marked as such."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    parts = [_resolved(part, document) for part in schema.get("anyOf", ())]
    others = [part for part in parts if part.get("type") != "null"]
    if len(others) == 1:
        return {**others[0], "or null": len(parts) > 1}
    return {**schema, "anyOf": parts} if parts else schema


def _types(schema: Json) -> set[str]:
    """Return the JSON types that a schema allows by name, empty where it names none."""
    stated = [part.get("type", []) for part in schema.get("anyOf", (schema,))]
    found = {name for item in stated for name in ([item] if isinstance(item, str) else item)}
    return found | {"null"} if schema.get("or null") and found else found


def main() -> int:
    """Write the present documents as the released ones."""
    from tests.functional.conftest import ENVIRONMENT, World

    world = World(dict(ENVIRONMENT))
    FOLDER.mkdir(exist_ok=True)
    for function in FUNCTIONS:
        document = world.call(function, "GET", "/openapi.json").body
        (FOLDER / f"{function}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
