"""The demo account of the Power BI sandbox, and a delivery run as the export engine runs it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from infra.local.sandboxes.server import SandboxServer
from shared.connectors import power_bi
from shared.connectors._base import Begun, Chunk, DeliveryPlan, Mode, Published, Runtime
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi.connector import PowerBIConnector
from shared.errors import (
    VerificationError,
)


class FastClock:
    """Real time; sleeping is counted and moves the sandboxes' clock instead."""

    def __init__(self, server: SandboxServer) -> None:
        self.server, self.slept_s = server, 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.server.clock.advance(seconds)


class Account:
    """The demo account, and connectors of it; every `table` name is used by one test only."""

    def __init__(self, server: SandboxServer) -> None:
        self.server, self.clock = server, FastClock(server)

    def connect(self, secret: str | None = None, **changes: Any) -> PowerBIConnector:
        accounts = self.server.accounts
        config = {
            "tenant_id": accounts.entra.tenant_id,
            "client_id": accounts.entra.client_id,
            "workspace_id": accounts.power_bi.workspace_id,
            "refresh_dataset_id": accounts.power_bi.refresh_dataset_id,
            **changes,
        }
        secrets = {"client_secret": secret or accounts.entra.client_secret}
        return PowerBIConnector(power_bi.Config(**config), secrets, Runtime(self.clock))

    def held(self, begun: Begun) -> list[dict[str, Any]]:
        """All rows that the vendor holds, read through its API."""
        table = self.connect().push_table(begun.target["dataset_id"], begun.target["table"])
        return [row for page in table.read_rows(list(begun.target["columns"])) for row in page]

    def calls(self) -> Counter[str]:
        """Calls by route so far."""
        routes = self.server.calls("power_bi")["routes"]
        return Counter({route: sum(statuses.values()) for route, statuses in routes.items()})


def plan_of(name: str, table: pa.Table, mode: Mode = Mode.REPLACE, **options: Any) -> DeliveryPlan:
    return DeliveryPlan("job-1", name, mode, table.schema, table.num_rows, options=options)


def deliver(
    account: Account, plan: DeliveryPlan, table: pa.Table, *, remembered: Begun | None = None, crash_after: int = -1
) -> tuple[Begun, Published]:
    """Run a delivery as the engine does. With `crash_after`, another process repeats that chunk and goes on."""
    plan = replace(plan, target=remembered.target if remembered else {})
    first = account.connect().open_delivery(plan)
    first.preflight()
    begun = first.begin()
    expected = first.fingerprint(table.slice(0, 0))
    kept = json.loads(json.dumps({"state": dict(begun.state), "target": dict(begun.target)}))
    plan = replace(plan, state=kept["state"], target=kept["target"])
    delivery = account.connect().open_delivery(plan)
    for index, start in enumerate(range(0, table.num_rows, delivery.chunk_rows)):
        chunk = Chunk(index, start, table.slice(start, delivery.chunk_rows))
        found = Fingerprint.from_json(json.loads(json.dumps(delivery.fingerprint(chunk.table).to_json())))
        delivery.write(chunk)
        if index == crash_after:
            delivery = account.connect().open_delivery(plan)
            assert delivery.write(chunk).sent_bytes == 0
        expected += found
    problems = expected.differences(delivery.read_back())
    if problems:
        raise VerificationError("; ".join(problems))
    return begun, delivery.publish()


def as_rows(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """Source rows as the vendor shows them, as a multiset."""

    def shown(value: Any) -> Any:
        if isinstance(value, datetime):
            text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
            return text.removesuffix(".000")
        if isinstance(value, date):
            return f"{value.isoformat()}T00:00:00"
        return Decimal(repr(value)) if isinstance(value, float) else value

    return Counter(tuple(shown(value) for value in row.values()) for row in table.to_pylist())


def as_multiset(rows: list[Mapping[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in rows)
