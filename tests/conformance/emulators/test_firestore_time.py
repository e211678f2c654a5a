"""What depends on time: reads of the past, and transactions that nobody ends."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from infra.local.emulators import firestore as firestore_emulator
from infra.local.emulators.clock import Clock
from infra.local.emulators.grpc_server import serve
from tests.conformance.emulators.conftest import Connect

pytestmark = pytest.mark.usefixtures("own_emulator")


@dataclass
class Own:
    """An emulator whose clock the test moves."""

    clock: Clock
    db: firestore.Client
    file: Path


@pytest.fixture
def own(tmp_path: Path, connect: Connect) -> Iterator[Own]:
    clock, file = Clock(), tmp_path / "firestore.sqlite"
    server = serve(0, firestore_emulator.handler(file, clock))
    yield Own(clock, connect(host=f"127.0.0.1:{server.bound_port}"), file)
    server.stop(0)


def test_reads_of_the_past_see_what_was(db: firestore.Client) -> None:
    document = db.document("things/one")
    before = db.document("things/zero").set({"n": 0}).update_time
    first = document.set({"n": 1}).update_time
    second = document.set({"n": 2}).update_time
    document.delete()
    db.document("things/one/deeper/x").set({"n": 1})
    assert not document.get().exists
    assert not document.get(read_time=before).exists
    assert document.get(read_time=first).to_dict() == {"n": 1}
    assert document.get(read_time=second - dt.timedelta(microseconds=1)).to_dict() == {"n": 1}
    past = document.get(read_time=second)
    assert past.to_dict() == {"n": 2}
    assert (past.create_time, past.update_time, past.read_time) == (first, second, second)


def test_queries_lists_and_counts_of_the_past(db: firestore.Client) -> None:
    things = db.collection("things")
    for number in range(3):
        things.document(str(number)).set({"n": number})
    then = things.document("3").set({"n": 3}).update_time
    things.document("0").delete()
    things.document("1").set({"n": 10})
    things.document("4").set({"n": 4})
    db.document("later/x").set({"n": 1})
    assert [s.to_dict()["n"] for s in things.order_by("n").stream(read_time=then)] == [0, 1, 2, 3]
    assert [s.id for s in things.where(filter=FieldFilter("n", "==", 1)).stream(read_time=then)] == ["1"]
    assert things.count().get(read_time=then)[0][0].value == 4
    assert [reference.id for reference in things.list_documents(read_time=then)] == ["0", "1", "2", "3"]
    assert [collection.id for collection in db.collections(read_time=then)] == ["things"]
    assert [s.id for s in db.get_all([things.document("4"), things.document("0")], read_time=then) if s.exists] == ["0"]


def test_reads_go_back_one_hour_and_no_further(own: Own) -> None:
    document = own.db.document("things/one")
    then = document.set({"n": 1}).update_time
    document.set({"n": 2})
    own.clock.advance(3500)
    assert document.get(read_time=then).to_dict() == {"n": 1}
    assert [s.to_dict() for s in own.db.collection("things").stream(read_time=then)] == [{"n": 1}]
    own.clock.advance(200)
    with pytest.raises(exceptions.FailedPrecondition):
        document.get(read_time=then)
    with pytest.raises(exceptions.FailedPrecondition):
        list(own.db.collection("things").stream(read_time=then))
    assert document.get().to_dict() == {"n": 2}


def test_reads_of_the_future_are_refused(own: Own) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        own.db.document("things/one").get(read_time=own.clock.now() + dt.timedelta(minutes=1))


def test_versions_older_than_an_hour_leave_the_file(own: Own, connect: Connect) -> None:
    document = own.db.document("things/one")
    for number in range(20):
        document.set({"n": number})

    def kept() -> int:
        with sqlite3.connect(own.file) as file:
            return int(file.execute("select count(*) from history").fetchone()[0])

    assert kept() == 19
    own.clock.advance(3700)
    batch = own.db.batch()
    for number in range(600):
        own.db.document(f"others/{number}").set({"n": 1})
    batch.commit()
    assert kept() == 0


def test_a_transaction_idle_for_more_than_60_s_is_over(own: Own) -> None:
    transaction = own.db.transaction()
    transaction._begin()
    own.clock.advance(59)
    own.db.document("things/one").get(transaction=transaction)
    own.clock.advance(59)
    own.db.document("things/two").get(transaction=transaction)
    own.clock.advance(61)
    transaction.set(own.db.document("things/one"), {"n": 1})
    with pytest.raises(exceptions.InvalidArgument, match="expired or is no longer valid"):
        transaction._commit()
    assert not own.db.document("things/one").get().exists


def test_a_transaction_older_than_270_s_is_over_however_busy(own: Own) -> None:
    transaction = own.db.transaction()
    transaction._begin()
    for _ in range(5):
        own.clock.advance(50)
        own.db.document("things/one").get(transaction=transaction)
    own.clock.advance(50)
    with pytest.raises(exceptions.InvalidArgument, match="expired or is no longer valid"):
        own.db.document("things/one").get(transaction=transaction)


def test_abandoned_transactions_hold_nobody_up_for_long(own: Own) -> None:
    document = own.db.document("things/one")
    document.set({"n": 0})
    for _ in range(3):
        abandoned = own.db.transaction()
        abandoned._begin()
        document.get(transaction=abandoned)

    @firestore.transactional
    def increment(transaction: firestore.Transaction) -> None:
        transaction.update(document, {"n": document.get(transaction=transaction).get("n") + 1})

    thread = threading.Thread(target=lambda: increment(own.db.transaction()))
    thread.start()
    thread.join(10)
    assert document.get().get("n") == 1


def test_times_go_on_after_a_restart_on_a_clock_that_was_ahead(own: Own, connect: Connect, tmp_path: Path) -> None:
    own.clock.advance(7200)
    last = own.db.document("things/one").set({"n": 1}).update_time
    server = serve(0, firestore_emulator.handler(own.file, Clock()))
    again = connect(host=f"127.0.0.1:{server.bound_port}")
    assert again.document("things/one").get().read_time > last
    assert again.document("things/one").set({"n": 2}).update_time > last
    server.stop(0)
