"""Routes that add, delete and number rows.

Sequence numbers are undocumented in the REST reference (powerbi.microsoft.com/blog/newdatasets; the header and the route as
DataBooster/PyWebApi and SceneSkope.PowerBI use them). What a repeated number does is unverified, hence a knob.
"""

from __future__ import annotations

from contextlib import nullcontext

from infra.local.sandboxes._base import Request, Response

from . import errors
from .core import DATASET, Core, api, collection
from .quota import LARGE_TABLE
from .rows import read_rows
from .store import Table

MAX_TABLE_ROWS = 5_000_000
TABLE = f"{DATASET}/tables/<table>"
HEADER = "x-powerbi-pushdata-sequencenumber"


class RowRoutes(Core):
    """Rows of push datasets. Knob `sequence_numbers`: a number that is not above the last one is

    - `enforce`: answered 200, its rows ignored; - `reject`: answered 400, its rows ignored;
    - `ignore`: numbers are not looked at and never advance; - `absent`: the same, and reading them is 404.
    """

    @api("POST", f"{TABLE}/rows")
    def add_rows(self, request: Request, group: str, dataset: str, table: str) -> Response:
        """Add rows: all of the request or none."""
        row, found = self.need_push_table(request, group, dataset, table)
        with self.quota.pending(dataset) if self.settings["quotas"] else nullcontext():
            number = self._number(request)
            body = request.json_exact() if "Decimal" in found.schema.values() else request.json()
            frame = read_rows(body, found.schema)
            if frame.height == 0 and self.settings["empty_rows"] != "accept":
                raise errors.invalid("The request holds no rows")
            client = self.caller(request)
            with self.transaction():
                held = self.store.row_count(found)
                if self.settings["quotas"]:
                    self.quota.check_post(dataset, self.clock.time(), frame.height, is_large=held >= LARGE_TABLE)
                if not self._advance(found, client, number):
                    return Response(200)
                is_fifo = row["retention"] == "basicFIFO"
                if not is_fifo and held + frame.height > MAX_TABLE_ROWS:
                    raise errors.invalid(f"The table holds {held} rows; at most {MAX_TABLE_ROWS} are allowed")
                self.store.append(found, frame, is_fifo=is_fifo)
        return Response(200)

    @api("DELETE", f"{TABLE}/rows")
    def delete_rows(self, request: Request, group: str, dataset: str, table: str) -> Response:
        """Delete all rows."""
        _, found = self.need_push_table(request, group, dataset, table)
        with self.transaction() as db:
            self.store.clear(found)
            if self.settings["sequence_resets_on_delete"]:
                db.execute("DELETE FROM sequence_numbers WHERE table_id = ?", (found.id,))
        return Response(200)

    @api("GET", f"{TABLE}/sequenceNumbers")
    def sequence_numbers(self, request: Request, group: str, dataset: str, table: str) -> Response:
        """The last number of each client."""
        _, found = self.need_push_table(request, group, dataset, table)
        if self.settings["sequence_numbers"] == "absent":
            raise errors.not_found("Sequence numbers")
        with self.lock:
            rows = self.db.execute("SELECT * FROM sequence_numbers WHERE table_id = ?", (found.id,)).fetchall()
        values = [{"clientId": row["client_id"], "sequenceNumber": row["number"]} for row in rows]
        return collection(values, f"{group}/datasets/{dataset}/tables/{table}/$metadata#sequenceNumbers")

    @staticmethod
    def _number(request: Request) -> int | None:
        text = request.headers.get(HEADER)
        if text is None:
            return None
        try:
            number = int(text)
        except ValueError as exc:
            raise errors.invalid(f"Invalid sequence number '{text}'") from exc
        if not 0 < number < 2**63:
            raise errors.invalid(f"Invalid sequence number '{text}'")
        return number

    def _advance(self, table: Table, client: str, number: int | None) -> bool:
        """Whether the rows are new; stores the number then."""
        mode = self.settings["sequence_numbers"]
        if number is None or mode in ("ignore", "absent"):
            return True
        last = self.db.execute(
            "SELECT number FROM sequence_numbers WHERE table_id = ? AND client_id = ?", (table.id, client)
        ).fetchone()
        if last is not None and number <= last["number"]:
            if mode == "reject":
                raise errors.invalid(f"Sequence number {number} is not greater than the last one, {last['number']}")
            return False
        self.db.execute("INSERT OR REPLACE INTO sequence_numbers VALUES (?, ?, ?)", (table.id, client, number))
        return True
