"""Notices, and the channels that they are sent to."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec


class ChannelType(StrEnum):
    """In which form a channel takes notices."""

    WEBHOOK = "webhook"
    SLACK = "slack"


class ChannelBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where notices go. Both members are kept in Secret Manager alone.

    Attributes:
        url: where they are sent by POST; for Slack the URL of an incoming webhook, which is itself a secret.
        secret: what signs a webhook's notices; for `webhook` only, and required there.
    """

    type: ChannelType
    url: Annotated[str, msgspec.Meta(min_length=12, max_length=2_000)]
    secret: Annotated[str, msgspec.Meta(min_length=32, max_length=256)] | None = None

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.type is ChannelType.WEBHOOK):
            raise ValueError(
                "a webhook needs a secret of 32 characters or more (openssl rand -hex 32), to sign what is sent; "
                "slack takes none, its URL is the secret"
            )


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as it is shown: of its URL only the host."""

    name: str
    type: ChannelType
    host: str
    created_at: datetime
    updated_at: datetime


class ChannelPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of channels by name."""

    channels: list[Channel]
    next_page_token: str | None = None


class ChannelTest(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a notice that was sent to see whether the channel takes it."""

    channel: str
    ok: bool
    latency_ms: float
    tested_at: datetime
    message: str | None = None


class DeliveryStatus(StrEnum):
    """How a notice stands with one channel. All but `waiting` are final."""

    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


class NoticeDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One notice on its way to one channel.

    Attributes:
        next_at: when it is tried (again), while it waits.
        reason: why the last try did not succeed, with what to do.
    """

    status: DeliveryStatus
    attempts: int = 0
    next_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state that people are to hear of.

    Attributes:
        event: `<noun>.<state>`, e.g. `freshness.late`.
        subject: what changed, e.g. its `schedule_id`.
        deliveries: by channel; those channels that there were when it was first sent.
    """

    id: str
    event: str
    at: datetime
    message: str
    subject: dict[str, Any]
    deliveries: dict[str, NoticeDelivery] = {}


class NoticePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of notices, newest first."""

    notices: list[Notice]
    next_page_token: str | None = None
