"""Channels: where notices go. Their URLs and secrets lie in Secret Manager alone; a document names the version and the host."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from shared import audit
from shared.connectors._outgoing import Outgoing
from shared.connectors._webhook import post
from shared.errors import BIConnectorsError, ConflictError, PreconditionFailedError
from shared.models import Channel, ChannelBody, ChannelPage, ChannelTest, ChannelType, new_id
from shared.ports import Document, Query, Stores, Transaction
from shared.redaction import remember
from shared.services.credentials import delete_unless_named
from shared.services.notice_forms import slack, webhook
from shared.services.records import Page, from_record, list_page, require, to_record

LONG_PATH = 16  # our choice: shorter ones are words such as /hooks, that would blank out ordinary text
MOST = 20  # our choice: each notice's document keeps a line for each channel


class Channels:
    """The use cases around `channels/{name}`. `outgoing` says which hosts may be called."""

    def __init__(self, stores: Stores, prefix: str, outgoing: Outgoing) -> None:
        self._stores = stores
        self._prefix = prefix
        self._outgoing = outgoing

    def put(self, name: str, body: ChannelBody, version: str | None = None) -> tuple[Document, bool]:
        """Create or replace; returns the document and whether it is new. The former URL and secret are destroyed.

        Raises:
            TargetError: the URL may not be called.
            ConflictError: code `too_many_channels`.
            PreconditionFailedError: the channel is not the one of `version` any more, or changed in this moment.
        """
        host = self._outgoing.require(body.url)
        now = self._stores.clock.now()
        present = self._stores.documents.get(f"channels/{name}")
        _require_version(present, version, name)
        if present is None and len(self.made()) >= MOST:
            raise ConflictError(
                f"there are {MOST} channels already, the most there can be; delete one first", code="too_many_channels"
            )
        secrets = {"url": body.url, **({"secret": body.secret} if body.secret else {})}
        kept = present is not None and self._read_or_none(present) == secrets
        credentials = present.data["credentials"] if present and kept else self._add(name, secrets)

        def work(tx: Transaction) -> Document | None:
            before = tx.get(f"channels/{name}")
            if kept and (before is None or present is None or before.version != present.version):
                raise PreconditionFailedError(f"channel {name!r} was changed in this moment; send it again")
            _require_version(before, version, name)
            created_at = before.data["created_at"] if before else now
            channel = Channel(name=name, type=body.type, host=host, created_at=created_at, updated_at=now)
            after = to_record(channel, credentials=credentials)
            tx.set(f"channels/{name}", after)
            former = before.data if before else None
            audit.record(tx, now, "channel.put", f"channels/{name}", before=former, after=after)
            return before

        before = self._stores.documents.transact(work)
        if before is not None and before.data["credentials"] != credentials:
            self._stores.secrets.destroy(before.data["credentials"])
        return self.get(name), before is None

    def get(self, name: str) -> Document:
        return require(self._stores.documents, f"channels/{name}", f"channel {name!r}")

    def made(self) -> dict[str, datetime]:
        """Return the names of all channels, and when each was made."""
        return {item.data["name"]: item.data["created_at"] for item in self._stores.documents.query(Query("channels"))}

    def list(self, page: Page) -> ChannelPage:
        found, token = list_page(self._stores.documents, Query("channels"), page)
        return ChannelPage(channels=[from_record(Channel, item.data) for item in found], next_page_token=token)

    def delete(self, name: str, version: str | None = None) -> None:
        """Delete a channel with its URL and secret; what still waits to be sent to it ends. Raises `PreconditionFailedError`."""
        self.get(name)
        now = self._stores.clock.now()

        def work(tx: Transaction) -> None:
            before = tx.get(f"channels/{name}")
            _require_version(before, version, name)
            tx.delete(f"channels/{name}")
            audit.record(tx, now, "channel.delete", f"channels/{name}", before=before.data if before else None)

        self._stores.documents.transact(work)
        delete_unless_named(self._stores, self._secret_id(name))

    def test(self, name: str) -> ChannelTest:
        """Send a notice of the event `channel.test`, once; a refusal is part of the result, not an error."""
        document, now = self.get(name), self._stores.clock.now()
        words = f"a test: notices reach the channel {name!r}"
        notice = {"id": new_id(now), "event": "channel.test", "at": now, "message": words, "subject": {"channel": name}}
        started, failure = time.monotonic(), None
        try:
            self.send(document, notice)
        except BIConnectorsError as error:
            failure = error.message
        latency_ms = round((time.monotonic() - started) * 1000, 1)
        outcome = "failed" if failure else "success"
        self._stores.documents.transact(
            lambda tx: audit.record(tx, now, "channel.test", f"channels/{name}", outcome=outcome)
        )
        return ChannelTest(channel=name, ok=failure is None, message=failure, latency_ms=latency_ms, tested_at=now)

    def send(self, document: Document, notice: Mapping[str, Any]) -> None:
        """Send a notice to a channel, once. Raises as `_webhook.post` does, and `CredentialError`."""
        secrets = self._read(document)
        now = self._stores.clock.now()
        if document.data["type"] == ChannelType.SLACK.value:
            body, headers = slack(notice)
        else:
            body, headers = webhook(notice, secrets["secret"], now)
        post(self._outgoing, secrets["url"], body, headers, now)

    def _add(self, name: str, secrets: Mapping[str, str]) -> str:
        _remember(secrets)
        return self._stores.secrets.add(self._secret_id(name), json.dumps(secrets, sort_keys=True).encode())

    def _read(self, document: Document) -> dict[str, str]:
        secrets: dict[str, str] = json.loads(self._stores.secrets.read(document.data["credentials"]))
        _remember(secrets)
        return secrets

    def _read_or_none(self, document: Document) -> dict[str, str] | None:
        try:
            return self._read(document)
        except BIConnectorsError:
            return None  # gone or forbidden: a new version is made

    def _secret_id(self, name: str) -> str:
        return f"{self._prefix}-channel-{name}"


def _remember(secrets: Mapping[str, str]) -> None:
    """Keep a channel's secrets out of every text from here on; also the part behind the host, which a receiver may repeat."""
    parts = urlsplit(secrets["url"])
    behind = parts.path + (f"?{parts.query}" if parts.query else "")
    remember({**secrets, **({"behind": behind} if len(behind) >= LONG_PATH else {})})


def _require_version(found: Document | None, version: str | None, name: str) -> None:
    if version is not None and (found is None or found.version != version):
        raise PreconditionFailedError(f"channel {name!r} changed since you read it; read it again")
