"""Links to kept files, for people and programs that send no identity, good for a few minutes.

A random word of this service's own, which works everywhere; or, where it is asked for, a URL of Cloud Storage that IAM signs.
That one needs a service account that may sign, which local credentials are not, and no call of this service when it is used.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import BinaryIO

from shared import audit
from shared.errors import NotFoundError
from shared.models import SCHEMA, FileLink
from shared.ports import Stores, Transaction
from shared.services.rejects import RejectOperations

LIFETIME = timedelta(minutes=10)  # our choice: long enough to start a download, and to hand the link to a person


class FileLinks:
    """The word itself is stored nowhere; its document is found by its digest."""

    def __init__(self, stores: Stores, files: RejectOperations, export_url: str) -> None:
        self._stores = stores
        self._files = files
        self._export_url = export_url.rstrip("/")

    def make(self, job_id: str, caller: str, *, signed: bool = False) -> FileLink:
        """Return a new link, `signed` by IAM if asked for.

        Raises:
            NotFoundError: no such job, or it kept no file.
            UnsupportedError, CredentialError: see `Objects.signed_url`.
        """
        info, name = self._files.kept_file(job_id)
        word, now = secrets.token_hex(32), self._stores.clock.now()
        url = self._stores.objects.signed_url(info, name, LIFETIME) if signed else f"{self._export_url}/files/{word}"

        def work(tx: Transaction) -> None:
            if not signed:
                tx.create(_path(word), {"schema": SCHEMA, "job_id": job_id, "expire_at": now + LIFETIME})
            audit.record(tx, now, "job.link_file", f"export_jobs/{job_id}", actor=caller)

        self._stores.documents.transact(work)
        return FileLink(url=url, expires_at=now + LIFETIME)

    def open(self, word: str) -> tuple[BinaryIO, str]:
        """Return the file that a link leads to, and a name for it. Raises `NotFoundError`: no such link, expired, or no file."""
        found = self._stores.documents.get(_path(word))
        if found is None or found.data["expire_at"] <= self._stores.clock.now():
            raise NotFoundError("there is no such link, or it has expired; make a new one", code="link_expired")
        return self._files.file(found.data["job_id"])


def _path(word: str) -> str:
    return f"file_links/{hashlib.sha256(word.encode()).hexdigest()}"
