"""Tables on which our statements would do something else than they say, or change other tables: refused, or rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from shared.connectors._base import DeliveryPlan, Mode
from shared.connectors.looker import staging
from shared.errors import TargetError, VerificationError
from tests.conformance.connectors.looker_support import chunks_of, connector, deliver, numbered, plan_of
from tests.conformance.sandboxes.looker_support import Cloud, looker_cloud, looker_parts  # noqa: F401

KEEPS = "CREATE FUNCTION bi.does() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
ALTERS = "CREATE FUNCTION bi.does() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.version := 999; RETURN NEW; END';"
TRIGGER = "CREATE TRIGGER does BEFORE {event} ON bi.t FOR EACH ROW EXECUTE FUNCTION bi.does();"
CHILD = "CREATE TABLE bi.t_child () INHERITS (bi.t); INSERT INTO bi.t_child VALUES (7, 7);"
REFERS = "ALTER TABLE bi.t ADD PRIMARY KEY (id); CREATE TABLE bi.other (id bigint REFERENCES bi.t {action});"
REFERS += "INSERT INTO bi.other VALUES (1)"
VERSIONS = "ALTER TABLE bi.t ADD UNIQUE (version); CREATE TABLE bi.other (v bigint REFERENCES bi.t (version) ON UPDATE CASCADE)"
PLAIN = "CREATE TABLE bi.t (id bigint, version bigint)"
HIDDEN = "ALTER TABLE bi.t ENABLE ROW LEVEL SECURITY; ALTER TABLE bi.t FORCE ROW LEVEL SECURITY; CREATE POLICY few ON bi.t USING (id < 1)"
PARTED = "DROP TABLE bi.t; CREATE TABLE bi.t (id bigint, version bigint) PARTITION BY RANGE (id); "
PARTED += "CREATE TABLE bi.t_low PARTITION OF bi.t FOR VALUES FROM (0) TO (100);"
ON_PARTITION = "CREATE TRIGGER does BEFORE INSERT ON bi.t_low FOR EACH ROW EXECUTE FUNCTION bi.does();"
RULE = "CREATE RULE does AS ON {event} TO bi.t DO INSTEAD NOTHING"


@pytest.fixture(autouse=True)
def tidied(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.sql("DROP TABLE IF EXISTS bi.t CASCADE; DROP FUNCTION IF EXISTS bi.does() CASCADE")


def staged(cloud: Cloud, table: pa.Table, mode: Mode) -> DeliveryPlan:
    """A job up to its publish, which is still to come; preflight saw nothing."""
    plan = plan_of(table, "t", mode)
    plan = DeliveryPlan(**{**vars(plan), "key": ("id",)}) if mode is Mode.UPSERT else plan
    delivery = connector(cloud).open_delivery(plan)
    delivery.begin()
    for chunk in chunks_of(table, 1000):
        delivery.write(chunk)
    assert delivery.fingerprint(table).differences(delivery.read_back()) == []
    return plan


@pytest.mark.parametrize(
    ("mode", "change", "told"),
    [
        (Mode.REPLACE, KEEPS + TRIGGER.format(event="DELETE"), "row trigger 'does'"),
        (Mode.REPLACE, ALTERS + TRIGGER.format(event="INSERT"), "row trigger 'does'"),
        (Mode.APPEND, ALTERS + TRIGGER.format(event="INSERT"), "row trigger 'does'"),
        (Mode.UPSERT, ALTERS + TRIGGER.format(event="UPDATE"), "row trigger 'does'"),
        (Mode.REPLACE, PARTED + ALTERS + ON_PARTITION, r"row trigger 'does' \(on bi.t_low\)"),
        (Mode.REPLACE, RULE.format(event="DELETE"), "rule 'does'"),
        (Mode.APPEND, RULE.format(event="INSERT"), "rule 'does'"),
        (Mode.REPLACE, REFERS.format(action="ON DELETE CASCADE"), "foreign key 'other_id_fkey'.* changes bi.other"),
        (Mode.REPLACE, REFERS.format(action="ON DELETE SET NULL"), "foreign key 'other_id_fkey'"),
        (Mode.UPSERT, VERSIONS, "foreign key 'other_v_fkey'"),
        (Mode.REPLACE, CHILD, "child table bi.t_child"),
        (Mode.UPSERT, CHILD, "child table bi.t_child"),
        (Mode.REPLACE, HIDDEN, "row-level security"),
    ],
)
def test_table_that_would_change_more_or_other_rows_is_refused_and_left_alone(
    cloud: Cloud, mode: Mode, change: str, told: str
) -> None:
    old = pa.table({"id": [1, 2, 3], "version": [1, 2, 3]})
    deliver(connector(cloud), plan_of(old, "t"), old)
    plan = staged(cloud, pa.table({"id": [2, 3, 4], "version": [5, 6, 7]}), mode)
    cloud.sql(change)
    before = cloud.sql("SELECT tableoid::regclass::text, id, version FROM bi.t ORDER BY 1, 2", user="postgres")
    for step in ("preflight", "publish"):
        with pytest.raises(TargetError, match=told) as caught:
            getattr(connector(cloud).open_delivery(plan), step)()
        assert caught.value.code == "side_effects"
    assert not connector(cloud).open_delivery(plan).is_published()
    assert cloud.sql("SELECT tableoid::regclass::text, id, version FROM bi.t ORDER BY 1, 2", user="postgres") == before
    if "INTO bi.other" in change:
        assert cloud.sql("SELECT id FROM bi.other") == [(1,)]


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        (Mode.APPEND, KEEPS + TRIGGER.format(event="DELETE OR UPDATE")),
        (Mode.UPSERT, KEEPS + TRIGGER.format(event="DELETE")),
        (Mode.REPLACE, KEEPS + TRIGGER.format(event="INSERT") + "ALTER TABLE bi.t DISABLE TRIGGER does"),
        (Mode.APPEND, CHILD + "DELETE FROM bi.t_child"),
        (Mode.APPEND, REFERS.format(action="ON DELETE CASCADE")),
        (Mode.UPSERT, REFERS.format(action="ON DELETE CASCADE ON UPDATE CASCADE")),
        (
            Mode.REPLACE,
            "ALTER TABLE bi.t ADD PRIMARY KEY (id), ADD boss bigint DEFAULT nullif(1, 1) REFERENCES bi.t ON DELETE CASCADE",
        ),
        (Mode.REPLACE, PARTED),
        (Mode.UPSERT, PARTED + "INSERT INTO bi.t VALUES (1, 1), (2, 2), (3, 3)"),
    ],
)
def test_what_the_mode_does_not_set_off_may_stay(cloud: Cloud, mode: Mode, change: str) -> None:
    old = pa.table({"id": [1, 2, 3], "version": [1, 2, 3]})
    deliver(connector(cloud), plan_of(old, "t"), old)
    cloud.sql(change)
    plan = staged(cloud, pa.table({"id": [4, 5], "version": [4, 5]}), mode)
    delivery = connector(cloud).open_delivery(plan)
    delivery.preflight()
    delivery.publish()
    rows = [(4,), (5,)] if mode is Mode.REPLACE else [(1,), (2,), (3,), (4,), (5,)]
    if mode is Mode.APPEND or "PARTITION" not in change:
        assert cloud.sql("SELECT id FROM bi.t ORDER BY 1") == rows


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "deed",
    ["DELETE FROM bi.t WHERE id = 2", "INSERT INTO bi.t VALUES (8, 8)", "UPDATE bi.t SET version = 9 WHERE id = 2"],
)
def test_statement_trigger_that_changes_the_table_is_rolled_back(cloud: Cloud, mode: Mode, deed: str) -> None:
    old = pa.table({"id": [1, 2, 3], "version": [1, 2, 3]})
    deliver(connector(cloud), plan_of(old, "t"), old)
    cloud.sql(
        f"CREATE FUNCTION bi.does() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF pg_trigger_depth() = 1 THEN {deed}; END IF;"
        " RETURN NULL; END'; CREATE TRIGGER does AFTER INSERT ON bi.t FOR EACH STATEMENT EXECUTE FUNCTION bi.does()"
    )
    plan = staged(cloud, pa.table({"id": [2, 3, 4], "version": [5, 6, 7]}), mode)
    delivery = connector(cloud).open_delivery(plan)
    delivery.preflight()
    if deed.startswith("UPDATE") and mode is not Mode.REPLACE:
        return  # only a replace is compared value by value
    with pytest.raises(VerificationError, match="nothing was changed"):
        delivery.publish()
    assert cloud.sql("SELECT id, version FROM bi.t ORDER BY 1") == [(1, 1), (2, 2), (3, 3)]


def test_statement_trigger_that_only_looks_may_stay(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "t"), numbered(3, 1))
    cloud.sql(
        "CREATE MATERIALIZED VIEW bi.sums AS SELECT sum(version) AS versions FROM bi.t; CREATE FUNCTION bi.does() RETURNS trigger"
        " LANGUAGE plpgsql AS 'BEGIN REFRESH MATERIALIZED VIEW bi.sums; RETURN NULL; END';"
        "CREATE TRIGGER does AFTER INSERT ON bi.t FOR EACH STATEMENT EXECUTE FUNCTION bi.does()"
    )
    deliver(connector(cloud), plan_of(numbered(4, 2), "t"), numbered(4, 2))
    assert cloud.sql("SELECT versions FROM bi.sums") == [(8,)]


def test_staging_that_was_changed_after_it_was_read_back_is_not_published(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "t"), numbered(3, 1))
    plan = staged(cloud, numbered(3, 2), Mode.REPLACE)
    delivery = connector(cloud).open_delivery(plan)
    cloud.sql(f"UPDATE bi.{delivery.begin().state['staging']} SET version = 9 WHERE id = 1")
    with pytest.raises(VerificationError, match="not those that were read back"):
        delivery.publish()
    assert cloud.sql("SELECT DISTINCT version FROM bi.t") == [(1,)]


def test_live_table_of_another_text_type_holds_the_same_rows(cloud: Cloud) -> None:
    cloud.sql("CREATE TABLE bi.t (id varchar, n numeric(6,2), f double precision)")
    table = pa.table({"id": ["a", "A", None, ""], "f": [0.5, None, -0.0, 1e300]})
    table = table.add_column(1, "n", pa.array([Decimal(1), Decimal("2.50"), None, Decimal(4)], pa.decimal128(6, 2)))
    deliver(connector(cloud), plan_of(table, "t"), table)
    assert cloud.sql("SELECT count(*) FROM bi.t") == [(4,)]


@pytest.mark.parametrize("filled", ["GENERATED ALWAYS AS IDENTITY", "GENERATED ALWAYS AS (version + 1) STORED"])
def test_column_that_takes_no_values_is_refused_before_anything_is_staged(cloud: Cloud, filled: str) -> None:
    cloud.sql(f"CREATE TABLE bi.t (version bigint, id bigint {filled})")
    with pytest.raises(TargetError, match="column 'id' takes no values from outside") as caught:
        connector(cloud).open_delivery(plan_of(numbered(2, 1), "t")).preflight()
    assert caught.value.code == "schema_drift"


def test_rows_that_a_replace_would_take_away_are_counted(cloud: Cloud) -> None:
    delivery = connector(cloud).open_delivery(plan_of(numbered(0, 1), "t"))
    assert delivery.live_rows() == 0
    cloud.sql(PLAIN)
    cloud.sql("INSERT INTO bi.t SELECT n, 1 FROM generate_series(1, 1234) n")
    assert delivery.live_rows() == 1234
    cloud.sql(HIDDEN)
    assert delivery.live_rows() is None


def test_table_that_takes_too_long_to_count_is_estimated(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.connectors.looker.delivery.COUNT_TIMEOUT", "1ms")
    cloud.sql(PLAIN)
    cloud.sql("INSERT INTO bi.t SELECT n, 1 FROM generate_series(1, 300000) n")
    delivery = connector(cloud).open_delivery(plan_of(numbered(0, 1), "t"))
    assert delivery.live_rows() is None
    cloud.sql("ANALYZE bi.t")
    assert delivery.live_rows() == 300_000


def test_worker_that_slept_while_its_job_was_abandoned_leaves_no_staging(cloud: Cloud) -> None:
    late = connector(cloud).open_delivery(plan_of(numbered(3, 1), "t"))
    late.abandon()
    with pytest.raises(TargetError, match="abandoned") as caught:
        late.begin()
    assert caught.value.code == "staging_gone"
    assert cloud.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_bi\\_stage\\_%'") == []


def test_staging_that_came_after_its_job_was_abandoned_goes_with_the_next_begin(cloud: Cloud) -> None:
    late, other, new = (connector(cloud).open_delivery(plan_of(numbered(3, 1), "t")) for _ in range(3))
    left = late.begin().state["staging"]
    late.abandon()
    cloud.sql(f"CREATE TABLE bi.{left} (id bigint, version bigint)")  # as a transaction that the worker slept in would
    running = {other.begin().state["staging"], new.begin().state["staging"]}
    assert {
        name for (name,) in cloud.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_bi\\_stage\\_%'")
    } == running


def test_worker_that_slept_while_its_job_was_published_makes_no_staging(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = numbered(3, 1)
    plan, other = plan_of(rows, "t"), plan_of(rows, "other")
    lock, rival = staging.lock, connector(cloud)

    def slept(connection: psycopg.Connection, schema: str, name: str) -> None:
        monkeypatch.setattr(staging, "lock", lock)
        deliver(rival, plan, rows)
        lock(connection, schema, name)

    connector(cloud).open_delivery(other).begin()  # the bookkeeping tables
    monkeypatch.setattr(staging, "lock", slept)
    connector(cloud).open_delivery(plan).begin()
    assert cloud.sql("SELECT count(*) FROM bi.t") == [(3,)]
    left = cloud.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_bi\\_stage\\_%'")
    assert left == [(staging.staging_name(other.job_id),)]
