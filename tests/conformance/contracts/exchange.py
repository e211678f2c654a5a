"""Checks one logged exchange of a sandbox against its vendor's contract. Nothing is forgiven here; `known` does that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.contracts.contract import Answer, Contract, Operation, Parameter
from tests.conformance.contracts.schema import Problem, Schema, SchemaChecker

MAX_LOGGED_BYTES = 2_000_000  # infra/local/sandboxes/traffic.py logs larger bodies by their size only
# RFC 9110, 9111, 9112: any HTTP message may have these, so no contract lists them.
REQUEST_HEADERS = frozenset(
    [
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
        "content-type",
        "content-length",
        "content-encoding",
    ]
)
ANSWER_HEADERS = frozenset(
    ["content-type", "content-length", "connection", "date", "server", "cache-control", "pragma", "retry-after"]
)

Json = Any


@dataclass(frozen=True)
class Finding:
    """One deviation from a contract.

    Attributes:
        side: `request` or `answer`.
        operation: e.g. `GET /v1/x/{id}`; the path as it was where no operation has it.
        kind: route, path, query, header, media type, body, fields, status, error form, or a kind of `schema.Problem`.
        at: a member's path, or the name of a parameter, header, status or error form.
    """

    vendor: str
    side: str
    operation: str
    kind: str
    at: str
    text: str
    value: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.vendor}: {self.side} of {self.operation}: {self.kind} {self.at!r}: {self.text}"


@dataclass(frozen=True)
class Check:
    """Everything that one exchange is checked against.

    Attributes:
        contract: the vendor's.
        beyond: operations that the contract lacks, written down by us with their sources (`known`).
        error_forms: names and schemas of the bodies that answers with an undocumented status may have.
    """

    contract: Contract
    beyond: Contract
    error_forms: Mapping[str, Schema]

    def findings(self, entry: Mapping[str, Json], *, with_request: bool = True) -> list[Finding]:
        """All deviations of one line of the traffic log. `with_request` False: only the answer counts."""
        found = self.contract.find(entry["method"], entry["path"])
        source = self.contract
        problems: list[tuple[str, Problem]] = []
        if found is None:
            found, source = self.beyond.find(entry["method"], entry["path"]), self.beyond
            problems.append(("request", Problem("route", "", "the contract has no such route")))
        if found is None:
            name = f"{entry['method']} {entry['path']}"
        else:
            operation, arguments = found
            name = operation.name
            if with_request:
                asked = _Request(source, operation, entry)
                problems += [("request", problem) for problem in asked.problems(arguments)]
            if entry["status"] and not entry["fault"]:
                answered = _Answer(source.checker, operation, entry, self.error_forms)
                problems += [("answer", problem) for problem in answered.problems()]
        vendor = self.contract.vendor
        return [Finding(vendor, side, name, one.kind, one.at, one.text, one.value) for side, one in problems]


def _typed(schema: Schema, text: str) -> Any:
    """A parameter's text as its documented type; the text itself if it is not of that type."""
    match schema.get("type"):
        case "integer" if re.fullmatch(r"[+-]?\d+", text):
            return int(text)
        case "number" if re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text):
            return float(text)
        case "boolean" if text in ("true", "false"):
            return text == "true"
    return text


@dataclass(frozen=True)
class _Request:
    contract: Contract
    operation: Operation
    entry: Mapping[str, Json]

    def problems(self, arguments: Mapping[str, str]) -> Iterator[Problem]:
        yield from self._path(arguments)
        yield from self._query()
        yield from self._headers()
        yield from self._body()

    def _path(self, arguments: Mapping[str, str]) -> Iterator[Problem]:
        documented = self.operation.of("path")
        for name, text in arguments.items():
            if name not in documented:
                yield Problem("path", name, "the template has it and the parameters do not")
            else:
                yield from self._value("path", documented[name], [text])

    def _query(self) -> Iterator[Problem]:
        documented, sent = self.operation.of("query"), self.entry["query"]
        for name, parameter in documented.items():
            if parameter.is_required and name not in sent:
                yield Problem("query", name, "a required parameter is missing")
        for name, value in sent.items():
            texts = value if isinstance(value, list) else [value]
            if name not in documented:
                yield Problem("query", name, "this parameter is not documented", value)
                continue
            yield from self._value("query", documented[name], texts)
            if name == "fields" and self.contract.takes_fields:
                answer = self.operation.answers[200].schema or {}
                for path in mask_paths(texts[0]):
                    yield from _unknown_field(self.contract.checker, answer, path)

    def _value(self, kind: str, parameter: Parameter, texts: list[str]) -> Iterator[Problem]:
        schema = parameter.schema
        if parameter.style == "single" and len(texts) > 1:
            yield Problem(kind, parameter.name, f"given {len(texts)} times")
        if schema.get("type") == "array":
            listed = texts if parameter.style == "repeated" else [part for text in texts for part in text.split(",")]
            value: Any = [_typed(schema.get("items", {}), text) for text in listed]
        else:
            value = _typed(schema, texts[0])
        for problem in self.contract.checker.check(schema, value, parameter.name):
            yield Problem(kind, parameter.name, problem.text, value)

    def _headers(self) -> Iterator[Problem]:
        documented = self.operation.of("header")
        for name, parameter in documented.items():
            if parameter.is_required and name not in self.entry["request_headers"]:
                yield Problem("header", name, "a required header is missing")
        for name, text in self.entry["request_headers"].items():
            if name in documented:
                yield from self._value("header", documented[name], [text])
            elif name not in REQUEST_HEADERS:
                yield Problem("header", name, "this header is not documented", text)

    def _body(self) -> Iterator[Problem]:
        body, schema, size = self.entry["request_body"], self.operation.body, self.entry["bytes_in"]
        if not size:
            if self.operation.is_body_required:
                yield Problem("body", "", "a required body is missing")
            return
        if schema is None:
            yield Problem("body", "", "no body is documented", body)
            return
        if body is None and size > MAX_LOGGED_BYTES:
            yield Problem(
                "body", "", f"{size} bytes are not in the log, so they cannot be checked; send less in this test"
            )
            return
        media = _media(self.entry["request_headers"])
        if self.operation.body_types and media not in self.operation.body_types:
            yield Problem("media type", media, f"documented: {', '.join(self.operation.body_types)}")
        elif not self.operation.body_types and media != "application/json":
            yield Problem("media type", media, "documented: JSON")
        yield from self.contract.checker.check(schema, body, sending=True)


@dataclass(frozen=True)
class _Answer:
    checker: SchemaChecker
    operation: Operation
    entry: Mapping[str, Json]
    error_forms: Mapping[str, Schema]

    def problems(self) -> Iterator[Problem]:
        status, headers = self.entry["status"], self.entry["response_headers"]
        documented = self.operation.answers.get(status)
        yield from self._headers(documented or Answer())
        if documented is None:
            yield Problem("status", str(status), "this status is not documented", self.entry["response_body"])
            yield self._error_form()
            return
        if not self.entry["bytes_out"]:
            if documented.schema is not None:
                yield Problem("body", "", "the documented body is missing")
            return
        media = _media({name.lower(): text for name, text in headers.items()})
        if not _fits(media, documented.media_types):
            yield Problem("media type", media, f"documented: {', '.join(documented.media_types) or 'JSON'}")
        yield from self._body(documented, media)

    def _body(self, documented: Answer, media: str) -> Iterator[Problem]:
        body = self.entry["response_body"]
        if documented.schema is None:
            yield Problem("body", "", "no body is documented", body)
        elif body is None and self.entry["bytes_out"] > MAX_LOGGED_BYTES:
            yield Problem("body", "", "the body is not in the log, so it cannot be checked; ask for less in this test")
        elif media == "application/json" and documented.schema.get("type") == "string" and not isinstance(body, str):
            yield Problem("raw text", "", "a text is documented, and its JSON stands there unquoted", body)
        else:
            yield from self.checker.check(documented.schema, body)

    def _error_form(self) -> Problem:
        body = self.entry["response_body"]
        for name, schema in self.error_forms.items():
            if not list(SchemaChecker({}).check(schema, body)):
                return Problem("error form", name, "this form is not documented", body)
        return Problem("error form", "none", f"of no form that this vendor is known to use: {str(body)[:200]}", body)

    def _headers(self, documented: Answer) -> Iterator[Problem]:
        for name, text in self.entry["response_headers"].items():
            lower = name.lower()
            if lower in documented.headers:
                for problem in self.checker.check(documented.headers[lower], text):
                    yield Problem("header", lower, problem.text, text)
            elif lower not in ANSWER_HEADERS:
                yield Problem("header", lower, "this header is not documented", text)


def _media(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _fits(media: str, documented: tuple[str, ...]) -> bool:
    """Looker writes `text` for any text."""
    return media in (documented or ("application/json",)) or media.partition("/")[0] in documented


def mask_paths(mask: str) -> list[str]:
    """The paths of a `fields` parameter: `a,b(c,d/e)` gives `a`, `b.c`, `b.d.e`."""
    paths, prefix, name = [], [""], ""
    for char in mask + ",":
        if char == "(":
            prefix.append(f"{prefix[-1]}{name}.")
        if char in "(),":
            if name and char != "(":
                paths.append(prefix[-1] + name)
            name = ""
            if char == ")":
                prefix.pop()
        else:
            name += "." if char == "/" else char
    return paths


def _unknown_field(checker: SchemaChecker, schema: Schema, path: str) -> Iterator[Problem]:
    flat = checker.flat(schema)
    for name in path.split("."):
        while flat.get("type") == "array":
            flat = checker.flat(flat.get("items", {}))
        if name == "*":
            return
        if name not in flat.get("properties", {}):
            yield Problem("fields", path, f"the answer has no {name!r}")
            return
        flat = checker.flat(flat["properties"][name])
