"""The stores under test: the fakes, and the adapters on the real Google clients against the running emulators."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from infra.local.emulators.__main__ import Emulators
from infra.local.ports import Ports, free_base
from shared.ports import CronJobs, Documents, Objects, Secrets
from shared.stores.cloud_scheduler import CloudScheduler
from shared.stores.cloud_storage import CloudStorageObjects
from shared.stores.firestore import FirestoreDocuments
from shared.stores.secret_manager import SecretManagerSecrets
from tests.conformance.storage_process import running_storage
from tests.fakes.stores import InMemoryCronJobs, InMemoryDocuments, InMemoryObjects, InMemorySecrets


@pytest.fixture(scope="session")
def ports() -> Ports:
    return Ports(free_base())


@pytest.fixture(scope="session")
def emulators(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    services = frozenset({"firestore", "secret_manager", "cloud_scheduler", "cloud_tasks"})
    running = Emulators(tmp_path_factory.mktemp("emulators"), ports.base, services)
    yield ports
    running.stop()


@pytest.fixture(scope="session")
def storage_server(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    with running_storage(tmp_path_factory.mktemp("storage"), ports, "one", "two"):
        yield ports


@pytest.fixture(params=["memory", "emulator"])
def documents(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Documents:
    if request.param == "memory":
        return InMemoryDocuments(indexed=False)
    ports: Ports = request.getfixturevalue("emulators")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", ports.address("firestore"))
    return FirestoreDocuments(f"test-{uuid.uuid4().hex[:12]}", "(default)")


@pytest.fixture(params=["memory", "emulator"])
def secrets(request: pytest.FixtureRequest) -> Secrets:
    if request.param == "memory":
        return InMemorySecrets()
    ports: Ports = request.getfixturevalue("emulators")
    return SecretManagerSecrets(f"test-{uuid.uuid4().hex[:12]}", ports.address("secret_manager"))


@pytest.fixture(params=["memory", "emulator"])
def cron_jobs(request: pytest.FixtureRequest) -> CronJobs:
    if request.param == "memory":
        return InMemoryCronJobs()
    ports: Ports = request.getfixturevalue("emulators")
    project = f"test-{uuid.uuid4().hex[:12]}"
    return CloudScheduler(project, "us-central1", "bi", "scheduler@test.iam", ports.address("cloud_scheduler"))


@pytest.fixture(params=["memory", "emulator"])
def objects(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "memory":
        return InMemoryObjects()
    ports: Ports = request.getfixturevalue("storage_server")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", ports.url("gcs"))
    return CloudStorageObjects("test")
