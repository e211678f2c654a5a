"""Secret Manager with the real client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from google.api_core import exceptions
from google.cloud import secretmanager

from infra.local.emulators import secret_manager
from infra.local.emulators.clock import Clock
from infra.local.emulators.grpc_server import serve

PROJECT = "projects/demo"
AUTOMATIC = {"replication": {"automatic": {}}}
STATES = secretmanager.SecretVersion.State


def client_of(port: int) -> secretmanager.SecretManagerServiceClient:
    kind = secretmanager.SecretManagerServiceClient
    return kind(transport=kind.get_transport_class("grpc")(channel=grpc.insecure_channel(f"127.0.0.1:{port}")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "secret_manager.sqlite"


@pytest.fixture
def server(file: Path) -> Iterator[grpc.Server]:
    running = serve(0, secret_manager.handler(file, Clock()))
    yield running
    running.stop(0)


@pytest.fixture
def client(server: Any) -> secretmanager.SecretManagerServiceClient:
    return client_of(server.bound_port)


@pytest.fixture
def name(client: secretmanager.SecretManagerServiceClient) -> str:
    """The name of a secret with the versions b"one" and b"two"."""
    secret = client.create_secret(parent=PROJECT, secret_id="token", secret=AUTOMATIC)
    client.add_secret_version(parent=secret.name, payload={"data": b"one"})
    client.add_secret_version(parent=secret.name, payload={"data": b"two"})
    return str(secret.name)


def test_a_created_secret_has_a_name_a_time_and_labels(client: secretmanager.SecretManagerServiceClient) -> None:
    secret = client.create_secret(parent=PROJECT, secret_id="a_B-1", secret={**AUTOMATIC, "labels": {"team": "bi"}})
    assert secret.name == "projects/demo/secrets/a_B-1"
    assert client.get_secret(name=secret.name) == secret
    assert dict(secret.labels) == {"team": "bi"}
    assert secret.create_time is not None


def test_creating_a_secret_twice_conflicts(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        client.create_secret(parent=PROJECT, secret_id="token", secret=AUTOMATIC)
    assert client.access_secret_version(name=f"{name}/versions/latest").payload.data == b"two"


@pytest.mark.parametrize("identifier", ["", "with space", "a/b", "x" * 256])
def test_invalid_ids_are_refused(client: secretmanager.SecretManagerServiceClient, identifier: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        client.create_secret(parent=PROJECT, secret_id=identifier, secret=AUTOMATIC)


def test_a_secret_needs_a_replication(client: secretmanager.SecretManagerServiceClient) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="replication"):
        client.create_secret(parent=PROJECT, secret_id="token", secret={})


def test_versions_are_numbered_and_latest_is_the_newest(
    client: secretmanager.SecretManagerServiceClient, name: str
) -> None:
    assert client.access_secret_version(name=f"{name}/versions/1").payload.data == b"one"
    latest = client.access_secret_version(name=f"{name}/versions/latest")
    assert latest.name == f"{name}/versions/2"
    assert latest.payload.data == b"two"


def test_a_payload_comes_with_its_checksum(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    payload = client.access_secret_version(name=f"{name}/versions/1").payload
    assert payload.data_crc32c == google_crc32c.value(b"one")


def test_a_wrong_checksum_is_refused_and_a_right_one_noted(
    client: secretmanager.SecretManagerServiceClient, name: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        client.add_secret_version(parent=name, payload={"data": b"three", "data_crc32c": 1})
    right = google_crc32c.value(b"three")
    version = client.add_secret_version(parent=name, payload={"data": b"three", "data_crc32c": right})
    assert version.name == f"{name}/versions/3"
    assert version.client_specified_payload_checksum


def test_64_kib_is_the_limit(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    client.add_secret_version(parent=name, payload={"data": b"x" * 65_536})
    with pytest.raises(exceptions.InvalidArgument):
        client.add_secret_version(parent=name, payload={"data": b"x" * 65_537})


def test_a_disabled_version_is_not_accessible_until_enabled(
    client: secretmanager.SecretManagerServiceClient, name: str
) -> None:
    version = f"{name}/versions/2"
    assert client.disable_secret_version(name=version).state == STATES.DISABLED
    for asked in (version, f"{name}/versions/latest"):
        with pytest.raises(exceptions.FailedPrecondition):
            client.access_secret_version(name=asked)
    assert client.enable_secret_version(name=version).state == STATES.ENABLED
    assert client.access_secret_version(name=version).payload.data == b"two"


def test_a_destroyed_version_stays_destroyed(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    version = client.destroy_secret_version(name=f"{name}/versions/1")
    assert version.state == STATES.DESTROYED
    assert version.destroy_time is not None
    for change in (client.enable_secret_version, client.disable_secret_version, client.destroy_secret_version):
        with pytest.raises(exceptions.FailedPrecondition):
            change(name=version.name)
    with pytest.raises(exceptions.FailedPrecondition):
        client.access_secret_version(name=version.name)
    assert client.get_secret_version(name=version.name).state == STATES.DESTROYED


def test_destroyed_and_deleted_payloads_are_in_no_file(
    client: secretmanager.SecretManagerServiceClient, file: Path
) -> None:
    small, large = b"canary-" + b"s" * 20, b"canary-" + b"l" * 60_000
    secret = client.create_secret(parent=PROJECT, secret_id="canary", secret=AUTOMATIC)
    for payload in (small, large, b"canary-kept"):
        client.add_secret_version(parent=secret.name, payload={"data": payload})
    other = client.create_secret(parent=PROJECT, secret_id="canary2", secret=AUTOMATIC)
    client.add_secret_version(parent=other.name, payload={"data": b"canary-deleted"})

    def in_files(text: bytes) -> bool:
        return any(text in found.read_bytes() for found in file.parent.iterdir())

    assert all(in_files(text) for text in (small, b"l" * 900, b"canary-kept", b"canary-deleted"))
    client.destroy_secret_version(name=f"{secret.name}/versions/1")
    client.destroy_secret_version(name=f"{secret.name}/versions/2")
    client.delete_secret(name=other.name)
    assert not any(in_files(text) for text in (small, b"l" * 900, b"canary-deleted"))
    assert in_files(b"canary-kept")


def test_versions_are_listed_newest_first_in_pages(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    client.add_secret_version(parent=name, payload={"data": b"three"})
    client.destroy_secret_version(name=f"{name}/versions/2")
    pages = [
        [(version.name.rpartition("/")[2], version.state) for version in page.versions]
        for page in client.list_secret_versions(request={"parent": name, "page_size": 2}).pages
    ]
    assert pages == [[("3", STATES.ENABLED), ("2", STATES.DESTROYED)], [("1", STATES.ENABLED)]]


def test_secrets_are_listed_in_pages_per_project(client: secretmanager.SecretManagerServiceClient) -> None:
    for number in range(5):
        client.create_secret(parent=PROJECT, secret_id=f"s{number}", secret=AUTOMATIC)
    client.create_secret(parent="projects/other", secret_id="s", secret=AUTOMATIC)
    pager = client.list_secrets(request={"parent": PROJECT, "page_size": 2})
    pages = [[secret.name.rpartition("/")[2] for secret in page.secrets] for page in pager.pages]
    assert sorted(secret for page in pages for secret in page) == ["s0", "s1", "s2", "s3", "s4"]
    assert [len(page) for page in pages] == [2, 2, 1]


def test_labels_change_under_a_mask_and_an_etag(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    before = client.get_secret(name=name)
    changed = {"name": name, "labels": {"a": "1"}, "annotations": {"x": "y"}, "etag": before.etag}
    after = client.update_secret(secret=changed, update_mask={"paths": ["labels"]})
    assert dict(after.labels) == {"a": "1"}
    assert dict(after.annotations) == {}
    assert after.etag != before.etag
    with pytest.raises(exceptions.FailedPrecondition):
        client.update_secret(secret={**changed, "labels": {"a": "2"}}, update_mask={"paths": ["labels"]})
    assert dict(client.get_secret(name=name).labels) == {"a": "1"}


def test_an_update_of_what_may_not_change_is_refused(
    client: secretmanager.SecretManagerServiceClient, name: str
) -> None:
    for paths in ([], ["replication"], ["name"]):
        with pytest.raises(exceptions.InvalidArgument):
            client.update_secret(secret={"name": name}, update_mask={"paths": paths})


def test_aliases_point_to_versions(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    client.update_secret(
        secret={"name": name, "version_aliases": {"current": 1}}, update_mask={"paths": ["version_aliases"]}
    )
    assert client.access_secret_version(name=f"{name}/versions/current").payload.data == b"one"


def test_what_is_missing_is_not_found(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    missing = "projects/demo/secrets/none"
    empty = client.create_secret(parent=PROJECT, secret_id="empty", secret=AUTOMATIC).name
    calls = [
        lambda: client.get_secret(name=missing),
        lambda: client.add_secret_version(parent=missing, payload={"data": b"x"}),
        lambda: client.access_secret_version(name=f"{missing}/versions/latest"),
        lambda: client.access_secret_version(name=f"{name}/versions/9"),
        lambda: client.access_secret_version(name=f"{empty}/versions/latest"),
        lambda: client.delete_secret(name=missing),
        lambda: list(client.list_secret_versions(parent=missing)),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()


def test_a_deleted_secret_is_gone_with_its_versions(
    client: secretmanager.SecretManagerServiceClient, name: str
) -> None:
    client.delete_secret(name=name)
    with pytest.raises(exceptions.NotFound):
        client.access_secret_version(name=f"{name}/versions/1")
    client.create_secret(parent=PROJECT, secret_id="token", secret=AUTOMATIC)
    assert list(client.list_secret_versions(parent=name)) == []


def test_a_policy_is_kept_and_guarded_by_its_etag(client: secretmanager.SecretManagerServiceClient, name: str) -> None:
    assert list(client.get_iam_policy(request={"resource": name}).bindings) == []
    binding = {"role": "roles/secretmanager.secretAccessor", "members": ["user:a@example.com"]}
    stored = client.set_iam_policy(request={"resource": name, "policy": {"bindings": [binding]}})
    assert client.get_iam_policy(request={"resource": name}) == stored
    assert list(stored.bindings[0].members) == ["user:a@example.com"]
    with pytest.raises(exceptions.Aborted):
        client.set_iam_policy(request={"resource": name, "policy": {"etag": b"old"}})
    asked = ["secretmanager.versions.access"]
    assert list(client.test_iam_permissions(request={"resource": name, "permissions": asked}).permissions) == asked


def test_secrets_survive_a_restart(file: Path) -> None:
    first = serve(0, secret_manager.handler(file, Clock()))
    client = client_of(first.bound_port)
    secret = client.create_secret(parent=PROJECT, secret_id="token", secret=AUTOMATIC)
    client.add_secret_version(parent=secret.name, payload={"data": b"kept"})
    first.stop(0).wait()
    second = serve(0, secret_manager.handler(file, Clock()))
    again = client_of(second.bound_port)
    assert again.access_secret_version(name=f"{secret.name}/versions/latest").payload.data == b"kept"
    assert again.add_secret_version(parent=secret.name, payload={"data": b"x"}).name == f"{secret.name}/versions/2"
    second.stop(0)


def test_what_is_not_imitated_says_so(client: secretmanager.SecretManagerServiceClient) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="ttl"):
        client.create_secret(parent=PROJECT, secret_id="short", secret={**AUTOMATIC, "ttl": {"seconds": 60}})
    with pytest.raises(exceptions.MethodNotImplemented, match="filter"):
        client.list_secrets(request={"parent": PROJECT, "filter": "labels.a=1"})


def test_async_client(server: Any) -> None:
    async def use() -> bytes:
        kind = secretmanager.SecretManagerServiceAsyncClient
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.bound_port}")
        client = kind(transport=kind.get_transport_class("grpc_asyncio")(channel=channel))
        secret = await client.create_secret(parent=PROJECT, secret_id="token", secret=AUTOMATIC)
        await client.add_secret_version(parent=secret.name, payload={"data": b"async"})
        answer = await client.access_secret_version(name=f"{secret.name}/versions/latest")
        await channel.close()
        return bytes(answer.payload.data)

    assert asyncio.run(use()) == b"async"
