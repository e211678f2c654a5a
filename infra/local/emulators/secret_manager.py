"""An emulator of Secret Manager: gRPC, kept in one SQLite file, for the real Google client.

Deleted and destroyed payloads are overwritten in the file (`secure_delete`) and its log is emptied at once.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import google_crc32c
import grpc
from google.cloud.secretmanager_v1 import types
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2

from infra.local.emulators.clock import Clock
from infra.local.emulators.grpc_server import RpcError, service

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
MAX_PAYLOAD_BYTES = 65_536  # cloud.google.com/secret-manager/quotas
MAX_PAGE = 25_000  # the comment of ListSecretsRequest.page_size in the API

Message: TypeAlias = Any  # the Google libraries ship no types; the parameter's name says which message it is

_STATES = types.SecretVersion.State
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_CHANGEABLE = {"labels", "annotations", "version_aliases"}
_NOT_IMITATED = ("expire_time", "ttl", "rotation", "topics", "version_destroy_ttl", "customer_managed_encryption")
_SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
pragma secure_delete = on;
create table if not exists secrets (
    name text primary key, parent text not null, body blob not null, policy blob not null default x'', made integer not null);
create table if not exists versions (
    secret text not null, number integer not null, body blob not null, payload blob, primary key (secret, number));
"""


class SecretManager:
    """The service over one file. Its handler calls it from one thread at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._clock = clock

    # -- secrets

    def CreateSecret(self, request: Message) -> Message:
        """Make a secret without versions."""
        if not _SECRET_ID.fullmatch(request.secret_id):
            raise RpcError("INVALID_ARGUMENT", f"The secret id {request.secret_id!r} must match {_SECRET_ID.pattern}.")
        secret = request.secret
        if "replication" not in secret and "/locations/" not in request.parent:
            raise RpcError("INVALID_ARGUMENT", "Secret must have a replication policy, e.g. automatic.")
        for field in _NOT_IMITATED:
            if field in secret:
                raise RpcError(
                    "UNIMPLEMENTED", f"Secret.{field} is not imitated by the local emulator (see COVERAGE.md)"
                )
        secret.name = f"{request.parent}/secrets/{request.secret_id}"
        secret.create_time, secret.etag = self._clock.now(), _etag()
        made = self._db.execute("select coalesce(max(made), 0) + 1 from secrets").fetchone()[0]
        try:
            self._db.execute(
                "insert into secrets (name, parent, body, made) values (?, ?, ?, ?)",
                (secret.name, request.parent, types.Secret.serialize(secret), made),
            )
        except sqlite3.IntegrityError as exc:
            raise RpcError("ALREADY_EXISTS", f"Secret [{secret.name}] already exists.") from exc
        return secret

    def GetSecret(self, request: Message) -> Message:
        """One secret, without any payload."""
        return self._secret(request.name)

    def UpdateSecret(self, request: Message) -> Message:
        """Replace the fields in the mask: labels, annotations, version_aliases."""
        secret = self._secret(request.secret.name)
        _check_etag(request.secret.etag, secret.etag, secret.name)
        paths = list(request.update_mask.paths)
        if not paths or not set(paths) <= _CHANGEABLE:
            expected = ", ".join(sorted(_CHANGEABLE))
            raise RpcError("INVALID_ARGUMENT", f"The update mask is {paths}; this emulator changes {expected} only.")
        for path in paths:
            setattr(secret, path, getattr(request.secret, path))
        secret.etag = _etag()
        self._db.execute("update secrets set body = ? where name = ?", (types.Secret.serialize(secret), secret.name))
        return secret

    def DeleteSecret(self, request: Message) -> Message:
        """Delete a secret with all its versions."""
        secret = self._secret(request.name)
        _check_etag(request.etag, secret.etag, secret.name)
        with self._erasing():
            self._db.execute("delete from versions where secret = ?", (secret.name,))
            self._db.execute("delete from secrets where name = ?", (secret.name,))
        return empty_pb2.Empty()

    def ListSecrets(self, request: Message) -> Message:
        """A page of a project's secrets, newest first."""
        rows, token, total = self._page(request, "secrets", "parent", "made")
        found = [types.Secret.deserialize(row[0]) for row in rows]
        return types.ListSecretsResponse(secrets=found, next_page_token=token, total_size=total)

    # -- versions

    def AddSecretVersion(self, request: Message) -> Message:
        """Store a payload as the next version, enabled."""
        secret = self._secret(request.parent)
        data, is_checked = request.payload.data, "data_crc32c" in request.payload
        if len(data) > MAX_PAYLOAD_BYTES:
            raise RpcError(
                "INVALID_ARGUMENT", f"The payload has {len(data)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed."
            )
        if is_checked and request.payload.data_crc32c != google_crc32c.value(data):
            raise RpcError("INVALID_ARGUMENT", "The payload does not match its data_crc32c: it was damaged on its way.")
        last = self._db.execute("select max(number) from versions where secret = ?", (secret.name,)).fetchone()[0]
        number = (last or 0) + 1
        version = types.SecretVersion(
            name=f"{secret.name}/versions/{number}",
            create_time=self._clock.now(),
            state=_STATES.ENABLED,
            etag=_etag(),
            client_specified_payload_checksum=is_checked,
        )
        body = types.SecretVersion.serialize(version)
        self._db.execute("insert into versions values (?, ?, ?, ?)", (secret.name, number, body, data))
        return version

    def GetSecretVersion(self, request: Message) -> Message:
        """One version, without its payload; `latest`, an alias or a number."""
        return self._version(request.name)[0]

    def AccessSecretVersion(self, request: Message) -> Message:
        """The payload of an enabled version."""
        version, payload = self._version(request.name)
        if version.state != _STATES.ENABLED or payload is None:
            raise RpcError("FAILED_PRECONDITION", f"Secret Version [{version.name}] is in {version.state.name} state.")
        checksum = google_crc32c.value(payload)
        return types.AccessSecretVersionResponse(
            name=version.name, payload=types.SecretPayload(data=payload, data_crc32c=checksum)
        )

    def ListSecretVersions(self, request: Message) -> Message:
        """A page of a secret's versions, newest first, destroyed ones included."""
        self._secret(request.parent)
        rows, token, total = self._page(request, "versions", "secret", "number")
        found = [types.SecretVersion.deserialize(row[0]) for row in rows]
        return types.ListSecretVersionsResponse(versions=found, next_page_token=token, total_size=total)

    def EnableSecretVersion(self, request: Message) -> Message:
        """Let a version be accessed again."""
        return self._set_state(request, _STATES.ENABLED)

    def DisableSecretVersion(self, request: Message) -> Message:
        """Keep a version from being accessed."""
        return self._set_state(request, _STATES.DISABLED)

    def DestroySecretVersion(self, request: Message) -> Message:
        """Erase the payload of a version for good."""
        return self._set_state(request, _STATES.DESTROYED)

    # -- policies: stored and given back, never applied

    def SetIamPolicy(self, request: Message) -> Message:
        """Store a policy if its etag (where given) is the stored one's."""
        name = self._secret(request.resource).name
        if request.policy.etag and request.policy.etag != self._policy(name).etag:
            raise RpcError("ABORTED", f"The policy of {name} has changed meanwhile: read it again and repeat.")
        policy = policy_pb2.Policy()
        policy.CopyFrom(request.policy)
        policy.etag = secrets.token_bytes(8)
        self._db.execute("update secrets set policy = ? where name = ?", (policy.SerializeToString(), name))
        return policy

    def GetIamPolicy(self, request: Message) -> Message:
        """The stored policy; an empty one if none was set."""
        return self._policy(self._secret(request.resource).name)

    def TestIamPermissions(self, request: Message) -> Message:
        """All the permissions asked for: this emulator lets everybody do everything."""
        self._secret(request.resource)
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=request.permissions)

    # -- inside

    def _secret(self, name: str) -> Message:
        row = self._db.execute("select body from secrets where name = ?", (name,)).fetchone()
        if row is None:
            raise RpcError("NOT_FOUND", f"Secret [{name}] not found.")
        return types.Secret.deserialize(row[0])

    def _version(self, name: str) -> tuple[Message, bytes | None]:
        secret_name, separator, wanted = name.partition("/versions/")
        if not separator:
            raise RpcError("INVALID_ARGUMENT", f"{name} is not a version: expected .../secrets/S/versions/V.")
        secret = self._secret(secret_name)
        given: list[str | int] = [secret_name]
        if wanted == "latest":
            query = "order by number desc limit 1"
        else:
            number = secret.version_aliases.get(wanted) or (int(wanted) if wanted.isdecimal() else 0)
            query = "and number = ?"
            given.append(number)
        row = self._db.execute(f"select body, payload from versions where secret = ? {query}", given).fetchone()
        if row is None:
            raise RpcError("NOT_FOUND", f"Secret Version [{name}] not found.")
        return types.SecretVersion.deserialize(row[0]), row[1]

    def _set_state(self, request: Message, state: Message) -> Message:
        version, payload = self._version(request.name)
        _check_etag(request.etag, version.etag, version.name)
        if version.state == _STATES.DESTROYED:
            raise RpcError("FAILED_PRECONDITION", f"Secret Version [{version.name}] is in DESTROYED state.")
        version.state, version.etag = state, _etag()
        if state == _STATES.DESTROYED:
            version.destroy_time, payload = self._clock.now(), None
        secret_name, _, number = version.name.rpartition("/versions/")
        with self._erasing():
            self._db.execute(
                "update versions set body = ?, payload = ? where secret = ? and number = ?",
                (types.SecretVersion.serialize(version), payload, secret_name, int(number)),
            )
        return version

    def _policy(self, name: str) -> Message:
        row = self._db.execute("select policy from secrets where name = ?", (name,)).fetchone()
        return policy_pb2.Policy.FromString(row[0])

    def _page(self, request: Message, table: str, owner: str, order: str) -> tuple[list[tuple[bytes]], str, int]:
        if request.filter:
            raise RpcError("UNIMPLEMENTED", "filters of lists are not imitated by the local emulator (see COVERAGE.md)")
        if request.page_token and not request.page_token.isdecimal():
            raise RpcError(
                "INVALID_ARGUMENT", f"The page token {request.page_token!r} is not one of this method's answers."
            )
        size = min(request.page_size or MAX_PAGE, MAX_PAGE)
        below = int(request.page_token) if request.page_token else 2**62
        rows = self._db.execute(
            f"select body, {order} from {table} where {owner} = ? and {order} < ? order by {order} desc limit ?",
            (request.parent, below, size + 1),
        ).fetchall()
        total = self._db.execute(f"select count(*) from {table} where {owner} = ?", (request.parent,)).fetchone()[0]
        return rows[:size], str(rows[size - 1][1]) if len(rows) > size else "", total

    @contextmanager
    def _erasing(self) -> Iterator[None]:
        """One transaction, after which the log holds no copy of what it removed."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        self._db.execute("pragma wal_checkpoint(truncate)").fetchall()


def handler(path: Path, clock: Clock) -> grpc.GenericRpcHandler:
    """The gRPC handler of a Secret Manager kept in the file `path` (made if missing)."""
    iam_requests = {
        method: getattr(iam_policy_pb2, f"{method}Request")
        for method in ("SetIamPolicy", "GetIamPolicy", "TestIamPermissions")
    }
    return service(SERVICE, SecretManager(path, clock), types, iam_requests)


def _etag() -> str:
    return f'"{secrets.token_hex(8)}"'


def _check_etag(given: str, stored: str, name: str) -> None:
    if given and given != stored:
        raise RpcError("FAILED_PRECONDITION", f"The etag of {name} has changed meanwhile: read it again and repeat.")
