"""A whole configuration, applied at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from shared.models._base import ErrorInfo


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What there shall be. A section that is left out is left alone, with `prune` too.

    Attributes:
        connectors: bodies of `register`, credentials only as `credentials_secret`.
        tables: bodies of `PUT …/tables/{name}`, each with its `name`.
        schedules: bodies of `POST …/schedules`, each with a `name` that tells it apart in this configuration.
    """

    connectors: list[dict[str, Any]] | None = None
    tables: list[dict[str, Any]] | None = None
    schedules: list[dict[str, Any]] | None = None


class Action(StrEnum):
    """What an item needs."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    DELETE = "delete"


class ItemOutcome(StrEnum):
    """What became of an item: `planned` in a dry run; `skipped` because another item of the configuration is wrong."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class AppliedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One connector, table or schedule. `changes` names the fields that differ; `action` is null where the item is wrong."""

    kind: str
    name: str
    action: Action | None
    outcome: ItemOutcome
    changes: list[str] = []
    error: ErrorInfo | None = None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The plan, or what was done. `ok` is false if any item failed; then each item says what became of it."""

    ok: bool
    dry_run: bool
    items: list[AppliedItem]
