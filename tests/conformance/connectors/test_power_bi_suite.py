"""Power BI through the suite of all connectors."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors.power_bi.connector import PowerBIConnector
from tests.conformance.connectors.power_bi_account import Account
from tests.conformance.connectors.suite import SCHEMA, ConnectorSuite, Row
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")
COLUMNS = [{"name": name} for name in SCHEMA.names]


class PowerBIRig:
    """The demo account in an empty workspace; rows are read page by page through executeQueries."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def connector(self) -> PowerBIConnector:
        return self._account.connect()

    def rows(self, table_name: str) -> list[Row]:
        (dataset_id,) = self.connector._workspace.push_datasets_named(table_name)
        table = self.connector.push_table(dataset_id, table_name)
        return [self._typed(row) for page in table.read_rows(COLUMNS, page_rows=25) for row in page]

    def _typed(self, row: dict[str, Any]) -> Row:
        """Dates and times come as text, dates at midnight, and numbers as exact decimals."""
        joined, seen, hours = row["joined"], row["seen"], row["hours"]
        row["joined"] = joined and dt.datetime.fromisoformat(joined).date()
        row["seen"] = seen and dt.datetime.fromisoformat(seen)
        row["hours"] = None if hours is None else float(hours)
        return row


class TestPowerBI(ConnectorSuite):
    kind = "power_bi"

    @pytest.fixture
    def rig(self, vendors: SandboxServer) -> PowerBIRig:
        vendors.clock.advance(61)  # past the 120 queries a minute of the tests before
        account = Account(vendors)
        workspace = account.connect()._workspace
        for dataset in workspace.datasets():
            if dataset["addRowsAPIEnabled"]:
                workspace.safe("DELETE", f"datasets/{dataset['id']}", "emptying the workspace")
        return PowerBIRig(account)
