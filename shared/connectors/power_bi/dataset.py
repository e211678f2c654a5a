"""A push dataset in a workspace: found, created, altered, filled, counted, read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from shared.connectors import _retry
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi import aggregates, limits
from shared.connectors.power_bi.client import Session, exact_json, segment
from shared.connectors.power_bi.schema import MAX_TABLE_ROWS, Body, Columns
from shared.errors import BIConnectorsError, TargetError, VendorUnavailableError
from shared.ports import Clock

SEQUENCE_HEADER = (
    "X-PowerBI-PushData-SequenceNumber"  # powerbi.microsoft.com/blog/newdatasets; absent from the REST reference
)
FENCE = 2 * MAX_TABLE_ROWS  # our choice: further than the numbers of any job, one a row, can reach
MAX_ANSWER_ROWS = 100_000  # of one executeQueries; so are the next two: rest/api/power-bi/datasets/execute-queries
MAX_ANSWER_VALUES = 1_000_000
MAX_ANSWER_BYTES = 15_000_000

Json = Any


@dataclass(frozen=True)
class Workspace:
    """The group URLs of one workspace; every call retried as `_retry.call` says unless it changes rows."""

    session: Session
    id: str
    clock: Clock

    def call(self, method: str, path: str, doing: str, **request: Any) -> requests.Response:
        """One call below `/groups/<workspace>/`, not repeated."""
        return self.session.call(method, f"groups/{segment(self.id)}/{path}".rstrip("/"), doing, **request)

    def safe(self, method: str, path: str, doing: str, **request: Any) -> requests.Response:
        """One call that may be repeated without harm, tried again while the vendor is unavailable."""
        return _retry.call(lambda: self.call(method, path, doing, **request), self.clock)

    def datasets(self) -> list[dict[str, Json]]:
        """All datasets of the workspace as the API lists them."""
        return values_of(self.safe("GET", "datasets", "listing the datasets"))

    def dataset(self, dataset_id: str) -> dict[str, Json] | None:
        """One dataset, or None if it does not exist."""
        try:
            found = exact_json(self.safe("GET", f"datasets/{segment(dataset_id)}", f"reading dataset {dataset_id}"))
        except TargetError as error:
            if is_missing(error):
                return None
            raise
        return dict(found)

    def push_datasets_named(self, name: str) -> list[str]:
        """Ids of the push datasets of that name; names are not unique."""
        return [str(d["id"]) for d in self.datasets() if d.get("name") == name and d.get("addRowsAPIEnabled") is True]

    def create(self, name: str, table: str, columns: Columns) -> str:
        """Create a push dataset with one table and return its id; with retention None, so that no row falls out.

        After a call without an answer the list is asked first, so that a retry makes no second one.
        """
        body = {"name": name, "defaultMode": "Push", "tables": [{"name": table, "columns": columns}]}
        query = {"defaultRetentionPolicy": "None"}

        def attempt() -> str:
            existing = self.push_datasets_named(name)
            if existing:
                return existing[0]
            answer = self.call("POST", "datasets", f"creating push dataset {name!r}", body=body, query=query)
            return str(exact_json(answer)["id"])

        return _retry.call(attempt, self.clock)

    def url(self, dataset_id: str) -> str:
        """Where a person sees the dataset."""
        return f"https://app.powerbi.com/groups/{self.id}/datasets/{dataset_id}"


@dataclass(frozen=True)
class PushTable:
    """One table of one push dataset."""

    workspace: Workspace
    dataset_id: str
    name: str

    @property
    def _path(self) -> str:
        return f"datasets/{segment(self.dataset_id)}/tables/{segment(self.name)}"

    def exists(self) -> bool:
        """Whether the dataset has this table."""
        path = f"datasets/{segment(self.dataset_id)}/tables"
        tables = values_of(self.workspace.safe("GET", path, f"listing the tables of dataset {self.dataset_id}"))
        return any(table.get("name") == self.name for table in tables)

    def delete_rows(self) -> None:
        """Delete all rows."""
        self.workspace.safe("DELETE", f"{self._path}/rows", f"deleting the rows of table {self.name!r}")

    def put_schema(self, columns: Columns) -> None:
        """Replace the table's column list."""
        body = {"name": self.name, "columns": columns}
        self.workspace.safe("PUT", self._path, f"changing the columns of table {self.name!r}", body=body)

    def post(self, body: Body, number: int | None, rows_before: int) -> None:
        """Add rows behind `rows_before`, once; `number` goes into the sequence header. Not repeated here: see `delivery`."""
        headers = {SEQUENCE_HEADER: str(number)} if number is not None else {}
        doing = f"adding {body.rows} rows to table {self.name!r}"
        needs = limits.of_post(self.dataset_id, body.rows, rows_before)
        self.workspace.call("POST", f"{self._path}/rows", doing, body=body.data, headers=headers, needs=needs)

    def sequence_number(self, client_id: str) -> int | None:
        """The number that the table stored last for this client, 0 if none; None where the vendor does not keep them."""
        try:
            answer = self.workspace.safe(
                "GET", f"{self._path}/sequenceNumbers", f"reading the sequence numbers of table {self.name!r}"
            )
        except TargetError:
            return None
        entries = values_of(answer)
        mine = [entry for entry in entries if str(entry.get("clientId", "")).casefold() == client_id.casefold()]
        chosen = mine or entries
        if len(chosen) > 1:  # not ours to tell apart
            return None
        return int(chosen[0]["sequenceNumber"]) if chosen else 0

    def next_fence(self, client_id: str) -> int | None:
        """Return a number beyond all that an earlier job could still send. None: the vendor keeps no numbers."""
        number = self.sequence_number(client_id)
        return None if number is None else number + FENCE

    def raise_sequence_number(self, client_id: str, wanted: int | None, rows_before: int) -> int | None:
        """Move the table's number to `wanted`, if it is not there yet, by a POST of no rows; return it.

        A POST of an earlier job which is applied late then carries a number that the vendor has passed, and is not added. Where
        the vendor refuses a POST of no rows, the number stays as it is. None: it keeps no numbers.
        """
        if wanted is None:
            return None
        is_refused = False
        try:
            _retry.call(lambda: self.post(Body(0, b'{"rows":[]}'), wanted, rows_before), self.workspace.clock)
        except TargetError:
            is_refused = True  # or a repeat of one whose answer was lost
        stored = self.sequence_number(client_id)
        if stored is not None and stored >= wanted:
            return stored
        return stored or None if is_refused else None

    def count(self) -> int:
        """Number of rows."""
        return int(self.query_row(aggregates.count_query(self.name)).get("rows") or 0)

    def fingerprint(self, columns: Columns) -> Fingerprint:
        """Aggregates of the whole table."""
        return aggregates.read(self.query_row, self.name, columns)

    def query_row(self, query: str) -> dict[str, Json]:
        """Run `EVALUATE ROW(…)` and return alias to value.

        Raises:
            VendorUnavailableError: the vendor gave an error instead; one row is never too long for it.
        """
        try:
            rows = self.query(query)
        except TargetError as error:
            if error.code != "answer_cut_off":
                raise
            raise VendorUnavailableError(f"{error.message}; this may pass with time") from error
        if len(rows) != 1:
            raise TargetError(f"Power BI answered {len(rows)} rows to a query for one row of aggregates")
        return {key.removeprefix("[").removesuffix("]"): value for key, value in rows[0].items()}

    def query(self, query: str) -> list[dict[str, Json]]:
        """Run one DAX query and return its rows. Raises `TargetError`, code `answer_cut_off`, if the vendor cut them off."""
        body = {"queries": [{"query": query}], "serializerSettings": {"includeNulls": True}}
        path = f"datasets/{segment(self.dataset_id)}/executeQueries"
        needs = limits.of_query(self.workspace.session.client_id)
        doing = f"querying table {self.name!r}"
        answer = exact_json(self.workspace.safe("POST", path, doing, body=body, needs=needs))
        result = answer["results"][0]
        table = result.get("tables", [{}])[0]
        problem = answer.get("error") or result.get("error") or table.get("error")
        if problem:  # status 200 with only a part of the rows
            raise TargetError(
                f"Power BI did not answer a query of table {self.name!r} in full: {problem.get('code')}: {problem.get('message')}",
                code="answer_cut_off",
            )
        return list(table.get("rows") or [])

    def read_rows(self, columns: Columns, *, page_rows: int | None = None) -> Iterator[list[dict[str, Json]]]:
        """Yield the whole table in pages, each row as column name to exact JSON value; rows within and over pages unordered.

        Uses `TOPNSKIP(n, skip, table, every column, ASC …)` (dax.guide/TOPNSKIP), so equal rows alone tie. A page that the
        vendor cuts off is asked again at half its size.
        """
        size = page_rows or max(1, min(MAX_ANSWER_ROWS, MAX_ANSWER_VALUES // len(columns)))
        order = ", ".join(f"{aggregates.column_reference(self.name, c['name'])}, ASC" for c in columns)
        names = {f"{self.name}[{column['name']}]": column["name"] for column in columns}
        skip = 0
        while True:
            try:
                page = self.query(f"EVALUATE TOPNSKIP({size}, {skip}, '{self.name}', {order})")
            except TargetError as error:
                if error.code != "answer_cut_off" or size == 1:
                    raise
                size = max(1, size // 2)
                continue
            if page:
                yield [{names[key]: value for key, value in row.items()} for row in page]
            if len(page) < size:
                return
            skip += len(page)


def values_of(answer: requests.Response) -> list[dict[str, Json]]:
    """Return the `value` list of a collection."""
    body = exact_json(answer)
    listed = body.get("value") if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        raise TargetError("Power BI answered a collection without a list called 'value'")
    return listed


def is_missing(error: BIConnectorsError) -> bool:
    """Whether a refusal means that the thing does not exist, or not for this principal."""
    return error.details.get("vendor_status") == 404
