"""Which texts a spreadsheet could run as a formula: those that CSV defuses with an apostrophe, and XLSX with Excel's own mark.

A formula begins with = + - @ or the full-width form of one. Programs trim or skip what stands before it and cannot be seen, so
whitespace, control and zero-width characters do not hide one. OWASP's "CSV Injection" names tab and CR as beginnings by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNSEEN = r"[\p{Z}\p{Cc}\p{Cf}\x{034F}\x{115F}\x{1160}\x{2800}\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}]"
_BEGINNING = rf"(?:[\t\r]|{_UNSEEN}*[=+\-@\x{{FF1D}}\x{{FF0B}}\x{{FF0D}}\x{{FF20}}])"
_FORMULA = rf"^'*{_BEGINNING}"
_DEFUSED = rf"^'('*{_BEGINNING})"
_FIRST_BYTES = np.isin(np.arange(256), [*range(33), *b"'=+-@\x7f", *range(128, 256)])
"""With which byte of UTF-8 such a text can begin."""


def are_formulas(values: pa.Array) -> pa.Array | None:
    """Return for each text whether it is one, or begins with apostrophes and is one behind them; None if no text is."""
    if not _may_be_formulas(values):
        return None
    found = pc.match_substring_regex(values, _FORMULA)
    return found if pc.any(found).as_py() else None


def is_formula(text: str) -> bool:
    """Whether one text is, as `are_formulas`."""
    return are_formulas(pa.array([text], pa.string())) is not None


def restored(values: pa.Array) -> pa.Array:
    """Return texts without the apostrophe that stands before a formula, or before apostrophes and a formula."""
    return pc.replace_substring_regex(values, _DEFUSED, r"\1")


def restored_names(names: Sequence[str]) -> list[str]:
    """Return names as `restored` does texts."""
    found: list[str] = restored(pa.array(names, pa.string())).to_pylist()
    return found


def _may_be_formulas(values: pa.Array) -> bool:
    """A look at the first bytes, which spares most columns the full match."""
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return False
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    firsts = ends[:-1][ends[1:] > ends[:-1]]
    return bool(_FIRST_BYTES[np.frombuffer(data, np.uint8)[firsts]].any())
