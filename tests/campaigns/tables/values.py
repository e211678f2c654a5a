"""Tables as plain Python values, as Hypothesis makes them: calm ones that every target holds, and wild ones at every edge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st

INT, DOUBLE, BOOL, TEXT, DATE, TIME, ZONED, DECIMAL = (
    "int64", "double", "bool", "string", "date", "timestamp", "timestamp_tz", "decimal(28,4)",
)  # fmt: skip
CLOCK, DURATION, BINARY, LIST, STRUCT = "time of day", "duration", "binary", "list", "struct"
CARRIED = (CLOCK, DURATION, BINARY, LIST, STRUCT)
"""Types that no target has; their columns are declared `string`."""
TYPES = (INT, DOUBLE, BOOL, TEXT, DATE, TIME, ZONED, DECIMAL, *CARRIED)
NAMES = ("Zoë", "two words", "=1+1", "c3", "C 4", "число", "007")
MAX_ROWS = 45

TEXTS = [
    "=1+1", "+1", "-1", "@x", "007", "1/2", "-", "'", "''=x", "1e5", "NaN", "null", "NULL", "true", "2024-02-29", "\\N", "\\",
    '"', '""', ",", ";", "a\tb", "\tb", "two\nlines", "two\r\nlines", "\rx", " blank ", "😀" * 3, "שלום עולם", "مرحبا", "Ünïcödé",
    "x\u2028y", "\ufeffmark", "_x000D_", "e\u0301", "\u00e9", "", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "9" * 30,
]  # fmt: skip
LONG_TEXTS = [
    "y" * 4_000,
    "y" * 4_001,
    "😀" * 2_000,
    "😀" * 2_001,
    "y" * 32_767,
    "y" * 32_768,
    "y" * 50_000,
    "y" * 50_001,
]
SUMMER = [
    datetime(2024, 3, 31, 2, 30),
    datetime(2024, 10, 27, 2, 30),
    datetime(2024, 3, 10, 2, 30),
    datetime(2024, 11, 3, 1, 30),
]
"""Hours that do not exist, or exist twice, in Berlin and in New York."""
CALM: dict[str, list[Any]] = {
    INT: [0, -1, 2**53, -(2**53), 2**53 - 1],
    DOUBLE: [0.1, -0.0, 1e300, 5e-324, 2.5, 1.0],
    BOOL: [True, False],
    TEXT: TEXTS,
    DATE: [date(2024, 2, 29), date(9999, 12, 31), date(1900, 3, 1)],
    TIME: [*SUMMER, datetime(9999, 12, 31, 23, 59), datetime(2024, 2, 29, 12, 30, 0, 500_000)],
    DECIMAL: [Decimal("0.0000"), Decimal("0.1000"), Decimal("-99999999999.9999")],
    CLOCK: [time(0), time(23, 59, 59, 999_999), time(12, 30, 0, 500_000)],
    DURATION: [timedelta(0), timedelta(hours=30, microseconds=1), timedelta(seconds=-1), timedelta(days=-10_000)],
    BINARY: [b"", "Zoë=1+1".encode()],
    LIST: [[], [None], [1, None, 2**53 + 1], [-(2**63)]],
    STRUCT: [{"x": None, "y": None}, {"x": 1.5, "y": 'say "=1+1"\n😀'}, {"x": 1e300, "y": ""}],
}
"""Values that most targets hold, and that a naive one changes."""
EDGES: dict[str, list[Any]] = {
    INT: [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**62],
    DOUBLE: [float("nan"), float("inf"), float("-inf"), 1.7976931348623157e308],
    TEXT: [*LONG_TEXTS, "nul\0", "\x07bell", "\x1f"],
    DATE: [date(1, 1, 1), date(1582, 10, 15), date(1900, 1, 1), date(1899, 12, 31)],
    TIME: [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), datetime(2024, 1, 1, microsecond=1_000)],
    DECIMAL: [Decimal(10**24 - 1), Decimal(10**28 - 1).scaleb(-4), -Decimal(10**28 - 1).scaleb(-4)],
    BINARY: [b"\xff\xfe", b"\0"],
    STRUCT: [{"x": float("nan"), "y": None}],
}
"""Values that some target, or some format, has to refuse."""
for _listed in (CALM, EDGES):
    _listed[ZONED] = [moment.replace(tzinfo=UTC) for moment in _listed[TIME]]


@dataclass(frozen=True)
class Table:
    """Columns by name: their types, and the values of each row."""

    types: dict[str, str]
    rows: list[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


def _times(*, wild: bool) -> st.SearchStrategy[datetime]:
    whole = st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 10_000 * 10_000)
    )
    calm = st.one_of(st.sampled_from(SUMMER), whole)
    return st.one_of(calm, st.sampled_from(EDGES[TIME]), st.datetimes()) if wild else calm


def _values(kind: str, *, wild: bool) -> st.SearchStrategy[Any]:
    letters = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    whole: dict[str, st.SearchStrategy[Any]] = {
        INT: st.integers(-(2**53), 2**53),
        DOUBLE: st.floats(-1e300, 1e300, allow_subnormal=False),
        BOOL: st.booleans(),
        TEXT: letters,
        DATE: st.dates(date(1900, 3, 1)),
        TIME: _times(wild=False),
        ZONED: _times(wild=False).map(lambda moment: moment.replace(tzinfo=UTC)),
        DECIMAL: st.integers(-(10**15) + 1, 10**15 - 1).map(lambda digits: Decimal(digits).scaleb(-4)),
        CLOCK: st.times(),
        DURATION: st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)),
        BINARY: letters.map(str.encode),
        LIST: st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4),
        STRUCT: st.builds(lambda x, y: {"x": x, "y": y}, st.none() | st.floats(-1e300, 1e300), st.none() | letters),
    }
    edges = {
        **{name: st.sampled_from(values) for name, values in EDGES.items()},
        TIME: _times(wild=True),
        ZONED: _times(wild=True).map(lambda moment: moment.replace(tzinfo=UTC)),
    }
    calm = st.one_of(st.sampled_from(CALM[kind]), whole[kind])
    chosen = st.one_of(calm, edges[kind]) if wild and kind in edges else calm
    return st.one_of(st.none(), chosen, chosen, chosen)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table whose first column numbers its rows; in one of three tables at most one column is wild."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique_by=str.casefold))
    kinds = {name: draw(st.sampled_from(TYPES)) for name in names}
    wild = draw(st.sampled_from([None, None, *names[:1]]))
    count = draw(st.integers(0, MAX_ROWS))
    one = st.fixed_dictionaries({name: _values(kind, wild=name == wild) for name, kind in kinds.items()})
    rows = draw(st.lists(one, min_size=count, max_size=count))
    return Table(
        {"n": INT, **kinds},
        [{"n": number, **{name: row[name] for name in names}} for number, row in enumerate(rows, 1)],
    )
