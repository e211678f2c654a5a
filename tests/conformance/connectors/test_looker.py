"""The Looker connector against the sandbox and the embedded Postgres, driven as the delivery engine drives it."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import requests

from shared.connectors._base import Mode
from shared.connectors.looker.connector import LookerConnector
from shared.errors import (
    TargetError,
)
from tests.conformance.connectors.looker_support import (
    TRICKY,
    chunks_of,
    connector,
    deliver,
    numbered,
    plan_of,
    planes,
)
from tests.conformance.connectors.suite import SCHEMA, ConnectorSuite, Row
from tests.conformance.sandboxes.looker_support import Cloud, LossyLink, QuickClock, looker_cloud, looker_parts  # noqa: F401


def test_planes_arrive_cell_by_cell(cloud: Cloud) -> None:
    table = planes()
    published = deliver(connector(cloud), plan_of(table, "planes"), table, 1000)
    assert published.location == f"postgres://127.0.0.1:{cloud.postgres.port}/analytics#bi.planes"
    rows = cloud.sql("SELECT * FROM bi.planes", user="looker_reader")
    expected = [tuple(row.values()) for row in table.to_pylist()]
    assert len(rows) == 3322
    assert sorted(rows, key=repr) == sorted(expected, key=repr)
    types = cloud.sql(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'bi'"
        " AND table_name = 'planes' AND column_name IN ('tailnum', 'year', 'seats') ORDER BY 1"
    )
    assert types == [("seats", "bigint"), ("tailnum", "text"), ("year", "double precision")]


def test_every_type_and_awkward_text_is_held_exactly(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(TRICKY, "tricky"), TRICKY, 3)
    rows = cloud.sql('SELECT * FROM bi.tricky ORDER BY "odd ""name"" %s é"')
    expected = [tuple(row.values()) for row in TRICKY.to_pylist()]
    assert rows == expected
    assert str(rows[3][2]) == "-0.0"
    assert rows[0][9].as_tuple() == Decimal("-1.500000").as_tuple()


def test_empty_table_replaces_by_nothing(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "few"), numbered(3, 1))
    deliver(connector(cloud), plan_of(numbered(0, 2), "few"), numbered(0, 2))
    assert cloud.sql("SELECT count(*) FROM bi.few") == [(0,)]


def test_append_adds_by_column_name(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(2, 1), "log"), numbered(2, 1))
    swapped = numbered(2, 2).select(["version", "id"])
    deliver(connector(cloud), plan_of(swapped, "log", Mode.APPEND), swapped)
    assert cloud.sql("SELECT id, version FROM bi.log ORDER BY version, id") == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_reader_sees_old_or_new_rows_only_and_never_waits(cloud: Cloud) -> None:
    seen: set[tuple[Any, ...]] = set()
    waits: list[float] = []
    done = threading.Event()
    deliver(connector(cloud), plan_of(numbered(5000, 0), "watched"), numbered(5000, 0))
    cloud.sql("CREATE VIEW bi.watched_view AS SELECT version, id FROM bi.watched")
    cloud.sql("COMMENT ON TABLE bi.watched IS 'kept'; CREATE UNIQUE INDEX watched_id ON bi.watched (id)")

    def watch() -> None:
        with psycopg.connect(cloud.postgres.dsn("looker_reader"), autocommit=True) as reader:
            while not done.is_set():
                started = time.monotonic()
                query = "SELECT count(*), count(DISTINCT version), min(version) FROM bi.watched_view"
                seen.update(reader.execute(query).fetchall())
                waits.append(time.monotonic() - started)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in (1, 2, 3):
        deliver(
            connector(cloud), plan_of(numbered(5000 + version, version), "watched"), numbered(5000 + version, version)
        )
    time.sleep(0.05)
    done.set()
    watcher.join()
    assert seen <= {(5000, 1, 0), (5001, 1, 1), (5002, 1, 2), (5003, 1, 3)}
    assert (5003, 1, 3) in seen
    assert len(waits) > 10
    assert cloud.sql("SELECT obj_description('bi.watched'::regclass)") == [("kept",)]
    assert cloud.sql("SELECT indexname FROM pg_indexes WHERE tablename = 'watched'") == [("watched_id",)]


def test_reader_in_an_older_snapshot_keeps_the_old_rows(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(10, 1), "held"), numbered(10, 1))
    with psycopg.connect(cloud.postgres.dsn("looker_reader")) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")  # takes the snapshot
        deliver(connector(cloud), plan_of(numbered(4, 2), "held"), numbered(4, 2))
        assert reader.execute("SELECT count(*), min(version) FROM bi.held").fetchall() == [(10, 1)]


def test_grant_of_a_second_role_and_foreign_default_column_survive(cloud: Cloud) -> None:
    table = numbered(3, 1)
    deliver(connector(cloud), plan_of(table, "shared_table"), table)
    cloud.sql("CREATE ROLE analyst LOGIN", user="postgres")
    try:
        cloud.sql("GRANT SELECT ON bi.shared_table TO analyst")
        cloud.sql("ALTER TABLE bi.shared_table ADD COLUMN loaded_at timestamptz DEFAULT now()")
        deliver(connector(cloud), plan_of(numbered(4, 2), "shared_table"), numbered(4, 2))
        assert cloud.sql("SELECT has_table_privilege('analyst', 'bi.shared_table', 'SELECT')") == [(True,)]
        assert cloud.sql("SELECT count(*), count(loaded_at) FROM bi.shared_table") == [(4, 4)]
    finally:
        cloud.sql("DROP OWNED BY analyst; DROP ROLE analyst", user="postgres")


def test_new_column_is_added_and_another_type_is_refused_before_anything_changes(cloud: Cloud) -> None:
    table = numbered(3, 1)
    deliver(connector(cloud), plan_of(table, "drifts"), table)
    wider = table.append_column("note", pa.array(["a", None, ""], pa.string()))
    deliver(connector(cloud), plan_of(wider, "drifts"), wider)
    assert cloud.sql("SELECT note FROM bi.drifts ORDER BY id") == [("a",), (None,), ("",)]
    changed = table.set_column(1, "version", pa.array(["x"] * 3))
    with pytest.raises(TargetError) as caught:
        connector(cloud).open_delivery(plan_of(changed, "drifts")).preflight()
    assert "column 'version' is bigint in the table and text in the export" in caught.value.message
    assert "column 'note' (text) is in the table and not in the export" in caught.value.message
    assert caught.value.code == "schema_drift"


def test_hundred_thousand_rows_of_twenty_columns(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 100_000
    columns: dict[str, pa.Array] = {}
    for group in range(4):
        columns[f"id_{group}"] = pa.array(range(group, rows + group), pa.int64())
        columns[f"share_{group}"] = pa.array([n / 7 for n in range(rows)], pa.float64())
        columns[f"name_{group}"] = pa.array([None if n % 11 == 0 else f"volunteer {n}" for n in range(rows)])
        columns[f"day_{group}"] = pa.array([n % 20_000 for n in range(rows)], pa.date32())
        columns[f"at_{group}"] = pa.array([n * 1_000_003 for n in range(rows)], pa.timestamp("us"))
    table = pa.table(columns)
    looker = connector(cloud)
    plan = plan_of(table, "large")
    delivery = looker.open_delivery(plan)
    delivery.begin()
    times = [time.monotonic()]
    sent = sum(delivery.write(chunk).sent_bytes for chunk in chunks_of(table, delivery.chunk_rows))
    times.append(time.monotonic())
    expected = delivery.fingerprint(table)
    times.append(time.monotonic())
    assert expected.differences(delivery.read_back()) == []
    times.append(time.monotonic())
    delivery.publish()
    times.append(time.monotonic())
    write, fingerprint, read_back, publish = (b - a for a, b in itertools.pairwise(times))
    with capsys.disabled():
        print(
            f"\nlooker 100,000 x 20: {sent / 1e6:.1f} MB, write {write:.2f} s, fingerprint {fingerprint:.2f} s, "
            f"read back {read_back:.2f} s, publish {publish:.2f} s"
        )
    assert cloud.sql("SELECT count(*), count(DISTINCT id_0) FROM bi.large") == [(100_000, 100_000)]


class LookerRig:
    """The demo connector; rows are read by a query through Looker's API."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @property
    def connector(self) -> LookerConnector:
        return connector(self._cloud)

    def rows(self, table_name: str) -> list[Row]:
        known = self._cloud.server.accounts.looker
        url = f"{known.base_url}/api/4.0"
        key = {"client_id": known.client_id, "client_secret": known.client_secret}
        token = requests.post(f"{url}/login", data=key, timeout=30).json()["access_token"]
        query = {"model": known.model, "view": table_name, "limit": "-1"}
        query["fields"] = [f"{table_name}.{name}" for name in SCHEMA.names]
        answer = requests.post(
            f"{url}/queries/run/json", json=query, headers={"Authorization": f"token {token}"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return [self._typed({name.split(".")[1]: value for name, value in row.items()}) for row in answer.json()]

    def _typed(self, row: Row) -> Row:
        """Looker's JSON has dates and times as text and yes/no for booleans."""
        joined, seen, active = row["joined"], row["seen"], row["active"]
        row["joined"] = joined and dt.date.fromisoformat(joined)
        row["seen"] = seen and dt.datetime.fromisoformat(seen)
        row["active"] = active and active == "Yes"
        return row


class TestLooker(ConnectorSuite):
    kind = "looker"

    @pytest.fixture
    def rig(self, cloud: Cloud) -> LookerRig:
        return LookerRig(cloud)
