"""Aggregates per column: computed from source rows, and asked of Power BI in DAX, so that both can be compared.

For every column `count:<name>`, the values that are not blank, and `sum:<name>`, by type:

| type | sum | min and max |
|---|---|---|
| Int64 | exact; as a double once a value passes 2^40, because DAX sums Int64 in 64 bits | integers |
| Double | double, compared with a tolerance | doubles |
| Decimal | exact, in 1/10,000 | in 1/10,000 |
| DateTime | exact, in 1/300 s since 1899-12-30 | `2024-07-30T00:00:00.000` |
| String | of lengths, in UTF-16 units | none: Power BI compares text by collation |
| Boolean | number of true values | none |

A sum over no values is 0 (DAX says BLANK); min and max over none are left out. Empty text counts as a value: a push dataset keeps
"" and BLANK apart, and only `=` calls them equal (`ISBLANK("")` is false), so the shapes below never compare text with BLANK.
DISTINCTCOUNT is avoided: it ignores case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi.schema import TICKS_A_DAY, Columns
from shared.errors import TargetError

if TYPE_CHECKING:
    import polars as pl

Number = int | float | str
EXACT_SUM_LIMIT = 2**40  # our choice: five million such values stay under 2^63
COLUMNS_A_QUERY = 15  # our choice: keeps one query near 5 KB
_WIDE = Context(prec=80)  # Decimal's own 28 digits are too few for a sum
_DAY_ZERO_MS = -2_209_161_600_000  # 1899-12-30, day 0 of DAX, in ms of the Unix epoch
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?(?:Z|\+00:00)?")


def of_rows(frame: pl.DataFrame) -> Fingerprint:
    """Return the fingerprint of rows that `encode.held` made."""
    found: dict[str, Number] = {}
    for series in frame:
        found[f"count:{series.name}"] = series.len() - series.null_count()
        total, extremes = _column_sum(series), _column_extremes(series)
        found[f"sum:{series.name}"] = total
        if extremes is not None:
            found[f"min:{series.name}"], found[f"max:{series.name}"] = extremes
    return Fingerprint(frame.height, None, found)


def since(before: Fingerprint, now: Fingerprint, columns: Columns) -> Fingerprint:
    """Return what was added between two states of a table: rows, counts and sums; minima and maxima cannot be taken apart."""
    if before.rows == 0:
        return now
    added: dict[str, Number] = {}
    for key, value in comparable(before, now, columns).aggregates.items():
        added[key] = value - before.aggregates.get(key, 0)  # type: ignore[operator]  # counts and sums are numbers
    return Fingerprint(now.rows - before.rows, None, added)


def comparable(before: Fingerprint, rows: Fingerprint, columns: Columns) -> Fingerprint:
    """Return what of `rows` can be found again after they were added to a table that held `before`.

    Sums that are doubles in `before` drop out beside minima and maxima: the subtraction leaves the rounding of the larger sum
    in the smaller. What drops out depends on `before` and the types alone, so that chunks add up.
    """
    if before.rows == 0:
        return rows
    rounded = {f"sum:{column['name']}" for column in columns if column["dataType"].casefold() == "double"}
    rounded |= {key for key, value in before.aggregates.items() if key.startswith("sum:") and isinstance(value, float)}
    kept = {
        key: value
        for key, value in rows.aggregates.items()
        if key.startswith(("count:", "sum:")) and key not in rounded
    }
    return Fingerprint(rows.rows, None, kept)


def read(execute: Callable[[str], dict[str, Any]], table: str, columns: Columns) -> Fingerprint:
    """Return the fingerprint of a whole table as Power BI holds it.

    Args:
        execute: runs one DAX query of the form `EVALUATE ROW(…)` and returns its row, alias to exact JSON value.
        columns: names and types of all columns.
    """
    values: dict[str, Any] = {}
    for query in queries(table, columns):
        values.update(execute(query))
    sums = _sum_query(table, columns, values)
    if sums:
        values.update(execute(sums))
    found: dict[str, Number] = {}
    for index, column in enumerate(columns):
        found.update(_read_column(column["name"], column["dataType"], index, values))
    return Fingerprint(int(values.get("rows") or 0), None, found)


def count_query(table: str) -> str:
    """Return the DAX that counts a table's rows, as `rows`; the answer is BLANK for an empty table."""
    return f"""EVALUATE ROW("rows", COUNTROWS('{table}'))"""


def queries(table: str, columns: Columns) -> Iterator[str]:
    """Yield the DAX for everything but the sums of integers, some columns a query. Aliases: `<letter><column index>`."""
    for start in range(0, len(columns), COLUMNS_A_QUERY):
        parts = [f"""COUNTROWS('{table}')"""]
        names = ["rows"]
        for index in range(start, min(start + COLUMNS_A_QUERY, len(columns))):
            for letter, expression in _expressions(table, columns[index]):
                names.append(f"{letter}{index}")
                parts.append(expression)
        yield _row(zip(names, parts, strict=True))


def _expressions(table: str, column: Mapping[str, str]) -> list[tuple[str, str]]:
    reference = column_reference(table, column["name"])
    listed = [("n", f"COUNTROWS(FILTER('{table}', NOT ISBLANK({reference})))")]
    match column["dataType"].casefold():
        case "boolean" | "bool":
            listed.append(("s", f"COUNTROWS(FILTER('{table}', {reference} = TRUE()))"))
        case "string":
            listed.append(("s", f"SUMX('{table}', LEN({reference}))"))
        case "datetime":
            listed.append(("s", f"SUMX('{table}', INT({reference}))"))
            listed.append(("t", f"SUMX('{table}', ROUND(({reference} - INT({reference})) * {TICKS_A_DAY}, 0))"))
            listed += _extremes(reference)
        case "int64":
            listed += _extremes(reference)
        case _:
            listed.append(("s", f"SUM({reference})"))
            listed += _extremes(reference)
    return listed


def _extremes(reference: str) -> list[tuple[str, str]]:
    return [("a", f"MIN({reference})"), ("z", f"MAX({reference})")]


def _sum_query(table: str, columns: Columns, values: Mapping[str, Any]) -> str | None:
    wanted = []
    for index, column in enumerate(columns):
        if column["dataType"].casefold() != "int64":
            continue
        reference = column_reference(table, column["name"])
        largest = max(abs(int(values.get(f"{letter}{index}") or 0)) for letter in "az")
        exact = largest <= EXACT_SUM_LIMIT
        wanted.append((f"s{index}", f"SUM({reference})" if exact else f"SUMX('{table}', CONVERT({reference}, DOUBLE))"))
    return _row(wanted) if wanted else None


def _row(parts: Any) -> str:
    return "EVALUATE ROW(" + ", ".join(f'"{alias}", {expression}' for alias, expression in parts) + ")"


def column_reference(table: str, column: str) -> str:
    """Return `'table'[column]`, with the bracket escaped; table names have no quote (`schema.check_table_name`)."""
    return f"'{table}'[{column.replace(']', ']]')}]"


def _read_column(name: str, data_type: str, index: int, values: Mapping[str, Any]) -> dict[str, Number]:
    def value(letter: str) -> Any:
        return values.get(f"{letter}{index}")

    convert: Callable[[Any], Number] | None = None
    total: Number = 0
    match data_type.casefold():
        case "double":
            total, convert = float(value("s") or 0), float
        case "decimal":
            total, convert = _scaled(value("s") or 0), _scaled
        case "datetime":
            total, convert = int(value("s") or 0) * TICKS_A_DAY + int(value("t") or 0), date_time_text
        case "int64":
            largest = max(abs(int(value(letter) or 0)) for letter in "az")
            total = int(value("s") or 0) if largest <= EXACT_SUM_LIMIT else float(value("s") or 0)
            convert = int
        case _:
            total = int(value("s") or 0)
    found: dict[str, Number] = {f"count:{name}": int(value("n") or 0), f"sum:{name}": total}
    if convert is not None and value("a") is not None:
        found[f"min:{name}"], found[f"max:{name}"] = convert(value("a")), convert(value("z"))
    return found


def _column_sum(series: pl.Series) -> Number:
    import polars as pl

    from shared.connectors.power_bi import encode

    match series.dtype:
        case pl.String:
            return int(series.to_frame().select(encode.utf16_length(pl.col(series.name)).sum()).item() or 0)
        case pl.Datetime():
            milliseconds = series.cast(pl.Int64) - _DAY_ZERO_MS
            return int(((milliseconds * 3 + 5) // 10).sum() or 0)
        case pl.Decimal():
            return _scaled(series.sum() or 0)
        case pl.Int64:
            largest = max(abs(int(series.min() or 0)), abs(int(series.max() or 0)))  # type: ignore[arg-type]  # integers
            return int(series.sum() or 0) if largest <= EXACT_SUM_LIMIT else float(series.cast(pl.Float64).sum() or 0)
        case pl.Boolean:
            return int(series.sum() or 0)
    return float(series.sum() or 0.0)


def _column_extremes(series: pl.Series) -> tuple[Number, Number] | None:
    import polars as pl

    if series.null_count() == series.len() or series.dtype in (pl.String, pl.Boolean):
        return None
    low, high = series.min(), series.max()
    if isinstance(series.dtype, pl.Datetime):
        return _text(low), _text(high)
    if isinstance(series.dtype, pl.Decimal):
        return _scaled(low), _scaled(high)
    if series.dtype == pl.Int64:
        return int(low), int(high)  # type: ignore[arg-type]  # integers
    return float(low), float(high)  # type: ignore[arg-type]  # floats


def _scaled(value: Any) -> int:
    return int(_WIDE.multiply(Decimal(value), 10_000))


def _text(moment: Any) -> str:
    return str(moment.isoformat(timespec="milliseconds"))


def date_time_text(value: Any) -> str:
    """Return a vendor's date-time as `2024-07-30T00:00:00.000` (UTC). Raises `TargetError` for another form."""
    match = _DATE_TIME.fullmatch(str(value))
    if match is None:
        raise TargetError(f"Power BI answered {value!r} where a date-time was expected, e.g. 2024-07-30T00:00:00")
    return f"{match[1]}.{(match[2] or '')[:3]:0<3}"
