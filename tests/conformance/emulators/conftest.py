"""The emulators as a stranger meets them: Google's own clients over gRPC, on loopback.

`FIRESTORE_UNDER_TEST=host:port` runs the behaviour tests against another Firestore, e.g. Google's own emulator; the
tests that need our clock, our file or our process are then skipped.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud import firestore

from infra.local.emulators import firestore as firestore_emulator
from infra.local.emulators.clock import Clock
from infra.local.emulators.grpc_server import serve

FOREIGN = os.environ.get("FIRESTORE_UNDER_TEST", "")

Connect = Callable[..., firestore.Client]


@pytest.fixture(scope="session")
def firestore_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of one emulator for all behaviour tests; each test has a project of its own."""
    if FOREIGN:
        yield FOREIGN
        return
    folder: Path = tmp_path_factory.mktemp("firestore")
    server = serve(0, firestore_emulator.handler(folder / "firestore.sqlite", Clock()))
    yield f"127.0.0.1:{server.bound_port}"
    server.stop(0)


@pytest.fixture
def project() -> str:
    """A project id nobody else uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def connect(firestore_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make a client of this test's project; `kind` may be AsyncClient, `database` a named database."""

    def make(kind: type = firestore.Client, host: str = firestore_host, **options: str) -> firestore.Client:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        return kind(project=project, **options)

    return make


@pytest.fixture
def db(connect: Connect) -> firestore.Client:
    """A client of an empty database."""
    return connect()


@pytest.fixture
def own_emulator() -> None:
    """Skip where another Firestore than ours is under test."""
    if FOREIGN:
        pytest.skip("needs the clock, file or process of our own emulator")
