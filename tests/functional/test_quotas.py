"""Quotas and breakers with everything real around them: contention on Firestore, sandboxes that count, an engine that waits."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from infra.local.emulators.__main__ import Emulators
from infra.local.ports import Ports, free_base
from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Chunk, DeliveryPlan, Mode, Runtime
from shared.connectors._quota import Limit, Need, NoQuota, Quota
from shared.connectors.google_sheets import Config as SheetsConfig
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.connector import GoogleSheetsConnector
from shared.connectors.power_bi import Config as PowerBIConfig
from shared.connectors.power_bi.connector import PowerBIConnector
from shared.errors import VendorUnavailableError
from shared.ports import Query
from shared.services.breakers import Breakers
from shared.services.connectors import Connectors
from shared.services.quotas import Quotas, path_of
from shared.stores.clock import SystemClock
from shared.stores.firestore import FirestoreDocuments
from tests.conformance.sandboxes.conftest import sandboxes, vendors
from tests.fakes.connector import InMemoryConnector
from tests.fakes.stores import InMemoryDocuments
from tests.functional.conftest import World
from tests.functional.test_exports import EXPORT

__all__ = ["sandboxes", "vendors"]  # fixtures


@pytest.fixture(scope="module")
def firestore_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    ports = Ports(free_base())
    running = Emulators(tmp_path_factory.mktemp("emulators"), ports.base, frozenset({"firestore"}))
    yield ports
    running.stop()


def test_four_instances_contend_on_firestore_and_never_take_more_than_the_window(
    firestore_port: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_port.address("firestore"))
    limit = Limit("google_sheets", "user", "a@b", 60, 60.0, "writes")
    documents = FirestoreDocuments(f"test-{uuid.uuid4().hex[:12]}", "(default)")
    taken: list[str] = []
    ends: list[str] = []
    started = time.monotonic()

    def work(name: str) -> None:
        quota = Quotas(documents, SystemClock(), name)
        try:
            while True:
                with quota.hold([Need(limit)]):
                    taken.append(name)
        except VendorUnavailableError as error:
            ends.append(error.code)

    threads = [threading.Thread(target=work, args=(f"instance-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    elapsed = time.monotonic() - started
    print(f"\n{len(taken)} calls of 4 instances in {elapsed:.1f} s: {[taken.count(t) for t in sorted(set(taken))]}")
    assert len(taken) == 50
    assert ends == ["quota_wait"] * 4
    found = documents.get(path_of(limit))
    assert found is not None
    assert sum(grant["units"] for grant in found.data["grants"]) == 50


@dataclass
class SandboxTime:
    """The sandboxes' clock, as the connector's: waiting moves both."""

    server: SandboxServer

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.server.clock.time(), UTC)

    def sleep(self, seconds: float) -> None:
        self.server.clock.advance(seconds)


def call_sheets(vendors: SandboxServer, quota: Quota, calls: int) -> int:
    """Make that many calls as a job does: what has to wait comes back later. Returns the answers 429 that the sandbox gave."""
    vendors.clock.advance(120)
    clock, account = SandboxTime(vendors), vendors.accounts.google
    client = SheetsClient(account.spreadsheet_id, account.service_account_key, clock, quota)
    before = refusals(vendors, "google_sheets")
    for _ in range(calls):
        while True:
            try:
                client.get("spreadsheetId")
                break
            except VendorUnavailableError as error:
                clock.sleep(error.retry_after_s or 60.0)
    return refusals(vendors, "google_sheets") - before


def refusals(vendors: SandboxServer, vendor: str) -> int:
    return sum(statuses.get("429", 0) for statuses in vendors.calls(vendor)["routes"].values())


def test_sheets_never_refuses_a_call_that_the_quota_let_through(vendors: SandboxServer) -> None:
    documents = InMemoryDocuments()
    assert call_sheets(vendors, Quotas(documents, SandboxTime(vendors), "one"), 200) == 0


def test_sheets_refuses_calls_without_the_quota(vendors: SandboxServer) -> None:
    assert call_sheets(vendors, NoQuota(), 200) > 0


def push(vendors: SandboxServer, quota: Quota, table: str, rows: int) -> int:
    """Push a table as a job does, as fast as it may. Returns the answers 429 that the sandbox gave."""
    clock, bi, entra = SandboxTime(vendors), vendors.accounts.power_bi, vendors.accounts.entra
    config = PowerBIConfig(tenant_id=entra.tenant_id, client_id=entra.client_id, workspace_id=bi.workspace_id)
    connector = PowerBIConnector(config, {"client_secret": entra.client_secret}, Runtime(clock, quota=quota))
    data = pa.table({"n": pa.array(range(10_000))})
    plan = DeliveryPlan("job-1", table, Mode.REPLACE, data.schema, rows)
    before = refusals(vendors, "power_bi")
    plan = replace(plan, state=connector.open_delivery(plan).begin().state)
    delivery = connector.open_delivery(plan)
    for index in range(rows // 10_000):
        while True:
            try:
                delivery.write(Chunk(index, index * 10_000, data))
                break
            except VendorUnavailableError as error:
                clock.sleep(error.retry_after_s or 60.0)
    assert connector.push_table(plan.state["dataset_id"], table).count() == rows
    return refusals(vendors, "power_bi") - before


def test_power_bi_never_refuses_rows_that_the_quota_let_through(vendors: SandboxServer) -> None:
    started = vendors.clock.time()
    quota = Quotas(InMemoryDocuments(), SandboxTime(vendors), "one")
    assert push(vendors, quota, "with quota", 1_200_000) == 0
    took = timedelta(seconds=vendors.clock.time() - started)
    assert timedelta(hours=1) < took < timedelta(hours=1.2)


def test_power_bi_refuses_rows_without_the_quota(vendors: SandboxServer) -> None:
    assert push(vendors, NoQuota(), "without quota", 1_200_000) > 0


def test_a_refusal_of_the_vendor_reaches_other_instances(vendors: SandboxServer) -> None:
    documents, clock = InMemoryDocuments(), SandboxTime(vendors)
    account = vendors.accounts.google
    config = SheetsConfig(spreadsheet_id=account.spreadsheet_id)
    key = {"service_account_key": account.service_account_key}
    one, other = (
        GoogleSheetsConnector(config, key, Runtime(clock, quota=Quotas(documents, clock, name))) for name in "ab"
    )
    vendors.fault(
        vendor="google_sheets", method="GET", kind="status", status=429, headers={"Retry-After": "120"}, body={}
    )
    assert [check.ok for check in one.test()][:3] == [True, True, False]
    seen = other.test()[2]
    assert not seen.ok
    assert "waiting for quota until" in seen.message
    clock.sleep(120)
    assert other.test()[2].ok


def guarded(registered: World) -> World:
    """The same world with breakers, as bootstrap wires them."""
    stores, vendor = registered.services.stores, registered.vendor
    runtime = Runtime(stores.clock, guard=Breakers(stores.documents, stores.clock).guard)
    opened = Connectors(stores, "bi", runtime, load=lambda config, secrets, runtime: InMemoryConnector(vendor))
    registered.services.__dict__["connectors"] = opened
    return registered


def test_a_job_waits_while_the_breaker_is_open_and_goes_on_after_it(registered: World) -> None:
    world = guarded(registered)
    world.vendor.errors = [("write", VendorUnavailableError("503", retry_after_s=1.0, vendor_status=503))] * 5
    world.call("export", "POST", "/api/bi-connectors/export", EXPORT)
    seen = []
    while world.fakes.tasks.pending:
        world.work_once()
        [job] = world.fakes.documents.query(Query("export_jobs"))
        seen.append((job.data["status"], str(job.data["waiting"] or "").partition("Z: ")[2][:34]))
    assert seen == [
        *[("running", "503")] * 5,
        ("running", "connector 'ymca_sheets' failed too"),
        ("success", ""),
    ]


def test_a_job_that_waits_for_quota_often_shows_it_and_does_not_fail(registered: World) -> None:
    waiting = VendorUnavailableError("waiting for quota until …: writes", code="quota_wait", retry_after_s=55.0)
    registered.vendor.errors = [("write", waiting)] * 12
    registered.call("export", "POST", "/api/bi-connectors/export", EXPORT)
    registered.work_once()
    [job] = registered.fakes.documents.query(Query("export_jobs"))
    assert "waiting for quota until" in job.data["waiting"]
    registered.work()
    [job] = registered.fakes.documents.query(Query("export_jobs"))
    assert job.data["status"] == "success"


def test_a_job_that_gives_up_calls_the_vendor_no_earlier_than_it_asked_for(registered: World) -> None:
    """Ending means to remove the staging, which is a call."""
    busy = VendorUnavailableError("429, come back later", retry_after_s=90.0)
    registered.vendor.errors = [("write", busy)] * 8
    registered.call("export", "POST", "/api/bi-connectors/export", EXPORT)
    for _ in range(8):
        registered.work_once()
    [job] = registered.fakes.documents.query(Query("export_jobs"))
    calls = len(registered.vendor.calls)
    at = registered.fakes.clock.now() + timedelta(seconds=90)
    assert (job.data["status"], job.data["waiting"]) == (
        "running",
        f"until {at:%Y-%m-%dT%H:%M:%SZ}: 429, come back later",
    )
    registered.work_once()
    [job] = registered.fakes.documents.query(Query("export_jobs"))
    assert (job.data["status"], job.data["error"]["code"]) == ("failed", "vendor_unavailable")
    assert registered.vendor.calls[calls:] == ["abandon"]
    assert registered.fakes.clock.now() >= at


def test_jobs_that_met_one_trouble_come_back_at_different_times(registered: World) -> None:
    times = []
    for number in range(6):
        registered.vendor.errors = [("preflight", VendorUnavailableError("503"))] * 3
        registered.call("export", "POST", "/api/bi-connectors/export", {**EXPORT, "table_name": f"table_{number}"})
        for _ in range(3):
            registered.work_once()
        now, task = registered.fakes.clock.now(), registered.fakes.tasks.pending.pop()
        assert task.at is not None
        times.append((task.at - now).total_seconds())
    assert len(set(times)) == 6
    assert all(0 <= wait_s <= 20 for wait_s in times)
