"""Google's field masks: `a,b(c,d),e.f`, `a/b/c`, `*`. A mask is a tree; an empty branch means everything below."""

from __future__ import annotations

from typing import Any

from .errors import invalid

Mask = dict[str, Any]


def parse_mask(text: str) -> Mask:
    """The tree of a mask. Raises `VendorError` (400) if brackets do not match."""
    tree, rest = _group(text.replace("/", ".").replace(" ", ""))
    if rest:
        raise invalid("Request contains an invalid argument.")
    return tree


def select(value: Any, mask: Mask) -> Any:
    """The part of a JSON value that the mask names; lists are gone through."""
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [select(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: select(value[key], below) for key, below in mask.items() if key in value}


def paths(mask: Mask, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The leaves as tuples of names, `("*",)` for everything."""
    found: list[tuple[str, ...]] = []
    for key, below in mask.items():
        here = prefix if prefix and key == "*" else (*prefix, key)
        found += paths(below, here) if below else [here]
    return found


def copy_fields(source: dict[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    """Set the field at `path` in `target` as it is in `source`; where the source has none, clear it."""
    *parents, last = path
    for key in parents:
        source = source.get(key) or {}
        target[key] = dict(target.get(key) or {})  # a copy: what is there may belong to the committed state
        target = target[key]
    if last in source:
        target[last] = source[last]
    else:
        target.pop(last, None)


def _group(text: str) -> tuple[Mask, str]:
    tree: Mask = {}
    while text and text[0] != ")":
        branch, text = _path(text, tree)
        if text.startswith("("):
            below, text = _group(text[1:])
            if not text.startswith(")"):
                raise invalid("Request contains an invalid argument.")
            branch.update(below)
            text = text[1:]
        text = text.removeprefix(",")
    return tree, text


def _path(text: str, tree: Mask) -> tuple[Mask, str]:
    end = next((i for i, letter in enumerate(text) if letter in ",()"), len(text))
    branch = tree
    for name in text[:end].split("."):
        if not name:
            raise invalid("Request contains an invalid argument.")
        branch = branch.setdefault(name, {})
    return branch, text[end:]
