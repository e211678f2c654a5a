"""What our connectors do in the validated run: test, deliver every type, refresh, and meet every kind of refusal."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import requests
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from infra.local.accounts import random_entra_secret, service_account_key
from shared.connectors._base import Connector, Mode, RefreshStatus
from shared.errors import (
    BIConnectorsError,
    CredentialError,
    SourceError,
    TargetError,
    UnsupportedError,
    VendorUnavailableError,
)
from shared.pipeline.freezing import Freezing, freeze
from shared.ports import ObjectInfo
from shared.stores.bigquery import BigQueryWarehouse
from shared.stores.cloud_storage import SIGNING_SCOPE, CloudStorageObjects
from tests.conformance.connectors.suite import Export, people
from tests.conformance.contracts.recorder import Recorder
from tests.fakes.stores import InMemoryStores

ALL_TYPES = pa.table(
    {
        "whole": pa.array([1, None, -(2**53)], pa.int64()),
        "small": pa.array([1, None, 2], pa.int32()),
        "unsigned": pa.array([255, None, 0], pa.uint8()),
        "float": pa.array([0.1, None, -1e300], pa.float64()),
        "single": pa.array([0.5, None, 2.0], pa.float32()),
        "ok": pa.array([True, None, False]),
        "text": pa.array(['=1+1 "é😀\n', None, "007"]),
        "day": pa.array([dt.date(2024, 7, 30), None, dt.date(1900, 3, 1)]),
        "at": pa.array([dt.datetime(2013, 1, 1, 5), None, dt.datetime(2000, 2, 29)], pa.timestamp("us")),
        "utc": pa.array([dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
        "money": pa.array([Decimal("12.34"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
    }
)
OTHER_COLUMNS = pa.table({"whole": pa.array([1, 2]), "new": pa.array(["a", None])})


@dataclass
class Live:
    """What the suite's `Export` needs of a rig."""

    connector: Connector


def deliver_everything(recorder: Recorder, kind: str) -> None:
    """Test; replace, replace with other columns, append; repeat calls; abandon."""
    live: Any = Live(recorder.connector(kind))
    assert [check.message for check in live.connector.test() if not check.ok] == []
    target = Export(live, ALL_TYPES, table_name="all types").run()
    Export(live, ALL_TYPES, Mode.APPEND, "all types", target).run()
    name = "all types"
    if kind == "looker":  # in a warehouse columns do not change by themselves
        name, target = "other columns", {}
    target = Export(live, OTHER_COLUMNS, table_name=name, target=target).run()
    Export(live, OTHER_COLUMNS, Mode.APPEND, name, target).begin().write(twice=True).publish()
    Export(live, people(0, 0), table_name="nobody").run()
    repeated = Export(live, people(0, 60), table_name="people").begin().write(twice=True)
    repeated.publish()
    repeated.publish()
    repeated.open().is_published()
    dropped = Export(live, people(0, 9), table_name="dropped").begin().write()
    dropped.open().abandon()
    dropped.open().abandon()


def refuse(error: type[BIConnectorsError], call: Callable[[], Any]) -> None:
    """The call must fail so."""
    with pytest.raises(error):
        call()


def follow(connector: Connector, options: dict[str, Any], pass_time: Callable[[], None]) -> Any:
    """Start a refresh, poll it while it runs, let time pass, return how it ended."""
    started = connector.start_refresh("run-1", options)
    assert connector.poll_refresh(started.vendor_id).status is RefreshStatus.RUNNING
    pass_time()
    return connector.poll_refresh(started.vendor_id).status


def power_bi(recorder: Recorder) -> None:
    server = recorder.server
    server.settings("power_bi", quotas=False)
    deliver_everything(recorder, "power_bi")
    model = recorder.connector("power_bi")

    def later() -> None:
        server.clock.advance(60)

    assert follow(model, {}, later) is RefreshStatus.SUCCEEDED
    assert follow(model, {"type": "Full", "timeout": "02:00:00"}, later) is RefreshStatus.SUCCEEDED
    for outcome in ("Failed", "Disabled", "Cancelled", "TimedOut"):
        server.settings("power_bi", refresh_outcome=outcome)
        for options in ({}, {"type": "Full"}):
            assert follow(model, options, later) in (RefreshStatus.FAILED, RefreshStatus.CANCELLED)
    server.settings("power_bi", refresh_outcome=None)
    running = model.start_refresh("run-2", {"type": "DataOnly"})
    refuse(BIConnectorsError, lambda: model.start_refresh("run-3", {}))
    refuse(BIConnectorsError, lambda: model.start_refresh("run-3", {"type": "Full"}))
    server.clock.advance(3)  # until the history shows it
    model.cancel_refresh(running.vendor_id)
    assert model.poll_refresh(running.vendor_id).status is RefreshStatus.CANCELLED
    standard = model.start_refresh("run-4", {})
    server.clock.advance(3)
    refuse(UnsupportedError, lambda: model.cancel_refresh(standard.vendor_id))
    later()
    server.settings("power_bi", capacity="shared")
    refuse(BIConnectorsError, lambda: model.start_refresh("run-5", {"type": "Full"}))


def power_bi_refused(recorder: Recorder) -> None:
    server = recorder.server
    bad = [
        {"client_secret": random_entra_secret()},
        {"tenant_id": "11111111-2222-3333-4444-555555555555"},
        {"client_id": "11111111-2222-3333-4444-555555555555"},
        {"workspace_id": "11111111-2222-3333-4444-555555555555"},
        {"dataset_id": "11111111-2222-3333-4444-555555555555"},
    ]
    for changes in bad:
        assert not all(check.ok for check in recorder.connector("power_bi", **changes).test())
    model = server.accounts.power_bi.refresh_dataset_id
    wrong: Any = Live(recorder.connector("power_bi", dataset_id=model))
    refuse(TargetError, lambda: Export(wrong, ALL_TYPES).run())
    live: Any = Live(recorder.connector("power_bi"))
    target = Export(live, people(0, 3), table_name="expiring").run()
    server.tokens.expire_all("entra")
    Export(live, people(0, 3), table_name="expiring", target=target).run()
    server.settings("power_bi", sequence_numbers="absent")
    Export(live, people(0, 3), table_name="expiring", target=target).run()
    refuse(BIConnectorsError, lambda: Export(live, people(0, 3), Mode.APPEND, "expiring", target).run())
    server.settings("power_bi", sequence_numbers="reject")
    Export(live, people(0, 3), Mode.APPEND, "expiring", target).begin().write(twice=True).publish()
    server.settings("power_bi", sequence_numbers=None)
    server.fault(vendor="power_bi", kind="lost_reply", method="POST", path="/datasets$")
    Export(live, people(0, 3), table_name="unanswered").run()


def google_sheets(recorder: Recorder) -> None:
    recorder.server.settings("google_sheets", **_unlimited(recorder))
    deliver_everything(recorder, "google_sheets")
    live: Any = Live(recorder.connector("google_sheets"))
    recorder.server.fault(vendor="google_sheets", kind="lost_reply", method="POST", path=":batchUpdate$", skip=1)
    Export(live, people(0, 5), table_name="people").run()
    refuse(UnsupportedError, lambda: live.connector.start_refresh("run-1", {}))


def google_sheets_refused(recorder: Recorder) -> None:
    server = recorder.server
    email = server.accounts.google.service_account_key["client_email"]
    bad: list[dict[str, Any]] = [
        {"service_account_key": service_account_key(email, "local-project")},
        {"service_account_key": service_account_key("nobody@local-project.iam.gserviceaccount.com", "local-project")},
        {"spreadsheet_id": "1nowhere"},
        {"spreadsheet_id": _unshared(recorder)},
    ]
    for changes in bad:
        live: Any = Live(recorder.connector("google_sheets", **changes))
        assert not all(check.ok for check in live.connector.test())
        refuse(BIConnectorsError, Export(live, people(0, 3)).run)
    live = Live(recorder.connector("google_sheets"))
    export = Export(live, people(0, 3), table_name="late").begin().write()
    server.tokens.expire_all("google")
    export.publish()
    server.settings("google_sheets", max_cells=1_000)
    refuse(TargetError, lambda: Export(live, people(0, 900), table_name="too much").run())
    server.settings("google_sheets", max_cells=None)
    export = Export(live, people(0, 3), table_name="too often").begin().write()
    refuse(VendorUnavailableError, lambda: [export.open().read_back() for _ in range(60)])


def looker(recorder: Recorder) -> None:
    server = recorder.server
    deliver_everything(recorder, "looker")
    Export(Live(recorder.connector("looker")), people(0, 4), table_name="planes").run()  # type: ignore[arg-type]
    connector = recorder.connector("looker")

    def later() -> None:
        server.clock.advance(120)

    assert follow(connector, {"trigger": "datagroup"}, later) is RefreshStatus.SUCCEEDED
    assert follow(connector, {"trigger": "pdt"}, later) is RefreshStatus.SUCCEEDED
    for outcome in ("error", "killed"):
        server.settings("looker", pdt_outcome=outcome)
        assert follow(connector, {"trigger": "pdt"}, later) is not RefreshStatus.SUCCEEDED
    server.settings("looker", trigger_error="no such table")
    assert follow(connector, {"trigger": "datagroup"}, later) is RefreshStatus.FAILED
    started = connector.start_refresh("run-2", {"trigger": "pdt"})
    connector.cancel_refresh(started.vendor_id)
    connector.poll_refresh(started.vendor_id)


def looker_refused(recorder: Recorder) -> None:
    server = recorder.server
    bad: list[dict[str, Any]] = [
        {"client_secret": "wrong" * 5},
        {"connection": "nowhere"},
        {"datagroup_id": "nothing"},
        {"view": "nothing"},
        {"view": "planes_live"},
    ]
    for changes in bad:
        connector = recorder.connector("looker", **changes)
        connector.test()
        for trigger in ("datagroup", "pdt"):
            with pytest.raises(BIConnectorsError) if _breaks(changes, trigger) else nullcontext():
                connector.start_refresh("run-1", {"trigger": trigger})
    live = recorder.connector("looker")
    live.test()
    server.tokens.expire_all("looker")
    live.test()
    server.settings("looker", denied_permissions=["update_datagroups"])
    refuse(BIConnectorsError, lambda: live.start_refresh("run-1", {"trigger": "datagroup"}))


def signing(recorder: Recorder) -> None:
    key = recorder.server.accounts.google.service_account_key
    credentials = service_account.Credentials.from_service_account_info(key, scopes=[SIGNING_SCOPE])  # type: ignore[no-untyped-call]
    credentials.refresh(Request())
    file, minute = ObjectInfo("exports", "people/a.csv", 1, 10), dt.timedelta(minutes=1)
    emails = (key["client_email"], "other@local-project.iam.gserviceaccount.com")
    own, other = (
        CloudStorageObjects("local-project", lambda email=email: (email, credentials.token)) for email in emails
    )  # type: ignore[misc]
    assert "X-Goog-Signature=" in own.signed_url(file, "a.csv", minute)
    refuse(CredentialError, lambda: other.signed_url(file, "a.csv", minute))


def bigquery(recorder: Recorder) -> None:
    server = recorder.server
    server.settings("bigquery", storage_url=os.environ["STORAGE_EMULATOR_HOST"], denied=["secrets.t"])
    for dataset, location in (("secrets", "US"), ("far", "asia-east1")):
        body = {"project": "local-project", "dataset": dataset, "table": "t", "location": location, "rows": [{"i": 1}]}
        schema = [{"name": "i", "type": "INT64"}, {"name": "y", "type": "BYTES"}]
        requests.post(f"{server.admin_url}/bigquery/tables", json={**body, "schema": schema}, timeout=30)
    warehouse = BigQueryWarehouse("local-project", "https://bigquery.googleapis.com")
    stores = replace(InMemoryStores().stores(), warehouse=warehouse, objects=CloudStorageObjects("local-project"))

    def frozen(job_id: str, limit: int = 10**9, **source: Any) -> int:
        options = {"schema": None, "delimiter": None, "encoding": "utf-8", "sheet": None}
        pinned = {
            "kind": "bigquery",
            "table": None,
            "location": None,
            "maximum_bytes_billed": limit,
            "options": options,
        }
        record: dict[str, Any] = {"id": job_id, "created_at": server.clock.now(), "source": {**pinned, **source}}
        return freeze(Freezing(stores, "frozen", record, record.update, server.clock.now())).scan.rows

    demo = {"project": "local-project", "dataset": "demo", "table": "volunteers"}
    assert frozen("one", table=demo) == 3
    assert frozen("one", table=demo) == 3
    assert frozen("two", query="SELECT * FROM far.t", location="asia-east1") == 1
    sql = "EXPORT DATA OPTIONS (uri='gs://frozen/*', format='PARQUET', overwrite=true) AS SELECT 1 AS a"
    assert warehouse.start("bi_five_1", sql, "US", 10**9) == warehouse.start("bi_five_1", sql, "US", 10**9)
    for refused in (
        {"table": {**demo, "dataset": "secrets", "table": "t"}},
        {"table": {**demo, "table": "nothing"}},
        {"query": "SELEC 1"},
        {"query": "DELETE FROM far.t"},
        {"query": "SELECT i FROM far.t", "location": "EU"},
        {"table": demo, "limit": 1_000},
    ):
        refuse(SourceError, lambda refused=refused: frozen("three", **refused))  # type: ignore[misc]
    server.settings("bigquery", job_error="invalid")
    refuse(SourceError, lambda: frozen("four", table=demo))


def _breaks(changes: dict[str, Any], trigger: str) -> bool:
    return "client_secret" in changes or {"datagroup": "datagroup_id", "pdt": "view"}[trigger] in changes


def _unlimited(recorder: Recorder) -> dict[str, Any]:
    knobs = recorder.server.settings("google_sheets")
    return {name: 100_000 for name in knobs if "per_minute" in name}


def _unshared(recorder: Recorder) -> str:
    url = f"{recorder.server.admin_url}/google_sheets/spreadsheets"
    tabs = [{"title": "Private", "rows": 3, "columns": 3}]
    answer = requests.post(url, json={"title": "Private", "tabs": tabs, "share": {}}, timeout=10)
    return str(answer.json()["id"])
