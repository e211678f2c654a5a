"""Which function answers a path, read from each function's own OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_PARAMETER = re.compile(r"\{[^{}/]+\}")
_INTERNAL = "/internal"
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
Json = dict[str, Any]


class BadPathError(Exception):
    """A path that could mean different things to the gateway and to a function."""


@dataclass(frozen=True)
class Route:
    """One path template of one function; matches whole decoded paths segment by segment."""

    template: str
    function: str
    methods: frozenset[str]

    @property
    def rank(self) -> tuple[tuple[int, int], ...]:
        """Sorts more literal templates first: whole literal segments, then `{id}:cancel`, then `{id}`."""
        return tuple(_segment_rank(segment) for segment in self.template.split("/"))

    def matches(self, segments: list[str]) -> bool:
        """Whether the decoded segments of a path fit the template."""
        wanted = self.template.split("/")
        return len(wanted) == len(segments) and all(
            re.fullmatch(_pattern(template), segment, re.DOTALL)
            for template, segment in zip(wanted, segments, strict=True)
        )


class RouteTable:
    """The routes of all functions, most literal first."""

    def __init__(self, documents: Mapping[str, Json]) -> None:
        self._routes = sorted(
            (
                Route(template, function, frozenset(name.upper() for name in item if name in _METHODS))
                for function, document in documents.items()
                for template, item in document.get("paths", {}).items()
                if not is_internal(template) and template not in _OWN_PATHS
            ),
            key=lambda route: route.rank,
        )

    def function_for(self, method: str, path: str) -> str | None:
        """The function whose template fits the raw path best; one that has the method wins over one that has not.

        Raises:
            BadPathError: The path has `.`, `..` or an encoded slash in it.
        """
        segments = _decoded_segments(path)
        fitting = [route for route in self._routes if route.matches(segments)]
        with_method = [
            route for route in fitting if method in route.methods or (method == "HEAD" and "GET" in route.methods)
        ]
        best = next(iter(with_method or fitting), None)
        return best.function if best else None


_OWN_PATHS = frozenset({"/health", "/openapi.json"})


def is_internal(path: str) -> bool:
    """Whether a path belongs to Cloud Tasks and Cloud Scheduler alone: the gateway never forwards it."""
    decoded = unquote(path).lower()
    return decoded == _INTERNAL or decoded.startswith(_INTERNAL + "/")


def merge(documents: Iterable[Json]) -> Json:
    """One OpenAPI document of all public paths; of a component that several functions define, the first counts."""
    merged: Json = {}
    paths: Json = {}
    components: dict[str, Json] = {}
    for document in documents:
        merged = {**document, **merged}
        for path, item in document.get("paths", {}).items():
            if not is_internal(path):
                paths[path] = {**item, **paths.get(path, {})}
        for section, entries in document.get("components", {}).items():
            components[section] = {**entries, **components.get(section, {})}
    merged = merged or {"openapi": "3.1.0", "info": {"title": "BI connectors", "version": "0"}}
    return {**merged, "servers": [{"url": "/"}], "paths": dict(sorted(paths.items())), "components": components}


def _decoded_segments(path: str) -> list[str]:
    segments = path.split("/")
    decoded = [unquote(segment) for segment in segments]
    if any(segment in {".", ".."} or "/" in segment or "\\" in segment or "\x00" in segment for segment in decoded):
        raise BadPathError("the path has '.', '..', an encoded slash or a backslash as a part; write it plainly")
    return decoded


def _segment_rank(segment: str) -> tuple[int, int]:
    literal = len(_PARAMETER.sub("", segment))
    if not _PARAMETER.search(segment):
        return 0, -literal
    return (1 if literal else 2), -literal


def _pattern(segment: str) -> str:
    parts = _PARAMETER.split(segment)
    return ".+".join(re.escape(part) for part in parts)
