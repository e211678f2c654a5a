"""Inline and stored queries: fields, sorts, simple filters and a limit over one table of the warehouse, really run there.

A view is a table; its dimensions are the columns, and `count` is its one measure. As in Looker, rows are grouped by the
dimensions, so equal rows come once. Filters: a value, several separated by commas, `NULL`, `-NULL`, and `>`, `>=`, `<`,
`<=` with a number or date. Everything else is refused with 422.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from infra.local.sandboxes._base import Request, Response, VendorError

from .database import DATE_FORMAT, TIME_FORMAT, Database
from .errors import invalid, not_found

DEFAULT_LIMIT = 500
HIGHEST_LIMIT = 5000
UNLIMITED = -1
ROUTE = "post/queries/run/:result_format"
UNSORTED = "__UNSORTED__"
_IMITATED = {"model", "view", "fields", "filters", "sorts", "limit", "query_timezone", "id", "can", "vis_config"}
_COMPARISON = re.compile(r"(>=|<=|>|<)\s*(-?[\d.:\- ]+)")


@dataclass(frozen=True)
class Field:
    """One selected field: `name` as Looker spells it (`view.column`); `column` None is the count."""

    name: str
    column: str | None
    kind: str


def run(database: Database, query: Mapping[str, Any], result_format: str, limit: str | None) -> Response:
    """Answer a query in `json` or `csv`.

    Raises:
        VendorError: 404 for an unknown view, 422 for a field or option that is wrong or not imitated, 501 for a format.
    """
    if result_format not in ("json", "csv", "sql"):
        raise VendorError(Response(501, {"error": "not imitated", "route": f"result_format {result_format}"}))
    for name, value in query.items():
        if name not in _IMITATED and value not in (None, [], {}, "", False):
            raise invalid(ROUTE, name, f"the sandbox does not imitate {name}")
    view = str(query["view"])
    columns = database.columns(view)
    if not columns:
        raise not_found(ROUTE)
    fields = [_field(view, name, columns) for name in query.get("fields") or []]
    if not fields:
        raise invalid(ROUTE, "fields", "at least one field is needed", "missing_field")
    statement = _statement(database, query, fields, columns, _limit(query.get("limit") if limit is None else limit))
    with database.session() as connection:
        if result_format == "sql":
            return Response(200, statement.as_string(connection), {"Content-Type": "text/plain; charset=utf-8"})
        try:
            rows = connection.execute(statement).fetchall()
        except psycopg.Error as error:
            # From memory, unverified: Looker answers 200 and puts the database's refusal into the result.
            message = f"Query execution failed: {error.diag.message_primary}"
            return Response(200, [{"looker_error": message}])
    return _csv(fields, rows) if result_format == "csv" else _json(fields, rows)


def _statement(
    database: Database, query: Mapping[str, Any], fields: list[Field], columns: dict[str, str], limit: int
) -> sql.Composed:
    view = str(query["view"])
    wanted = [_field(view, name, columns) for name in query.get("filters") or {}]
    conditions = [
        _condition(field, str(text)) for field, text in zip(wanted, (query.get("filters") or {}).values(), strict=True)
    ]
    groups = [sql.Identifier(field.column) for field in fields if field.column is not None]
    parts = [
        sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(_selected(f) for f in fields), database.table(view))
    ]
    if conditions:
        parts.append(sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)))
    if groups:
        parts.append(sql.SQL("GROUP BY {}").format(sql.SQL(", ").join(groups)))
    orders = _orders(query.get("sorts") or [], fields)
    if orders:
        parts.append(sql.SQL("ORDER BY {}").format(sql.SQL(", ").join(orders)))
    if limit != UNLIMITED:
        parts.append(sql.SQL("LIMIT {}").format(sql.Literal(limit)))
    return sql.SQL(" ").join(parts)


def _field(view: str, name: Any, columns: dict[str, str]) -> Field:
    prefix, _, column = str(name).partition(".")
    if prefix == view and column in columns:
        return Field(str(name), column, columns[column])
    if prefix == view and column == "count":
        return Field(str(name), None, "bigint")
    raise invalid(ROUTE, "fields", f"Unknown field {name}")


def _selected(field: Field) -> sql.Composable:
    if field.column is None:
        return sql.SQL("count(*)")
    if field.kind == "date":
        return sql.SQL("to_char({}, {})").format(sql.Identifier(field.column), sql.Literal(DATE_FORMAT))
    if field.kind.startswith("timestamp"):
        return sql.SQL("to_char({}, {})").format(sql.Identifier(field.column), sql.Literal(TIME_FORMAT))
    return sql.Identifier(field.column)


def _condition(field: Field, text: str) -> sql.Composable:
    if field.column is None:
        raise invalid(ROUTE, "filters", "the sandbox does not imitate filters on measures")
    name = sql.Identifier(field.column)
    if text.upper() in ("NULL", "-NULL"):
        return sql.SQL("{} IS NULL" if text.upper() == "NULL" else "{} IS NOT NULL").format(name)
    comparison = _COMPARISON.fullmatch(text.strip())
    if comparison:
        operators = {">=": "{} >= {}", "<=": "{} <= {}", ">": "{} > {}", "<": "{} < {}"}
        return sql.SQL(operators[comparison[1]]).format(name, sql.Literal(comparison[2].strip()))
    if not text or re.search(r"[%_^\[\]()<>]|^-|\b(AND|OR|NOT|to)\b", text):
        raise invalid(ROUTE, "filters", f"the sandbox does not imitate the filter expression {text!r}")
    values = [sql.Literal(value.strip()) for value in text.split(",")]
    return sql.SQL("{}::text IN ({})").format(name, sql.SQL(", ").join(values))


def _orders(sorts: list[Any], fields: list[Field]) -> list[sql.Composable]:
    if sorts == [UNSORTED]:
        return []
    positions = {field.name: number for number, field in enumerate(fields, start=1)}
    orders: list[sql.Composable] = []
    for entry in sorts or [fields[0].name]:  # an empty list "will trigger a default sort"
        name, *direction = str(entry).split()
        if name not in positions or direction[:1] not in ([], ["asc"], ["desc"]) or len(direction) > 2:
            raise invalid(ROUTE, "sorts", f"Unknown or unselected sort field {entry}")
        descending = direction[:1] == ["desc"]
        orders.append(sql.SQL("{} DESC" if descending else "{} ASC").format(sql.Literal(positions[name])))
    return orders


def _limit(value: Any) -> int:
    if value in (None, ""):
        return DEFAULT_LIMIT
    try:
        limit = int(value)
    except (TypeError, ValueError):
        limit = 0
    if limit != UNLIMITED and not 1 <= limit <= HIGHEST_LIMIT:
        raise invalid(ROUTE, "limit", f"limit must be between 1 and {HIGHEST_LIMIT}, or -1 for all rows")
    return limit


def _json(fields: list[Field], rows: list[tuple[Any, ...]]) -> Response:
    names = [field.name for field in fields]
    return Response(200, [dict(zip(names, map(_json_value, row), strict=True)) for row in rows])


def _json_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if value is None or isinstance(value, int | float | str):
        return value
    return str(value)  # numeric: its digits as text, so that none is lost


def _csv(fields: list[Field], rows: list[tuple[Any, ...]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields])
    writer.writerows([["" if value is None else _json_value(value) for value in row] for row in rows])
    return Response(200, text.getvalue(), {"Content-Type": "text/csv; charset=utf-8"})


def select_fields(body: dict[str, Any], request: Request) -> dict[str, Any]:
    """Apply `?fields=a,b(c)`: top-level names only."""
    wanted = {name.split("(")[0].strip() for name in request.query.get("fields", "").split(",") if name.strip()}
    return {name: value for name, value in body.items() if not wanted or name in wanted}
