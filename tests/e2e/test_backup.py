"""Documents are backed up, wiped and restored on the emulators, while the functions go on: everything lists again, a job goes on."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import firestore

from infra.local.demo.api import Api
from infra.local.demo.vendors import Vendors
from infra.local.ports import free_base
from infra.local.settings import BUCKETS, PROJECT, ROOT, function_environment
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies

from .conftest import JOB_TIMEOUT_S, KINDS, ROWS, Sandbox, finish
from .permissions.journey import API, Journey
from .test_restart import BIG, ROW_COUNT, wait_for_progress

PLACE = f"gs://{BUCKETS['EXPORTS_BUCKET']}/backups/one.jsonl"
PADDING = 3000
"""Documents more in the restore that is held in its middle: some seconds of it."""
LISTS = (
    "",
    "/tables",
    "/schedules",
    "/export-jobs",
    "/refresh-runs",
    "/channels",
    "/audit:verify",
)


@pytest.fixture
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud of this test's own: its documents are wiped."""
    cloud = LocalCloud(tmp_path_factory.mktemp("lone"), free_base())
    cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture
def documents(lone: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", lone.layout.ports.address("firestore"))
    return firestore.Client(project=PROJECT)


def run(cloud: LocalCloud, *words: str) -> str:
    """Run `python -m shared.data` as the guide does, with the export worker's settings; return what it says."""
    process = started(cloud, *words)
    said, problem = process.communicate(timeout=240)
    assert process.returncode == 0, problem
    return said.splitlines()[-1]


def started(cloud: LocalCloud, *words: str) -> subprocess.Popen[str]:
    environment = {**function_environment(cloud.layout, "export_worker"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "shared.data", *words]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def listed(cloud: LocalCloud) -> dict[str, Any]:
    found = {}
    for path in LISTS:
        answer = requests.get(f"{cloud.endpoints['gateway']}{API}{path}", timeout=60)
        assert answer.ok, answer.text
        found[path] = answer.json()
    return found


def wipe(documents: Any) -> None:
    for collection in list(documents.collections()):
        documents.recursive_delete(collection)
    assert list(documents.collections()) == []


def read(lone: LocalCloud) -> bytes:
    name = PLACE.partition("/backups/")[2]
    url = f"{lone.endpoints['gcs']}/storage/v1/b/{BUCKETS['EXPORTS_BUCKET']}/o/backups%2F{name}"
    return requests.get(url, params={"alt": "media"}, timeout=60).content


def test_what_was_backed_up_is_there_again_after_everything_was_lost_and_a_job_goes_on(
    lone: LocalCloud, documents: Any, tmp_path: Path
) -> None:
    api, sandbox, journey = (
        Api(lone.endpoints["gateway"]),
        Sandbox(lone.endpoints["sandbox"]["admin"]),
        Journey(lone, documents, documents),
    )
    for body in connector_bodies(lone.accounts).values():
        api.register(body)
    journey.put("big.csv", BIG.encode())
    journey.call("PUT", "/tables/people", {"source": {"uri": f"gs://{BUCKETS['TABLES_BUCKET']}/big.csv"}})
    journey.call("PUT", "/channels/team", {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/word"})
    schedule = api.schedule("looker", "0 0 1 1 *")["id"]
    finish(api, api.export(connector_name="looker", table_name="done", rows=ROWS, export_format="csv"))
    finish(api, api.export(connector_name="sheets", table_name="done", rows=ROWS))
    sandbox.set("google_sheets", latency_ms=300)
    moving = wait_for_progress(api, api.export(connector_name="sheets", table_name="big"))
    lone.kill("export_worker")
    before = listed(lone)

    assert run(lone, "backup", PLACE).endswith(f"documents in {PLACE}")
    api.register({**connector_bodies(lone.accounts)["looker"], "name": "too-late"})
    wipe(documents)
    assert listed(lone)["/export-jobs"]["jobs"] == []
    _restore_slowly(lone, journey, documents, tmp_path)
    assert listed(lone) == before
    api.register({**connector_bodies(lone.accounts)["looker"], "name": "too-late"})
    run(lone, "restore", "--replace", PLACE)
    assert listed(lone) == before

    lone.restart("export_worker")
    journey.run_cron("bi-system-sweep")
    sandbox.set("google_sheets", latency_ms=0)
    ended = finish(api, api.job(moving["id"]), timeout_s=240)
    assert (ended["status"], ended["error_message"], ended["record_count"]) == ("success", None, ROW_COUNT)
    vendors = Vendors(lone.accounts, lone.endpoints["sandbox"]["proxy"], Path(lone.endpoints["sandbox"]["ca_file"]))
    assert [row[0] for row in sorted(vendors.google_sheets("big", KINDS))] == list(range(ROW_COUNT))
    assert all(api.test(name)["ok"] for name in ("looker", "sheets", "powerbi"))  # their credentials were never in it
    journey.run_cron(f"bi-schedule-{schedule}")  # Cloud Scheduler still knows, or knows again, the users' schedules


def _restore_slowly(lone: LocalCloud, journey: Journey, documents: Any, folder: Path) -> None:
    """Hold a restore in its middle; meanwhile people and Cloud Scheduler are sent away, and readers are not."""
    file = folder / "backup"
    many = [
        *read(lone).splitlines(keepends=True)[:-1],
        *(b'["file_links/%04d", {"n": 1}]\n' % n for n in range(PADDING)),
    ]
    digest = hashlib.sha256(b"".join(many)).hexdigest()
    file.write_bytes(
        b"".join(many) + json.dumps({"$end": {"documents": len(many), "sha256": f"sha256:{digest}"}}).encode()
    )
    restoring = started(lone, "restore", str(file))
    try:
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while not documents.document("maintenance/restore").get().exists:
            assert restoring.poll() is None, restoring.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        restoring.send_signal(signal.SIGSTOP)
        assert documents.document("maintenance/restore").get().exists
        refused = journey.call(
            "POST", "/export", {"connector_name": "looker", "table_name": "x", "rows": ROWS}, status=503
        )
        assert refused["code"] == "restoring"
        assert "connectors" in journey.call("GET", "")
        with pytest.raises(AssertionError, match="503"):
            journey.run_cron("bi-system-freshness")
    finally:
        restoring.send_signal(signal.SIGCONT)
        said, problem = restoring.communicate(timeout=240)
    assert (said, problem) == (f"{len(many)} documents restored\n", "")
