"""The local cloud as benchmarks use it: every emulator and sandbox in a process of its own, the worker in a fresh one of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from infra.local.demo.api import Api
from infra.local.ports import free_base
from infra.local.settings import BUCKETS, ROOT, function_environment
from infra.local.supervisor import LocalCloud
from infra.local.try_it import connector_bodies
from tests.benchmarks.warehouse import Link

UPLOAD_TIMEOUT_S = 600
VENDORS = ("entra_id", "power_bi", "looker", "google_identity", "google_sheets")


class Cloud:
    """A running local cloud whose Cloud Tasks sends nothing: what works on jobs is started by hand."""

    def __init__(self, local: LocalCloud) -> None:
        self.local = local
        self.api = Api(local.endpoints["gateway"])
        self.bodies = connector_bodies(local.accounts)
        self.link = Link(local.layout.ports.of("postgres"))
        self.bodies["looker"]["warehouse"]["port"] = self.link.port
        self._session = requests.Session()
        self._session.trust_env = False
        self.emulators("POST", "/delivery", {"hold": True})

    def emulators(self, method: str, path: str, body: Any = None) -> Any:
        """Call the emulators' admin port."""
        return self._call(method, self.local.layout.ports.url("emulator_admin") + path, body)

    def sandboxes(self, method: str, path: str, body: Any = None) -> Any:
        """Call the sandboxes' admin port."""
        return self._call(method, self.local.layout.ports.url("sandbox_admin") + path, body)

    def set_latency(self, milliseconds: int) -> None:
        """Let every call to a vendor take that much longer."""
        for vendor in VENDORS:
            self.sandboxes("PUT", f"/settings/{vendor}", {"latency_ms": milliseconds})

    def calls(self) -> int:
        """Calls that all vendors have answered so far."""
        return sum(vendor["total"] for vendor in self.sandboxes("GET", "/calls").values())

    def upload(self, path: Path) -> None:
        """Put a file into the tables bucket under its own name."""
        url = f"{self.local.endpoints['gcs']}/upload/storage/v1/b/{BUCKETS['TABLES_BUCKET']}/o"
        with path.open("rb") as content:
            answer = self._session.post(
                url, params={"uploadType": "media", "name": path.name}, data=content, timeout=UPLOAD_TIMEOUT_S
            )
        answer.raise_for_status()

    def fresh(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run a module in a fresh process with the worker's environment; return the JSON of its last line."""
        environment = {**function_environment(self.local.layout, "export_worker"), "PYTHONPATH": str(ROOT)}
        environment["SANDBOX_ADMIN"] = self.local.layout.ports.url("sandbox_admin")
        environment["WAREHOUSE_LINK"], environment["WAREHOUSE_PID"] = self.link.path, str(self._warehouse_pid())
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _warehouse_pid(self) -> int:
        (found,) = self.local.layout.data.rglob("postmaster.pid")
        return int(found.read_text().splitlines()[0])

    def _call(self, method: str, url: str, body: Any) -> Any:
        answer = self._session.request(method, url, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def running() -> Iterator[Cloud]:
    """Yield a cloud in a folder that Postgres' own account can enter; it is stopped and removed at the end."""
    # Postgres, killed when it does not stop in time, may write on for a moment.
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            os.environ.pop(name)
        local = LocalCloud(Path(folder), free_base())
        local.start()
        try:
            cloud = Cloud(local)
            yield cloud
            cloud.link.close()
        finally:
            local.stop()


def load_average() -> str:
    """The machine's load beside a figure that it can spoil."""
    one, five, _ = os.getloadavg()
    return f"load average {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} CPUs"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Columns aligned, the first to the left."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
