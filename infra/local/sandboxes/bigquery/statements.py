"""GoogleSQL to DuckDB's SQL, as far as the two differ in what a source reads: names, strings, time travel, `EXPORT DATA`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import invalid_query, not_imitated

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
      |(?P<quoted>`[^`]*`)
      |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      |(?P<word>[A-Za-z_][A-Za-z_0-9]*)
      |(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)
      |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_EXPORT = re.compile(
    r"\s*EXPORT\s+DATA\s+OPTIONS\s*\((?P<options>[^()]*)\)\s*AS\s(?P<query>.*)", re.DOTALL | re.IGNORECASE
)
_OPTION = re.compile(r"\s*(\w+)\s*=\s*('[^']*'|true|false)\s*", re.IGNORECASE)
_TYPES = {"NUMERIC": "DECIMAL(38,9)", "FLOAT64": "DOUBLE", "DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMPTZ"}
_OPTIONS = {"uri", "format", "compression", "overwrite"}

Resolve = Callable[[tuple[str, ...], datetime | None], str]
"""From the parts of a table's path and the moment asked for to a quoted name in DuckDB."""


@dataclass(frozen=True)
class Export:
    """An `EXPORT DATA` statement: where to, and the query."""

    uri: str
    query: str


@dataclass(frozen=True)
class Token:
    """A piece of a statement and its kind, a group of `_TOKEN`."""

    kind: str
    text: str


def as_export(statement: str) -> Export | None:
    """The parts of an `EXPORT DATA`; None if it is another statement. Raises `VendorError` for options that are not imitated."""
    match = _EXPORT.fullmatch(statement)
    if match is None:
        return None
    options = {}
    for piece in match["options"].split(","):
        option = _OPTION.fullmatch(piece)
        if option is None:
            raise invalid_query(f"Syntax error: Unexpected option {piece.strip()!r} in EXPORT DATA")
        options[option[1].lower()] = option[2].strip("'")
    if set(options) - _OPTIONS or options.get("format") != "PARQUET":
        raise not_imitated(f"EXPORT DATA with {options}")
    uri = options.get("uri", "")
    if not uri.startswith("gs://") or uri.count("*") != 1:
        raise invalid_query("Invalid value: uri must contain exactly one wildcard '*' and begin with gs://")
    if options.get("overwrite") != "true":
        raise not_imitated("EXPORT DATA without overwrite=true")
    return Export(uri, match["query"])


def translate(query: str, resolve: Resolve) -> str:
    """The same query for DuckDB; every path of two or three parts after FROM and JOIN goes through `resolve`."""
    tokens = [Token(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(query)]
    out: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        out.append(_single(token))
        at += 1
        if token.kind == "word" and token.text.upper() in ("FROM", "JOIN"):
            path, end = _path(tokens, at)
            if len(path) > 1:
                moment, end = _moment(tokens, end)
                out += [" ", resolve(path, moment)]
                at = end
    return "".join(out)


def _single(token: Token) -> str:
    if token.kind == "quoted":
        return '"' + token.text[1:-1].replace('"', '""') + '"'
    if token.kind == "text":
        inside = re.sub(r"\\(.)", r"\1", token.text[1:-1])
        return "'" + inside.replace("'", "''") + "'"
    if token.kind == "word":
        return _TYPES.get(token.text.upper(), token.text)
    if token.kind == "space" and not token.text.isspace():
        return " "
    return token.text


def _path(tokens: list[Token], at: int) -> tuple[tuple[str, ...], int]:
    """The dotted path that begins at `at`, and where it ends; an empty path if something else stands there."""
    parts: list[str] = []
    at = _skip(tokens, at)
    while at < len(tokens) and tokens[at].kind in ("quoted", "word"):
        token = tokens[at]
        parts += token.text[1:-1].split(".") if token.kind == "quoted" else [token.text]
        at += 1
        if at >= len(tokens) or tokens[at].text != ".":
            break
        at += 1
    return tuple(parts), at


def _moment(tokens: list[Token], at: int) -> tuple[datetime | None, int]:
    """The literal of `FOR SYSTEM_TIME AS OF TIMESTAMP '…'`, and where it ends."""
    words, end = [], at
    for _ in range(5):
        end = _skip(tokens, end)
        words.append(tokens[end].text.upper() if end < len(tokens) else "")
        end += 1
    if words[:2] != ["FOR", "SYSTEM_TIME"]:
        return None, at
    end = _skip(tokens, end)
    if words != ["FOR", "SYSTEM_TIME", "AS", "OF", "TIMESTAMP"] or end >= len(tokens) or tokens[end].kind != "text":
        raise not_imitated("FOR SYSTEM_TIME AS OF anything but a TIMESTAMP literal")
    try:
        moment = datetime.fromisoformat(tokens[end].text[1:-1])
    except ValueError as exc:
        raise invalid_query(f"Invalid TIMESTAMP literal {tokens[end].text}") from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), end + 1


def _skip(tokens: list[Token], at: int) -> int:
    while at < len(tokens) and tokens[at].kind == "space":
        at += 1
    return at
