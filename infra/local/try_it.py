"""What `make run` prints when it is up, and the files that make its commands work when pasted."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path
from typing import Any

from infra.local.accounts import Accounts
from infra.local.settings import BUCKETS, Layout

API = "/api/bi-connectors"


def connector_bodies(accounts: Accounts) -> dict[str, dict[str, Any]]:
    """Bodies of `POST /register` for the three demo accounts, by file name. They hold secrets."""
    warehouse = accounts.warehouse
    return {
        "google_sheets": {
            "name": "sheets",
            "connector_type": "google_sheets",
            "spreadsheet_id": accounts.google.spreadsheet_id,
            "service_account_key": accounts.google.service_account_key,
        },
        "power_bi": {
            "name": "powerbi",
            "connector_type": "power_bi",
            "tenant_id": accounts.entra.tenant_id,
            "client_id": accounts.entra.client_id,
            "client_secret": accounts.entra.client_secret,
            "workspace_id": accounts.power_bi.workspace_id,
            "refresh_dataset_id": accounts.power_bi.refresh_dataset_id,
            "capacity": "premium",  # the shared capacity allows 8 refreshes a day; the demo's schedule fires every minute
        },
        "looker": {
            "name": "looker",
            "connector_type": "looker",
            "base_url": accounts.looker.base_url,
            "client_id": accounts.looker.client_id,
            "client_secret": accounts.looker.client_secret,
            "connection": accounts.looker.connection,
            "datagroup_id": accounts.looker.datagroup_id,
            "model": accounts.looker.model,
            "view": accounts.looker.view,
            "warehouse": {
                "host": warehouse.host,
                "port": warehouse.port,
                "database": warehouse.database,
                "schema": warehouse.schema,
                "user": warehouse.user,
                "sslmode": "disable",
            },
            "warehouse_password": warehouse.password,
        },
    }


def volunteers(count: int = 60) -> list[dict[str, Any]]:
    """A small SYNTHETIC table of invented volunteers: nobody in it exists. `hours` and `left` are null for some."""
    sites = ("Riverside", "Old Town", "Lakeview", "North Hill")
    given = ("Ada", "Ben", "Chen", "Dara", "Eli", "Fatima", "Goran", "Hana", "Ivo", "Jomo")
    return [
        {
            "id": number,
            "name": f"{given[number % len(given)]} Example-{number}",
            "site": sites[number % len(sites)],
            "hours": None if number % 9 == 0 else round(number * 1.25, 2),
            "active": number % 4 != 0,
            "joined": f"20{18 + number % 7:02d}-{1 + number % 12:02d}-{1 + number % 28:02d}",
            "note": "=SUM(A1:A9) stays text" if number % 10 == 0 else None,
        }
        for number in range(1, count + 1)
    ]


def write_examples(layout: Layout, accounts: Accounts) -> Path:
    """Write the request bodies and a sample CSV to `DIR/try` (folder 0700: the bodies hold the demo accounts' secrets)."""
    folder = layout.data / "try"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    for name, body in connector_bodies(accounts).items():
        _write(folder / f"register_{name}.json", json.dumps(body, indent=2) + "\n")
    _write(
        folder / "export_volunteers.json",
        json.dumps({"connector_name": "sheets", "table_name": "volunteers"}, indent=2) + "\n",
    )
    rows = volunteers()
    with (folder / "volunteers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def introduction(layout: Layout, examples: Path, seconds: float) -> str:
    """What to try, as lines that work when pasted into a shell anywhere."""
    ports = layout.ports
    gateway = ports.url("gateway") + API
    curl = "curl -s --noproxy '*'" if any(name.lower() == "http_proxy" for name in os.environ) else "curl -s"
    send = "-H 'Content-Type: application/json' --data-binary"

    def file(name: str) -> str:
        return shlex.quote(f"@{examples / name}")

    return f"""
The local cloud is up ({seconds:.1f} s). Everything is on 127.0.0.1; nothing leaves this machine.

  1. register a connector (the account is a demo account of the Google Sheets sandbox)
     {curl} {gateway}/register {send} {file("register_google_sheets.json")}

  2. test it
     {curl} -X POST {gateway}/sheets/test

  3. upload a table (60 invented volunteers), then export it
     {curl} -H 'Content-Type: text/csv' --data-binary {file("volunteers.csv")} '{_upload_url(layout, "volunteers.csv")}'
     {curl} {gateway}/export {send} {file("export_volunteers.json")}

  4. watch the jobs; with the id of one: it answers when something changes, after 30 s at the latest
     {curl} {gateway}/export-jobs
     {curl} '{gateway}/export-jobs/<id>?wait=30s'

  5. hear of what goes wrong: in the form of Slack; what came is shown at {ports.url("sandbox_admin")}/receivers/notices
     {curl} -X PUT {gateway}/channels/team -H 'Content-Type: application/json' -d '{{"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}}'
     {curl} -X POST {gateway}/channels/team:test

  register_power_bi.json and register_looker.json lie beside register_google_sheets.json in {examples}

  api           {ports.url("gateway")}/openapi.json
  health        {ports.url("gateway")}/health
  what vendors were asked, faults, clock   {ports.url("sandbox_admin")}/
  tasks, jobs, clock of the emulators      {ports.url("emulator_admin")}/
  addresses     {layout.endpoints_file}
  logs          {layout.data / "logs"}

Ctrl-C stops everything; the data stays in {layout.data}."""


def _upload_url(layout: Layout, name: str) -> str:
    bucket = BUCKETS["TABLES_BUCKET"]
    return f"{layout.ports.url('gcs')}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
