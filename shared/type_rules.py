"""What each type of a source becomes in each target, and what is refused there: the one table. README's is this one (tested).

A source's type first becomes one of eight column types, or is refused unless the column is declared `string`, which carries it
as text. A target then holds the column type as a type of its own. Nothing is rounded or changed in silence: a value beyond what
`refused` says ends the job with row, column, rule and value, unless the column is declared `string` (text of every digit).
"""

from __future__ import annotations

from dataclasses import dataclass

POWER_BI, LOOKER, GOOGLE_SHEETS = "power_bi", "looker", "google_sheets"


@dataclass(frozen=True)
class Held:
    """How one target holds a column type. `refused`: values that it cannot hold unchanged, in words; empty if it holds all."""

    becomes: str
    refused: str = ""


@dataclass(frozen=True)
class SourceType:
    """One type of a source. `column` is the column type, `as_text` the text that a column declared `string` gets.

    An empty `column` means refused unless declared.
    """

    name: str
    column: str
    as_text: str


SOURCE_TYPES = (
    SourceType("whole numbers up to 64 bits", "int64", "its digits"),
    SourceType("whole numbers beyond 64 bits (CSV)", "string", "its digits"),
    SourceType("whole numbers beyond 64 bits (JSON, Parquet uint64)", "", "its digits"),
    SourceType(
        "numbers with a fraction, floats", "double", "as the file spells it, else the shortest text of the double"
    ),
    SourceType("fractions of more digits than a double holds (CSV)", "string", "its digits"),
    SourceType("fractions of more digits than a double holds (JSON)", "", "its digits"),
    SourceType("decimals up to 38 digits (Parquet, BigQuery; declared)", "decimal(p,s)", "its digits, all places"),
    SourceType("decimals of more digits (Parquet)", "", "its digits, all places"),
    SourceType("true and false", "bool", "true, false"),
    SourceType("text", "string", "itself"),
    SourceType("JSON and enums (Parquet)", "string", "itself"),
    SourceType("UUIDs (Parquet)", "string", "its 36 characters, lower case"),
    SourceType("dates", "date", "2024-02-29"),
    SourceType("times without a zone", "timestamp", "2024-02-29T12:30:00.5"),
    SourceType("times with a zone or offset", "timestamp_tz", "the instant in UTC: 2024-02-29T11:30:00.5Z"),
    SourceType(
        "times finer than a microsecond (Parquet, nanoseconds, INT96)",
        "timestamp, where whole microseconds",
        "all nine digits",
    ),
    SourceType("times of day (Parquet)", "", "12:30:00.5"),
    SourceType("times of day (XLSX)", "string", "12:30:00"),
    SourceType("durations (Parquet)", "", "ISO 8601 in seconds: PT5400.5S"),
    SourceType("elapsed times (XLSX, [h]:mm)", "double", "days, as the cell has them"),
    SourceType("binary (Parquet, BigQuery)", "", "itself, where it is UTF-8"),
    SourceType("lists, structs, maps (Parquet, BigQuery)", "", "compact JSON"),
    SourceType("objects and arrays (JSON)", "string", "compact JSON, numbers as the file spells them"),
)

_TIMES = "years outside 1 to 9999"
TARGETS: dict[str, dict[str, Held]] = {
    "int64": {
        POWER_BI: Held("Int64", "-2^63, 2^63-1"),
        LOOKER: Held("bigint"),
        GOOGLE_SHEETS: Held("number", "beyond ±2^53"),
    },
    "double": {
        POWER_BI: Held("Double", "NaN, infinity, ±1.7976931348623157e308"),
        LOOKER: Held("double precision", "NaN, infinity"),
        GOOGLE_SHEETS: Held("number", "NaN, infinity"),
    },
    "decimal(p,s)": {
        POWER_BI: Held("Decimal", "more than 4 places, 24 digits before the point"),
        LOOKER: Held("numeric(p,s)"),
        GOOGLE_SHEETS: Held("number", "digits that a double does not give back"),
    },
    "bool": {POWER_BI: Held("Boolean"), LOOKER: Held("boolean"), GOOGLE_SHEETS: Held("boolean")},
    "string": {
        POWER_BI: Held("String", "more than 4,000 UTF-16 units, NUL"),
        LOOKER: Held("text", "NUL"),
        GOOGLE_SHEETS: Held("text; empty text is an empty cell", "more than 50,000 UTF-16 units, NUL"),
    },
    "date": {
        POWER_BI: Held("DateTime", _TIMES),
        LOOKER: Held("date", _TIMES),
        GOOGLE_SHEETS: Held("number shown as yyyy-mm-dd", _TIMES),
    },
    "timestamp": {
        POWER_BI: Held("DateTime", f"fractions that are no 1/300 s (unless target.round_times), {_TIMES}"),
        LOOKER: Held("timestamp without time zone", _TIMES),
        GOOGLE_SHEETS: Held("number shown as yyyy-mm-dd hh:mm:ss", f"finer than a millisecond, {_TIMES}"),
    },
    "timestamp_tz": {
        POWER_BI: Held("DateTime (UTC)", f"fractions that are no 1/300 s (unless target.round_times), {_TIMES}"),
        LOOKER: Held("timestamp with time zone", _TIMES),
        GOOGLE_SHEETS: Held("number shown as yyyy-mm-dd hh:mm:ss (UTC)", f"finer than a millisecond, {_TIMES}"),
    },
}
"""By column type, then by kind of target. Null is the target's null; in Google Sheets an empty cell."""


def becomes(column_type: str, kind: str) -> str:
    """Return the target's own type for one of the column types, without what is said about it in brackets."""
    return TARGETS[column_type][kind].becomes.split(" (", 1)[0]
