"""Services with other collaborators than `shared.bootstrap` would take, and requests on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.bootstrap import Services
from shared.config import read_settings
from shared.connectors._base import Mode, Runtime
from shared.models import ExportRequest
from shared.ports import Stores
from shared.services.connectors import Connectors
from tests.campaigns.points import Points, pointed
from tests.campaigns.simulated_target import SimulatedConnector, SimulatedDelivery, SimulatedVendor

SETTINGS = {
    "ENVIRONMENT": "local",
    "GOOGLE_CLOUD_PROJECT": "fake",
    "LOCATION": "us-central1",
    "REGISTER_URL": "http://register",
    "EXPORT_URL": "http://export",
    "EXPORT_WORKER_URL": "http://worker",
    "REFRESH_URL": "http://refresh",
    "TASKS_SERVICE_ACCOUNT": "tasks@fake.iam",
    "SCHEDULER_SERVICE_ACCOUNT": "scheduler@fake.iam",
    "TABLES_BUCKET": "tables",
    "FROZEN_BUCKET": "frozen",
    "EXPORTS_BUCKET": "exports",
}
NAME = "sheets"


@dataclass(frozen=True)
class Collaborators:
    """What a campaign can hand in instead of the usual: stores wrapped once more, another delivery, a vendor that drops rows."""

    stores: Callable[[Stores], Stores] = lambda stores: stores
    delivery: type[SimulatedDelivery] = SimulatedDelivery
    drops: int = 0


def services_on(stores: Stores, vendor: SimulatedVendor, points: Points, collaborators: Collaborators) -> Services:
    """Return the real services and engine on these stores, with points at every port and every vendor call."""
    vendor.drops = collaborators.drops
    stores = pointed(collaborators.stores(stores), points)
    services = Services(read_settings(SETTINGS), stores)
    connector = SimulatedConnector(vendor, points, collaborators.delivery)
    services.__dict__["connectors"] = Connectors(  # what bootstrap would have built
        stores, "bi", Runtime(stores.clock), load=lambda config, secrets, runtime: connector
    )
    return services


def register_target(services: Services, body: dict[str, Any] | None = None, name: str = NAME) -> None:
    """Register a connector as a person would; by default a spreadsheet."""
    sheet = {"connector_type": "google_sheets", "spreadsheet_id": "one", "service_account_key": {"client_email": "a@b"}}
    body = body or sheet
    config = msgspec.convert(body, kinds.DECLARATIONS[body["connector_type"]].Config)
    services.connectors.register(name, config, None)


def request(
    mode: Mode, rows: list[dict[str, Any]] | None, name: str = NAME, table: str = "people", *, max_shrink: float = 1.0
) -> ExportRequest:
    """Return an export of these rows, or of the file that `table` names; by default whatever shrinks is let through."""
    columns = {"id": "int64", "name": "string"} if rows == [] else None
    wanted = {"connector_name": name, "table_name": table, "mode": mode, "rows": rows, "columns": columns}
    return msgspec.json.decode(msgspec.json.encode({**wanted, "max_shrink": max_shrink}), type=ExportRequest)
