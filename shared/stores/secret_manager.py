"""Secrets on Secret Manager. API: cloud.google.com/secret-manager/docs/reference/rpc"""

from __future__ import annotations

from datetime import UTC
from functools import cached_property
from typing import Any

import google_crc32c
from google.api_core import exceptions as google
from google.cloud import secretmanager

from shared.errors import CredentialError, InvalidRequestError
from shared.ports import SecretVersion
from shared.stores._channel import local_client


class SecretManagerSecrets:
    """`Secrets` of one project. `emulator` is `host:port` of a local stand-in, or None."""

    def __init__(self, project: str, emulator: str | None) -> None:
        self._parent = f"projects/{project}"
        self._emulator = emulator

    @cached_property
    def _client(self) -> Any:
        if self._emulator:
            return local_client(secretmanager.SecretManagerServiceClient, self._emulator)
        return secretmanager.SecretManagerServiceClient()

    def add(self, secret_id: str, payload: bytes) -> str:
        name = f"{self._parent}/secrets/{secret_id}"
        checksum = google_crc32c.value(payload)
        version = {"parent": name, "payload": {"data": payload, "data_crc32c": checksum}}
        try:
            return self._add_version(version)
        except google.NotFound:
            pass
        try:
            secret: dict[str, Any] = {"replication": {"automatic": {}}}
            self._client.create_secret(request={"parent": self._parent, "secret_id": secret_id, "secret": secret})
        except google.AlreadyExists:
            pass  # another request made it between the two calls
        except google.InvalidArgument as exc:
            raise InvalidRequestError(f"Secret Manager keeps no secret of this name: {exc.message}") from exc
        return self._add_version(version)

    def _add_version(self, version: dict[str, Any]) -> str:
        try:
            return str(self._client.add_secret_version(request=version).name)
        except google.InvalidArgument as exc:
            raise InvalidRequestError(f"Secret Manager does not keep these credentials: {exc.message}") from exc

    def read(self, version_name: str) -> bytes:
        try:
            payload = self._client.access_secret_version(request={"name": version_name}).payload
        except google.InvalidArgument as exc:  # the name is not repeated: people paste secrets where it belongs
            raise CredentialError(
                "the credentials are kept under a name that Secret Manager does not take; send those of the connector or channel "
                "again, or name projects/PROJECT/secrets/SECRET/versions/NUMBER",
                code="credential_missing",
            ) from exc
        except (google.NotFound, google.FailedPrecondition) as exc:
            raise CredentialError(
                f"the credentials in {version_name} are gone or disabled; send those of the connector or channel again",
                code="credential_missing",
            ) from exc
        except google.PermissionDenied as exc:
            raise CredentialError(
                f"this function may not read {version_name}; grant it roles/secretmanager.secretAccessor",
                code="credential_denied",
            ) from exc
        return bytes(payload.data)

    def versions(self, prefix: str) -> list[SecretVersion]:
        found = []
        for secret in self._client.list_secrets(request={"parent": self._parent}):
            if not secret.name.rpartition("/")[2].startswith(prefix):
                continue
            for version in self._client.list_secret_versions(request={"parent": secret.name}):
                if version.state != secretmanager.SecretVersion.State.DESTROYED:
                    found.append(SecretVersion(str(version.name), version.create_time.replace(tzinfo=UTC)))
        return found

    def destroy(self, version_name: str) -> None:
        try:
            self._client.destroy_secret_version(request={"name": version_name})
        except (google.NotFound, google.FailedPrecondition, google.InvalidArgument):
            pass  # gone or destroyed already, or never there, which is what was asked

    def delete(self, secret_id: str) -> None:
        try:
            self._client.delete_secret(request={"name": f"{self._parent}/secrets/{secret_id}"})
        except google.NotFound:
            pass  # gone already, which is what was asked
