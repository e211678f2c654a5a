"""Delivery of one table into a push dataset: no staging, no atomic replace, but no row twice.

**Sequence numbers.** Every POST carries the number `base + rows of this job in the table after it`, where `base` is the number
that the table held when the job began. So the table's number always tells how many rows of this job are in. After a POST
without an answer, and when another process takes over, that number is asked first and only the rest is sent. What the vendor
does with a repeated number (ignores it or refuses it) does not matter.

Where the vendor keeps no numbers, the rows in the table are counted instead. A count can lag behind, so that alone is good enough
for a replace, which is verified at its end and can be run again, but not for an append, unless `delivery: at_least_once` was asked for.

**After a job that failed half-way.** `begin` moves the number far ahead, so that a POST of the failed job which is applied late
is not added; a replace looks whether the table is empty then. An append is refused (`memory.refuse_unfinished`). How far is
decided in `preflight` and recorded first: a worker that was overtaken in `begin` and wakes then moves nothing, or the vendor
would ignore the rows that its rival still sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import pyarrow as pa

from shared.connectors import _retry
from shared.connectors._base import Begun, Chunk, DeliveryPlan, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi import aggregates, encode, memory, schema
from shared.connectors.power_bi.dataset import FENCE, PushTable, Workspace, is_missing
from shared.connectors.power_bi.schema import Body
from shared.errors import TargetError, UnsupportedError

SETTLE_WAITS_S = (
    1.0,
    2.0,
    4.0,
)  # our choice: pushed rows become visible within seconds (plasne/powerbi-api, 50row5sec.md)
EMPTYING_ROUNDS = 3  # our choice: more than once only if rows or columns of another job turned up meanwhile

Json = Any


class PushDelivery:
    """See `shared.connectors._base.Delivery`. For the remembered `target` see `memory`;
    the job's `state` holds dataset_id, columns, base (None: no sequence numbers) and before (aggregates, for an append).
    """

    chunk_rows = schema.MAX_POST_ROWS
    is_staged = False

    def __init__(self, workspace: Workspace, client_id: str, dataset_id: str | None, plan: DeliveryPlan) -> None:
        self._workspace, self._client_id, self._configured_id, self._plan = workspace, client_id, dataset_id, plan
        self._begun: Mapping[str, Json] = plan.state  # or, in the process where `begin` ran, what it returned
        self._position: int | None = None  # rows of this job in the table, as far as this process knows
        self._is_confirmed = False  # whether a number was seen to advance in this process

    def preflight(self) -> Mapping[str, Json]:
        """Check names, types, columns and rows against the push limits, and an append against the table that is there.

        Returns the number that `begin` is to move the table to, `fence` (None: the vendor keeps none).

        1,000,000 rows an hour and 120 calls a minute (120 an hour from 250,000 rows on) are not checked here: over them the
        vendor answers 429 with Retry-After, and the job goes on later.
        """
        schema.check_table_name(self._plan.table_name)
        columns = schema.columns_of(self._plan.schema)
        if self._plan.mode not in (Mode.REPLACE, Mode.APPEND):
            raise UnsupportedError(
                f"A Power BI push dataset cannot do {self._plan.mode.value!r}; use replace or append"
            )
        there = 0
        dataset_id = self._find()
        if self._plan.mode is Mode.APPEND and dataset_id is not None:
            told = schema.drift(self._remembered(dataset_id) or columns, columns)
            if told:
                raise TargetError(
                    f"The columns of table {self._plan.table_name!r} have changed since it was made in Power BI: {'; '.join(told)}. "
                    "Appending would lose values; replace the table, or map the source to its columns",
                    code="schema_drift",
                    drift=told,
                )
            there = self._table(dataset_id).count()
            memory.refuse_unfinished(
                self._plan, self._entry(dataset_id), self._table(dataset_id), self._client_id, there
            )
        if there + self._plan.rows > schema.MAX_TABLE_ROWS:
            raise TargetError(
                f"The table would hold {there + self._plan.rows:,} rows ({there:,} are there); a Power BI push table takes "
                f"{schema.MAX_TABLE_ROWS:,}. Export less, or load a warehouse that Power BI imports from"
            )
        return {"fence": FENCE if dataset_id is None else self._table(dataset_id).next_fence(self._client_id)}

    def begin(self) -> Begun:
        """Find or create the dataset; for a replace empty the table and bring its columns up to date.

        Once its answer is kept (`plan.state`), a repeat touches nothing: rows that were written since would be deleted.
        """
        if self._plan.state:
            return Begun(self._plan.state, self._plan.target)
        columns = schema.columns_of(self._plan.schema)
        dataset_id = self._find()
        before = Fingerprint()
        if dataset_id is None:
            dataset_id = self._workspace.create(self._dataset_name, self._plan.table_name, columns)
            base = self._raise(dataset_id, FENCE, 0)
        elif self._plan.mode is Mode.REPLACE:
            base = self._empty(dataset_id, columns)
        else:
            table = self._table(dataset_id)
            base = self._raise(dataset_id, self._fence(dataset_id), table.count())
            before = table.fingerprint(columns)
        if base is None and self._plan.mode is Mode.APPEND and not self._may_repeat:
            raise UnsupportedError(
                f"Power BI keeps no sequence numbers for table {self._plan.table_name!r}, so an append could write rows twice. "
                "Use mode replace, or accept that with the target option delivery: at_least_once",
                code="append_not_exact",
            )
        state = {"dataset_id": dataset_id, "columns": columns, "base": base, "before": before.to_json()}
        self._begun = state
        unfinished = {
            "job_id": self._plan.job_id,
            "mode": self._plan.mode.value,
            "base": base,
            "rows_before": before.rows,
        }
        return Begun(state, {**self._new_entry(), "unfinished": unfinished})

    def write(self, chunk: Chunk) -> Written:
        """Send those rows of the chunk that are not in yet, in one POST or several (10,000 rows, about 8 MB each)."""
        frame = encode.held(chunk.table)
        try:
            if self._position is None:
                self._position = self._ask_position()
            for wait_s in SETTLE_WAITS_S:  # a count can lag behind
                if self._position >= chunk.first_row:
                    break
                self._workspace.clock.sleep(wait_s)
                self._position = self._ask_position()
            if self._position < chunk.first_row:
                raise TargetError(
                    f"Power BI holds {self._position} rows of this job where {chunk.first_row} had been written: somebody else "
                    "deleted rows or writes to the table; run the export again",
                    code="target_changed",
                )
            sent_bytes = 0
            for body in encode.bodies(frame.slice(self._position - chunk.first_row)):
                sent_bytes += self._send(body, self._position)
                self._position += body.rows
            return Written(sent_bytes)
        except Exception:
            self._position = None  # the next attempt asks again
            raise

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        """Aggregates of these rows as Power BI holds them. Raises `TargetError` for a value that it cannot hold (row, column)."""
        if not self._plan.options.get("round_times"):
            encode.refuse_rounding(table, first_row)
        rows = aggregates.of_rows(encode.held(table, first_row))
        return aggregates.comparable(self._before(), rows, self._begun.get("columns", []))

    def live_rows(self) -> None:
        """None: nobody but this program writes to a push dataset, and what it wrote is remembered."""

    def read_back(self) -> Fingerprint:
        """Aggregates of the table; for an append, less what they were before. Waits a few seconds for rows to become visible.

        Of a replace it stays true long after: whatever the table holds then is told, no rows if it is gone. Of an append it
        holds until the next job of the table begins.

        Raises:
            TargetError: somebody else changed the table's columns.
        """
        try:
            return self._read_back()
        except TargetError as error:
            if not is_missing(error):
                raise
            return Fingerprint()

    def _read_back(self) -> Fingerprint:
        table, before, columns = self._table(self._state()["dataset_id"]), self._before(), self._state()["columns"]
        found = table.fingerprint(columns)
        for wait_s in SETTLE_WAITS_S:
            if found.rows >= before.rows + self._plan.rows:
                break
            self._workspace.clock.sleep(wait_s)
            found = table.fingerprint(columns)
        return aggregates.since(before, found, columns)

    def is_published(self) -> bool:
        """False, always: a push dataset has no publish step, and `publish` makes no call, so repeating it is harmless."""
        return False

    def publish(self) -> Published:
        """Return where the rows are; they have been visible since they were written."""
        dataset_id = self._state()["dataset_id"]
        details = {
            "dataset_id": dataset_id,
            "table": self._plan.table_name,
            "exact": self._state()["base"] is not None,
            "target": self._new_entry(),
        }
        return Published(self._workspace.url(dataset_id), details)

    def abandon(self) -> None:
        """Do nothing: a push dataset has no staging, so nothing exists outside the live table.

        What a replace has deleted and what either mode has written cannot be undone; the job says so (`CAPABILITIES.note`), and
        the table's memory keeps that it is unfinished: another replace starts from an empty table, another append is refused.
        """

    @property
    def _dataset_name(self) -> str:
        return str(self._plan.options.get("dataset_name") or self._plan.table_name)

    @property
    def _may_repeat(self) -> bool:
        return self._plan.options.get("delivery") == "at_least_once"

    def _table(self, dataset_id: str) -> PushTable:
        return PushTable(self._workspace, dataset_id, self._plan.table_name)

    def _state(self) -> Mapping[str, Json]:
        if not self._begun:
            raise RuntimeError("begin has not run, or what it returned was not kept")
        return self._begun

    def _before(self) -> Fingerprint:
        kept = self._begun.get("before")
        return Fingerprint.from_json(kept) if kept else Fingerprint()

    def _entry(self, dataset_id: str) -> Mapping[str, Json]:
        entry = memory.entry_of(self._plan.target, self._dataset_name)
        return entry if (entry.get("dataset_id"), entry.get("table")) == (dataset_id, self._plan.table_name) else {}

    def _new_entry(self) -> dict[str, Json]:
        return {
            "dataset_id": self._state()["dataset_id"],
            "table": self._plan.table_name,
            "columns": self._state()["columns"],
        }

    def _remembered(self, dataset_id: str) -> schema.Columns | None:
        columns = self._entry(dataset_id).get("columns")
        return None if columns is None else list(columns)

    def _empty(self, dataset_id: str, columns: schema.Columns) -> int | None:
        """Delete all rows, bring the columns up to date, and return the number to count from (None: none are kept).

        Whether the table is empty and has the columns is asked: a late POST of a job before may have been applied after the
        DELETE, and a job that died in its begin may have changed the columns without anybody remembering it.
        """
        table, remembered, base = self._table(dataset_id), self._remembered(dataset_id), None
        is_changed = remembered is None or bool(schema.drift(remembered, columns))
        fence = self._fence(dataset_id)
        for round_ in range(EMPTYING_ROUNDS):
            table.delete_rows()
            if is_changed:
                table.put_schema(columns)
            base = self._raise(dataset_id, fence, 0)
            try:
                if table.fingerprint(columns).rows == 0:
                    break
            except TargetError as error:
                if is_changed or round_ or error.details.get("vendor_status") != HTTPStatus.BAD_REQUEST:
                    raise
                is_changed = True
        return base

    def _fence(self, dataset_id: str) -> int | None:
        """The number that this job's `begin` moves the table to: as it was recorded, or else as it would be now."""
        if "fence" in self._plan.intent:
            number: int | None = self._plan.intent["fence"]
            return number
        return self._table(dataset_id).next_fence(self._client_id)

    def _raise(self, dataset_id: str, fence: int | None, rows_before: int) -> int | None:
        return self._table(dataset_id).raise_sequence_number(self._client_id, fence, rows_before)

    def _find(self) -> str | None:
        """The dataset to write to, checked to be a push dataset with this table; None if one is to be created."""
        dataset_id = self._configured_id or self._remembered_id()
        if dataset_id is not None:
            found = self._workspace.dataset(dataset_id)
            if found is None and (self._configured_id or self._plan.mode is Mode.APPEND):
                raise TargetError(
                    f"Dataset {dataset_id} does not exist in workspace {self._workspace.id}; correct dataset_id, "
                    "or replace the table to have it made anew"
                )
            if found is not None:
                if found.get("addRowsAPIEnabled") is not True:
                    raise TargetError(
                        f"Dataset {dataset_id} ({found.get('name')!r}) is not a push dataset; rows cannot be added"
                    )
                return self._with_table(dataset_id)
        ids = self._workspace.push_datasets_named(self._dataset_name)
        if len(ids) > 1:
            raise TargetError(
                f"Workspace {self._workspace.id} has {len(ids)} push datasets named {self._dataset_name!r} ({', '.join(ids)}); "
                "put the right one into the connector's dataset_id, or choose another dataset_name"
            )
        return self._with_table(ids[0]) if ids else None

    def _remembered_id(self) -> str | None:
        return memory.entry_of(self._plan.target, self._dataset_name).get("dataset_id")

    def _with_table(self, dataset_id: str) -> str:
        if not self._table(dataset_id).exists():
            raise TargetError(
                f"Dataset {dataset_id} has no table {self._plan.table_name!r}, and Power BI adds none to a push dataset that exists; "
                "export a table of that dataset, or choose another dataset_name to have a dataset made"
            )
        return dataset_id

    def _ask_position(self) -> int:
        """Rows of this job that are in the table."""
        table, base = self._table(self._state()["dataset_id"]), self._state()["base"]
        if base is None:
            return table.count() - self._before().rows
        number = table.sequence_number(self._client_id)
        if number is None or number < base:
            raise TargetError(
                f"Power BI no longer keeps the sequence numbers of table {self._plan.table_name!r} (it said {number}, the job began "
                f"at {base}), so it is unknown which rows are in; run a replace",
                code="sequence_numbers_lost",
            )
        return number - int(base)

    def _send(self, body: Body, position: int) -> int:
        """Add one body's rows behind the first `position` rows, exactly once. Returns the bytes sent."""
        base, end = self._state()["base"], position + body.rows
        table = self._table(self._state()["dataset_id"])
        sent_bytes = 0
        is_unsure = False

        def attempt() -> None:
            nonlocal sent_bytes, is_unsure
            if is_unsure and self._ask_position() >= end:
                return
            is_unsure = True
            sent_bytes += len(body.data)
            try:
                table.post(body, None if base is None else base + end, self._before().rows + position)
            except TargetError:
                # A number that came in twice may be refused: then the rows are in, from an attempt without an answer.
                if base is None or self._ask_position() < end:
                    raise

        _retry.call(attempt, self._workspace.clock)
        if base is not None and not self._is_confirmed:
            self._confirm(end)
        return sent_bytes

    def _confirm(self, end: int) -> None:
        """Once a process: the number must have advanced, or a later question would be answered wrongly."""
        if self._ask_position() < end:
            raise TargetError(
                f"Power BI took rows for table {self._plan.table_name!r} but its sequence number did not advance, so a repeat could not "
                "be told from new rows; run a replace, or append with delivery: at_least_once",
                code="sequence_numbers_lost",
            )
        self._is_confirmed = True
