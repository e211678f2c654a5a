"""Deliveries of the Looker connector under kills, lost replies, rivals, wrong settings and values."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from shared.connectors._base import Chunk, Mode
from shared.errors import (
    CredentialError,
    SourceError,
    TargetError,
    VendorUnavailableError,
    VerificationError,
)
from tests.conformance.connectors.looker_support import (
    TRICKY,
    chunks_of,
    connector,
    deliver,
    numbered,
    plan_of,
    side_by_side,
    void,
)
from tests.conformance.sandboxes.looker_support import Cloud, LossyLink, QuickClock, looker_cloud, looker_parts  # noqa: F401


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


def test_steps_share_a_connection_that_is_made_again_when_lost_and_closed_at_the_end(cloud: Cloud) -> None:
    ours = "FROM pg_stat_activity WHERE application_name = 'bi-connectors'"
    cloud.sql(
        f"SELECT pg_terminate_backend(pid, 5000) {ours}", user="postgres"
    )  # what earlier tests left to the collector
    table, clock = numbered(5, 1), QuickClock()
    delivery = connector(cloud, clock=clock).open_delivery(plan_of(table, "shared"))
    delivery.begin()
    delivery.write(Chunk(0, 0, table))
    assert cloud.sql(f"SELECT count(*) {ours}") == [(1,)]
    cloud.sql(f"SELECT pg_terminate_backend(pid, 5000) {ours}", user="postgres")
    assert delivery.read_back().differences(delivery.fingerprint(table)) == []
    assert len(clock.slept) == 1
    delivery.publish()
    del delivery
    deadline = time.monotonic() + 30
    while cloud.sql(f"SELECT count(*) {ours}") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_workers_with_the_same_job_write_and_publish_once(cloud: Cloud) -> None:
    table = numbered(2000, 1)
    plan = plan_of(table, "rivals", Mode.APPEND)
    connector(cloud).open_delivery(plan).begin()

    def work() -> None:
        delivery = connector(cloud).open_delivery(plan)
        for chunk in chunks_of(table, 200):
            delivery.write(chunk)
        delivery.publish()

    side_by_side([work, work, work])
    assert cloud.sql("SELECT count(*), count(DISTINCT id) FROM bi.rivals") == [(2000, 2000)]


def test_two_jobs_that_replace_the_same_missing_table_leave_one_of_them_whole(cloud: Cloud) -> None:
    def job(version: int) -> Callable[[], None]:
        table = numbered(3000, version)
        return lambda: void(deliver(connector(cloud), plan_of(table, "contested"), table, 500))

    for _ in range(3):
        side_by_side([job(1), job(2)])
        rows = cloud.sql("SELECT count(*), count(DISTINCT id), count(DISTINCT version) FROM bi.contested")
        assert rows == [(3000, 3000, 1)]


def test_two_first_publishes_at_the_same_moment_both_succeed_in_turn(cloud: Cloud) -> None:
    plans = [plan_of(numbered(50, version), "newborn") for version in (1, 2)]
    deliveries = [connector(cloud).open_delivery(plan) for plan in plans]
    for version, delivery in enumerate(deliveries, start=1):
        delivery.begin()
        delivery.write(Chunk(0, 0, numbered(50, version)))
    with psycopg.connect(cloud.postgres.dsn("bi_loader")) as blocker:
        blocker.execute("LOCK TABLE bi._bi_publications IN SHARE MODE")  # both get as far as their own locks let them
        release = threading.Timer(0.5, blocker.rollback)
        release.start()
        side_by_side([deliveries[0].publish, deliveries[1].publish])
        release.join()
    rows = cloud.sql("SELECT count(*), count(DISTINCT id), count(DISTINCT version) FROM bi.newborn")
    assert rows == [(50, 50, 1)]


def test_row_that_somebody_else_is_writing_is_waited_for_and_replaced(cloud: Cloud) -> None:
    deliver(connector(cloud), plan_of(numbered(3, 1), "elsewhere"), numbered(3, 1))
    plan = plan_of(numbered(4, 2), "elsewhere")
    delivery = connector(cloud).open_delivery(plan)
    delivery.begin()
    delivery.write(Chunk(0, 0, numbered(4, 2)))
    with psycopg.connect(cloud.postgres.dsn("bi_loader")) as writer:
        writer.execute("INSERT INTO bi.elsewhere VALUES (99, 99)")
        commit = threading.Timer(0.5, writer.commit)
        commit.start()
        delivery.publish()
        commit.join()
    assert cloud.sql("SELECT count(*), max(version) FROM bi.elsewhere") == [(4, 2)]


def test_worker_that_is_overtaken_by_a_publish_ends_quietly(cloud: Cloud) -> None:
    table = numbered(10, 1)
    plan = plan_of(table, "overtaken")
    late, prompt = (connector(cloud).open_delivery(plan) for _ in range(2))
    prompt.begin()
    with psycopg.connect(cloud.postgres.dsn("bi_loader")) as blocker:
        blocker.execute(
            "LOCK TABLE bi._bi_chunks IN SHARE MODE"
        )  # the late worker has seen staging, and waits to record
        outcomes: list[int] = []
        writer = threading.Thread(target=lambda: outcomes.append(late.write(Chunk(0, 0, table)).sent_bytes))
        writer.start()
        time.sleep(0.3)
        staging = prompt.begin().state["staging"]
        blocker.execute(f"DROP TABLE bi.{staging}")  # what the prompt worker's publish ends with
        blocker.execute(
            f"INSERT INTO bi._bi_publications (job_id, table_name, mode, rows) VALUES ('{plan.job_id}', 'overtaken', 'replace', 10)"
        )
        blocker.commit()
        writer.join(30)
    assert outcomes == [0]
    assert late.is_published()
    assert late.write(Chunk(0, 0, table)).sent_bytes == 0
    assert cloud.sql(f"SELECT count(*) FROM bi._bi_chunks WHERE job_id = '{plan.job_id}'") == [(0,)]


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
    assert cloud.sql(f"SELECT count(*) FROM bi._bi_chunks WHERE job_id = '{plan.job_id}' AND chunk >= 0") == [(0,)]


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
    with pytest.raises(SourceError, match=words):
        connector(cloud).open_delivery(plan_of(table, "values")).fingerprint(table, 100)


def test_view_of_that_name_is_refused(cloud: Cloud) -> None:
    cloud.sql("CREATE VIEW bi.a_view AS SELECT 1::bigint AS id")
    with pytest.raises(TargetError, match="is not a table"):
        connector(cloud).open_delivery(plan_of(numbered(1, 1), "a_view")).preflight()


def test_rows_are_not_published_under_a_key_that_looker_refuses(cloud: Cloud) -> None:
    table = numbered(1, 3)
    delivery = connector(cloud, client_secret="wrong").open_delivery(plan_of(table, "unseen"))
    with pytest.raises(CredentialError, match="Looker"):
        delivery.preflight()


def test_an_answer_of_looker_that_breaks_off_is_asked_for_again(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="reset_in_body", path="/login$")
    connector(cloud).open_delivery(plan_of(numbered(1, 1), "broken")).preflight()
    cloud.server.fault(vendor="looker", kind="reset_in_body", path="/login$", times=-1)
    with pytest.raises(VendorUnavailableError, match="gave no answer"):
        connector(cloud).open_delivery(plan_of(numbered(1, 1), "broken")).preflight()
    cloud.server.clear_faults()


def test_a_login_that_gives_no_token_is_not_taken_for_a_refused_key(cloud: Cloud) -> None:
    body = {"message": "An error has occurred.", "documentation_url": ""}
    cloud.server.fault(vendor="looker", kind="status", status=200, body=body, path="/login$", times=-1)
    with pytest.raises(VendorUnavailableError, match="its own login"):
        connector(cloud).open_delivery(plan_of(numbered(1, 1), "tokenless")).preflight()
    cloud.server.clear_faults()
    connector(cloud).open_delivery(plan_of(numbered(1, 1), "tokenless")).preflight()
