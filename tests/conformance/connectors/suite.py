"""What every connector must do, whatever its vendor: one suite, subclassed by each kind's test module.

A subclass gives `kind` and the fixture `rig`: a live connector on its sandbox, and the rows that the vendor holds, read
through the vendor's own API. The suite drives `Delivery` as the engine does, a new object for every call, as if each call
were made by another process.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa
import pytest

from shared import connectors as kinds
from shared.connectors._base import Chunk, Connector, DeliveryPlan, Mode
from shared.connectors._fingerprint import Fingerprint
from shared.errors import BIConnectorsError, TargetError

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("hours", pa.float64()),
        ("active", pa.bool_()),
        ("joined", pa.date32()),
        ("seen", pa.timestamp("us")),
    ]
)
Row = dict[str, Any]


def people(first: int, count: int) -> pa.Table:
    """Return rows with nulls, awkward text and dates; `id` counts from `first`."""
    texts = ["007", "=1+1", "-", "1/2", 'naïve, "quoted"\nline 2', "\ttab", None, "日本語", "+49", "@x"]
    return pa.Table.from_pylist(
        [
            {
                "id": number,
                "name": texts[number % len(texts)],
                "hours": None if number % 7 == 0 else number * 0.25,
                "active": None if number % 11 == 0 else number % 2 == 0,
                "joined": None if number % 5 == 0 else dt.date(2020, 1, 1) + dt.timedelta(days=number),
                "seen": None if number % 3 == 0 else dt.datetime(2024, 3, 31, 1, 30, 15) + dt.timedelta(hours=number),
            }
            for number in range(first, first + count)
        ],
        SCHEMA,
    )


class Rig(Protocol):
    """One connector on its sandbox."""

    @property
    def connector(self) -> Connector: ...

    def rows(self, table_name: str) -> list[Row]:
        """Return what the vendor holds, in any order, read through the vendor's API: values as in `people`."""


@dataclass
class Export:
    """One job on a rig; every step opens a new delivery with what the engine would have recorded."""

    rig: Rig
    table: pa.Table
    mode: Mode = Mode.REPLACE
    table_name: str = "people"
    target: Mapping[str, Any] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    job_id: str = field(default_factory=lambda: f"job{uuid.uuid4().hex[:20]}")
    expected: Fingerprint = field(default_factory=Fingerprint)

    def __post_init__(self) -> None:
        self.plan = DeliveryPlan(
            self.job_id,
            self.table_name,
            self.mode,
            self.table.schema,
            self.table.num_rows,
            key=self.key,
            target=self.target,
        )

    def open(self) -> Any:
        return self.rig.connector.open_delivery(self.plan)

    def begin(self) -> Export:
        intent = self.open().preflight()
        self.plan = replace(self.plan, intent=self.plan.intent or intent or {})
        begun = self.open().begin()
        self.plan = replace(self.plan, state=begun.state, target=begun.target or self.plan.target)
        self.expected = self.open().fingerprint(self.table.schema.empty_table())
        return self

    def write(self, *, twice: bool = False) -> Export:
        rows = self.open().chunk_rows
        for index, first in enumerate(range(0, self.table.num_rows, rows)):
            chunk = Chunk(index, first, self.table.slice(first, rows))
            self.expected = self.expected + self.open().fingerprint(chunk.table)
            for _ in range(2 if twice else 1):
                self.open().write(chunk)
        return self

    def differences(self) -> list[str]:
        return self.expected.differences(self.open().read_back())

    def publish(self) -> Mapping[str, Any]:
        published = self.open().publish()
        remembered: Mapping[str, Any] = published.details.get("target") or self.plan.target
        return remembered

    def run(self) -> Mapping[str, Any]:
        """Do all of it; return what the next job on this table gets as `target`."""
        self.begin().write()
        assert self.differences() == []
        return self.publish()


def same(found: list[Row], expected: pa.Table) -> bool:
    """Whether the rows are those of the table, in any order; empty text and null are one value, as some targets have it."""

    def key(row: Row) -> tuple[Any, ...]:
        return tuple("" if row.get(name) is None else row[name] for name in expected.schema.names)

    return sorted(map(repr, map(key, found))) == sorted(map(repr, map(key, expected.to_pylist())))


class ConnectorSuite:
    """The tests. `atomic` follows the kind's capabilities."""

    kind: str

    def is_atomic(self) -> bool:
        return kinds.capabilities(self.kind).atomic_replace

    def test_every_check_of_a_good_configuration_passes(self, rig: Rig) -> None:
        checks = rig.connector.test()
        assert [check.name for check in checks if not check.ok] == []
        assert len({check.name for check in checks}) == len(checks) >= 3
        assert all(check.latency_ms >= 0 and check.message for check in checks)

    def test_replace_delivers_every_value_and_reads_it_back(self, rig: Rig) -> None:
        Export(rig, people(0, 57)).run()
        assert same(rig.rows("people"), people(0, 57))

    def test_replace_leaves_nothing_of_a_longer_table_before(self, rig: Rig) -> None:
        target = Export(rig, people(0, 57)).run()
        Export(rig, people(100, 12), target=target).run()
        assert same(rig.rows("people"), people(100, 12))

    def test_an_empty_table_replaces_all_rows(self, rig: Rig) -> None:
        target = Export(rig, people(0, 5)).run()
        Export(rig, people(0, 0), target=target).run()
        assert rig.rows("people") == []

    def test_append_adds_to_what_is_there(self, rig: Rig) -> None:
        target = Export(rig, people(0, 20)).run()
        target = Export(rig, people(20, 7), Mode.APPEND, target=target).run()
        Export(rig, people(27, 3), Mode.APPEND, target=target).run()
        assert same(rig.rows("people"), people(0, 30))

    @pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
    def test_a_repeated_chunk_is_there_once(self, rig: Rig, mode: Mode) -> None:
        target = Export(rig, people(0, 9)).run()
        export = Export(rig, people(9, 30), mode, target=target).begin().write(twice=True)
        assert export.differences() == []
        export.publish()
        assert same(rig.rows("people"), people(0, 39) if mode is Mode.APPEND else people(9, 30))

    @pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
    def test_a_repeated_publish_changes_nothing(self, rig: Rig, mode: Mode) -> None:
        export = Export(rig, people(0, 9), mode).begin().write()
        export.publish()
        export.publish()
        assert same(rig.rows("people"), people(0, 9))

    def test_upsert_changes_the_rows_of_its_keys_and_adds_the_others(self, rig: Rig) -> None:
        if Mode.UPSERT not in kinds.capabilities(self.kind).modes:
            return  # declared: the kind cannot
        target = Export(rig, people(0, 20)).run()
        changed = people(0, 20).slice(15).to_pylist()
        for row in changed:
            row["name"], row["hours"] = f"changed {row['id']}", None
        update = pa.Table.from_pylist([*changed, *people(40, 4).to_pylist()], SCHEMA)
        export = Export(rig, update, Mode.UPSERT, target=target, key=("id",)).begin().write(twice=True)
        assert export.differences() == []
        assert same(rig.rows("people"), people(0, 20))
        target = export.publish()
        export.publish()
        expected = pa.concat_tables([people(0, 15), update])
        assert same(rig.rows("people"), expected)
        Export(rig, people(0, 2), Mode.UPSERT, target=target, key=("id",)).run()
        assert same(rig.rows("people"), expected)

    def test_upsert_of_a_key_that_is_twice_in_the_source_is_refused(self, rig: Rig) -> None:
        if Mode.UPSERT not in kinds.capabilities(self.kind).modes:
            return  # declared: the kind cannot
        target = Export(rig, people(0, 5)).run()
        twice = pa.concat_tables([people(7, 2), people(8, 1)])
        with pytest.raises(BIConnectorsError) as refused:
            Export(rig, twice, Mode.UPSERT, target=target, key=("id",)).run()
        assert "id" in refused.value.message
        assert same(rig.rows("people"), people(0, 5))

    def test_before_publish_a_reader_sees_the_old_table_only(self, rig: Rig) -> None:
        if not self.is_atomic():
            return  # excepted by name: shared.connectors.power_bi.CAPABILITIES.note
        target = Export(rig, people(0, 9)).run()
        export = Export(rig, people(50, 20), target=target).begin().write()
        assert same(rig.rows("people"), people(0, 9))
        assert export.open().is_published() is False
        export.publish()
        assert export.open().is_published() is True

    def test_abandoning_leaves_the_table_as_it_was_and_may_be_repeated(self, rig: Rig) -> None:
        if not self.is_atomic():
            return  # excepted by name: shared.connectors.power_bi.CAPABILITIES.note
        target = Export(rig, people(0, 9)).run()
        export = Export(rig, people(50, 20), target=target).begin().write()
        export.open().abandon()
        export.open().abandon()
        assert same(rig.rows("people"), people(0, 9))
        Export(rig, people(70, 4), target=target).run()
        assert same(rig.rows("people"), people(70, 4))

    def test_appending_other_columns_is_refused_and_nothing_is_touched(self, rig: Rig) -> None:
        target = Export(rig, people(0, 9)).run()
        other = people(9, 3).rename_columns(["id", "label", "hours", "active", "joined", "seen"])
        with pytest.raises(TargetError):
            Export(rig, other, Mode.APPEND, target=target).begin()
        assert same(rig.rows("people"), people(0, 9))

    def test_a_value_that_the_target_cannot_hold_is_refused_naming_row_and_column(self, rig: Rig) -> None:
        table = pa.table({"id": [1, 2], "ratio": pa.array([0.5, float("nan")])})
        with pytest.raises(BIConnectorsError) as refused:
            Export(rig, table, table_name="ratios").begin().write()
        assert "ratio" in refused.value.message
        assert "2" in refused.value.message
