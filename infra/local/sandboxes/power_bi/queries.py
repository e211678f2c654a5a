"""executeQueries, with its cut-offs: 100,000 rows, 1,000,000 values, 15 MB.

Over one of them the status stays 200, rows are missing, and an error object says so (rest/api/power-bi/datasets/execute-queries);
where in the answer it stands and its code are unverified.
"""

from __future__ import annotations

import io
import secrets
from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from infra.local.sandboxes._base import Request, Response

from . import dax, errors
from .bodies import check_body
from .core import DATASET, Core, api
from .rows import shown
from .store import Table

MAX_ROWS, MAX_VALUES, MAX_BYTES = 100_000, 1_000_000, 15_000_000
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class QueryRoutes(Core):
    """DAX over push datasets."""

    @api("POST", f"{DATASET}/executeQueries")
    def execute_queries(self, request: Request, group: str, dataset: str) -> Response:
        """Run one query."""
        row = self.need_dataset(request, group, dataset)
        if row["kind"] != "push":
            raise errors.dax("Queries of models other than push datasets are not imitated here")
        query, include_nulls = _read(request.json())
        if self.settings["quotas"]:
            with self.transaction():
                self.quota.check_query(self.caller(request), self.clock.time())
        parsed = dax.parse(query)
        if isinstance(parsed, dax.Page):
            return self._page(dataset, parsed, include_nulls=include_nulls)
        values = {f"[{scalar.alias}]": self._value(dataset, scalar) for scalar in parsed}
        if not include_nulls:
            values = {key: value for key, value in values.items() if value is not None}
        return _answer(orjson.dumps([values]))

    def _value(self, dataset: str, scalar: dax.Scalar) -> Any:
        table, frame = self._frame(dataset, scalar.table)
        value = dax.evaluate(scalar, frame, table.schema)
        if value is not None and dax.is_moment(scalar, table.schema):
            return shown(pl.DataFrame({"v": [value]}, {"v": pl.Int64}), {"v": "DateTime"})["v"][0]
        if isinstance(value, Decimal) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
            return orjson.Fragment(f"{value:f}".encode() if isinstance(value, Decimal) else str(value).encode())
        return value

    def _page(self, dataset: str, page: dax.Page, *, include_nulls: bool) -> Response:
        table, frame = self._frame(dataset, page.table, page.order)
        rows = frame.slice(page.skip, page.rows)
        limit = min(MAX_ROWS, MAX_VALUES // len(table.schema))
        told = "" if rows.height <= limit else f"The result has more than {MAX_ROWS} rows or {MAX_VALUES} values."
        data = _rows_json(rows.head(limit), table, include_nulls=include_nulls)
        while len(data) > MAX_BYTES:
            told = f"The result has more than {MAX_BYTES} bytes."
            limit = rows.head(limit).height * MAX_BYTES // (len(data) + 1)
            data = _rows_json(rows.head(limit), table, include_nulls=include_nulls)
        return _answer(data, told)

    def _frame(self, dataset: str, name: str, order: tuple[str, ...] = ()) -> tuple[Table, pl.DataFrame]:
        with self.lock:
            tables = [table for table in self.store.tables(dataset) if table.name.casefold() == name.casefold()]
            if not tables:
                raise errors.dax(f"Cannot find table '{name}'.")
            missing = [column for column in order if column not in tables[0].schema]
            if missing:
                raise errors.dax(
                    f"Column '{missing[0]}' in table '{name}' cannot be found or may not be used in this expression."
                )
            return tables[0], self.store.frame(tables[0], order)


def _read(body: Any) -> tuple[str, bool]:
    check_body("queries", body)
    if len(body["queries"]) != 1:
        raise errors.invalid("The request needs a list 'queries' with exactly one query")
    query: str = body["queries"][0]["query"]
    if not query.strip():
        raise errors.invalid("The query is empty")
    return query, bool(body.get("serializerSettings", {}).get("includeNulls"))


def _rows_json(frame: pl.DataFrame, table: Table, *, include_nulls: bool) -> bytes:
    marker = secrets.token_hex(8)  # around decimals, which Polars writes as text
    decimals = [name for name, kind in table.schema.items() if kind == "Decimal"]
    named = shown(frame, table.schema).with_columns(
        (marker + pl.col(name).cast(pl.String) + marker).alias(name) for name in decimals
    )
    out = io.BytesIO()
    named.rename({name: f"{table.name}[{name}]" for name in named.columns}).write_json(out)
    data = out.getvalue()
    if not include_nulls:
        rows = orjson.loads(data)
        data = orjson.dumps([{key: value for key, value in row.items() if value is not None} for row in rows])
    quoted = marker.encode()
    return data.replace(b'"' + quoted, b"").replace(quoted + b'"', b"") if decimals else data


def _answer(rows: bytes, told: str = "") -> Response:
    error = b""
    if told:
        error = b',"error":' + orjson.dumps({"code": "ResultSetTruncated", "message": told})
    return Response(200, b'{"results":[{"tables":[{"rows":' + rows + b"}]" + error + b"}]}", dict(_JSON))
