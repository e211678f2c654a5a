"""Upserts into the warehouse: by name, for every type of key, exactly once, and refused wherever it is open what is meant."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from shared.connectors._base import DeliveryPlan, Mode
from shared.errors import BIConnectorsError, CredentialError, SourceError, TargetError
from tests.conformance.connectors.looker_support import (
    chunks_of,
    connector,
    deliver,
    numbered,
    plan_of,
    side_by_side,
    void,
)
from tests.conformance.sandboxes.looker_support import Cloud, LossyLink, QuickClock, looker_cloud, looker_parts  # noqa: F401

MOMENTS = [
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
    dt.datetime(2024, 3, 31),
    dt.datetime(2024, 3, 31, 0, 0, 0, 1),
]
KEYS = {
    "int64": pa.array([-(2**63), 0, 2**63 - 1], pa.int64()),
    "uint64": pa.array([0, 1, 2**64 - 1], pa.uint64()),
    "double": pa.array([0.1, 1e-300, -3.0], pa.float64()),
    "text": pa.array(["", "A", "a" * 9_000], pa.string()),  # the last one is too long for an index
    "date": pa.array([dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)], pa.date32()),
    "timestamp": pa.array(MOMENTS, pa.timestamp("us")),
    "timestamp with zone": pa.array(MOMENTS, pa.timestamp("us", "UTC")),
    "numeric": pa.array([Decimal("0.000001"), Decimal("-1"), Decimal("99999999999999.999999")], pa.decimal128(38, 6)),
}


def upsert_of(table: pa.Table, name: str, *key: str) -> DeliveryPlan:
    return replace(plan_of(table, name, Mode.UPSERT), key=key)


def upsert(cloud: Cloud, table: pa.Table, name: str, *key: str) -> None:
    deliver(connector(cloud), upsert_of(table, name, *key), table)


def staged(cloud: Cloud, table: pa.Table, name: str, *key: str) -> DeliveryPlan:
    """A plan with all rows in staging, as before `read_back`."""
    plan = upsert_of(table, name, *key)
    delivery = connector(cloud).open_delivery(plan)
    delivery.preflight()
    delivery.begin()
    for chunk in chunks_of(table, delivery.chunk_rows):
        delivery.write(chunk)
    return plan


@pytest.mark.parametrize("kind", KEYS)
def test_every_type_of_key_finds_its_row(cloud: Cloud, kind: str) -> None:
    keys = KEYS[kind]
    before = pa.table({"k": keys.slice(0, 2), "v": pa.array([1, 2])})
    deliver(connector(cloud), plan_of(before, "typed"), before)
    upsert(cloud, pa.table({"k": keys.slice(1), "v": pa.array([20, 30])}), "typed", "k")
    first, second, third = keys.to_pylist()
    rows = cloud.sql("SELECT k, v FROM bi.typed ORDER BY v")
    assert rows == [(first, 1), (second, 20), (third, 30)]


def test_boolean_is_part_of_a_key_of_several_columns(cloud: Cloud) -> None:
    before = pa.table({"a": [1, 1, 2], "b": [True, False, True], "v": ["x", "y", "z"]})
    deliver(connector(cloud), plan_of(before, "pairs"), before)
    upsert(cloud, pa.table({"a": [1, 2], "b": [False, False], "v": ["new", "added"]}), "pairs", "b", "a")
    assert cloud.sql("SELECT * FROM bi.pairs ORDER BY a, b") == [
        (1, False, "new"),
        (1, True, "x"),
        (2, False, "added"),
        (2, True, "z"),
    ]


def test_columns_are_matched_by_name_and_a_new_one_is_added(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "named"), numbered(3, 1))
    swapped = pa.table({"version": [7, 7], "note": ["a", None], "id": [2, 5]})
    upsert(cloud, swapped, "named", "id")
    assert cloud.sql("SELECT id, version, note FROM bi.named ORDER BY id") == [
        (0, 1, None),
        (1, 1, None),
        (2, 7, "a"),
        (5, 7, None),
    ]


def test_missing_table_is_created_and_rows_can_be_nothing_but_their_key(cloud: Cloud) -> None:
    upsert(cloud, numbered(3, 1), "made", "id")
    upsert(cloud, numbered(0, 2), "made", "id")
    assert cloud.sql("SELECT id, version FROM bi.made ORDER BY id") == [(0, 1), (1, 1), (2, 1)]
    keys = pa.table({"a": [1, 2], "b": [1, 2]})
    upsert(cloud, keys, "bare", "a", "b")
    upsert(cloud, pa.table({"a": [2, 3], "b": [2, 3]}), "bare", "a", "b")
    assert cloud.sql("SELECT a, b FROM bi.bare ORDER BY a") == [(1, 1), (2, 2), (3, 3)]


def test_rows_of_the_table_without_a_key_stay(cloud: Cloud) -> None:
    before = pa.table({"k": pa.array([None, None, "a"]), "v": [1, 2, 3]})
    deliver(connector(cloud), plan_of(before, "keyless"), before)
    upsert(cloud, pa.table({"k": ["a", ""], "v": [30, 40]}), "keyless", "k")
    assert cloud.sql("SELECT k, v FROM bi.keyless ORDER BY v") == [(None, 1), (None, 2), ("a", 30), ("", 40)]


def test_empty_key_in_the_source_is_refused_with_row_and_column(cloud: Cloud) -> None:
    table = pa.table({"k": pa.array(["a", None]), "v": [1, 2]})
    delivery = connector(cloud).open_delivery(upsert_of(table, "empty", "k"))
    with pytest.raises(SourceError, match="row 12 has no value in the key column 'k'") as caught:
        delivery.fingerprint(table, 10)
    assert (caught.value.code, caught.value.details["row"]) == ("key_empty", 12)


@pytest.mark.parametrize("step", ["read_back", "publish"])
@pytest.mark.parametrize(
    ("rows", "code", "told"),
    [
        (
            {"day": [1, 1, 1], "who": ["ann", "bob", "ann"]},
            "key_twice",
            "2 rows of the source .* day = '1', who = 'ann'",
        ),
        ({"day": [1, 1, 1], "who": ["ann", None, "bob"]}, "key_empty", "no value in the key column 'who'"),
    ],
)
def test_key_that_staging_holds_twice_or_not_is_refused_at_each_step(
    cloud: Cloud, step: str, rows: dict[str, list[Any]], code: str, told: str
) -> None:
    before = pa.table({"day": [1], "who": ["ann"], "v": [0]})
    deliver(connector(cloud), plan_of(before, "twice"), before)
    plan = staged(cloud, pa.table({**rows, "v": [7, 8, 9]}), "twice", "day", "who")
    with pytest.raises(SourceError, match=told) as caught:
        getattr(connector(cloud).open_delivery(plan), step)()
    assert caught.value.code == code
    assert connector(cloud).open_delivery(plan).is_published() is False
    assert cloud.sql("SELECT day, who, v FROM bi.twice") == [(1, "ann", 0)]


def test_key_that_the_table_holds_twice_is_refused_and_nothing_changes(cloud: Cloud) -> None:
    before = pa.table({"id": [1, 1, 2], "v": [1, 2, 3]})
    deliver(connector(cloud), plan_of(before, "ambiguous"), before)
    plan = staged(cloud, pa.table({"id": [1, 2, 9], "v": [10, 20, 90]}), "ambiguous", "id")
    with pytest.raises(TargetError, match="2 rows of the table have the same key, id = '1'") as caught:
        connector(cloud).open_delivery(plan).publish()
    assert caught.value.code == "key_twice"
    assert cloud.sql("SELECT id, v FROM bi.ambiguous ORDER BY v") == [(1, 1), (1, 2), (2, 3)]
    upsert(cloud, pa.table({"id": [2], "v": [20]}), "ambiguous", "id")  # keys that it has not twice are no problem
    assert cloud.sql("SELECT v FROM bi.ambiguous ORDER BY v") == [(1,), (2,), (20,)]


def test_repeats_and_rivals_of_one_job_change_nothing_more(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(50, 1), "repeated"), numbered(50, 1))
    plan = staged(cloud, numbered(80, 2), "repeated", "id")
    side_by_side([lambda: void(connector(cloud).open_delivery(plan).publish())] * 3)
    upsert(cloud, pa.table({"id": [3], "version": [9]}), "repeated", "id")
    connector(cloud).open_delivery(plan).publish()  # late, by a sleeper: the newer row stays
    assert cloud.sql("SELECT count(*), sum(version), max(version) FROM bi.repeated") == [(80, 167, 9)]


def test_lost_reply_to_the_commit_publishes_once(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(5, 1), "lost"), numbered(5, 1))
    plan = staged(cloud, numbered(7, 2), "lost", "id")
    with LossyLink(cloud.postgres.port, cut_after=b"COMMIT") as link:
        connector(cloud, clock=QuickClock(), port=link.port).open_delivery(plan).publish()
    assert link.cuts == 1
    assert cloud.sql("SELECT count(*), min(version) FROM bi.lost") == [(7, 2)]


def test_what_hangs_on_the_table_stays(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "kept"), numbered(3, 1))
    cloud.sql(
        "ALTER TABLE bi.kept ADD COLUMN serial bigint GENERATED ALWAYS AS IDENTITY; COMMENT ON TABLE bi.kept IS 'people''s';"
        "CREATE UNIQUE INDEX kept_id ON bi.kept (id); CREATE VIEW bi.kept_view AS SELECT id, version FROM bi.kept;"
        "CREATE TABLE bi.child (id bigint REFERENCES bi.kept (id) ON DELETE CASCADE);"
        "INSERT INTO bi.child VALUES (1)"
    )
    upsert(cloud, pa.table({"id": [1, 3], "version": [2, 2]}), "kept", "id")
    assert cloud.sql("SELECT id, version, serial FROM bi.kept ORDER BY id") == [
        (0, 1, 1),
        (1, 2, 2),
        (2, 1, 3),
        (3, 2, 4),
    ]
    assert cloud.sql("SELECT * FROM bi.child") == [(1,)]
    assert cloud.sql("SELECT obj_description('bi.kept'::regclass)") == [("people's",)]
    assert cloud.sql("SELECT indexname FROM pg_indexes WHERE tablename = 'kept'") == [("kept_id",)]
    assert cloud.sql("SELECT sum(version) FROM bi.kept_view", user="looker_reader") == [(6,)]


def test_reader_sees_all_old_or_all_new_rows_only(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(4000, 0), "watched"), numbered(4000, 0))
    seen: set[tuple[Any, ...]] = set()
    done = threading.Event()

    def watch() -> None:
        with psycopg.connect(cloud.postgres.dsn("looker_reader"), autocommit=True) as reader:
            while not done.is_set():
                seen.update(reader.execute("SELECT count(*), min(version), max(version) FROM bi.watched").fetchall())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in (1, 2):
        upsert(cloud, numbered(4000 + version, version), "watched", "id")
    time.sleep(0.05)
    done.set()
    watcher.join()
    assert seen <= {(4000, 0, 0), (4001, 1, 1), (4002, 2, 2)}
    assert {(4000, 0, 0), (4002, 2, 2)} <= seen


@pytest.mark.parametrize(
    ("key", "code", "told"),
    [
        ((), "key_column", "an upsert needs a key"),
        (("nobody",), "key_column", "key column 'nobody' is not in the export"),
        (("note",), "schema_drift", "bi.refused has no column 'note', so no row of it has a key"),
        (("name",), "target_refused", "'name' of bi.refused has a collation that calls different texts equal"),
    ],
)
def test_key_that_cannot_tell_rows_apart_is_refused_before_anything_is_touched(
    cloud: Cloud, key: tuple[str, ...], code: str, told: str
) -> None:
    cloud.sql('CREATE COLLATION bi.loose FROM "C"')  # as an ICU collation would be marked, which this build has none of
    cloud.sql("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'", user="postgres")
    try:
        cloud.sql("CREATE TABLE bi.refused (id bigint, name text COLLATE bi.loose)")
        table = pa.table({"id": [1], "name": ["a"], "note": ["b"]})
        with pytest.raises(BIConnectorsError, match=told) as refused:
            connector(cloud).open_delivery(upsert_of(table, "refused", *key)).preflight()
        assert refused.value.code == code
        assert cloud.sql("SELECT relname FROM pg_class WHERE relname LIKE '_bi_stage_%'") == []
    finally:
        cloud.sql("DROP TABLE bi.refused; DROP COLLATION bi.loose")


def test_role_that_may_not_update_the_table_is_told(cloud: Cloud) -> None:
    cloud.sql("CREATE TABLE bi.foreign_table (id bigint, version bigint)", user="postgres")
    cloud.sql("GRANT SELECT, INSERT ON bi.foreign_table TO bi_loader", user="postgres")
    try:
        with pytest.raises(CredentialError, match=r"lacks UPDATE on bi\.foreign_table"):
            connector(cloud).open_delivery(upsert_of(numbered(1, 1), "foreign_table", "id")).preflight()
    finally:
        cloud.sql("DROP TABLE bi.foreign_table", user="postgres")


def test_column_that_drifted_away_since_preflight_stops_the_publish(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "renamed"), numbered(3, 1))
    plan = staged(cloud, numbered(3, 2), "renamed", "id")
    cloud.sql("ALTER TABLE bi.renamed DROP COLUMN id")
    with pytest.raises(TargetError, match=r"bi\.renamed has no column 'id'"):
        connector(cloud).open_delivery(plan).publish()
    assert cloud.sql("SELECT sum(version) FROM bi.renamed") == [(3,)]


@pytest.mark.parametrize("index", [False, True], ids=["no index", "unique index"])
def test_ten_thousand_keys_into_a_million_rows(cloud: Cloud, *, index: bool) -> None:
    cloud.sql(
        "CREATE TABLE bi.million (id bigint, name text, version bigint);"
        "INSERT INTO bi.million SELECT n, 'volunteer ' || n, 1 FROM generate_series(1, 1000000) n"
    )
    if index:
        cloud.sql("CREATE UNIQUE INDEX million_id ON bi.million (id)")
    ids = [n * 137 % 1_005_000 for n in range(10_000)]  # some of them new
    plan = staged(cloud, pa.table({"id": ids, "name": ["changed"] * 10_000, "version": [2] * 10_000}), "million", "id")
    connector(cloud).open_delivery(plan).read_back()
    connector(cloud).open_delivery(plan).publish()
    added = sum(n == 0 or n > 1_000_000 for n in ids)
    assert cloud.sql("SELECT count(*), count(*) FILTER (WHERE version = 2) FROM bi.million") == [
        (1_000_000 + added, 10_000)
    ]
