"""A running local cloud for the session, and what the tests ask it through: HTTP to the gateway and the vendors' own APIs.

Nothing here imports `shared`: these tests see what a user sees.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local.demo.api import FINAL, Api
from infra.local.demo.comparison import Row
from infra.local.demo.vendors import Vendors
from infra.local.ports import free_base
from infra.local.settings import BUCKETS
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies

JOB_TIMEOUT_S = 90.0
ROWS = [
    {"id": 1, "name": "Ada", "hours": 1.5, "note": None},
    {"id": 2, "name": "=1+1", "hours": None, "note": 'quoted "text", comma'},
    {"id": 3, "name": "Zoë", "hours": 0.0, "note": "x"},
]
KINDS = {"id": "number", "name": "text", "hours": "number", "note": "text"}
HELD = [(1, "Ada", 1.5, None), (2, "=1+1", None, 'quoted "text", comma'), (3, "Zoë", 0, "x")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is an e2e test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def direct() -> Iterator[None]:
    """No proxy of the developer's between the tests and 127.0.0.1."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    cloud = LocalCloud(tmp_path_factory.mktemp("cloud"), free_base())
    cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture(autouse=True)
def fresh_quota(request: pytest.FixtureRequest) -> None:
    """Google's 60 writes a minute are one account's: each test starts with a whole minute."""
    if "cloud" in request.fixturenames:
        admin = request.getfixturevalue("cloud").endpoints["sandbox"]["admin"]
        assert requests.post(f"{admin}/google_sheets/quota/reset", timeout=10).ok


@pytest.fixture
def api(cloud: LocalCloud) -> Api:
    return Api(cloud.endpoints["gateway"])


@pytest.fixture
def bodies(cloud: LocalCloud) -> dict[str, dict[str, Any]]:
    """Register bodies of the demo accounts by kind; each test may change its copy."""
    return json.loads(json.dumps(connector_bodies(cloud.accounts)))


@pytest.fixture
def connectors(api: Api, bodies: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Names of three registered connectors by kind. Registering the same again is harmless."""
    return {kind: api.register(body)["name"] for kind, body in bodies.items()}


class Sandbox:
    """The admin API of the vendor sandboxes."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fault(self, **fault: Any) -> None:
        answer = requests.post(f"{self._url}/faults", json=fault, timeout=10)
        assert answer.ok, answer.text

    def clear_faults(self) -> None:
        requests.delete(f"{self._url}/faults", timeout=10)

    def set(self, vendor: str, **settings: Any) -> None:
        answer = requests.put(f"{self._url}/settings/{vendor}", json=settings, timeout=10)
        assert answer.ok, answer.text

    def calls(self) -> dict[str, Any]:
        calls: dict[str, Any] = requests.get(f"{self._url}/calls", timeout=10).json()
        return calls


@pytest.fixture
def sandbox(cloud: LocalCloud) -> Iterator[Sandbox]:
    sandbox = Sandbox(cloud.endpoints["sandbox"]["admin"])
    yield sandbox
    sandbox.clear_faults()


@pytest.fixture
def vendors(cloud: LocalCloud) -> Vendors:
    sandbox = cloud.endpoints["sandbox"]
    return Vendors(cloud.accounts, sandbox["proxy"], Path(sandbox["ca_file"]))


@pytest.fixture
def held(vendors: Vendors) -> Callable[[str, str], list[Row]]:
    """What a vendor holds of a table with the columns of `ROWS`, by kind and table name, sorted by id."""

    def read(kind: str, table: str) -> list[Row]:
        rows = list(getattr(vendors, kind)(table, KINDS))
        return sorted(rows, key=lambda row: row[0])

    return read


@pytest.fixture
def upload(cloud: LocalCloud) -> Callable[[str, bytes], None]:
    """Put a file into the tables bucket."""

    def put(name: str, content: bytes) -> None:
        url = f"{cloud.endpoints['gcs']}/upload/storage/v1/b/{BUCKETS['TABLES_BUCKET']}/o"
        answer = requests.post(url, params={"uploadType": "media", "name": name}, data=content, timeout=30)
        assert answer.ok, answer.text

    return put


def finish(api: Api, job: dict[str, Any], timeout_s: float = JOB_TIMEOUT_S) -> dict[str, Any]:
    """Follow an export job to its end, or to where a person has to decide."""
    deadline = time.monotonic() + timeout_s
    while job["status"] not in FINAL | {"held"}:
        assert time.monotonic() < deadline, f"job is still {job['status']} ({job['phase']}): {job}"
        time.sleep(0.2)
        job = api.job(job["id"])
    return job


def finish_refresh(api: Api, run: dict[str, Any], timeout_s: float = JOB_TIMEOUT_S) -> dict[str, Any]:
    """Follow a refresh run to its end."""
    deadline = time.monotonic() + timeout_s
    while run["status"] not in FINAL:
        assert time.monotonic() < deadline, f"refresh run is still {run['status']}: {run}"
        time.sleep(0.2)
        run = api.refresh_run(run["id"])
    return run


def fetch(cloud: LocalCloud, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    """One raw request to the gateway."""
    url = cloud.endpoints["gateway"] + path
    return requests.request(method, url, json=body, headers=headers, timeout=60)
