"""YAML as another spelling of a JSON body: JSON's values only, no aliases (a few lines of them are gigabytes), no key twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from shared.errors import InvalidRequestError
from shared.redaction import hinted

QUOTED = re.compile(r"(['\"])(.+?)\1", re.DOTALL)
"""What PyYAML quotes of the body when it refuses it, e.g. a tag."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `no` and `2024-01-01` are text, `true`, `null` and numbers are what JSON has."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - an instance variable to PyYAML's types, a class's own to PyYAML

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        """Join the halves of a character, as JSON spells some; one half is no text, and no store takes it."""
        node: Any = super().compose_scalar_node(anchor)
        try:
            node.value = node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as exc:
            said = "half a character (a lone surrogate) is no text"
            raise yaml.MarkedYAMLError(problem=said, problem_mark=node.start_mark) from exc
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001 - PyYAML's signature
        names = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in names:  # JSON's keys are text: of the columns 1.1 and 1.10 two numbers would make one
            key.tag = "tag:yaml.org,2002:str"
        keys = Counter(key.value for key in names)
        twice, times = next(iter(keys.most_common(1)), (None, 0))
        if times > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {twice!r} is there twice", problem_mark=node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def decode(raw: bytes) -> Any:
    """Return the document as JSON values. Raises `InvalidRequestError` with line and column."""
    try:
        return yaml.load(raw, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        said = QUOTED.sub(
            lambda found: f"{found[1]}{hinted(found[2])}{found[1]}", getattr(exc, "problem", None) or str(exc)
        )
        raise InvalidRequestError(f"the body is not YAML as taken here: {said}{where}", field="$") from exc
