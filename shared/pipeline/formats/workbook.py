"""The parts of an XLSX workbook (ECMA-376): its sheets, styles and texts, and one sheet's cells as a stream.

Our own reader on expat, because the ones at hand either hold the whole sheet (calamine, which also aborts the process on a
sheet with one far cell) or take several times the CPU (openpyxl); tests/benchmarks/read.py has the figures. Only shared
strings are held. Document types and entities are refused, so there is nothing for an XML bomb to expand.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any
from xml.parsers import expat

from defusedxml import ElementTree

from shared.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384  # support.microsoft.com: Excel specifications and limits
_MAX_PARTS = 10_000
_MAX_PART_BYTES = 1 << 24
_MAX_UNPACKED_BYTES = 1 << 32
_MAX_SHARED_CHARS = 1 << 27
_READ_BYTES = 1 << 16
"""Our choices: they bound memory (texts, small parts) and time (the rest streams)."""
_DATE_FORMAT_IDS = frozenset([*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)])
"""Built-in number formats for dates and times, those of East Asian Excel included: ECMA-376 part 1, 18.8.30. 46 is [h]:mm:ss."""
_TIME_FORMAT_IDS = frozenset([*range(18, 22), 45, 47])
"""Those of them that show no day."""
_QUOTED = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_EPOCH_1904_DAYS = 1462
_FIRST_DAY, _LEAP_DAY = 2, 61
"""Of 1900-01-01 and 1900-03-01, days since 1899-12-30: Excel counts a 29 February between them."""
_DAY, _HOURS = "day", "hours"


class Serial(float):
    """A cell with a date format: days since 1899-12-30, as Excel counts since 1900-03-01."""

    __slots__ = ()


class Workbook:
    """An opened workbook. Raises `SourceError` if it is none, is too large, or lacks the sheet."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(handle)
        parts = self._zip.infolist()
        unpacked = sum(part.file_size for part in parts)
        if len(parts) > _MAX_PARTS or unpacked > _MAX_UNPACKED_BYTES:
            message = (
                f"the workbook unpacks to {unpacked:,} bytes in {len(parts):,} parts; split it, or write CSV or Parquet"
            )
            raise SourceError(message, code="source_too_large")
        self._path = self._main_part()
        root = self._xml(self._path)
        properties = _first(root, "workbookPr")
        is_1904 = properties is not None and properties.get("date1904", "0") in ("1", "true")
        self._epoch_days = _EPOCH_1904_DAYS if is_1904 else 0
        links = self._links(self._path)
        sheets = [(sheet.get("name", ""), links.get(_relation(sheet), "")) for sheet in _all(root, "sheet")]
        self.sheets = {name: path for name, path in sheets if "chartsheet" not in path and "dialogsheet" not in path}
        hidden = {sheet.get("name", "") for sheet in _all(root, "sheet") if sheet.get("state", "visible") != "visible"}
        self._first = next((name for name in self.sheets if name not in hidden), next(iter(self.sheets), ""))
        self._date_styles = self._styles(links)
        self._texts = self._shared_strings(links)

    def rows(self, sheet: str | None) -> Iterator[tuple[int, list[Any]]]:
        """Yield (one-based row number, values from column A to the last cell) of each row that the sheet stores.

        None means the first sheet that is not hidden: it is what people see who open the workbook.
        Values: None, str, bool, int, float, `Serial`. An error cell raises `SourceError` with its address.
        """
        if not self.sheets:
            raise SourceError("the workbook has no worksheet", code="source_damaged")
        if sheet is not None and sheet not in self.sheets:
            names = ", ".join(map(repr, self.sheets))
            raise SourceError(f"the workbook has no sheet {sheet!r}; its sheets are {names}", code="sheet_missing")
        path = self.sheets[sheet if sheet is not None else self._first]
        cells = _Cells(self._texts, self._date_styles, self._epoch_days)
        yield from self._stream(path, cells)

    def _stream(self, path: str, cells: _Cells) -> Iterator[tuple[int, list[Any]]]:
        parser = _parser(cells.start, cells.end, cells.data)
        with self._zip.open(path) as part:
            while data := part.read(_READ_BYTES):
                parser.Parse(data, False)
                yield from cells.taken()
            parser.Parse(b"", True)
            yield from cells.taken()

    def _main_part(self) -> str:
        for link in _all(self._xml("_rels/.rels"), "Relationship"):
            if link.get("Type", "").endswith("/officeDocument"):
                return str(link.get("Target", "")).lstrip("/")
        raise SourceError("the ZIP archive is no workbook: it names no main document", code="source_format")

    def _links(self, path: str) -> dict[str, str]:
        """Paths of the parts that `path` relates to, by id and by the last word of their type."""
        folder, name = posixpath.split(path)
        found: dict[str, str] = {}
        for link in _all(self._xml(f"{folder}/_rels/{name}.rels"), "Relationship"):
            target = link.get("Target", "")
            target = (
                target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            )
            found[link.get("Id", "")] = target
            found.setdefault("/" + link.get("Type", "").rpartition("/")[2], target)
        return found

    def _styles(self, links: dict[str, str]) -> list[str]:
        """What each cell style shows: `_DAY` (and perhaps a time), a time alone (`_HOURS`), or nothing of both."""
        if "/styles" not in links:
            return []
        root = self._xml(links["/styles"])
        codes = {item.get("numFmtId"): item.get("formatCode", "") for item in _all(root, "numFmt")}
        styles = _first(root, "cellXfs")
        ids = [item.get("numFmtId", "0") for item in styles] if styles is not None else []
        return [_shown_by_code(codes[key]) if key in codes else _shown_by_id(int(key)) for key in ids]

    def _shared_strings(self, links: dict[str, str]) -> list[str]:
        if "/sharedStrings" not in links:
            return []
        texts = _Texts()
        parser = _parser(texts.start, texts.end, texts.data)
        with self._zip.open(links["/sharedStrings"]) as part:
            while data := part.read(_READ_BYTES):
                parser.Parse(data, False)
            parser.Parse(b"", True)
        return texts.found

    def _xml(self, path: str) -> Any:
        with self._zip.open(path) as part:
            data = part.read(_MAX_PART_BYTES + 1)
        if len(data) > _MAX_PART_BYTES:
            raise SourceError(
                f"the workbook's part {path!r} is larger than {_MAX_PART_BYTES:,} bytes", code="source_too_large"
            )
        return ElementTree.fromstring(data, forbid_dtd=True)


def _shown_by_id(number: int) -> str:
    return _HOURS if number in _TIME_FORMAT_IDS else _DAY if number in _DATE_FORMAT_IDS else ""


def _shown_by_code(code: str) -> str:
    if not is_date_format(code):
        return ""
    letters = _QUOTED.sub("", code.split(";")[0]).lower()
    return _DAY if re.search("[dyeg]|mmm", letters) or not re.search("[hs]", letters) else _HOURS


def is_date_format(code: str) -> bool:
    """Whether a number format code shows a date or a time of day (elapsed times like [h]:mm are numbers of days)."""
    code = _QUOTED.sub("", code.split(";")[0])
    if code.strip().lower() == "general" or _ELAPSED.search(code):
        return False
    return bool(re.search("[dmhyseg]", code, re.IGNORECASE)) and not re.search(
        r"[0#?]\.?[eE][+-]|^[#0,.%? ]*[eE][+-]", code
    )


def cell_name(row: int, column: int) -> str:
    """The address of a cell, e.g. `B7`; the row is one-based, the column zero-based."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row}"


class _Texts:
    """Collects the shared strings; phonetic hints are no text."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._pieces: list[str] = []
        self._is_text = self._is_hint = False
        self._chars = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "t":
            self._is_text = not self._is_hint
        elif tag == "rPh":
            self._is_hint = True

    def data(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)

    def end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "t":
            self._is_text = False
        elif tag == "rPh":
            self._is_hint = False
        elif tag == "si":
            text = unescaped("".join(self._pieces))
            self._pieces = []
            self._chars += len(text)
            if self._chars > _MAX_SHARED_CHARS:
                message = (
                    f"the workbook's distinct texts pass {_MAX_SHARED_CHARS:,} characters; write CSV or Parquet instead"
                )
                raise SourceError(message, code="source_too_large")
            self.found.append(text)


class _Cells:
    """Collects the rows of a sheet as expat meets them."""

    def __init__(self, texts: list[str], date_styles: list[str], epoch_days: int) -> None:
        self._texts, self._date_styles, self._epoch_days = texts, date_styles, epoch_days
        self._rows: list[tuple[int, list[Any]]] = []
        self._values: list[Any] = []
        self._row = 0
        self._column = -1
        self._columns: dict[str, int] = {}
        self._pieces: list[str] = []
        self._is_text = self._is_hint = self._is_formula = False
        self._kind, self._style = "n", ""

    def taken(self) -> list[tuple[int, list[Any]]]:
        """The rows complete since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag == "c":
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s", "")
            address = attributes.get("r")
            self._column = self._index(address) if address else self._column + 1
            self._pieces = []
            self._is_formula = False
        elif tag in ("v", "t"):
            self._is_text = not self._is_hint
        elif tag == "f":
            self._is_formula = True
        elif tag == "row":
            number = int(attributes.get("r", self._row + 1))
            if not self._row < number <= MAX_ROWS:
                raise ValueError(f"row {number} follows row {self._row}")
            self._row, self._column, self._values = number, -1, []
        elif tag == "rPh":
            self._is_hint = True

    def data(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)

    def end(self, tag: str) -> None:
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag in ("v", "t"):
            self._is_text = False
        elif tag == "c":
            if self._pieces:
                value = self._value("".join(self._pieces))
                values = self._values
                if self._column < len(values):
                    raise ValueError(f"cell {cell_name(self._row, self._column)} is out of order")
                if self._column > len(values):
                    values.extend([None] * (self._column - len(values)))
                values.append(value)
            elif self._is_formula and self._kind != "str":  # the empty text is a result
                message = (
                    f"cell {cell_name(self._row, self._column)} holds a formula without its result: the program that wrote the "
                    "workbook calculated nothing; open and save it in a spreadsheet program, or put values in place of formulas"
                )
                raise SourceError(message, code="value_invalid")
        elif tag == "row":
            self._rows.append((self._row, self._values))
        elif tag == "rPh":
            self._is_hint = False

    def _index(self, address: str) -> int:
        letters = address.rstrip("0123456789")
        index = self._columns.get(letters)
        if index is None:
            index = 0
            for letter in letters:
                index = index * 26 + ord(letter) - 64
            index -= 1
            if not (0 <= index < MAX_COLUMNS and letters.isascii() and letters.isupper()):
                raise ValueError(f"{address!r} is no cell address")
            self._columns[letters] = index
        return index

    def _value(self, text: str) -> Any:
        kind = self._kind
        if kind == "n":
            style = int(self._style) if self._style else 0
            if style < len(self._date_styles) and (shows := self._date_styles[style]):
                days = float(text)
                return Serial(days if shows == _HOURS and 0 <= days < 1 else days + self._epoch_days)
            return _number(text)
        if kind == "s":
            index = int(text)
            if index < 0:
                raise IndexError(f"shared string {index}")
            return self._texts[index] or None
        if kind in ("str", "inlineStr"):
            return unescaped(text)
        if kind == "b":
            return {"1": True, "0": False, "true": True, "false": False}[text]
        if kind == "d":
            return self._of_iso(text)
        if kind == "e":
            message = f"cell {cell_name(self._row, self._column)} holds the error {text}; correct the formula, or clear the cell"
            raise SourceError(message, code="value_invalid")
        raise ValueError(f"cell type {kind!r}")

    def _of_iso(self, text: str) -> Serial:
        """A day, a time of day or both, as ISO 8601: ECMA-376 part 1, 18.18.11."""
        is_time = ":" in text.partition("T")[0] or text.startswith("T")
        moment = datetime.fromisoformat(f"1899-12-30T{text.removeprefix('T')}" if is_time else text).replace(
            tzinfo=None
        )
        days = (moment - datetime(1899, 12, 30)).total_seconds() / 86_400  # noqa: DTZ001 - cells have no zone
        if is_time:
            return Serial(days)
        if days < _FIRST_DAY:
            message = f"cell {cell_name(self._row, self._column)} holds {text}; a workbook's days start on 1900-01-01: write it as text"
            raise SourceError(message, code="value_invalid")
        return Serial(days - 1 if days < _LEAP_DAY else days)


def _number(text: str) -> int | float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text!r} is no number of a cell")
    if "." not in text and "e" not in text and "E" not in text:
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return whole
    return number


_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def unescaped(text: str) -> str:
    """The text with `_x000D_` and the like resolved: ECMA-376 part 1, 22.4.2.4."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _parser(start: Callable[..., None], end: Callable[..., None], data: Callable[[str], None]) -> Any:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_: object) -> None:
    raise SourceError(
        "the workbook's XML declares a document type, which no workbook needs; it is refused", code="source_damaged"
    )


def _all(root: Any, name: str) -> list[Any]:
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _first(root: Any, name: str) -> Any:
    return next(iter(_all(root, name)), None)


def _relation(sheet: Any) -> str:
    return next((value for key, value in sheet.attrib.items() if key.rpartition("}")[2] == "id"), "")
