"""Objects on Cloud Storage. API: cloud.google.com/python/docs/reference/storage/latest"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from http import HTTPStatus
from typing import Any, BinaryIO

import google.auth
from google.api_core import exceptions as google_errors
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud import storage
from requests import RequestException

from shared.errors import ConflictError, CredentialError, SourceError, UnsupportedError
from shared.ports import ObjectInfo

CHUNK_BYTES = 4 * 1024 * 1024  # our choice: one ranged read or resumable part; a multiple of 256 KiB as the API asks


SIGNING_SCOPE = "https://www.googleapis.com/auth/iam"
"""What a token needs for signBlob; the client's own tokens are for Cloud Storage alone.
docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob"""

Identity = Callable[[], tuple[str, str]]
"""The e-mail address of the service account that runs this, and an access token of its own."""


def nobody() -> tuple[str, str]:
    """The identity of a process that is no service account, as on a laptop."""
    raise UnsupportedError(
        "these credentials are no service account's, so nobody can sign a URL for them; leave out signed=true for a link of "
        "this service",
        code="signing_unavailable",
    )


def own_identity() -> tuple[str, str]:
    """The service account that this function runs as. Calls the metadata server."""
    try:
        credentials: Any = google.auth.default(scopes=[SIGNING_SCOPE])[0]
        credentials.refresh(Request())
    except DefaultCredentialsError:
        return nobody()
    email = getattr(credentials, "service_account_email", None)
    return (email, credentials.token) if email else nobody()


def as_itself(project: str) -> CloudStorageObjects:
    """The adapter of a function; where that runs as a service account, it signs URLs."""
    return CloudStorageObjects(project, own_identity)


class CloudStorageObjects:
    """`Objects` of one project. STORAGE_EMULATOR_HOST is honoured by the client itself."""

    def __init__(self, project: str, identity: Identity = nobody) -> None:
        self._project = project
        self._identity = identity

    @cached_property
    def _client(self) -> Any:
        return storage.Client(project=self._project)

    def stat(self, bucket: str, name: str) -> ObjectInfo | None:
        with _reading(bucket):
            blob = self._client.bucket(bucket).get_blob(name)
        return None if blob is None else _info(blob)

    def list_prefix(self, bucket: str, prefix: str, limit: int) -> list[ObjectInfo]:
        with _reading(bucket):
            found = [_info(blob) for blob in self._client.list_blobs(bucket, prefix=prefix, max_results=limit)]
        return sorted(found, key=lambda info: info.name)

    def open(self, info: ObjectInfo) -> BinaryIO:
        blob = self._client.bucket(info.bucket).blob(info.name, generation=info.generation, chunk_size=CHUNK_BYTES)
        try:
            blob.reload()
        except google_errors.NotFound as exc:
            raise SourceError(
                f"{info.uri} generation {info.generation} is gone; export again", code="source_gone"
            ) from exc
        reader: BinaryIO = blob.open("rb", chunk_size=CHUNK_BYTES)
        return reader

    def copy(self, info: ObjectInfo, bucket: str, name: str) -> ObjectInfo:
        existing = self.stat(bucket, name)
        if existing is not None:
            return existing
        source = self._client.bucket(info.bucket).blob(info.name, generation=info.generation)
        target = self._client.bucket(bucket).blob(name)
        token = None
        try:
            while True:
                token, _, _ = target.rewrite(source, token=token, if_source_generation_match=info.generation)
                if token is None:
                    break
        except (google_errors.NotFound, google_errors.PreconditionFailed) as exc:
            raise SourceError(
                f"{info.uri} changed after the export was accepted; export again to take the new content",
                code="source_changed",
            ) from exc
        copied = _info(target)  # as the last part of the rewrite was answered
        if copied.size_bytes != info.size_bytes:
            raise SourceError(f"{info.uri} changed while it was copied; export again", code="source_changed")
        return copied

    def put(self, bucket: str, name: str, content: bytes, *, content_type: str) -> ObjectInfo:
        blob = self._client.bucket(bucket).blob(name)
        blob.upload_from_string(content, content_type=content_type)
        return _info(blob)  # as the upload was answered

    @contextmanager
    def writer(self, bucket: str, name: str, *, content_type: str, new: bool = False) -> Iterator[BinaryIO]:
        blob = self._client.bucket(bucket).blob(name)
        only = {"if_generation_match": 0} if new else {}
        sink = blob.open("wb", chunk_size=CHUNK_BYTES, content_type=content_type, ignore_flush=True, **only)
        try:
            try:
                yield sink
                sink.close()
            except BaseException:
                _give_up(sink)
                raise
        except (storage.exceptions.InvalidResponse, google_errors.PreconditionFailed) as exc:
            if getattr(exc, "response", None) is None or exc.response.status_code != HTTPStatus.PRECONDITION_FAILED:
                raise
            raise ConflictError(f"gs://{bucket}/{name} exists already; name another") from exc

    def delete(self, bucket: str, name: str) -> None:
        try:
            self._client.bucket(bucket).blob(name).delete()
        except google_errors.NotFound:
            pass  # gone already, which is what was asked

    def signed_url(self, info: ObjectInfo, file_name: str, lifetime: timedelta) -> str:
        blob = self._client.bucket(info.bucket).blob(info.name)
        try:
            email, token = self._identity()
            url: str = blob.generate_signed_url(
                version="v4",
                expiration=lifetime,
                generation=info.generation,
                response_disposition=f'attachment; filename="{file_name}"',
                service_account_email=email,
                access_token=token,
            )
        except GoogleAuthError as exc:
            raise CredentialError(
                "IAM did not sign the URL; grant this function's service account iam.serviceAccounts.signBlob on itself "
                "(roles/iam.serviceAccountTokenCreator), or leave out signed=true for a link of this service",
                code="signing_refused",
            ) from exc
        return url


@contextmanager
def _reading(bucket: str) -> Iterator[None]:
    try:
        yield
    except google_errors.Forbidden as exc:
        raise SourceError(
            f"the export worker may not read gs://{bucket}; grant its service account roles/storage.objectViewer there",
            code="source_forbidden",
        ) from exc
    except google_errors.NotFound as exc:
        raise SourceError(f"the bucket {bucket!r} does not exist; check its name", code="source_not_found") from exc


def _give_up(sink: Any) -> None:
    """Cancel an upload for good: a writer that is left open is closed, so sent again, whenever Python collects it."""
    try:
        with suppress(RequestException, GoogleAuthError):  # the session at Google ages out by itself
            sink.terminate()
    finally:
        sink._buffer.close()  # noqa: SLF001 - `terminate` leaves it open where its own call fails


def _info(blob: Any) -> ObjectInfo:
    return ObjectInfo(blob.bucket.name, blob.name, int(blob.generation), int(blob.size or 0), blob.time_created)
