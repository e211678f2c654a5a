"""Objects on Cloud Storage. API: cloud.google.com/python/docs/reference/storage/latest"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO

from google.api_core import exceptions as google
from google.cloud import storage

from shared.errors import SourceError
from shared.ports import ObjectInfo

CHUNK_BYTES = 4 * 1024 * 1024  # our choice: one ranged read or resumable part; a multiple of 256 KiB as the API asks


class CloudStorageObjects:
    """`Objects` of one project. STORAGE_EMULATOR_HOST is honoured by the client itself."""

    def __init__(self, project: str) -> None:
        self._project = project

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
        except google.NotFound as exc:
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
        except (google.NotFound, google.PreconditionFailed) as exc:
            raise SourceError(
                f"{info.uri} changed after the export was accepted; export again to take the new content",
                code="source_changed",
            ) from exc
        copied = _info(target)  # as the last part of the rewrite was answered
        if copied.size_bytes != info.size_bytes:
            raise SourceError(f"{info.uri} changed while it was copied; export again", code="source_changed")
        return copied

    @contextmanager
    def writer(self, bucket: str, name: str, *, content_type: str) -> Iterator[BinaryIO]:
        blob = self._client.bucket(bucket).blob(name)
        sink = blob.open("wb", chunk_size=CHUNK_BYTES, content_type=content_type, ignore_flush=True)
        try:
            yield sink
        except BaseException:
            sink.terminate()
            raise
        sink.close()

    def delete(self, bucket: str, name: str) -> None:
        try:
            self._client.bucket(bucket).blob(name).delete()
        except google.NotFound:
            pass  # gone already, which is what was asked


@contextmanager
def _reading(bucket: str) -> Iterator[None]:
    try:
        yield
    except google.Forbidden as exc:
        raise SourceError(
            f"the export worker may not read gs://{bucket}; grant its service account roles/storage.objectViewer there",
            code="source_forbidden",
        ) from exc
    except google.NotFound as exc:
        raise SourceError(f"the bucket {bucket!r} does not exist; check its name", code="source_not_found") from exc


def _info(blob: Any) -> ObjectInfo:
    return ObjectInfo(blob.bucket.name, blob.name, int(blob.generation), int(blob.size or 0), blob.time_created)
