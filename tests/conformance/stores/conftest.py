"""The stores under test: the fakes, and the adapters on the real Google clients against the running emulators."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import cloud_storage
from infra.local.emulators.__main__ import Emulators
from infra.local.ports import Ports, free_base
from shared.ports import CronJobs, Documents, Objects, Secrets
from shared.stores.cloud_scheduler import CloudScheduler
from shared.stores.cloud_storage import CloudStorageObjects
from shared.stores.firestore import FirestoreDocuments
from shared.stores.secret_manager import SecretManagerSecrets
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
    data: Path = tmp_path_factory.mktemp("storage")
    (data / "gcs").mkdir()
    child = subprocess.Popen(cloud_storage.command(data, ports), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            if cloud_storage.is_ready(ports):
                break
        except OSError:
            time.sleep(0.05)
    cloud_storage.make_buckets(ports, ["one", "two"])
    yield ports
    child.terminate()
    child.wait(10)


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
