"""Each function's service account holds the permissions that its calls need, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import firestore
from google.cloud.firestore_v1 import types as Firestore  # noqa: N812  a namespace of messages
from google.cloud.secretmanager_v1 import types

from infra.check import guide
from infra.local.emulators.clock import Clock
from infra.local.emulators.secret_manager import SecretManager
from infra.local.ports import free_base
from infra.local.settings import BUCKETS, PROJECT
from infra.local.supervisor import LocalCloud

from .permissions.granted import granted, granted_by_hand, roles
from .permissions.iam import DATABASE, Right, used
from .permissions.journey import Journey
from .permissions.recorder import Call, Recorder

SIGN_BLOB = re.compile(r"/v1/projects/-/serviceAccounts/bi-([a-z-]+)@local-project\.iam\.gserviceaccount\.com:signBlob")
BY_HAND_STEP = "Optional: let functions read documents and secrets of yours"
RUNS_AS_ITSELF = "export"
"""The only function that is handed a key of its own service account, so a call as that account is its."""


def make_account(cloud: LocalCloud, key_file: Path) -> None:
    """Make the service account that one function runs as, and hand it its key."""
    url = f"{cloud.endpoints['sandbox']['admin']}/google_identity/service_accounts"
    email = f"bi-{RUNS_AS_ITSELF}@{PROJECT}.iam.gserviceaccount.com"
    answer = requests.post(url, json={"email": email}, timeout=10)
    answer.raise_for_status()
    key_file.write_text(answer.text)


def signed(cloud: LocalCloud) -> set[Right]:
    """Return the rights to sign that IAM was asked for; it signs for the account alone whose token it is called with."""
    url = f"{cloud.endpoints['sandbox']['admin']}/traffic"
    exchanges = requests.get(url, params={"vendor": "google_identity"}, timeout=30).json()["exchanges"]
    asked = [SIGN_BLOB.fullmatch(one["path"]) for one in exchanges if one["status"] == 200]
    names = {match.group(1) for match in asked if match}
    assert names <= {RUNS_AS_ITSELF}
    return {Right(name, "iam.serviceAccounts.signBlob", f"account {name}") for name in names}


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
    key_file = tmp_path_factory.mktemp("key") / "key.json"

    def settings_of(name: str) -> Mapping[str, str]:
        own = {"GOOGLE_APPLICATION_CREDENTIALS": str(key_file)} if name == RUNS_AS_ITSELF else {}
        return {**recorder.settings_of(cloud, name), **own, "FIRESTORE_DATABASE": DATABASE}

    cloud = LocalCloud(tmp_path_factory.mktemp("recorded"), free_base(), settings_of=settings_of)
    leave_behind_credentials(cloud.layout.data / "emulators")
    cloud.start()
    make_account(cloud, key_file)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", cloud.layout.ports.address("firestore"))
            own, of_others = (firestore.Client(project=PROJECT, database=name) for name in (DATABASE, "(default)"))
            Journey(cloud, own, of_others).travel()
        yield used(recorder.calls()) | signed(cloud)
    finally:
        cloud.stop()
        recorder.stop()


def test_to_be_told_that_an_object_is_missing_takes_the_right_to_list() -> None:
    bucket = BUCKETS["EXPORTS_BUCKET"]
    asked = [f"{verb} /storage/v1/b/{bucket}/o/a%2Fb.csv" for verb in ("GET", "DELETE")]
    asked.append(f"POST /storage/v1/b/{bucket}/o/a/rewriteTo/b/{BUCKETS['FROZEN_BUCKET']}/o/a?ifGenerationMatch=0")
    needed = Right("export", "storage.objects.list", "bucket exports")
    for method in asked:
        assert needed in used([Call("export", method, b"", 200), Call("export", method, b"", 404)])
        assert needed not in used([Call("export", method, b"", 200), Call("export", method, b"", None)])


def test_a_call_to_another_database_asks_for_a_right_there() -> None:
    read, commit = (f"google.firestore.v1.Firestore/{name}" for name in ("RunQuery", "Commit"))
    for project, name, on in (
        (PROJECT, DATABASE, "database"),
        (PROJECT, "(default)", "database of others"),
        (PROJECT, f"{DATABASE}2", "database of others"),
        ("theirs", DATABASE, "database of others"),
    ):
        place = f"projects/{project}/databases/{name}"
        query = Firestore.RunQueryRequest(parent=f"{place}/documents/cities/a")
        write = Firestore.CommitRequest(database=place, writes=[Firestore.Write(delete=f"{place}/documents/a/b")])
        assert used([Call("export_worker", read, type(query).serialize(query))]) == {
            Right("export-worker", f"datastore.entities.{verb}", on) for verb in ("get", "list")
        }
        assert used([Call("export_worker", commit, type(write).serialize(write))]) == {
            Right("export-worker", "datastore.entities.delete", on)
        }


def of_others(rights: set[Right]) -> set[Right]:
    """Those on what is not ours: no deployment grants them, people do."""
    return {right for right in rights if right.on.endswith(" of others")}


def test_what_is_used_is_granted(asked_for: set[Right]) -> None:
    assert sorted(asked_for - of_others(asked_for) - granted(roles())) == []


def test_what_is_granted_is_used(asked_for: set[Right]) -> None:
    assert of_others(granted(roles())) == set()
    assert sorted(granted(roles()) - asked_for) == []


def test_what_is_used_of_others_the_guide_grants_by_hand(asked_for: set[Right]) -> None:
    (way, _) = guide.walks(guide.GUIDE.read_text())
    step = [one for one in way.of("gcloud") if one.step == BY_HAND_STEP]
    by_hand = granted_by_hand(step)
    assert sorted(of_others(asked_for) - by_hand) == []
    assert {(right.function, right.on) for right in by_hand} == {
        (right.function, right.on) for right in of_others(asked_for)
    }


@pytest.mark.parametrize("name", roles())
def test_a_role_that_is_forgotten_or_wider_than_needed_would_be_found(asked_for: set[Right], name: str) -> None:
    role = roles()[name]
    wider = {**role, "permissions": [*role["permissions"], "resourcemanager.projects.get"]}
    ours = asked_for - of_others(asked_for)
    assert ours - granted({key: value for key, value in roles().items() if key != name})
    assert granted({**roles(), name: wider}) - asked_for
