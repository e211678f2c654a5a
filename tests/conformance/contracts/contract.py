"""One vendor's operations, whatever document they were read from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.contracts.schema import Schema, SchemaChecker


@dataclass(frozen=True)
class Parameter:
    """One documented parameter. `style` of a list: `repeated` (`a=1&a=2`) or `commas` (`a=1,2`); else `single`."""

    name: str
    where: str
    schema: Schema
    is_required: bool = False
    style: str = "single"


@dataclass(frozen=True)
class Answer:
    """One documented answer. `schema` None: it has no body. No `media_types`: none is documented, JSON is meant."""

    schema: Schema | None = None
    media_types: tuple[str, ...] = ()
    headers: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A method on a path template (`/v1/x/{id}`), its answers by status. `body` None: a request has none."""

    method: str
    template: str
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    is_body_required: bool = False
    body_types: tuple[str, ...] = ()
    answers: Mapping[int, Answer] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """E.g. `GET /v1/x/{id}`."""
        return f"{self.method} {self.template}"

    def of(self, where: str) -> dict[str, Parameter]:
        """Parameters of one place by name, headers in lower case."""
        found = [parameter for parameter in self.parameters if parameter.where == where]
        return {each.name.lower() if where == "header" else each.name: each for each in found}


class Contract:
    """All operations of one vendor; `takes_fields` for Google's partial answers (`?fields=a,b(c)`)."""

    def __init__(
        self, vendor: str, operations: Sequence[Operation], document: Mapping[str, Any], *, takes_fields: bool = False
    ) -> None:
        self.vendor = vendor
        self.operations = tuple(operations)
        self.checker = SchemaChecker(document)
        self.takes_fields = takes_fields
        self._patterns = sorted(
            ((_pattern(one.template), one) for one in self.operations), key=lambda pair: _freedom(pair[1].template)
        )

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation of a decoded path and its path arguments in order; the one with most fixed text wins."""
        for pattern, operation in self._patterns:
            if operation.method == method and (match := pattern.fullmatch(path)):
                return operation, dict(zip(re.findall(r"\{(\w+)\}", operation.template), match.groups(), strict=True))
        return None


_WITH_SLASHES = {"range", "tableName"}  # names that people choose: the logged path is decoded, so they may hold a slash


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    texts = [re.escape(part) if index % 2 == 0 else _argument(part) for index, part in enumerate(parts)]
    return re.compile("".join(texts), re.DOTALL)


def _argument(name: str) -> str:
    return "(.+)" if name in _WITH_SLASHES else "([^/]+?)"


def _freedom(template: str) -> tuple[int, int]:
    fixed = re.sub(r"\{\w+\}", "", template)
    return template.count("{"), -len(fixed)
