"""Whole jobs of the engine on the Power BI sandbox: what one of them leaves is known to the next, through whatever connector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Runtime
from shared.connectors.power_bi import Config
from shared.connectors.power_bi.connector import PowerBIConnector
from shared.services.connectors import Connectors
from tests.conformance.connectors.power_bi_account import Account
from tests.conformance.sandboxes.conftest import sandboxes, vendors
from tests.functional.conftest import World, make_world, world

__all__ = ["make_world", "sandboxes", "vendors", "world"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

GOOD, MORE = 12_000, 25_000
"""Rows of a first replace, and of an append in three chunks."""
MIDDLE = 2
"""POSTs of rows that pass before the middle of a job: the fence, which has none, and the first chunk."""


class Office:
    """The services on fakes, with real connectors to the sandbox's account."""

    def __init__(self, world: World, server: SandboxServer) -> None:
        self.world, self.server, self.account = world, server, Account(server)
        runtime = Runtime(self.account.clock)

        def load(config: msgspec.Struct, secrets: Mapping[str, Any], _: Runtime) -> PowerBIConnector:
            assert isinstance(config, Config)
            return PowerBIConnector(config, secrets, runtime)

        world.services.__dict__["connectors"] = Connectors(world.services.stores, "bi", runtime, load=load)
        for name, count in (("good", GOOD), ("more", MORE)):
            lines = "".join(f"{number},{name} {number}\n" for number in range(count))
            world.fakes.objects.put("tables", f"{name}.csv", f"n,text\n{lines}".encode())

    def register(self, name: str) -> None:
        accounts = self.server.accounts
        body = {
            "name": name,
            "connector_type": "power_bi",
            "tenant_id": accounts.entra.tenant_id,
            "client_id": accounts.entra.client_id,
            "workspace_id": accounts.power_bi.workspace_id,
            "client_secret": accounts.entra.client_secret,
        }
        assert self.world.call("register", "POST", "/api/bi-connectors/register", body).status == 201

    def delete(self, name: str) -> None:
        assert self.world.call("register", "DELETE", f"/api/bi-connectors/{name}").status == 204

    def export(self, connector: str, rows: str, mode: str, table: str) -> dict[str, Any]:
        """Run an export to its end; return the job as it is shown."""
        body = {
            "connector_name": connector,
            "table_name": table,
            "mode": mode,
            "source": {"uri": f"gs://tables/{rows}.csv"},
        }
        answer = self.world.call("export", "POST", "/api/bi-connectors/export", body)
        assert answer.status == 202, answer.body
        self.world.work()
        shown: dict[str, Any] = self.world.call(
            "export", "GET", f"/api/bi-connectors/export-jobs/{answer.body['id']}"
        ).body
        return shown

    def refuse_rows(self, after: int, times: int = -1) -> None:
        refusal = {"status": 400, "body": {"error": {"code": "Refused"}}, "times": times}
        self.server.fault(vendor="power_bi", kind="status", method="POST", path="/rows$", skip=after, **refusal)

    def count(self, table: str) -> int:
        connector = self.account.connect()
        (dataset_id,) = connector._workspace.push_datasets_named(table)
        return connector.push_table(dataset_id, table).count()


@pytest.fixture
def office(world: World, vendors: SandboxServer) -> Office:
    vendors.clock.advance(3_600)  # past the windows of the tests before
    made = Office(world, vendors)
    made.register("one")
    return made


@pytest.mark.parametrize("way", ["another connector", "the same one, registered again"])
def test_an_append_that_failed_half_way_is_known_through(office: Office, way: str) -> None:
    table = f"known through {way.partition(',')[0]}"
    assert office.export("one", "good", "replace", table)["status"] == "success"
    office.refuse_rows(after=MIDDLE)
    failed = office.export("one", "more", "append", table)
    office.server.reset()
    assert (failed["status"], office.count(table)) == ("failed", GOOD + 10_000)
    name = "other"
    if way != "another connector":
        office.delete("one")
        name = "one"
    office.register(name)
    again = office.export(name, "more", "append", table)
    assert (again["status"], again["error"]["code"]) == ("failed", "table_unfinished")
    assert office.count(table) == GOOD + 10_000
    assert office.export(name, "good", "replace", table)["status"] == "success"
    assert office.export(name, "more", "append", table)["status"] == "success"
    assert office.count(table) == GOOD + MORE


def test_a_replace_that_fails_half_way_is_repaired_with_the_append_before_it(office: Office) -> None:
    assert office.export("one", "good", "replace", "repaired whole")["status"] == "success"
    assert office.export("one", "more", "append", "repaired whole")["status"] == "success"
    office.refuse_rows(after=MIDDLE, times=1)
    failed = office.export("one", "more", "replace", "repaired whole")
    assert (failed["status"], failed["repair_error"]) == ("failed", None)
    repair = office.world.call("export", "GET", f"/api/bi-connectors/export-jobs/{failed['repair_job_id']}").body
    assert (repair["status"], repair["record_count"]) == ("success", GOOD + MORE)
    assert office.count("repaired whole") == GOOD + MORE
    assert office.export("one", "good", "append", "repaired whole")["status"] == "success"
    assert office.count("repaired whole") == GOOD + MORE + GOOD
