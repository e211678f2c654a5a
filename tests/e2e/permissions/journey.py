"""One journey through a local cloud that makes every kind of call which the functions make, each function in its role."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import grpc
import requests
from google.cloud import scheduler_v1, secretmanager_v1

from infra.local.demo.api import FINAL
from infra.local.settings import BUCKETS, LOCATION, PROJECT
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies

API = "/api/bi-connectors"
ROWS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Zoë"}]
JOB_TIMEOUT_S = 180.0  # a hung job ends the test; no job comes near, whatever else the machine does
AN_ID = "0123456789abcdefghjkmnpqrs"
"""Of the form of our ids, used by no schedule."""


class Journey:
    """The local cloud as people, vendors and Google's own services use it; none of these calls is recorded."""

    def __init__(self, cloud: LocalCloud, documents: Any, documents_of_others: Any) -> None:
        """`documents` are those of the functions' own database; `documents_of_others` those of `(default)`, as sources read them."""
        self._cloud = cloud
        self._documents = documents
        self._documents_of_others = documents_of_others
        ports = cloud.layout.ports
        self._gateway = ports.url("gateway")
        self._emulators = ports.url("emulator_admin")
        self._storage = ports.url("gcs")
        self._parent = f"projects/{PROJECT}/locations/{LOCATION}"
        self._cron = _client(scheduler_v1.CloudSchedulerClient, ports.address("cloud_scheduler"))
        self._secrets = _client(secretmanager_v1.SecretManagerServiceClient, ports.address("secret_manager"))

    def travel(self) -> None:
        """All of it, about a minute."""
        self._connectors()
        self._exports()
        self._sources()
        self._kept_files_as_sources()
        self._secrets_of_others()
        self._operations()
        self._refreshes()
        self._schedules()
        self._notices()
        self._sweeps()
        self._configuration()

    # -- the parts

    def _connectors(self) -> None:
        for body in connector_bodies(self._cloud.accounts).values():
            self.call("POST", "/register", body)
            assert self.call("POST", f"/{body['name']}/test")["ok"]
        sheets = connector_bodies(self._cloud.accounts)["google_sheets"]
        self.call("POST", "/register", {**sheets, "name": "gone"})
        stale = self.etag("/gone")
        key = {"service_account_key": sheets["service_account_key"]}
        self.call("PATCH", "/gone", key, **{"If-Match": stale})
        self.call("PATCH", "/gone", key, status=412, **{"If-Match": stale})
        self.call("GET", "/audit:verify")

    def _exports(self) -> None:
        for name in ("sheets", "looker", "powerbi"):
            self.export(connector_name=name, table_name=f"rows_{name}", rows=ROWS, export_format="csv")
        self.put("named.csv", b"id,name\n1,Ada\n2,Zoe\n")
        self.export(connector_name="looker", table_name="named")
        self.export(connector_name="looker", table_name="named_again", rows=ROWS, refresh_after=True)

    def _sources(self) -> None:
        self.put("folder/1.csv", b"id,name\n1,Ann\n")
        self.put("folder/2.csv", b"id,name\n2,Bo\n")
        self._documents_of_others.document("journey/a").set({"n": 1})
        self._documents_of_others.document("journey/b").set({"n": 2})
        for number, source in enumerate(
            (
                {"uri": f"gs://{BUCKETS['TABLES_BUCKET']}/folder/"},
                {"bigquery": {"table": "demo.volunteers"}},
                {"bigquery": {"query": "SELECT id, name FROM demo.volunteers"}},
                {"firestore": {"collection": "journey"}},
            )
        ):
            self.export(connector_name="looker", table_name=f"source_{number}", source=source)
        self.put("going.csv", b"id,name\n1,Ann\n")
        with self._held_tasks():
            job = self.call("POST", "/export", {"connector_name": "looker", "table_name": "going"})
            self.remove("TABLES_BUCKET", "going.csv")
        self.follow(job, ends="failed")

    def _kept_files_as_sources(self) -> None:
        """What an export kept is exported again, as a file and as a folder; by a schedule, too."""
        rows = [{"id": 1, "name": "=1+1"}]
        kept = self.export(connector_name="looker", table_name="again", rows=rows, export_format="csv")
        folder = f"gs://{BUCKETS['EXPORTS_BUCKET']}/again/"
        for uri in (f"{folder}{kept['id']}.csv", folder):
            source = {"uri": uri, "formula_safe": True}
            self.export(connector_name="sheets", table_name="again", source=source)
            export = {"connector_name": "looker", "table_name": "again", "source": source}
            self._run_schedule(export)
        with self._held_tasks():
            source = {"uri": f"{folder}{kept['id']}.csv"}
            body = {"connector_name": "looker", "table_name": "expired", "source": source}
            job = self.call("POST", "/export", body)
            self.remove("EXPORTS_BUCKET", f"again/{kept['id']}.csv")  # as the bucket does by itself after its days
        self.follow(job, ends="failed")

    def _secrets_of_others(self) -> None:
        """A connector whose credentials are in a secret that somebody else made."""
        body = {**connector_bodies(self._cloud.accounts)["looker"], "name": "byref"}
        credentials = {name: body.pop(name) for name in ("client_secret", "warehouse_password")}
        reference = self._make_secret("mine", credentials)
        self.call("POST", "/register", {**body, "credentials_secret": reference})
        assert self.call("POST", "/byref/test")["ok"]
        self.export(connector_name="byref", table_name="byref", rows=ROWS)
        self.follow(self.call("POST", "/byref/refresh", {}), "refresh-runs")
        self.call("DELETE", "/byref", status=204)

    def _run_schedule(self, export: dict[str, Any]) -> None:
        """Let a schedule start an export, and wait until that succeeds."""
        body = {"connector_name": "looker", "cron_expression": "0 0 1 1 *", "action": "export_and_refresh"}
        schedule = self.call("POST", "/schedules", {**body, "export": export})["id"]
        started = self.call("POST", f"/schedules/{schedule}:runNow")
        assert (started["status"], started["run_kind"]) == ("started", "export"), started
        self.follow(self.call("GET", f"/export-jobs/{started['run_id']}"))
        self.call("DELETE", f"/schedules/{schedule}", status=204)

    def _operations(self) -> None:
        kept = self.export(connector_name="looker", table_name="kept", rows=ROWS, export_format="csv")
        assert requests.get(f"{self._gateway}{API}/export-jobs/{kept['id']}/file", timeout=30).ok
        link = self.call("POST", f"/export-jobs/{kept['id']}:linkFile")["url"]
        assert requests.get(link, timeout=30).ok
        assert "X-Goog-Signature=" in self.call("POST", f"/export-jobs/{kept['id']}:linkFile?signed=true")["url"]
        self.follow(self.call("POST", f"/export-jobs/{kept['id']}:republish"))
        held = self.export(connector_name="looker", table_name="kept", rows=ROWS[:1], max_shrink=0.1, ends="held")
        self.follow(self.call("POST", f"/export-jobs/{held['id']}:approve"))
        bad = [{"id": 1, "n": "x"}, {"id": 2, "n": "3"}, {"id": 3, "n": "4"}]
        rules = {"contract": {"on_breach": "discard_row", "columns": {"n": {"type": "int64"}}}}
        rejected = self.export(connector_name="looker", table_name="rejects", rows=bad, max_rejects=2, **rules)
        assert self.call("GET", f"/export-jobs/{rejected['id']}/rejects")["rejects"]
        self.follow(self.call("POST", f"/export-jobs/{rejected['id']}:replayRejects", {}), ends=None)
        self.remove("EXPORTS_BUCKET", f"kept/{kept['id']}.csv")  # as the bucket does by itself after its days
        self.call("GET", f"/export-jobs/{kept['id']}/file", status=404)
        self.call("DELETE", f"/export-jobs/{kept['id']}", status=204)

    def _refreshes(self) -> None:
        for name in ("powerbi", "looker"):
            self.follow(self.call("POST", f"/{name}/refresh", {}), "refresh-runs")

    def _schedules(self) -> None:
        body = {"connector_name": "looker", "cron_expression": "0 0 1 1 *", "max_age": "1d"}
        schedule = self.call("POST", "/schedules", body)["id"]
        self.call(
            "PATCH",
            f"/schedules/{schedule}",
            {"cron_expression": "0 1 1 1 *"},
            **{"If-Match": self.etag(f"/schedules/{schedule}")},
        )
        self.call("POST", f"/schedules/{schedule}:pause")
        self.call("POST", f"/schedules/{schedule}:resume")
        self.call("POST", f"/schedules/{schedule}:runNow")
        self.call("GET", f"/schedules/{schedule}/next")
        self.run_cron(f"bi-schedule-{schedule}")
        for source in ({}, {"source": {"uri": f"gs://{BUCKETS['TABLES_BUCKET']}/folder/"}}):
            export = {"connector_name": "looker", "table_name": "named", **source}
            body = {
                "connector_name": "looker",
                "cron_expression": "0 0 1 1 *",
                "action": "export_and_refresh",
                "export": export,
            }
            started = self.call("POST", "/schedules", body)["id"]
            self.call("POST", f"/schedules/{started}:runNow")
        self.run_cron("bi-system-freshness")
        self._drift(schedule)
        self.call("POST", "/schedules:reconcile")
        self.call("DELETE", f"/schedules/{schedule}", status=204)
        self.call(
            "POST", "/schedules", {**body, "connector_name": "gone", "action": "refresh", "export": None}, status=422
        )
        self.call("POST", "/register", {**connector_bodies(self._cloud.accounts)["looker"], "name": "leaving"})
        self.call("POST", "/schedules", {"connector_name": "leaving", "cron_expression": "0 0 1 1 *"})
        self.call("DELETE", "/leaving?force=true", status=204)
        self.call("DELETE", "/gone?force=true", status=204)

    def _notices(self) -> None:
        """Data that was due long ago is late: somebody hears of it through a channel."""
        channel = {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/word"}
        self.call("PUT", "/channels/team", channel)
        self.call("POST", "/channels/team:test")
        body = {
            "connector_name": "looker",
            "cron_expression": "0 0 1 1 *",
            "max_age": "1d",
            "action": "export_and_refresh",
        }
        export = {"connector_name": "looker", "table_name": "never"}
        schedule = self.call("POST", "/schedules", {**body, "export": export})["id"]
        made = datetime.now(UTC) - timedelta(days=2)
        self._documents.document(f"schedules/{schedule}").update({"created_at": made})
        self.run_cron("bi-system-freshness")
        self.run_cron("bi-system-freshness")
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while not any("never" in json.dumps(one["body"]) for one in self._received()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        self.call("DELETE", f"/schedules/{schedule}", status=204)
        self.call("DELETE", "/channels/team", status=204)

    def _received(self) -> list[dict[str, Any]]:
        admin = self._cloud.layout.ports.url("sandbox_admin")
        found: list[dict[str, Any]] = requests.get(f"{admin}/receivers/notices", timeout=30).json()["notices"]
        return found

    def _sweeps(self) -> None:
        """What Cloud Scheduler's sweep mends: lost tasks, drifted schedules, old rows, credentials that nobody uses."""
        with self._held_tasks():
            job = self.call("POST", "/export", {"connector_name": "looker", "table_name": "lost", "rows": ROWS})
            run = self.call("POST", "/looker/refresh", {})
            past = datetime.now(UTC) - timedelta(minutes=10)
            self._documents.document(f"export_jobs/{job['id']}").update({"next_task_at": past})
            self._documents.document(f"refresh_runs/{run['id']}").update({"next_look_at": past})
            old = self.call("GET", "/export-jobs?status=success")["jobs"][-1]["id"]
            week = datetime.now(UTC) - timedelta(days=8)
            self._documents.document(f"export_jobs/{old}").update({"completed_at": week, "rows_kept": True})
            schedule = self.call("POST", "/schedules", {"connector_name": "looker", "cron_expression": "0 0 1 1 *"})[
                "id"
            ]
            self._drift(schedule)
            self.run_cron("bi-system-sweep")
            self._drift(schedule, paused=True)
            off = {"connector_name": "looker", "cron_expression": "0 0 1 1 *", "enabled": False}
            self._drift(self.call("POST", "/schedules", off)["id"])
            deleted = self.call("POST", "/schedules", {"connector_name": "looker", "cron_expression": "0 0 1 1 *"})[
                "id"
            ]
            self._documents.document(f"schedules/{deleted}").update({"deleting": True})
            self.run_cron("bi-system-sweep")
        self.follow(job)

    def _configuration(self) -> None:
        """`apply` makes, changes and prunes connectors; credentials of ours that they had go with them."""
        sheets = connector_bodies(self._cloud.accounts)["google_sheets"]
        payload = {"service_account_key": sheets["service_account_key"]}
        connector = {"connector_type": "google_sheets", "spreadsheet_id": sheets["spreadsheet_id"]}
        self.call("POST", "/register", {**sheets, "name": "owned"})
        applied = [
            {**connector, "name": name, "credentials_secret": self._make_secret(f"bi-{name}", payload)}
            for name in ("applied", "owned")
        ]
        table = {"name": "applied", "source": {"bigquery": {"table": "demo.volunteers"}}}
        wanted = {"connectors": applied, "tables": [table], "schedules": []}
        assert self.call("POST", "/apply", wanted)["ok"]
        self.call("POST", "/register", {**sheets, "name": "pruned"})
        items = self.call("POST", "/apply?prune=true", {"connectors": applied, "tables": []})["items"]
        assert {"done"} == {item["outcome"] for item in items if item["name"] in ("applied", "owned", "pruned")}, items

    # -- ways in

    def call(self, verb: str, path: str, body: Any = None, status: int | None = None, **headers: str) -> Any:
        """One request to the API. The answer's body; it has to be a success, or of that status."""
        keyed = {"Idempotency-Key": uuid.uuid4().hex, **headers} if verb == "POST" else headers
        answer = requests.request(verb, f"{self._gateway}{API}{path}", json=body, headers=keyed, timeout=60)
        assert answer.ok if status is None else answer.status_code == status, f"{verb} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def etag(self, path: str) -> str:
        return requests.get(f"{self._gateway}{API}{path}", timeout=30).headers["ETag"]

    def export(self, ends: str = "success", **body: Any) -> dict[str, Any]:
        return self.follow(self.call("POST", "/export", body), ends=ends)

    def follow(self, job: dict[str, Any], kind: str = "export-jobs", ends: str | None = "success") -> dict[str, Any]:
        """Wait until a job or run ends, and see that it ends so."""
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while job["status"] not in FINAL | {"held"}:
            assert time.monotonic() < deadline, job
            job = self.call("GET", f"/{kind}/{job['id']}?wait=5s" if kind == "export-jobs" else f"/{kind}/{job['id']}")
        assert ends in (None, job["status"]), job
        return job

    def put(self, name: str, data: bytes) -> None:
        url = f"{self._storage}/upload/storage/v1/b/{BUCKETS['TABLES_BUCKET']}/o"
        requests.post(url, params={"uploadType": "media", "name": name}, data=data, timeout=30).raise_for_status()

    def remove(self, bucket: str, name: str) -> None:
        url = f"{self._storage}/storage/v1/b/{BUCKETS[bucket]}/o/{quote(name, safe='')}"
        requests.delete(url, timeout=30).raise_for_status()

    def run_cron(self, name: str) -> None:
        """Let Cloud Scheduler call a job's function now, and wait for its answer."""
        before = len(self._attempts(name))
        self._cron.run_job(name=f"{self._parent}/jobs/{name}")
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while len(self._attempts(name)) == before:
            assert time.monotonic() < deadline, name
            time.sleep(0.1)
        attempt = self._attempts(name)[-1]
        assert attempt["status"] in (200, 204), attempt

    def _attempts(self, name: str) -> list[dict[str, Any]]:
        found = requests.get(f"{self._emulators}/attempts", timeout=30).json()["cloud_scheduler"]
        return [attempt for attempt in found if attempt["name"].endswith(name)]

    def _drift(self, schedule: str, *, paused: bool = False) -> None:
        """Cloud Scheduler knows something else than Firestore: no job, one too many, one that is paused or enabled."""
        name = f"{self._parent}/jobs/bi-schedule-{schedule}"
        if paused:
            self._cron.pause_job(name=name)
            return
        known = self._cron.get_job(name=name)
        self._cron.delete_job(name=name)
        schedule_id = name.rpartition("-")[2]
        call = known.http_target
        call.uri = call.uri.replace(schedule_id, AN_ID)
        call.body = call.body.replace(schedule_id.encode(), AN_ID.encode())
        stray = scheduler_v1.Job(
            name=f"{self._parent}/jobs/bi-schedule-{AN_ID}",
            schedule=known.schedule,
            time_zone=known.time_zone,
            http_target=call,
        )
        self._cron.create_job(parent=self._parent, job=stray)

    def _make_secret(self, secret_id: str, payload: dict[str, Any]) -> str:
        request = {
            "parent": f"projects/{PROJECT}",
            "secret_id": secret_id,
            "secret": {"replication": {"automatic": {}}},
        }
        secret = self._secrets.create_secret(request=request).name
        data = {"parent": secret, "payload": {"data": json.dumps(payload).encode()}}
        return str(self._secrets.add_secret_version(request=data).name)

    @contextmanager
    def _held_tasks(self) -> Iterator[None]:
        url = f"{self._emulators}/delivery"
        requests.post(url, json={"service": "cloud_tasks", "hold": True}, timeout=10).raise_for_status()
        try:
            yield
        finally:
            requests.post(url, json={"service": "cloud_tasks", "hold": False}, timeout=10).raise_for_status()


def _client(kind: Any, address: str) -> Any:
    return kind(transport=kind.get_transport_class("grpc")(channel=grpc.insecure_channel(address)))
