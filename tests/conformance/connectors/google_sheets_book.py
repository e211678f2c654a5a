"""A spreadsheet of the sandbox and a connector to it, for the connector's conformance tests."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest
import requests

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Chunk, DeliveryPlan, Mode, Published, Runtime
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.google_sheets import Config
from shared.connectors.google_sheets.connector import GoogleSheetsConnector
from shared.connectors.google_sheets.delivery import SheetsDelivery

PEOPLE = pa.table({"name": ["Ada", "Bob", None], "n": pa.array([1, None, 3], pa.int64())})
OTHERS = pa.table({"name": ["Cy"], "n": pa.array([9], pa.int64())})


class QuickClock:
    """Real time, without waiting."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Book:
    """One spreadsheet of the sandbox, seen from its admin side, and a connector to it."""

    server: SandboxServer
    spreadsheet_id: str
    clock: QuickClock

    def admin(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.server.admin_url}/google_sheets/{path}"
        answer = requests.request(method, url, json=body or None, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    @functools.cached_property
    def connector(self) -> GoogleSheetsConnector:
        key = self.server.accounts.google.service_account_key
        config = Config(spreadsheet_id=self.spreadsheet_id)
        return GoogleSheetsConnector(config, {"service_account_key": key}, Runtime(self.clock))

    def tab(self, title: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin("GET", f"spreadsheets/{self.spreadsheet_id}/tabs/{title}")
        return found

    def values(self, title: str) -> list[list[Any]]:
        found: list[list[Any]] = self.tab(title)["values"]
        return found

    def tabs(self) -> list[str]:
        titles: list[str] = self.admin("GET", f"spreadsheets/{self.spreadsheet_id}")["tabs"]
        return titles

    def type(self, where: str, values: list[list[Any]]) -> None:
        self.admin("POST", f"spreadsheets/{self.spreadsheet_id}/type", range=where, values=values)

    def api(self, method: str, path: str, **options: Any) -> Any:
        """A call of somebody else with the same rights."""
        email = self.server.accounts.google.service_account_key["client_email"]
        token = self.server.tokens.issue("google", email, "https://www.googleapis.com/auth/spreadsheets", 3600)
        url = f"https://sheets.googleapis.com/v4/spreadsheets/{self.spreadsheet_id}{path}"
        answer = requests.request(method, url, headers={"Authorization": f"Bearer {token}"}, timeout=60, **options)
        assert answer.ok, answer.text
        return answer.json()

    def last_batch(self) -> dict[str, Any]:
        """The body of the last spreadsheets.batchUpdate that the sandbox saw."""
        lines = (self.server.data / "sandboxes" / "traffic.jsonl").read_text().splitlines()
        calls = (json.loads(line) for line in reversed(lines))
        body: dict[str, Any] = next(call["request_body"] for call in calls if call["path"].endswith(":batchUpdate"))
        return body

    def plan(self, table: pa.Table, job: str = "job-1", mode: Mode = Mode.REPLACE, **fields: Any) -> DeliveryPlan:
        return DeliveryPlan(job, "orders", mode, table.schema, table.num_rows, **fields)

    def open(self, plan: DeliveryPlan) -> SheetsDelivery:
        return self.connector.open_delivery(plan)

    def other_process(self) -> Book:
        """The same spreadsheet, and nothing else remembered."""
        return replace(self)

    def stage(self, plan: DeliveryPlan, table: pa.Table) -> tuple[DeliveryPlan, Fingerprint, Fingerprint]:
        """Everything before publish, a new delivery object for each step; returns the plan with state and both fingerprints."""
        self.open(plan).preflight()
        plan = replace(plan, state=self.open(plan).begin().state)
        expected, rows = Fingerprint(0, 0), self.open(plan).chunk_rows
        for index, first in enumerate(range(0, table.num_rows, rows)):
            part = table.slice(first, rows)
            expected = expected + self.open(plan).fingerprint(part)
            self.open(plan).write(Chunk(index, first, part))
        return plan, expected, self.open(plan).read_back()

    def deliver(self, table: pa.Table, job: str = "job-1", mode: Mode = Mode.REPLACE, **fields: Any) -> Published:
        plan, expected, found = self.stage(self.plan(table, job, mode, **fields), table)
        assert expected.differences(found) == []
        return self.open(plan).publish()


@pytest.fixture
def make(vendors: SandboxServer) -> Iterator[Callable[..., Book]]:
    vendors_admin = Book(vendors, "", QuickClock())
    vendors_admin.admin("POST", "quota/reset")
    made = []
    email = vendors.accounts.google.service_account_key["client_email"]

    def build(*tabs: Mapping[str, Any]) -> Book:
        chosen = list(tabs) or [{"title": "Dashboard", "rows": 10, "columns": 5}]
        answer = vendors_admin.admin("POST", "spreadsheets", title="Numbers", tabs=chosen, share={email: "writer"})
        made.append(answer["id"])
        return Book(vendors, answer["id"], QuickClock())

    yield build
    for one in made:
        vendors_admin.admin("DELETE", f"spreadsheets/{one}")


@pytest.fixture
def book(make: Callable[..., Book]) -> Book:
    return make()
