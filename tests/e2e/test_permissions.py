"""Each function's service account holds the permissions that its calls need, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud import firestore
from google.cloud.secretmanager_v1 import types

from infra.local.emulators.clock import Clock
from infra.local.emulators.secret_manager import SecretManager
from infra.local.ports import free_base
from infra.local.settings import PROJECT
from infra.local.supervisor import LocalCloud

from .permissions.granted import granted, roles
from .permissions.iam import Right, used
from .permissions.journey import Journey
from .permissions.recorder import Recorder

SIGNS_AS_ITSELF = {Right("export", "iam.serviceAccounts.signBlob", "account export")}
"""Asked for only where a function runs as a service account; seen in tests/conformance/sandboxes/test_google_identity.py."""


class _TwoHoursAgo(Clock):
    def now(self) -> datetime:
        return super().now() - timedelta(hours=2)


def leave_behind_credentials(folder: Path) -> None:
    """Make a version that no connector ever named, old enough for the sweep."""
    folder.mkdir(parents=True)
    earlier = SecretManager(folder / "secret_manager.sqlite", _TwoHoursAgo())
    made: dict[str, Any] = {"parent": f"projects/{PROJECT}", "secret_id": "bi-connector-left-behind"}
    name = earlier.CreateSecret(
        types.CreateSecretRequest(**made, secret=types.Secret(replication={"automatic": {}}))
    ).name
    earlier.AddSecretVersion(types.AddSecretVersionRequest(parent=name, payload={"data": b"{}"}))


@pytest.fixture(scope="module")
def asked_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[Right]]:
    """What the functions asked Google's services for on one journey through all that they do."""
    recorder = Recorder()
    cloud = LocalCloud(
        tmp_path_factory.mktemp("recorded"), free_base(), settings_of=lambda name: recorder.settings_of(cloud, name)
    )
    leave_behind_credentials(cloud.layout.data / "emulators")
    cloud.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", cloud.layout.ports.address("firestore"))
            Journey(cloud, firestore.Client(project=PROJECT)).travel()
        yield used(recorder.calls()) | SIGNS_AS_ITSELF
    finally:
        cloud.stop()
        recorder.stop()


def test_what_is_used_is_granted(asked_for: set[Right]) -> None:
    assert sorted(asked_for - granted(roles())) == []


def test_what_is_granted_is_used(asked_for: set[Right]) -> None:
    assert sorted(granted(roles()) - asked_for) == []


@pytest.mark.parametrize("name", roles())
def test_a_role_that_is_forgotten_or_wider_than_needed_would_be_found(asked_for: set[Right], name: str) -> None:
    role = roles()[name]
    wider = {**role, "permissions": [*role["permissions"], "resourcemanager.projects.get"]}
    assert asked_for - granted({key: value for key, value in roles().items() if key != name})
    assert granted({**roles(), name: wider}) - asked_for
