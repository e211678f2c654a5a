"""One behaviour of every port but `Objects`, for the fakes and for the adapters on Google's own clients."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.ports import Ports
from shared.errors import (
    ConflictError,
    CredentialError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    SourceError,
)
from shared.ports import CronJob, CronJobs, Documents, Query, Secrets, Task, Transaction
from shared.stores.cloud_tasks import CloudTasks
from shared.stores.firestore import FirestoreDocuments

AT = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)


def test_a_document_comes_back_as_it_was_stored(documents: Documents) -> None:
    data = {"text": "é", "number": 7, "real": 0.5, "none": None, "at": AT, "map": {"a.b": [1, {"c": AT}]}, "flag": True}
    documents.create("things/one", data)
    found = documents.get("things/one")
    assert found is not None
    assert (found.path, found.data) == ("things/one", data)
    assert documents.get("things/two") is None


def test_several_documents_come_in_the_order_in_which_they_were_asked_for(documents: Documents) -> None:
    documents.create("things/one", {"a": 1})
    documents.create("others/one", {"a": 2})
    asked = ["others/one", "things/none", "things/one", "others/one"]
    found = documents.get_all(asked)
    assert found == [documents.get(path) for path in asked]
    assert [document and document.data for document in found] == [{"a": 2}, None, {"a": 1}, {"a": 2}]


def test_create_refuses_what_exists(documents: Documents) -> None:
    documents.create("things/one", {"a": 1})
    with pytest.raises(ConflictError):
        documents.create("things/one", {"a": 2})


def test_update_replaces_fields_and_knows_its_version(documents: Documents) -> None:
    documents.create("things/one", {"a": {"x": 1}, "b": 2})
    first = documents.get("things/one")
    assert first is not None
    documents.update("things/one", {"a": {"y": 3}, "dotted.name": 4}, version=first.version)
    second = documents.get("things/one")
    assert second is not None
    assert second.data == {"a": {"y": 3}, "b": 2, "dotted.name": 4}
    assert second.version != first.version
    with pytest.raises(PreconditionFailedError):
        documents.update("things/one", {"b": 9}, version=first.version)
    with pytest.raises(PreconditionFailedError):
        documents.delete("things/one", version=first.version)
    with pytest.raises(NotFoundError):
        documents.update("things/none", {"b": 9})
    documents.delete("things/one", version=second.version)
    assert documents.get("things/one") is None
    documents.delete("things/one")


def test_query_filters_orders_and_pages(documents: Documents) -> None:
    for number in range(5):
        documents.create(f"jobs/j{number}", {"n": number, "kind": "even" if number % 2 == 0 else "odd", "status": "s"})
    even = Query("jobs", (("kind", "==", "even"), ("status", "in", ["s", "t"])), order_by="n", descending=True)
    assert [item.data["n"] for item in documents.query(even)] == [4, 2, 0]
    page = Query("jobs", (("kind", "==", "even"),), "n", True, 1, "jobs/j4")
    assert [item.path for item in documents.query(page)] == ["jobs/j2"]
    assert [item.path for item in documents.query(Query("jobs", limit=2, start_after="jobs/j1"))] == [
        "jobs/j2",
        "jobs/j3",
    ]
    documents.create("jobs/j0/chunks/c0", {"n": 99})
    assert len(documents.query(Query("jobs"))) == 5
    assert [item.path for item in documents.query(Query("jobs/j0/chunks"))] == ["jobs/j0/chunks/c0"]


def test_a_query_as_of_a_moment_finds_what_there_was_then(documents: Documents) -> None:
    for name in "abc":
        documents.create(f"things/{name}", {"n": 1})
    at = documents.moment()
    documents.update("things/a", {"n": 2})
    documents.delete("things/b")
    documents.create("things/d", {"n": 2})
    then = [(item.path, item.data) for item in documents.query(Query("things", at=at))]
    assert then == [("things/a", {"n": 1}), ("things/b", {"n": 1}), ("things/c", {"n": 1})]
    after = documents.query(Query("things", start_after="things/b", at=at))  # which is deleted since
    assert [item.path for item in after] == ["things/c"]
    assert [item.path for item in documents.query(Query("things"))] == ["things/a", "things/c", "things/d"]


@pytest.mark.parametrize("start_after", [None, "things/a"])
def test_a_moment_that_is_not_kept_any_more_is_said_to_be(
    emulators: Ports, monkeypatch: pytest.MonkeyPatch, start_after: str | None
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulators.address("firestore"))
    documents = FirestoreDocuments(f"test-{uuid.uuid4().hex[:12]}", "(default)")
    documents.create("things/a", {})
    long_ago = documents.moment() - timedelta(hours=2)
    with pytest.raises(SourceError) as refused:
        documents.query(Query("things", start_after=start_after, at=long_ago))
    assert refused.value.code == "read_time_too_old"


def test_a_transaction_is_all_or_nothing(documents: Documents) -> None:
    documents.create("things/there", {"a": 1})

    def work(tx: Transaction) -> str:
        found = tx.get("things/there")
        assert found is not None
        tx.set("things/new", {"copied": found.data["a"]})
        tx.update("things/there", {"a": 2})
        tx.create("things/there2", {})
        return "done"

    assert documents.transact(work) == "done"
    assert documents.get("things/new") is not None

    def fails(tx: Transaction) -> None:
        tx.set("things/half", {})
        tx.create("things/there", {})

    with pytest.raises(ConflictError):
        documents.transact(fails)
    assert documents.get("things/half") is None

    def raises(tx: Transaction) -> None:
        tx.delete("things/there")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        documents.transact(raises)
    assert documents.get("things/there") is not None

    def gone(tx: Transaction) -> None:
        tx.update("things/never", {"a": 1})

    with pytest.raises(NotFoundError):
        documents.transact(gone)


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x" * 1_100_000},
        {"map": {"": 1}},
        {"map": {"__a__": 1}},
        {"number": 1 << 63},
        {"list": [{"number": -(1 << 63) - 1}]},
        {"text": "half \ud800"},
        {"map": {"half \ud800": 1}},
    ],
    ids=["large", "nameless", "reserved", "integer", "negative", "half", "half a key"],
)
def test_what_no_document_holds_is_refused_as_a_matter_of_the_request(
    documents: Documents, data: dict[str, Any]
) -> None:
    documents.create("things/kept", {"a": 1})
    for write in (
        lambda tx: tx.create("things/new", data),
        lambda tx: tx.set("things/kept", data),
        lambda tx: tx.update("things/kept", data),
    ):
        with pytest.raises(InvalidRequestError):
            documents.transact(write)
    with pytest.raises(InvalidRequestError):
        documents.create("things/new", data)
    with pytest.raises(InvalidRequestError):
        documents.update("things/kept", data)
    assert [item.data for item in documents.query(Query("things"))] == [{"a": 1}]


def test_the_largest_integers_are_kept(documents: Documents) -> None:
    documents.create("things/ends", {"most": (1 << 63) - 1, "least": -(1 << 63)})
    found = documents.get("things/ends")
    assert found is not None
    assert found.data == {"most": 9223372036854775807, "least": -9223372036854775808}


@pytest.mark.parametrize("ahead", [(), ("things/counter", "things/none")])
def test_racing_transactions_lose_no_update(documents: Documents, ahead: tuple[str, ...]) -> None:
    documents.create("things/counter", {"n": 0})

    def bump(tx: Transaction) -> None:
        if ahead:
            tx.read_ahead(ahead)
            assert tx.get("things/none") is None
        found = tx.get("things/counter")
        assert found is not None
        tx.update("things/counter", {"n": found.data["n"] + 1})

    threads = [threading.Thread(target=lambda: [documents.transact(bump) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counter = documents.get("things/counter")
    assert counter is not None
    assert counter.data["n"] == 20


def test_secrets_have_versions_that_can_be_destroyed(secrets: Secrets) -> None:
    first = secrets.add("bi-connector-x", b"one")
    second = secrets.add("bi-connector-x", b"two")
    assert (first.rsplit("/", 1)[1], second.rsplit("/", 1)[1]) == ("1", "2")
    assert secrets.read(first) == b"one"
    secrets.destroy(first)
    secrets.destroy(first)
    with pytest.raises(CredentialError):
        secrets.read(first)
    assert secrets.read(second) == b"two"
    (kept,) = secrets.versions("bi-connector-")
    assert (kept.name, kept.created_at.utcoffset()) == (second, timedelta(0))
    assert secrets.versions("bi-other-") == []
    secrets.delete("bi-connector-x")
    secrets.delete("bi-connector-x")
    with pytest.raises(CredentialError):
        secrets.read(second)


def cron_job(job_id: str = "01kb" + "a" * 22, **more: Any) -> CronJob:
    fields = {"cron": "0 6 * * 1", "time_zone": "Europe/Berlin", "url": "http://127.0.0.1:9/x", **more}
    return CronJob(job_id, audience="http://127.0.0.1:9", body={"schedule_id": job_id}, **fields)


def test_a_payload_that_secret_manager_does_not_keep_is_refused(secrets: Secrets) -> None:
    secrets.add("bi-connector-x", b"x" * 65_536)
    with pytest.raises(InvalidRequestError, match=r"64 KiB|65537 bytes"):
        secrets.add("bi-connector-x", b"x" * 65_537)
    with pytest.raises(InvalidRequestError, match="name"):
        secrets.add("no secret's name", b"x")


def test_a_name_that_secret_manager_does_not_take_is_one_without_credentials_and_is_not_repeated(
    secrets: Secrets,
) -> None:
    with pytest.raises(CredentialError) as refused:
        secrets.read("pasted-by-mistake")
    assert refused.value.code == "credential_missing"
    assert "pasted" not in refused.value.message
    secrets.destroy("pasted-by-mistake")


def test_cron_jobs_are_put_listed_and_deleted(cron_jobs: CronJobs) -> None:
    job = cron_job()
    cron_jobs.put(job)
    cron_jobs.put(job)
    assert cron_jobs.list() == [job]
    cron_jobs.delete(job.id)
    cron_jobs.delete(job.id)
    assert cron_jobs.list() == []


def test_a_cron_job_is_paused_changed_and_resumed_by_what_is_put(cron_jobs: CronJobs) -> None:
    for job in (
        cron_job(),
        cron_job(paused=True),
        cron_job(paused=True, cron="5 6 * * 1", deadline_s=60, retries=1, backoff_s=(7, 9)),
        cron_job(description="words"),
    ):
        cron_jobs.put(job)
        assert cron_jobs.list() == [job]


def test_foreign_jobs_are_neither_listed_nor_touched(emulators: Ports) -> None:
    import grpc
    from google.cloud import scheduler_v1

    from shared.stores.cloud_scheduler import CloudScheduler

    project = f"test-{uuid.uuid4().hex[:8]}"
    address = emulators.address("cloud_scheduler")
    channel = grpc.insecure_channel(address)
    client = scheduler_v1.CloudSchedulerClient(
        transport=scheduler_v1.CloudSchedulerClient.get_transport_class("grpc")(channel=channel)
    )
    parent = f"projects/{project}/locations/us-central1"
    for name in ("bi-system-sweep", "bi-schedule-by-hand", "other"):
        target = scheduler_v1.HttpTarget(uri="http://127.0.0.1:9/x")
        job = scheduler_v1.Job(name=f"{parent}/jobs/{name}", schedule="* 1 * * *", http_target=target)
        client.create_job(parent=parent, job=job)
    scheduler = CloudScheduler(project, "us-central1", "bi", "s@test.iam", address)
    assert scheduler.list() == []
    scheduler.put(cron_job())
    assert [job.id for job in scheduler.list()] == [cron_job().id]
    assert len(list(client.list_jobs(parent=parent))) == 4


def test_a_job_with_another_service_account_shows_it(emulators: Ports) -> None:
    from shared.stores.cloud_scheduler import CloudScheduler

    project, address = f"test-{uuid.uuid4().hex[:8]}", emulators.address("cloud_scheduler")
    CloudScheduler(project, "us-central1", "bi", "old@test.iam", address).put(cron_job())
    found = CloudScheduler(project, "us-central1", "bi", "new@test.iam", address).list()
    assert [job.caller for job in found] == ["old@test.iam"]


def test_a_scheduler_out_of_reach_is_told_from_one_that_refuses() -> None:
    from shared.errors import VendorUnavailableError
    from shared.stores.cloud_scheduler import CloudScheduler

    with pytest.raises(VendorUnavailableError, match="gave no answer"):
        CloudScheduler("test", "us-central1", "bi", "s@test.iam", "127.0.0.1:9").delete(cron_job().id)


def test_a_bad_expression_is_refused_by_the_vendor(emulators: Ports) -> None:
    from shared.stores.cloud_scheduler import CloudScheduler

    scheduler = CloudScheduler("test", "us-central1", "bi", "s@test.iam", emulators.address("cloud_scheduler"))
    with pytest.raises(InvalidRequestError):
        scheduler.put(cron_job(cron="61 * * * *"))


def test_a_task_of_the_same_name_is_enqueued_once(emulators: Ports) -> None:
    import grpc
    from google.cloud import tasks_v2

    address = emulators.address("cloud_tasks")
    project = f"test-{uuid.uuid4().hex[:8]}"
    transport = tasks_v2.CloudTasksClient.get_transport_class("grpc")(channel=grpc.insecure_channel(address))
    parent = f"projects/{project}/locations/us-central1"
    queue = {"name": f"{parent}/queues/q"}
    tasks_v2.CloudTasksClient(transport=transport).create_queue(request={"parent": parent, "queue": queue})
    tasks = CloudTasks(project, "us-central1", "tasks@test.iam", address)
    task = Task("q", "http://127.0.0.1:9/x", "one", {"a": 1})
    assert tasks.enqueue(task) is True
    assert tasks.enqueue(task) is False
