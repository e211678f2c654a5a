"""The run that is validated: local sandboxes with their Postgres, and who sent what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infra.local.sandboxes.server import SandboxServer
from infra.local.try_it import connector_bodies
from shared import connectors as kinds
from shared.connectors._base import Connector, Runtime
from tests.conformance.connectors.looker_support import LOOKER


class QuickClock:
    """Real time, without waiting."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        """Return at once."""


@dataclass(frozen=True)
class Sent:
    """One line of the traffic log, the phase it belongs to, and whether one of our connectors sent it."""

    entry: Mapping[str, Any]
    phase: str
    is_ours: bool


@dataclass
class Recorder:
    """Collects what is sent in named phases."""

    server: SandboxServer
    sent: list[Sent] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, *, is_ours: bool) -> Iterator[None]:
        """Everything sent within belongs to this phase; faults and knobs are reset afterwards."""
        before = len(list(self.server.traffic.read()))
        yield
        self.server.reset()
        found = list(self.server.traffic.read())[before:]
        assert found, f"phase {name!r} sent nothing"
        self.sent += [Sent(entry, name, is_ours) for entry in found]

    def connector(self, kind: str, **changes: Any) -> Connector:
        """A live connector as `register` would make it from the demo account; `changes` override fields and secrets."""
        body = {**connector_bodies(self.server.accounts)[kind], **changes}
        declared = kinds.DECLARATIONS[kind]
        secrets = {name: body.pop(name) for name in declared.SECRET_FIELDS}
        del body["name"]
        config = msgspec.convert(body, type=declared.Config)
        return kinds.load(config, secrets, Runtime(QuickClock(), ("127.0.0.1",), looker=LOOKER))
