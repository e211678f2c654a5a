"""What the local cloud tells its parts: names of the project, environment of each child process, endpoints file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from infra.local.accounts import Accounts
from infra.local.ports import Ports
from infra.local.sandboxes.proxy import SANDBOX_ADDRESS

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: `PYTHONPATH` of every child."""

PROJECT = "local-project"
LOCATION = "us-central1"
BUCKETS = {
    "TABLES_BUCKET": f"{PROJECT}-tables",
    "FROZEN_BUCKET": f"{PROJECT}-frozen",
    "EXPORTS_BUCKET": f"{PROJECT}-exports",
}
QUEUES = {"EXPORT_QUEUE": "bi-export", "REFRESH_QUEUE": "bi-refresh", "NOTICE_QUEUE": "bi-notices"}
TASKS_SERVICE_ACCOUNT = f"bi-tasks@{PROJECT}.iam.gserviceaccount.com"
SCHEDULER_SERVICE_ACCOUNT = f"bi-scheduler@{PROJECT}.iam.gserviceaccount.com"
PEOPLE = {"BI_ADMINS": "admin@example.org", "BI_OPERATORS": "operator@example.org", "BI_VIEWERS": "viewer@example.org"}
"""Who may do what with a token of the local cloud's; a request without one is the developer's."""

FUNCTIONS = ("register", "export", "export_worker", "refresh")
WORKER_INSTANCES = 3
"""Processes of the export worker, each with one request at a time: what Cloud Run would start for three jobs at once."""

RECEIVERS = ("hooks.slack.com", "hooks.example.org")
USER_SET_HOSTS = ("demo.cloud.looker.com", *RECEIVERS)
"""The sandboxes that a user's own URL leads to: the functions resolve these names by a table, to the sandboxes' address."""

API_THREADS = 8
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that a child gets from the caller's environment. No proxy, no CA bundle, no credential, no HOME (a `.netrc` in it
would be sent to hosts that the sandboxes imitate)."""


@dataclass(frozen=True)
class Layout:
    """Where one local cloud lives."""

    data: Path
    ports: Ports

    @property
    def ca_file(self) -> Path:
        """The certificate authority that signed the sandboxes' certificate."""
        return self.data / "identity" / "ca.pem"

    @property
    def endpoints_file(self) -> Path:
        """Exists while the local cloud is up."""
        return self.data / "endpoints.json"

    def package(self, function: str) -> Path:
        """Where a function's source is staged, exactly as it is deployed."""
        return self.data / "functions" / function

    def log(self, part: str) -> Path:
        """Standard output and error of one part, appended over restarts."""
        return self.data / "logs" / f"{part}.log"


def base_environment(data: Path) -> dict[str, str]:
    """The environment of every child: a clean one, with the checkout on the path."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    kept.setdefault("PATH", os.defpath)
    return kept | {
        "HOME": str(data),
        "TZ": "UTC",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def function_environment(layout: Layout, part: str) -> dict[str, str]:
    """The environment of one function: what Terraform sets in the cloud, and the local addresses.

    google-auth is not to look for a metadata server: nobody here runs as a service account.
    """
    ports = layout.ports
    environment = base_environment(layout.data) | {
        "PYTHONPATH": "",
        "ENVIRONMENT": "local",
        "CLOUD_RUN_CHECKS_CALLERS": "true",
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "LOCATION": LOCATION,
        "FIRESTORE_EMULATOR_HOST": ports.address("firestore"),
        "SECRET_MANAGER_EMULATOR_HOST": ports.address("secret_manager"),
        "CLOUD_SCHEDULER_EMULATOR_HOST": ports.address("cloud_scheduler"),
        "CLOUD_TASKS_EMULATOR_HOST": ports.address("cloud_tasks"),
        "STORAGE_EMULATOR_HOST": ports.url("gcs"),
        "REGISTER_URL": ports.url("register"),
        "EXPORT_URL": ports.url("export"),
        "EXPORT_WORKER_URL": ports.url("export_worker"),
        "REFRESH_URL": ports.url("refresh"),
        "TASKS_SERVICE_ACCOUNT": TASKS_SERVICE_ACCOUNT,
        "SCHEDULER_SERVICE_ACCOUNT": SCHEDULER_SERVICE_ACCOUNT,
        "WAREHOUSE_HOSTS": "127.0.0.1",
        "NOTICE_HOSTS": ",".join(RECEIVERS),
        "RESOLVER_TABLE": ",".join(f"{host}={SANDBOX_ADDRESS}" for host in USER_SET_HOSTS),
        "BIGQUERY_EMULATOR_HOST": "https://bigquery.googleapis.com",
        "BIGQUERY_QUERIES": "true",
        "HTTPS_PROXY": ports.url("sandbox_proxy"),
        "HTTP_PROXY": ports.url("sandbox_proxy"),
        "REQUESTS_CA_BUNDLE": str(layout.ca_file),
        "NO_GCE_CHECK": "true",
        "THREADS": str(API_THREADS),
        **BUCKETS,
        **QUEUES,
        **PEOPLE,
    }
    if "MAX_WAIT_S" in os.environ:
        environment["MAX_WAIT_S"] = os.environ["MAX_WAIT_S"]
    if part == "export_worker":
        environment |= {"EXPORT_ROLE": "worker", "THREADS": "1", "WORKERS": str(WORKER_INSTANCES)}
    return environment


def function_command(layout: Layout, part: str) -> list[str]:
    """The real functions-framework CLI (gunicorn, as in the cloud) on one function's package; the checkout is not on its path."""
    target = part.removesuffix("_worker")
    source = layout.package(target) / "main.py"
    return [
        *(sys.executable, "-P", "-m", "functions_framework", "--target", target, "--source", str(source)),
        *("--host", "127.0.0.1", "--port", str(layout.ports.of(f"{part}_container"))),
    ]


def endpoints(layout: Layout, accounts: Accounts) -> dict[str, Any]:
    """The content of `endpoints.json`. It names Postgres passwords, so the file is for its owner only."""
    ports, warehouse = layout.ports, accounts.warehouse

    def dsn(user: str, password: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@{warehouse.host}:{ports.of('postgres')}/{warehouse.database}"

    return {
        "gateway": ports.url("gateway"),
        "functions": {part: ports.url(part) for part in FUNCTIONS},
        "containers": {part: ports.url(f"{part}_container") for part in FUNCTIONS},
        "project": PROJECT,
        "location": LOCATION,
        "firestore": ports.address("firestore"),
        "secret_manager": ports.address("secret_manager"),
        "cloud_scheduler": ports.address("cloud_scheduler"),
        "cloud_tasks": ports.address("cloud_tasks"),
        "gcs": ports.url("gcs"),
        "postgres": dsn(warehouse.user, warehouse.password),
        "postgres_reader": dsn(warehouse.reader_user, warehouse.reader_password),
        "sandbox": {
            "proxy": ports.url("sandbox_proxy"),
            "ca_file": str(layout.ca_file),
            "admin": ports.url("sandbox_admin"),
        },
        "accounts": str(layout.data / "accounts.json"),
        "emulator_admin": ports.url("emulator_admin"),
    }
