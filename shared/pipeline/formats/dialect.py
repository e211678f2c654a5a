"""CSV files as programs write them: the header rules, and cells with backslash escapes spelled as RFC 4180 has them.

pyarrow reads what is left: one delimiter, one quote that is doubled inside quotes.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shared.errors import SourceError

if TYPE_CHECKING:
    from shared.pipeline.formats import ReadOptions

DELIMITERS = ",;\t|"
_HEAD_BYTES = 1 << 20
_EXCEL_HINT = re.compile(r'"?sep=(.)"?(\r\n|\r|\n)', re.IGNORECASE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)")
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
"""dev.mysql.com: SELECT … INTO, string literals. Any other character after a backslash stands for itself."""


class Text(Protocol):
    """A stream of UTF-8."""

    def read(self, size: int | None = -1) -> bytes: ...


@dataclass(frozen=True)
class Header:
    """What the head of a file says.

    Attributes:
        names: the columns; the last may be empty, for cells after a delimiter at the end of each row.
        delimiter: one character.
        skip_lines: lines before the first row, as the file has them.
    """

    names: list[str]
    delimiter: str
    skip_lines: int


def read_header(stream: Text, options: ReadOptions) -> Header:
    """Read the head of a stream. Raises `SourceError` if it has no header line, or is shorter than what is to be skipped."""
    data = stream.read(_HEAD_BYTES)
    text = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1].decode()
    delimiters, start = options.delimiter or DELIMITERS, 0
    hint = None if options.delimiter else _EXCEL_HINT.match(text)
    if hint is not None:
        delimiters, start = hint[1], 1
    lines = _LINE.findall(text)[start + options.skip_rows :]
    best = Header([], delimiters[0], 0)
    for delimiter in delimiters:
        names, used = _names(lines, delimiter, options)
        if len(names) > len(best.names):
            best = Header(names, delimiter, start + options.skip_rows + used)
    if not best.names:
        raise SourceError("the file holds no header line; the first line must name the columns", code="columns_invalid")
    return best


def _names(lines: list[str], delimiter: str, options: ReadOptions) -> tuple[list[str], int]:
    """The column names, and how many lines they take; no names if the header is not whole. Blank lines are skipped."""
    wanted, quote = options.header_rows, '"' if options.escape else options.quote
    found: list[tuple[list[str], int]] = []
    csv.field_size_limit(_HEAD_BYTES)  # of the whole process: 128 KiB by default, which a cell may pass
    quoting: Any = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote or None, quoting=quoting)
    try:
        for row in reader:
            if row:
                found.append((row, reader.line_num))
            if len(found) > wanted:
                break
    except csv.Error as exc:
        raise SourceError(
            f"the header line cannot be read as CSV ({exc}); check its quotes", code="columns_invalid"
        ) from exc
    header, after = [row for row, _ in found[:wanted]], [row for row, _ in found[wanted:]]
    if not wanted:
        return [f"column_{index}" for index in range(1, len(found[0][0]) + 1)] if found else [], 0
    if len(header) < wanted:
        return [], 0
    names = joined_names(header)
    if after and len(after[0]) == len(names) + 1 and not after[0][-1]:
        names = [*names, ""]
    return names, found[wanted - 1][1]


def joined_names(header: list[list[str]]) -> list[str]:
    """The names of one header row as they are; of several the parts that are not blank, joined by blanks."""
    if len(header) == 1:
        return header[0]
    width = max(map(len, header))
    parts = [[row[index].strip() if index < len(row) else "" for row in header] for index in range(width)]
    return [" ".join(filter(None, part)) for part in parts]


class Respelled:
    r"""Rows with backslash escapes as RFC 4180 spells them: `\N` is null, an empty cell is empty text, LF ends a row.

    Raises `SourceError` if a quote is open at the end.
    """

    def __init__(self, stream: Text, delimiter: str, quote: str) -> None:
        self._stream = stream
        self._delimiter = delimiter
        apart = re.escape(delimiter)
        unquoted = rf"(?!{quote})" if quote else ""
        quoted = rf"{quote}((?:[^{quote}\\]++|\\.|{quote}{quote})*+){quote}" if quote else "(?!)()"
        self._quote = quote
        self._cell = re.compile(
            rf"(?:{quoted}|{unquoted}((?:[^\\\r\n{apart}]++|\\.)*+))({apart}|\r\n|\n|\r(?!\Z))", re.DOTALL
        )
        self._special = re.compile(rf'["\r\n{apart}]')
        self._rest = ""
        self._rows = 0
        self.closed = False

    def read(self, size: int | None = -1) -> bytes:
        """The next rows, about as many bytes as read from the file; empty at the end only."""
        while True:
            data = self._stream.read(max(size or 0, _HEAD_BYTES))
            text = self._rest + data.decode()
            if not text:
                return b""
            if not data and not text.endswith(("\n", "\r")):
                text += "\n"
            out, end = self._cells(text)
            self._rest = text[end:]
            if not data and self._rest.strip("\r\n"):
                message = (
                    f"row {self._rows + 1}: a quote is open, or text follows a closed one; check the file's quotes"
                )
                raise SourceError(message, code="source_damaged", row=self._rows + 1)
            if len(self._rest) > 1 << 25:
                raise SourceError("a row is longer than 32 MiB; check the file's quotes", code="source_damaged")
            if out or not data:
                if not data:
                    self._rest = ""
                return out.encode()

    def _cells(self, text: str) -> tuple[str, int]:
        """The complete rows of a text, and where they end."""
        out: list[str] = []
        done = end = kept = 0
        while match := self._cell.match(text, done):
            done = match.end()
            quoted, plain, after = match.groups()
            out.append(self._spelled(plain) if quoted is None else self._quoted(quoted))
            if after == self._delimiter:
                out.append(after)
            else:
                out.append("\n")
                self._rows += 1
                end, kept = done, len(out)
        return "".join(out[:kept]), end

    def _spelled(self, cell: str) -> str:
        if cell == "\\N":
            return ""
        if not cell or "\\" in cell or self._special.search(cell):
            return self._quoted(cell)
        return cell

    def _quoted(self, cell: str) -> str:
        if self._quote:
            cell = cell.replace(self._quote * 2, self._quote)
        if "\\" in cell:
            cell = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), cell, flags=re.DOTALL)
        return '"' + cell.replace('"', '""') + '"'

    def close(self) -> None:
        self.closed = True
