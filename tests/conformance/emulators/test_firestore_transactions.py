"""Transactions with the real client: no lost update, nothing half done."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from tests.conformance.emulators.conftest import Connect

INCREMENT_IN_A_PROCESS = """
import sys
from google.cloud import firestore
db = firestore.Client(project=sys.argv[1])
counter = db.document("counters/one")
@firestore.transactional
def increment(transaction):
    counter_now = counter.get(transaction=transaction).get("n")
    transaction.update(counter, {"n": counter_now + 1})
for _ in range(int(sys.argv[2])):
    increment(db.transaction())
"""


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_many_threads_lose_no_increment(db: firestore.Client) -> None:
    counter = db.document("counters/one")
    counter.set({"n": 0})

    @firestore.transactional
    def increment(transaction: firestore.Transaction) -> None:
        transaction.update(counter, {"n": counter.get(transaction=transaction).get("n") + 1})

    def work(_: int) -> None:
        for _ in range(5):
            increment(db.transaction())

    in_threads(24, work)
    assert counter.get().get("n") == 120


def test_two_processes_lose_no_increment(db: firestore.Client, project: str) -> None:
    db.document("counters/one").set({"n": 0})
    command = [sys.executable, "-c", INCREMENT_IN_A_PROCESS, project, "40"]
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert db.document("counters/one").get().get("n") == 80


def test_money_moved_between_accounts_in_opposite_directions_is_kept(db: firestore.Client) -> None:
    accounts = [db.document(f"accounts/{number}") for number in range(3)]
    for account in accounts:
        account.set({"n": 100})

    @firestore.transactional
    def move(transaction: firestore.Transaction, source: int, target: int) -> None:
        had = accounts[source].get(transaction=transaction).get("n")
        has = accounts[target].get(transaction=transaction).get("n")
        transaction.update(accounts[source], {"n": had - 1})
        transaction.update(accounts[target], {"n": has + 1})

    def work(number: int) -> None:
        for turn in range(4):
            source = (number + turn) % 3
            move(db.transaction(), source, (source + 1 + number % 2) % 3)

    in_threads(6, work)
    assert sum(account.get().get("n") for account in accounts) == 300


def test_workers_that_take_the_next_job_never_take_one_twice(db: firestore.Client) -> None:
    for number in range(12):
        db.document(f"jobs/{number:02}").set({"status": "waiting", "n": number})
    waiting = db.collection("jobs").where(filter=FieldFilter("status", "==", "waiting")).order_by("n").limit(1)

    @firestore.transactional
    def take(transaction: firestore.Transaction, worker: int) -> str | None:
        for job in waiting.stream(transaction=transaction):
            transaction.update(job.reference, {"status": "taken", "worker": worker})
            return str(job.id)
        return None

    def work(worker: int) -> list[str]:
        taken = []
        while (job := take(db.transaction(), worker)) is not None:
            taken.append(job)
        return taken

    taken = [job for jobs in in_threads(6, work) for job in jobs]  # type: ignore[attr-defined]
    assert sorted(taken) == [f"{number:02}" for number in range(12)]


def test_a_transaction_that_read_an_old_version_is_repeated(db: firestore.Client, own_emulator: None) -> None:
    document, attempts = db.document("things/one"), []
    document.set({"n": 1})

    @firestore.transactional
    def double(transaction: firestore.Transaction) -> None:
        seen = document.get(transaction=transaction).get("n")
        if not attempts:
            document.set({"n": 10})
        attempts.append(seen)
        transaction.update(document, {"n": seen * 2})

    double(db.transaction())
    assert attempts == [1, 10]
    assert document.get().get("n") == 20


def test_a_document_that_appears_in_a_query_result_repeats_the_transaction(
    db: firestore.Client, own_emulator: None
) -> None:
    counts = []

    @firestore.transactional
    def count(transaction: firestore.Transaction) -> None:
        counts.append(len(list(db.collection("things").stream(transaction=transaction))))
        if len(counts) == 1:
            db.document("things/new").set({"n": 1})
        transaction.set(db.document("totals/things"), {"n": counts[-1]})

    count(db.transaction())
    assert db.document("totals/things").get().get("n") == 1


def test_a_missing_document_that_is_made_meanwhile_repeats_the_transaction(
    db: firestore.Client, own_emulator: None
) -> None:
    document, seen = db.document("locks/one"), []

    @firestore.transactional
    def claim(transaction: firestore.Transaction) -> str:
        snapshot = document.get(transaction=transaction)
        seen.append(snapshot.exists)
        if snapshot.exists:
            return "theirs"
        document.set({"owner": "them"})
        transaction.set(document, {"owner": "me"})
        return "mine"

    assert claim(db.transaction()) == "theirs"
    assert seen == [False, True]
    assert document.get().to_dict() == {"owner": "them"}


def test_an_exception_rolls_everything_back(db: firestore.Client) -> None:
    db.document("things/one").set({"n": 1})

    @firestore.transactional
    def fail(transaction: firestore.Transaction) -> None:
        transaction.update(db.document("things/one"), {"n": 2})
        raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        fail(db.transaction())
    db.document("things/one").update({"m": 1})
    assert db.document("things/one").get().to_dict() == {"n": 1, "m": 1}


def test_a_failing_precondition_leaves_no_write_of_the_transaction(db: firestore.Client) -> None:
    @firestore.transactional
    def create_two(transaction: firestore.Transaction) -> None:
        transaction.create(db.document("things/new"), {"n": 1})
        transaction.create(db.document("things/taken"), {"n": 1})

    db.document("things/taken").set({"n": 0})
    with pytest.raises(exceptions.AlreadyExists):
        create_two(db.transaction())
    assert not db.document("things/new").get().exists


def test_a_read_only_transaction_sees_one_moment_and_may_not_write(db: firestore.Client) -> None:
    first, second = db.document("things/one"), db.document("things/two")
    first.set({"n": 1})
    second.set({"n": 1})
    transaction = db.transaction(read_only=True)
    transaction._begin()
    assert first.get(transaction=transaction).get("n") == 1
    second.set({"n": 2})
    db.document("things/three").set({"n": 3})
    assert second.get(transaction=transaction).get("n") == 1
    assert [s.id for s in db.collection("things").stream(transaction=transaction)] == ["one", "two"]
    assert db.collection("things").count().get(transaction=transaction)[0][0].value == 2
    transaction._rollback()
    with pytest.raises(ValueError, match="read-only"):
        transaction.set(first, {"n": 5})
    assert second.get().get("n") == 2


def test_transactions_that_only_read_one_document_do_not_fail_each_other(db: firestore.Client) -> None:
    shared = db.document("settings/one")
    shared.set({"factor": 2})

    def work(number: int) -> None:
        @firestore.transactional
        def write(transaction: firestore.Transaction) -> None:
            factor = shared.get(transaction=transaction).get("factor")
            transaction.set(db.document(f"results/{number}"), {"n": number * factor})

        write(db.transaction())

    in_threads(8, work)
    assert sorted(s.get("n") for s in db.collection("results").stream()) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_an_unknown_transaction_is_refused(db: firestore.Client) -> None:
    transaction = db.transaction()
    transaction._id = b"never begun here"
    with pytest.raises(exceptions.InvalidArgument):
        db.document("things/one").get(transaction=transaction)


def test_a_committed_transaction_cannot_be_used_again(db: firestore.Client) -> None:
    transaction = db.transaction()
    transaction._begin()
    used = transaction._id
    transaction.set(db.document("things/one"), {"n": 1})
    transaction._commit()
    transaction._id = used
    with pytest.raises(exceptions.InvalidArgument):
        transaction._commit()


def test_async_transactions_lose_no_increment(connect: Connect) -> None:
    async def run() -> int:
        db = connect(firestore.AsyncClient)
        counter = db.document("counters/one")
        await counter.set({"n": 0})

        @firestore.async_transactional
        async def increment(transaction: firestore.AsyncTransaction) -> None:
            seen = (await counter.get(transaction=transaction)).get("n")
            transaction.update(counter, {"n": seen + 1})

        await asyncio.gather(*(increment(db.transaction()) for _ in range(10)))
        return int((await counter.get()).get("n"))

    assert asyncio.run(run()) == 10
