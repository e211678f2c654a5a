"""The Looker connector: loads the warehouse behind a Looker connection, and triggers what Looker computes from it.

Looker has no upload API; it reads databases in place. Contract: the Looker API 4.0 OpenAPI document
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import Any, ClassVar

from shared.connectors import looker
from shared.connectors._base import Check, Delivery, DeliveryPlan, Json, Runtime, VendorRefresh
from shared.connectors._outgoing import guarded_session
from shared.connectors.looker.checks import ConnectionTest
from shared.connectors.looker.client import LookerClient
from shared.connectors.looker.refresh import LookerRefresh
from shared.connectors.looker.warehouse import Warehouse
from shared.errors import UnsupportedError


class LookerConnector:
    """One registered Looker instance with its warehouse; no call is made before a method asks for one."""

    kind: ClassVar[str] = looker.KIND

    def __init__(self, config: looker.Config, secrets: Mapping[str, Any], runtime: Runtime) -> None:
        self._config = config
        self._secrets = secrets
        self._runtime = runtime

    def test(self) -> list[Check]:
        """See `checks.ConnectionTest`."""
        return ConnectionTest(self._config, self._client, self._warehouse).run()

    def open_delivery(self, plan: DeliveryPlan) -> Delivery:
        """Raises `UnsupportedError` for a mode that `CAPABILITIES` does not name."""
        if plan.mode not in looker.CAPABILITIES.modes:
            offered = ", ".join(sorted(mode.value for mode in looker.CAPABILITIES.modes))
            raise UnsupportedError(f"a Looker warehouse takes {offered}, not {plan.mode.value}")
        from shared.connectors.looker.delivery import PostgresDelivery

        return PostgresDelivery(plan, self._warehouse, self._runtime.clock, self._sign_in)

    def _sign_in(self) -> object:
        # As text: the SDK builds the code that reads a User anew for each answer, which costs more than all else of it.
        return self._client.call("signing in", lambda sdk: sdk.get("/user", str, query_params={"fields": "id"}))

    def start_refresh(self, run_id: str, options: Mapping[str, Json]) -> VendorRefresh:
        """Trigger what `options["trigger"]` names, by default the datagroup if one is configured, else the PDT."""
        return self._refresh.start(run_id, options.get("trigger"))

    def find_refresh(self, run_id: str, options: Mapping[str, Json], since: datetime) -> None:  # contract
        """Always None: a datagroup is triggered again without harm. Looker lists no builds, so a PDT whose start got no answer is
        built a second time: the table is right, the work is done twice."""

    def poll_refresh(self, vendor_id: str) -> VendorRefresh:
        return self._refresh.poll(vendor_id)

    def cancel_refresh(self, vendor_id: str) -> None:
        self._refresh.cancel(vendor_id)

    @cached_property
    def _client(self) -> LookerClient:
        config = self._config
        runtime, secret = self._runtime, self._secrets["client_secret"]
        session = partial(guarded_session, "looker", runtime.looker)
        return LookerClient(config.base_url, config.client_id, secret, runtime.clock, session, runtime.quota)

    @cached_property
    def _warehouse(self) -> Warehouse:
        return Warehouse(
            self._config.warehouse, self._secrets["warehouse_password"], tuple(self._runtime.warehouse_hosts)
        )

    @cached_property
    def _refresh(self) -> LookerRefresh:
        return LookerRefresh(self._config, self._client, self._runtime.clock)
